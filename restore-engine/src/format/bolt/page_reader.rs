//! Reads many pages in file order on several threads, and returns them in the order of the request.
//!
//! The pages of an old tree are scattered over its file, and a sealed image is decompressed in
//! frames of 4 MiB: reading it in key order would decompress each frame a thousand times. So pages
//! are requested by the ten thousand, and little is kept of each. When the answers still exceed
//! their budget, fewer come back than were requested.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use etcdr_schemas::{Progress, ReadAt};

use super::page::Node;
use super::window::{Window, run};
use super::{Db, Problem};
use crate::{Error, Result};

/// Bytes of a stretch of the file, which one thread reads: a frame of a sealed image, so that no
/// two threads decompress the same one.
const STRETCH: u64 = 4 << 20;
/// Fewer pages than these are not worth a second thread.
const FEW: usize = 64;

/// The threads and memory that one reading of a database may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanBudget {
    /// Threads.
    pub workers: usize,
    /// Bytes of the answers to one request, which are copied twice on their way. With less, a
    /// scattered image is decompressed more often.
    pub answers: usize,
    /// Bytes of a table of keys. With less, many keys take more passes.
    pub table: usize,
}

/// Enough for 16 GiB of an ordinary database in one pass.
const AMPLE: ScanBudget = ScanBudget { workers: 1, answers: 24 << 20, table: 48 << 20 };

impl From<usize> for ScanBudget {
    /// That many threads, and ample memory.
    fn from(workers: usize) -> Self {
        Self { workers, ..AMPLE }
    }
}

/// How pages are read.
pub(crate) struct PageReader<'a, R> {
    pub(crate) db: &'a Db<R>,
    pub(crate) budget: ScanBudget,
    pub(crate) progress: &'a dyn Progress,
    // Pages that may still be read. No page belongs to a tree twice, so a reading that exceeds the
    // number of pages follows a cycle.
    pages_left: AtomicU64,
}

/// How many pages to request at once, at each level of a tree: as many as their answers have room
/// for.
#[derive(Debug, Default)]
pub(crate) struct RequestSizes(Vec<usize>);

/// Pages of a first request: enough to learn how large answers are.
const FIRST_STEP: usize = 16;
/// Pages of one request at most.
const MAX_STEP: usize = 256 * 1024;

impl RequestSizes {
    pub(crate) fn pages(&self, depth: u32) -> usize {
        let known = usize::try_from(depth).ok().and_then(|depth| self.0.get(depth));
        known.copied().unwrap_or(FIRST_STEP)
    }

    pub(crate) fn learn<T>(&mut self, budget: ScanBudget, depth: u32, answers: &Answers<T>) {
        let each = answers.weight / answers.values.len().max(1) + 1;
        let step = (budget.answers / 4 * 3 / each).clamp(FIRST_STEP, MAX_STEP);
        let depth = usize::try_from(depth).unwrap_or_default();
        if self.0.len() <= depth {
            self.0.resize(depth + 1, FIRST_STEP);
        }
        if let Some(known) = self.0.get_mut(depth) {
            *known = step;
        }
    }
}

/// The answers to one request.
pub(crate) struct Answers<T> {
    /// In the order of the request: one for each page, or fewer.
    pub(crate) values: Vec<Result<T, Problem>>,
    weight: usize,
}

/// The answer for one page.
struct Answer<T> {
    index: usize,
    pages: u64,
    weight: usize,
    value: Result<T, Problem>,
}

/// What the threads share.
struct Shared {
    next: AtomicUsize,
    // Answers from this index on are discarded.
    limit: AtomicUsize,
    weight: AtomicUsize,
    stop: AtomicBool,
}

impl<'a, R: ReadAt> PageReader<'a, R> {
    pub(crate) fn new(
        db: &'a Db<R>,
        budget: impl Into<ScanBudget>,
        progress: &'a dyn Progress,
    ) -> Self {
        let pages_left = AtomicU64::new(db.meta().high_water_mark);
        let budget = budget.into();
        Self {
            db,
            budget: ScanBudget { workers: budget.workers.max(1), ..budget },
            progress,
            pages_left,
        }
    }

