//! Follows each key while its rows pass in order, in memory that does not grow with the number of
//! keys.
//!
//! A table maps fingerprints of keys to their last row. It has 64 shards, so that threads can share
//! the work: each row belongs to one. A shard that is full keeps half of its keys and leaves the
//! other half to another pass over the rows: memory is bounded, and a larger database only takes
//! longer. Beside the table there is one bit for a row.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::fingerprint::{Fingerprint, Part, SHARDS};
use super::table::{ENTRY, RowFacts, Table};
use crate::format::bolt::page_reader::on_threads;
use crate::{Error, Result};

pub(crate) use super::table::LastRow;

/// Fewer rows than these are not worth a second thread.
const FEW: usize = 4096;

/// One row, as far as it matters to its key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowSummary<F> {
    /// The key.
    pub(crate) fingerprint: Fingerprint,
    /// Its revision.
    pub(crate) main: i64,
    /// Its number in the transaction.
    pub(crate) sub: u32,
    /// Whether it deletes the key.
    pub(crate) tombstone: bool,
    /// What else the analyzer needs.
    pub(crate) facts: F,
}

/// Checks the rows of each key, one after the other.
pub(crate) trait RowAnalyzer: Sync {
    /// What it needs of a row.
    type Facts: RowFacts;
    /// What it finds.
    type Tally: Default + Send + Sync;
    /// Whether a key counts only when all its rows were seen in one pass.
    const NEEDS_ALL_ROWS: bool;

    /// A row, and the one before it of the same key.
    fn next(
        &self,
        tally: &mut Self::Tally,
        before: Option<&LastRow<Self::Facts>>,
        now: &RowSummary<Self::Facts>,
    );

    /// Whether [`next`](Self::next) has found nothing yet that it would find again.
    fn is_silent(&self, tally: &Self::Tally) -> bool;

    /// The last row of a key.
    fn end(&self, tally: &mut Self::Tally, last: &LastRow<Self::Facts>);

    /// Puts together what was found.
    fn add(&self, to: &mut Self::Tally, more: Self::Tally);
}

/// Finds only which rows are the newest.
#[derive(Debug)]
pub(crate) struct NoAnalyzer;

impl RowAnalyzer for NoAnalyzer {
    type Facts = ();
    type Tally = ();
    const NEEDS_ALL_ROWS: bool = false;

    fn next(&self, (): &mut (), _: Option<&LastRow<()>>, _: &RowSummary<()>) {}

    fn is_silent(&self, (): &()) -> bool {
        true
    }

    fn end(&self, (): &mut (), _: &LastRow<()>) {}
    fn add(&self, (): &mut (), (): ()) {}
}

/// Up to which revisions rows count, and which of them are marked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    /// A row is the newest of its key when none follows up to this revision.
    pub(crate) at: i64,
    /// Rows up to this revision get a bit when they are the newest.
    pub(crate) marked: i64,
}

/// All keys.
pub(crate) struct Keys<A: RowAnalyzer> {
    analyzer: A,
    marks: Marks,
    capacity: usize,
    shards: Vec<Shard<A>>,
    newest_bits: Vec<AtomicU64>,
    // Number of the next row of this pass.
    next: u32,
}

struct Shard<A: RowAnalyzer> {
    table: Table<A::Facts>,
    /// `None` when all its keys are done.
    part: Option<Part>,
    later: Vec<Part>,
    /// Whether all rows of the keys in the table were seen in this pass.
    whole: bool,
    live: u64,
    tally: A::Tally,
    /// `live` and `tally` of finished passes.
    done: (u64, A::Tally),
}

impl<A: RowAnalyzer> Keys<A> {
    /// `table` is how many bytes all shards together may take.
    pub(crate) fn new(analyzer: A, marks: Marks, table: usize) -> Self {
        // A table grows when it is filled to seven eighths; just below that it does not.
        let slots = table / SHARDS / ENTRY;
        let capacity = (1usize << slots.max(16).ilog2()) / 8 * 7 - 1;
        Self::with_capacity(analyzer, marks, capacity)
    }

    fn with_capacity(analyzer: A, marks: Marks, capacity: usize) -> Self {
        let shard = |_| Shard {
            table: Table::default(),
            part: Some(Part::ALL),
            later: Vec::new(),
            whole: true,
            live: 0,
            tally: A::Tally::default(),
            done: (0, A::Tally::default()),
        };
        let shards = (0..SHARDS).map(shard).collect();
        Self { analyzer, marks, capacity, shards, newest_bits: Vec::new(), next: 0 }
    }

