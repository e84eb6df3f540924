//! The structural check: every page of every tree is used once, holds what its place needs, and
//! keys are in order.
//!
//! It finds what `bbolt check` finds (docs/etcd-formats.md 1.9), checks inline buckets too, and
//! knows that keys of bucket `key` are revisions. Several threads read the trees in batches in file
//! order, so that a sealed image is decompressed about once. The results are judged in key order,
//! and the check continues after a finding wherever the rest can still be read. Memory is one bit
//! for a page (two when a freelist is stored) and a batch for each level.

use std::ops::ControlFlow;

use etcdr_schemas::report::Finding;
use etcdr_schemas::{Progress, ReadAt};

use crate::Result;
use crate::format::bolt::page_reader::{PageReader, RequestSizes, ScanBudget};
use crate::format::bolt::visit::{LeafVisitor, NoVisitor, Take};
use crate::format::bolt::window::Window;
use crate::format::bolt::{Bucket, Db, Problem, Root};
use crate::format::bolt::{MAX_BUCKETS, inline_node};
use crate::format::buckets;

mod batch;
mod findings;
mod freelist;
mod lost;
mod observe;
mod page;
mod strays;
mod verdict;

use batch::{Batch, Bits, TreeId};
use findings::Findings;
use lost::Bounds;
pub(crate) use observe::{NoObserver, Observe};
use page::{Children, PageContent, PageResult, examine, leaf};
pub(crate) use strays::{Strays, strays};
pub use verdict::{Structure, structure, structure_with};

/// Checks the structure of a database. No findings mean that it is sound.
///
/// # Errors
/// Only when the medium fails; damage is a finding.
pub fn check<R: ReadAt>(db: &Db<R>, progress: &dyn Progress) -> Result<Vec<Finding>> {
    check_on(db, 1, progress)
}

/// [`check`] on `workers` threads.
///
/// # Errors
/// See [`check`].
pub fn check_on<R: ReadAt>(
    db: &Db<R>,
    workers: usize,
    progress: &dyn Progress,
) -> Result<Vec<Finding>> {
    check_with(db, workers, progress, &NoVisitor, &mut |_| Ok(ControlFlow::Continue(())))
}

/// [`check`] within a budget, which also gives the leaves of bucket `key` to `visitor`, and its
/// results to `take` in key order. The results are only reliable when no damage was found.
///
/// # Errors
/// When the medium fails, and whatever `take` returns.
pub(crate) fn check_with<R: ReadAt, L: LeafVisitor>(
    db: &Db<R>,
    budget: impl Into<ScanBudget>,
    progress: &dyn Progress,
    visitor: &L,
    take: &mut Take<'_, L::Out>,
) -> Result<Vec<Finding>> {
    let checked = check_observed(db, budget, progress, visitor, take, &mut NoObserver)?;
    Ok(checked.findings)
}

/// What a check found.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    /// What is wrong.
    pub(crate) findings: Vec<Finding>,
    /// Pages that are used, metas and freelist included.
    pub(crate) used: u64,
    /// Parts of trees that could not be read.
    pub(crate) lost_parts: u64,
    /// What is on pages that no tree reaches; examined only when parts are lost.
    pub(crate) strays: Option<Strays>,
}

/// [`check_with`], which also reports buckets and pages to `observer`. Of a damaged database it
/// reports what can be read.
///
/// # Errors
/// See [`check_with`].
pub(crate) fn check_observed<R: ReadAt, L: LeafVisitor>(
    db: &Db<R>,
    budget: impl Into<ScanBudget>,
    progress: &dyn Progress,
    visitor: &L,
    take: &mut Take<'_, L::Out>,
    observer: &mut dyn Observe,
) -> Result<Checked> {
    progress.begin("structure", Some(db.size()));
    let mut checker = Checker::new(PageReader::new(db, budget, progress), visitor, take, observer);
    let checked = checker.run();
    progress.end();
    checked.map(|strays| Checked {
        used: checker.reached.count(),
        lost_parts: checker.findings.lost_parts(),
        findings: checker.findings.into_list(),
        strays,
    })
}

struct Checker<'a, 'b, R, L: LeafVisitor> {
    reader: PageReader<'a, R>,
    sizes: RequestSizes,
    visitor: &'a L,
    take: &'a mut Take<'b, L::Out>,
    observer: &'a mut dyn Observe,
    reached: Bits,
    findings: Findings,
    buckets: Vec<Bucket>,
}