    /// Reads `pages` and gives each to `parse`, with its index in the list and a cache that a
    /// thread keeps from page to page. `parse` returns its answer and the bytes that the answer
    /// takes. The answers come in the order of the list. There is at least one; the rest must be
    /// requested again.
    pub(crate) fn read<S: Default, T: Send>(
        &self,
        pages: &[u64],
        parse: &(dyn Fn(&mut S, usize, &Node<'_>) -> (T, usize) + Sync),
    ) -> Result<Answers<T>> {
        let mut order: Vec<(u64, usize)> =
            pages.iter().copied().enumerate().map(|(index, page)| (page, index)).collect();
        order.sort_unstable();
        let stretch = |page: u64| page.saturating_mul(u64::from(self.db.page_size())) / STRETCH;
        let groups: Vec<&[(u64, usize)]> =
            order.chunk_by(|a, b| stretch(a.0) == stretch(b.0)).collect();
        let shared = Shared {
            next: AtomicUsize::new(0),
            limit: AtomicUsize::new(pages.len()),
            weight: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        };
        let work = || {
            let answers = self.work(&groups, &shared, parse);
            if answers.is_err() {
                shared.stop.store(true, Relaxed);
            }
            answers
        };
        let threads = if pages.len() < FEW { 1 } else { self.budget.workers.min(groups.len()) };
        let mut answers = on_threads(threads, &work)?;
        let limit = shared.limit.load(Relaxed);
        self.give_up(&mut answers, &shared, limit);
        answers.sort_unstable_by_key(|answer| answer.index);
        let weight = shared.weight.load(Relaxed);
        Ok(Answers { values: answers.into_iter().map(|answer| answer.value).collect(), weight })
    }

    /// The work of one thread: stretch after stretch, until there is none left.
    fn work<S: Default, T>(
        &self,
        groups: &[&[(u64, usize)]],
        shared: &Shared,
        parse: &(dyn Fn(&mut S, usize, &Node<'_>) -> (T, usize) + Sync),
    ) -> Result<Vec<Answer<T>>> {
        let (mut window, mut cache, mut answers) = (Window::default(), S::default(), Vec::new());
        while let Some(group) = groups.get(shared.next.fetch_add(1, Relaxed)) {
            for (at, &(page, index)) in group.iter().enumerate() {
                if shared.stop.load(Relaxed) {
                    return Ok(answers);
                }
                if index >= shared.limit.load(Relaxed) {
                    continue;
                }
                let after = group.get(at + 1..).unwrap_or_default().iter().map(|(page, _)| *page);
                let ahead = run(page, after) * u64::from(self.db.page_size());
                let answer =
                    match self.db.load_within(&mut window, page, ahead, &self.pages_left)? {
                        Ok(node) => {
                            self.progress.advance(node.size());
                            let pages = node.size() / u64::from(self.db.page_size());
                            let (value, heap) = parse(&mut cache, index, &node);
                            let weight = heap + size_of::<Answer<T>>();
                            Answer { index, pages, weight, value: Ok(value) }
                        }
                        Err(problem) => Answer { index, pages: 0, weight: 0, value: Err(problem) },
                    };
                let weight = shared.weight.fetch_add(answer.weight, Relaxed) + answer.weight;
                answers.push(answer);
                if weight > self.budget.answers {
                    self.lighten(&mut answers, shared);
                }
            }
        }
        Ok(answers)
    }

    /// Discards the later half of the answers, until the rest fits the budget. The first ones stay,
    /// because the caller takes them in order and requests the rest again.
    fn lighten<T>(&self, answers: &mut Vec<Answer<T>>, shared: &Shared) {
        // Another thread may have done it already.
        self.give_up(answers, shared, shared.limit.load(Relaxed));
        while shared.weight.load(Relaxed) > self.budget.answers {
            let limit = shared.limit.load(Relaxed);
            if limit <= 1 {
                return;
            }
            let limit = shared.limit.fetch_min(limit.div_ceil(2), Relaxed).min(limit.div_ceil(2));
            self.give_up(answers, shared, limit);
        }
    }

    fn give_up<T>(&self, answers: &mut Vec<Answer<T>>, shared: &Shared, limit: usize) {
        answers.retain(|answer| {
            let keep = answer.index < limit;
            if !keep {
                shared.weight.fetch_sub(answer.weight, Relaxed);
                self.pages_left.fetch_add(answer.pages, Relaxed);
            }
            keep
        });
    }
}

/// Runs `work` on several threads and joins their results.
pub(crate) fn on_threads<T: Send>(
    threads: usize,
    work: &(dyn Fn() -> Result<Vec<T>> + Sync),
) -> Result<Vec<T>> {
    if threads <= 1 {
        return work();
    }
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for helper in helpers {
            let more = helper.join().unwrap_or(Err(Error::Stopped));
            all = match (all, more) {
                (Ok(mut all), Ok(more)) => {
                    all.extend(more);
                    Ok(all)
                }
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use etcdr_schemas::Hidden;

    use super::*;
    use crate::format::bolt::writer::Writer;

    fn database() -> Vec<u8> {
        let mut writer = Writer::create(Cursor::new(Vec::new()), 1024).unwrap();
        writer.bucket(b"key").unwrap();
        for n in 0u32..2000 {
            writer.row(&n.to_be_bytes(), &[7; 300]).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn answers_come_in_the_order_of_the_question() {
        let db = Db::open(database()).unwrap();
        let mut pages: Vec<u64> = (2..600).collect();
        pages.reverse();
        pages.swap(3, 400);
        for workers in [1, 2, 5] {
            let reader = PageReader::new(&db, workers, &Hidden);
            let read = reader.read(&pages, &|(): &mut (), index, _: &Node<'_>| (index, 1)).unwrap();
            let got: Vec<_> = read.values.into_iter().map(Result::unwrap).collect();
            assert_eq!(got, (0..pages.len()).collect::<Vec<_>>(), "{workers}");
        }
    }

    #[test]
    fn too_heavy_answers_are_asked_for_again() {
        let db = Db::open(database()).unwrap();
        let pages: Vec<u64> = (2..600).collect();
        for workers in [1, 3] {
            let reader = PageReader::new(&db, workers, &Hidden);
            let (mut from, mut calls) = (0, 0);
            while from < pages.len() {
                let parse = |(): &mut (), index, _: &Node<'_>| {
                    (from + index, ScanBudget::from(1).answers / 10)
                };
                let read = reader.read(&pages[from..], &parse).unwrap().values;
                assert!(!read.is_empty() && read.len() <= 10, "{}", read.len());
                for (index, answer) in (from..).zip(&read) {
                    assert_eq!(answer.as_ref().unwrap(), &index);
                }
                from += read.len();
                calls += 1;
            }
            assert!(calls >= 60, "{calls}");
        }
    }

    #[test]
    fn no_page_is_read_more_often_than_a_tree_could_hold_it() {
        let db = Db::open(database()).unwrap();
        let reader = PageReader::new(&db, 2, &Hidden);
        let pages = vec![5; 5000];
        let read = reader.read(&pages, &|(): &mut (), _, _: &Node<'_>| ((), 1)).unwrap().values;
        let good = read.iter().filter(|answer| answer.is_ok()).count() as u64;
        assert!(good <= db.meta().high_water_mark, "{good}");
        assert!(read.contains(&Err(Problem::Shared)));
    }
}