    /// Takes the next rows: lists that follow each other.
    pub(crate) fn take(&mut self, lists: &[&[RowSummary<A::Facts>]], workers: usize) -> Result<()> {
        let rows: usize = lists.iter().map(|rows| rows.len()).sum();
        let first = self.next;
        let limit = Error::Limit { what: "rows in a database", limit: u64::from(u32::MAX) };
        let next = u32::try_from(rows).ok().and_then(|rows| first.checked_add(rows));
        self.next = next.ok_or(limit)?;
        let words = usize::try_from(self.next.div_ceil(64)).unwrap_or(usize::MAX);
        if self.newest_bits.len() < words {
            self.newest_bits.resize_with(words, AtomicU64::default);
        }
        let context = Context {
            analyzer: &self.analyzer,
            marks: self.marks,
            capacity: self.capacity,
            newest_bits: &self.newest_bits,
        };
        let threads = if rows < FEW { 1 } else { workers.clamp(1, SHARDS) };
        let each = SHARDS.div_ceil(threads);
        let work = std::sync::Mutex::new(self.shards.chunks_mut(each).enumerate());
        let run = || {
            let mine = work.lock().ok().and_then(|mut work| work.next());
            let Some((number, shards)) = mine else { return Ok(Vec::<()>::new()) };
            context.run(shards, number * each, lists, first).map(|()| Vec::new())
        };
        on_threads(threads, &run).map(|_| ())
    }

    /// Ends a pass over all rows. True when another one is needed.
    pub(crate) fn end_pass(&mut self) -> bool {
        self.next = 0;
        let mut more = false;
        for shard in &mut self.shards {
            shard.end_pass(&self.analyzer, self.marks, &self.newest_bits);
            more |= shard.part.is_some();
        }
        more
    }

    /// Number of keys whose newest row is not a deletion.
    pub(crate) fn live(&self) -> u64 {
        self.shards.iter().map(|shard| shard.done.0).sum()
    }

    /// Whether row number `index`, one of those marked, is the newest of its key and not a
    /// deletion.
    pub(crate) fn is_newest(&self, index: u32) -> bool {
        bit(&self.newest_bits, index).is_some_and(|(word, bit)| word.load(Relaxed) & bit != 0)
    }

    /// Everything that was found.
    pub(crate) fn into_tally(self) -> A::Tally {
        let mut all = A::Tally::default();
        for shard in self.shards {
            self.analyzer.add(&mut all, shard.done.1);
        }
        all
    }
}

fn bit(words: &[AtomicU64], index: u32) -> Option<(&AtomicU64, u64)> {
    let word = words.get(usize::try_from(index / 64).ok()?)?;
    Some((word, 1 << (index % 64)))
}

struct Context<'a, A> {
    analyzer: &'a A,
    marks: Marks,
    capacity: usize,
    newest_bits: &'a [AtomicU64],
}

impl<A: RowAnalyzer> Context<'_, A> {
    fn run(
        &self,
        shards: &mut [Shard<A>],
        from: usize,
        lists: &[&[RowSummary<A::Facts>]],
        first: u32,
    ) -> Result<()> {
        let rows = lists.iter().copied().flatten();
        for (index, row) in (first..).zip(rows) {
            let shard = row.fingerprint.shard().checked_sub(from);
            if let Some(shard) = shard.and_then(|number| shards.get_mut(number)) {
                shard.row(self, index, row)?;
            }
        }
        Ok(())
    }
}

impl<A: RowAnalyzer> Shard<A> {
    fn row(
        &mut self,
        context: &Context<'_, A>,
        index: u32,
        row: &RowSummary<A::Facts>,
    ) -> Result<()> {
        let Some(part) = self.part.filter(|part| part.holds(row.fingerprint.slot)) else {
            return Ok(());
        };
        let RowSummary { main, sub, tombstone, facts, .. } = *row;
        let last = LastRow { main, sub, index, tombstone, facts };
        let before = self.table.put(row.fingerprint.slot, last);
        let at = context.marks.at;
        if let Some(before) = before.filter(|before| before.main <= at && main > at) {
            self.live += mark_newest(&before, context.marks, context.newest_bits);
        }
        context.analyzer.next(&mut self.tally, before.as_ref(), row);
        if self.table.places() > context.capacity {
            self.halve(part, context)?;
        }
        Ok(())
    }

    /// Gives half of the keys to a later pass, until the rest fits.
    fn halve(&mut self, mut part: Part, context: &Context<'_, A>) -> Result<()> {
        while self.table.places() > context.capacity {
            let limit = Error::Limit { what: "keys in a database", limit: 1 << 50 };
            self.later.push(part.halve().ok_or(limit)?);
            self.table.retain(part);
        }
        self.part = Some(part);
        if self.live > 0 || !context.analyzer.is_silent(&self.tally) {
            // What was found so far may belong to keys of a later pass, which would find it again.
            self.whole = false;
            self.live = 0;
            self.tally = A::Tally::default();
        }
        Ok(())
    }