impl<'a, 'b, R: ReadAt, L: LeafVisitor> Checker<'a, 'b, R, L> {
    fn new(
        reader: PageReader<'a, R>,
        visitor: &'a L,
        take: &'a mut Take<'b, L::Out>,
        observer: &'a mut dyn Observe,
    ) -> Self {
        let reached = Bits::new(reader.db.meta().high_water_mark);
        let findings = Findings::new(reader.db.page_size());
        let (sizes, buckets) = (RequestSizes::default(), Vec::new());
        Self { reader, sizes, visitor, take, observer, reached, findings, buckets }
    }

    fn run(&mut self) -> Result<Option<Strays>> {
        let db = self.reader.db;
        self.metas();
        let mut window = Window::default();
        let free = freelist::read(db, &mut window, &mut self.reached, &mut self.findings)?;
        let mut roots = Batch::default();
        self.enqueue_root(&mut roots, db.meta().root, TreeId::ROOT);
        self.process(&roots, 0)?;
        self.all_buckets()?;
        if let Some(free) = &free {
            freelist::compare(free, &self.reached, &mut self.findings);
        }
        if self.findings.lost_parts() == 0 {
            return Ok(None);
        }
        strays::count_lost(db, &self.reached, free.as_ref(), &mut self.findings).map(Some)
    }

    fn metas(&mut self) {
        let metas = self.reader.db.metas();
        for (page, (valid, headed)) in (0..).zip(metas.valid.into_iter().zip(metas.headed)) {
            if !valid {
                self.findings.page(page, Problem::OneMeta);
            } else if !headed {
                self.findings.page(page, Problem::MetaHeader);
            }
            self.reached.set(page);
        }
    }

    fn all_buckets(&mut self) -> Result<()> {
        let buckets = std::mem::take(&mut self.buckets);
        for (index, bucket) in (0..).zip(&buckets) {
            self.findings.name(bucket.name.clone());
            self.observer.bucket(bucket);
            let tree = TreeId::bucket(index, &bucket.name);
            match &bucket.root {
                Root::Page(root) => {
                    let mut batch = Batch::default();
                    self.enqueue_root(&mut batch, *root, tree);
                    // The size of one bucket's results says nothing about another's.
                    self.sizes = RequestSizes::default();
                    self.process(&batch, 0)?;
                }
                Root::Inline { page, image } => self.inline(*page, tree, image)?,
            }
        }
        Ok(())
    }

    fn inline(&mut self, page: u64, tree: TreeId, image: &[u8]) -> Result<()> {
        match inline_node(image) {
            Ok(node) => {
                let found = leaf(&node, tree, None, None);
                // An inline page ends with its last value.
                let gap = found.cut.is_none() && found.problems.is_empty() && !node.is_exact();
                self.findings.cut(page, tree, found.cut.as_ref(), Bounds::ALL);
                self.findings.all(page, tree, &found.problems);
                self.findings.all(page, tree, gap.then_some(Problem::Gap).as_slice());
                let out = if tree.is_key() {
                    Some(self.visitor.leaf(&mut L::ThreadCache::default(), page, &node))
                } else {
                    self.visitor.other(&node)
                };
                if let Some((out, _)) = out {
                    self.show(&mut vec![(page, out)])?;
                }
            }
            Err(problem) => self.findings.lost(page, tree, problem, Bounds::ALL),
        }
        Ok(())
    }

    fn enqueue_root(&mut self, batch: &mut Batch, page: u64, tree: TreeId) {
        match self.claim(page) {
            Ok(()) => batch.push(page, tree, None),
            Err(problem) => self.findings.lost(page, tree, problem, Bounds::ALL),
        }
    }

    /// Marks a page as used.
    fn claim(&mut self, page: u64) -> Result<(), Problem> {
        let high_water_mark = self.reader.db.meta().high_water_mark;
        if !(2..high_water_mark).contains(&page) {
            return Err(Problem::Range(high_water_mark));
        }
        if self.reached.set(page) { Ok(()) } else { Err(Problem::Shared) }
    }

    /// Checks the pages of a batch, and what is below them. Recurses once for each level of the
    /// tree, whose depth has a limit.
    fn process(&mut self, batch: &Batch, depth: u32) -> Result<()> {
        let pages = batch.pages();
        let (mut from, mut below) = (0, Batch::default());
        while from < pages.len() {
            let asked = pages.get(from..).unwrap_or_default();
            let asked = asked.get(..self.sizes.pages(depth)).unwrap_or(asked);
            let visitor = self.visitor;
            let answers = self.reader.read(asked, &|cache, index, node| {
                let (result, weight) = examine(visitor, cache, batch, from + index, depth, node);
                ((node.size(), result), weight)
            })?;
            self.sizes.learn(self.reader.budget, depth, &answers);
            let mut leaves = Vec::new();
            for (index, answer) in (from..).zip(answers.values) {
                from = index + 1;
                let out = self.judge(batch, index, depth, answer, &mut below);
                // Trees have their leaves on one level; one that has not is still shown in order.
                let turn = if out.is_some() { below.len() > 0 } else { !leaves.is_empty() };
                if turn || below.is_full(self.reader.budget.answers) {
                    self.show(&mut leaves)?;
                    self.process(&std::mem::take(&mut below), depth + 1)?;
                }
                leaves.extend(out);
            }
            self.show(&mut leaves)?;
        }
        drop(pages);
        if below.len() == 0 { Ok(()) } else { self.process(&below, depth + 1) }
    }

    fn show(&mut self, leaves: &mut Vec<(u64, L::Out)>) -> Result<()> {
        if leaves.is_empty() {
            return Ok(());
        }
        // A visitor that has seen enough does not end the check, which must read every page.
        (self.take)(std::mem::take(leaves)).map(|_| ())
    }

    /// Judges one page. Returns the visitor's result when it is a leaf.
    fn judge(
        &mut self,
        batch: &Batch,
        index: usize,
        depth: u32,
        answer: Result<(u64, PageResult<L::Out>), Problem>,
        below: &mut Batch,
    ) -> Option<(u64, L::Out)> {
        let item = batch.get(index)?;
        let (page, tree) = (item.page, item.tree);
        let (lower, upper) = batch.bounds(item);
        let bounds = Bounds::below(lower, upper);
        let (size, result) = match answer {
            Ok(answer) => answer,
            Err(problem) => {
                self.findings.lost(page, tree, problem, bounds);
                return None;
            }
        };
        self.findings.cut(page, tree, result.cut.as_ref(), bounds);
        let pages = size / u64::from(self.reader.db.page_size());
        for overflow in page + 1..page + pages {
            if let Err(problem) = self.claim(overflow) {
                self.findings.at(overflow, tree, problem);
            }
        }
        match result.content {
            PageContent::Nothing => {}
            PageContent::Leaf(out) => {
                self.findings.all(page, tree, &result.problems);
                return Some((page, out));
            }
            PageContent::Names(names) => {
                self.observer.root(pages);
                self.names(page, names);
            }
            PageContent::Branch(children) => {
                if tree.is_root() {
                    self.observer.root(pages);
                } else {
                    self.observer.branch(pages, depth);
                }
                self.children(page, tree, upper, &children, below);
            }
        }
        self.findings.all(page, tree, &result.problems);
        None
    }

    fn children(
        &mut self,
        page: u64,
        tree: TreeId,
        upper: Option<&[u8]>,
        children: &Children,
        below: &mut Batch,
    ) {
        let mut all = children.iter().peekable();
        while let Some((child, key)) = all.next() {
            match self.claim(child) {
                Ok(()) => below.push(child, tree, Some(key)),
                Err(problem) => {
                    below.skip(key);
                    let next = all.peek().map(|(_, next)| *next).or(upper);
                    let bounds = Bounds::below(Some(key), next);
                    self.findings.child(child, page, tree, problem, bounds);
                }
            }
        }
        below.end_of_branch(upper);
    }

    fn names(&mut self, page: u64, names: Vec<Result<Bucket, Problem>>) {
        for name in names {
            match name {
                Ok(_) if self.buckets.len() >= MAX_BUCKETS => {
                    return self.findings.page(page, Problem::Buckets(MAX_BUCKETS));
                }
                Ok(bucket) => self.buckets.push(bucket),
                Err(problem) => self.findings.page(page, problem),
            }
        }
    }
}

impl TreeId {
    fn bucket(index: u16, name: &[u8]) -> Self {
        Self::new(index, name == buckets::KEY)
    }
}