    fn end_pass(&mut self, analyzer: &A, marks: Marks, newest_bits: &[AtomicU64]) {
        if self.part.is_none() {
            return;
        }
        if A::NEEDS_ALL_ROWS && !self.whole {
            // The part fits the table now: repeat the pass, so that each key is judged by all its
            // rows.
            self.table.clear();
            (self.live, self.tally) = (0, A::Tally::default());
            self.whole = true;
            return;
        }
        for last in self.table.drain() {
            if last.main <= marks.at {
                self.live += mark_newest(&last, marks, newest_bits);
            }
            analyzer.end(&mut self.tally, &last);
        }
        self.done.0 += std::mem::take(&mut self.live);
        analyzer.add(&mut self.done.1, std::mem::take(&mut self.tally));
        self.part = self.later.pop();
        self.whole = true;
        if self.part.is_none() {
            self.table = Table::default();
        }
    }
}

/// Marks a row that is the newest of its key; 1 when the key is live.
fn mark_newest<F>(row: &LastRow<F>, marks: Marks, newest_bits: &[AtomicU64]) -> u64 {
    if row.tombstone {
        return 0;
    }
    if row.main <= marks.marked
        && let Some((word, bit)) = bit(newest_bits, row.index)
    {
        word.fetch_or(bit, Relaxed);
    }
    1
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::table::Numbers;
    use super::*;
    use proptest::prelude::*;

    impl RowFacts for u8 {
        fn numbers(self) -> Numbers {
            Numbers { labels: u64::from(self), ..Numbers::default() }
        }

        fn of(numbers: Numbers) -> Self {
            numbers.labels.to_le_bytes()[0]
        }
    }

    /// Counts the rows of each key, unless it is silent, and remembers the key's first byte.
    struct Counting {
        silent: bool,
    }

    impl RowAnalyzer for Counting {
        type Facts = u8;
        type Tally = (Vec<(u8, i64)>, u64);
        const NEEDS_ALL_ROWS: bool = true;

        fn next(
            &self,
            tally: &mut Self::Tally,
            before: Option<&LastRow<u8>>,
            now: &RowSummary<u8>,
        ) {
            assert!(
                before.is_none_or(|before| before.facts == now.facts && before.main < now.main)
            );
            tally.1 += u64::from(!self.silent);
        }

        fn is_silent(&self, tally: &Self::Tally) -> bool {
            tally.1 == 0
        }

        fn end(&self, tally: &mut Self::Tally, last: &LastRow<u8>) {
            tally.0.push((last.facts, last.main));
        }

        fn add(&self, to: &mut Self::Tally, more: Self::Tally) {
            to.0.extend(more.0);
            to.1 += more.1;
        }
    }

    proptest! {
        #[test]
        fn passes_find_what_a_plain_map_finds(
            rows in proptest::collection::vec((0u8..250, any::<bool>()), 0..600),
            capacity in 1usize..9,
            workers in 1usize..4,
            at in 0i64..700,
            cut in 1usize..50,
            silent: bool,
        ) {
            let rows: Vec<_> = (1..).zip(&rows).map(|(main, (key, tombstone))| RowSummary {
                fingerprint: Fingerprint::of(&[*key]),
                    main,
                    sub: 0,
                    tombstone: *tombstone,
                    facts: *key,
            }).collect();
            let marks = Marks { at, marked: at };
            let mut keys = Keys::with_capacity(Counting { silent }, marks, capacity);
            let mut passes = 0;
            loop {
                let lists: Vec<_> = rows.chunks(cut).collect();
                for lists in lists.chunks(3) {
                    keys.take(lists, workers).unwrap();
                }
                passes += 1;
                if !keys.end_pass() {
                    break;
                }
            }
            let mut newest = HashMap::new();
            let mut current = HashMap::new();
            for (index, row) in (0u32..).zip(&rows) {
                if row.main <= at {
                    newest.insert(row.facts, (index, row.tombstone));
                }
                current.insert(row.facts, row.main);
            }
            let live = newest.values().filter(|(_, tombstone)| !tombstone).count();
            prop_assert_eq!(keys.live(), live as u64);
            for (index, row) in (0u32..).zip(&rows) {
                let want = newest.get(&row.facts) == Some(&(index, false));
                prop_assert_eq!(keys.is_newest(index), want, "row {} in {} passes", index, passes);
            }
            let (mut last, count) = keys.into_tally();
            last.sort_unstable();
            let mut want: Vec<_> = current.into_iter().collect();
            want.sort_unstable();
            let judged = if silent { 0 } else { rows.len() as u64 };
            prop_assert_eq!((last, count), (want, judged));
        }
    }
}
