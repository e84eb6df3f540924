//! The structural check: every page of every tree is used once, holds what its place needs, and keys are in order.
//!
//! It finds what `bbolt check` finds (docs/etcd-formats.md 1.9), looks into inline buckets too, and knows that
//! rows of bucket `key` are revisions. Trees are read in batches in file order, so that a sealed image is
//! decompressed about once, and goes on after a finding wherever the rest still makes sense. Memory is one bit
//! for a page (two when a freelist is stored) and a batch for each level.

use etcdr_schemas::report::Finding;
use etcdr_schemas::{Progress, ReadAt};

use super::db::{MAX_BUCKETS, bucket_of, inline_node};
use super::page::{self, MAX_DEPTH, Node};
use super::window::{Window, run};
use super::{Bucket, Db, Problem, Root};
use crate::mvcc::RowKey;
use crate::{Result, buckets};

mod batch;
mod findings;
mod freelist;
mod lost;
mod observe;

use batch::{Batch, Bits, Place};
use findings::Findings;
use lost::Bounds;
pub use lost::{Strays, strays};
pub use observe::{Observe, Seen, Tree};

/// bbolt's branches split at one page; even keys of 32 KiB cannot make one as large as this.
const MAX_BRANCH: u64 = 4 << 20;

/// Checks the structure of a database. No findings mean that it is sound.
///
/// # Errors
/// Only when the medium fails: damage is what the findings tell.
pub fn check<R: ReadAt>(db: &Db<R>, progress: &dyn Progress) -> Result<Vec<Finding>> {
    check_observed(db, &mut observe::Nobody, progress).map(|checked| checked.findings)
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Pages that are used, metas and freelist included.
    pub used: u64,
    /// Parts of trees that could not be read.
    pub lost_parts: u64,
    /// What is on pages that nothing uses; looked at only when parts are lost.
    pub strays: Option<Strays>,
}

/// The same, and shows `observer` every page of every tree that can be read, once, in no order.
///
/// # Errors
/// As [`check`].
pub fn check_observed<R: ReadAt>(
    db: &Db<R>,
    observer: &mut dyn Observe,
    progress: &dyn Progress,
) -> Result<Checked> {
    progress.begin("structure", Some(db.size()));
    let mut checker = Checker::new(db, observer, progress);
    let checked = checker.run();
    progress.end();
    checked.map(|strays| Checked {
        used: checker.reached.count(),
        lost_parts: checker.findings.lost_parts(),
        findings: checker.findings.into_list(),
        strays,
    })
}

struct Checker<'a, R> {
    db: &'a Db<R>,
    observer: &'a mut dyn Observe,
    progress: &'a dyn Progress,
    window: Window,
    // Pages that may still be read: none belongs to a tree twice.
    budget: u64,
    reached: Bits,
    findings: Findings,
    buckets: Vec<Bucket>,
}

impl<'a, R: ReadAt> Checker<'a, R> {
    fn new(db: &'a Db<R>, observer: &'a mut dyn Observe, progress: &'a dyn Progress) -> Self {
        let high_water_mark = db.meta().high_water_mark;
        Self {
            db,
            observer,
            progress,
            window: Window::default(),
            budget: high_water_mark,
            reached: Bits::new(high_water_mark),
            findings: Findings::new(db.page_size()),
            buckets: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<Option<Strays>> {
        self.metas();
        let free =
            freelist::read(self.db, &mut self.window, &mut self.reached, &mut self.findings)?;
        let mut roots = Batch::default();
        self.enqueue_root(&mut roots, self.db.meta().root, Place::ROOT);
        self.process(roots, 0)?;
        self.all_buckets()?;
        if let Some(free) = &free {
            freelist::compare(free, &self.reached, &mut self.findings);
        }
        if self.findings.lost_parts() == 0 {
            return Ok(None);
        }
        lost::look(self.db, &self.reached, free.as_ref(), &mut self.findings).map(Some)
    }

    fn metas(&mut self) {
        let metas = self.db.metas();
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
        let mut roots = Batch::default();
        for (index, bucket) in (0..).zip(&buckets) {
            self.findings.name(bucket.name.clone());
            self.observer.bucket(bucket);
            let place = Place::bucket(index, &bucket.name);
            match &bucket.root {
                Root::Page(root) => self.enqueue_root(&mut roots, *root, place),
                Root::Inline { page, image } => match inline_node(image) {
                    Ok(node) => {
                        self.observer.node(&Seen::inline(place.tree(), *page, node));
                        self.leaf(*page, place, &node, (None, None), true);
                    }
                    Err(problem) => self.findings.lost(*page, place, problem, Bounds::ALL),
                },
            }
        }
        self.process(roots, 0)
    }

    fn enqueue_root(&mut self, batch: &mut Batch, page: u64, place: Place) {
        match self.claim(page) {
            Ok(()) => batch.push(page, place, None),
            Err(problem) => self.findings.lost(page, place, problem, Bounds::ALL),
        }
    }

    /// Marks a page as used.
    fn claim(&mut self, page: u64) -> Result<(), Problem> {
        let high_water_mark = self.db.meta().high_water_mark;
        if !(2..high_water_mark).contains(&page) {
            return Err(Problem::Range(high_water_mark));
        }
        if self.reached.set(page) { Ok(()) } else { Err(Problem::Shared) }
    }

    /// Checks the pages of a batch in file order, and what is below them. The recursion is as deep as the tree,
    /// which has a limit.
    fn process(&mut self, mut batch: Batch, depth: u32) -> Result<()> {
        batch.sort();
        let mut below = Batch::default();
        for index in 0..batch.len() {
            let Some(item) = batch.get(index) else { break };
            let ahead = run(item.page, batch.pages_after(index)) * u64::from(self.db.page_size());
            self.page(&batch, index, ahead, depth, &mut below)?;
            if below.is_full() {
                self.process(std::mem::take(&mut below), depth + 1)?;
            }
        }
        drop(batch);
        if below.len() == 0 { Ok(()) } else { self.process(below, depth + 1) }
    }

    fn page(
        &mut self,
        batch: &Batch,
        index: usize,
        ahead: u64,
        depth: u32,
        below: &mut Batch,
    ) -> Result<()> {
        let Some(item) = batch.get(index) else { return Ok(()) };
        let (page, place) = (item.page, item.place);
        let mut window = std::mem::take(&mut self.window);
        match self.db.try_load(&mut window, page, ahead)? {
            Ok(node) => {
                self.progress.advance(node.size());
                let (lower, upper) = batch.bounds(item);
                if self.overflow(page, place, &node, Bounds::below(lower, upper)) {
                    self.seen(&node, page, place, depth);
                    self.node(page, place, &node, (lower, upper), depth, below);
                }
            }
            Err(problem) => {
                let (lower, upper) = batch.bounds(item);
                self.findings.lost(page, place, problem, Bounds::below(lower, upper));
            }
        }
        self.window = window;
        Ok(())
    }

    /// Claims the overflow pages of a node. False when there is nothing left that could be checked.
    fn overflow(&mut self, page: u64, place: Place, node: &Node<'_>, bounds: Bounds<'_>) -> bool {
        let pages = node.size() / u64::from(self.db.page_size());
        let Some(budget) = self.budget.checked_sub(pages) else {
            self.findings.lost(page, place, Problem::Shared, bounds);
            return false;
        };
        self.budget = budget;
        for overflow in page + 1..page + pages {
            if let Err(problem) = self.claim(overflow) {
                self.findings.at(overflow, place, problem);
            }
        }
        true
    }

    fn node(
        &mut self,
        page: u64,
        place: Place,
        node: &Node<'_>,
        (lower, upper): (Option<&[u8]>, Option<&[u8]>),
        depth: u32,
        below: &mut Batch,
    ) {
        let empty = node.count() == 0 && (depth > 0 || !node.is_leaf());
        let problem = if empty {
            Problem::Empty
        } else if node.is_leaf() {
            self.leaf(page, place, node, (lower, upper), false);
            if place.is_root() {
                self.names(page, node);
            }
            return;
        } else if depth + 1 >= MAX_DEPTH {
            Problem::Depth(MAX_DEPTH)
        } else if node.size() > MAX_BRANCH {
            Problem::PageSize(node.size())
        } else {
            return self.branch(page, place, node, (lower, upper), below);
        };
        self.findings.lost(page, place, problem, Bounds::below(lower, upper));
    }

    /// Checks the rows of one leaf.
    fn leaf(
        &mut self,
        page: u64,
        place: Place,
        node: &Node<'_>,
        (lower, upper): (Option<&[u8]>, Option<&[u8]>),
        inline: bool,
    ) {
        let found = leaf(node, place, lower, upper);
        // An inline page ends with its last value.
        if found.cut.is_none()
            && !(node.is_dense(found.data) && (!inline || node.used(found.data) == node.size()))
        {
            self.findings.at(page, place, Problem::Gap);
        }
        if let Some((problem, last)) = found.cut {
            self.findings.lost(page, place, problem, Bounds::rows(last.or(lower), upper));
        }
        self.findings.all(page, place, &found.problems);
    }

    fn seen(&mut self, node: &Node<'_>, page: u64, place: Place, depth: u32) {
        let pages = node.size() / u64::from(self.db.page_size());
        self.observer.node(&Seen { tree: place.tree(), page, pages, depth, node: *node });
    }

    fn branch(
        &mut self,
        page: u64,
        place: Place,
        node: &Node<'_>,
        (lower, upper): (Option<&[u8]>, Option<&[u8]>),
        below: &mut Batch,
    ) {
        let mut order = Order::new(lower, upper);
        let mut data = 0;
        let mut whole = true;
        for (index, child) in (0..).zip(node.children()) {
            let child = match child {
                Ok(child) => child,
                Err(problem) => {
                    whole = false;
                    let lower = order.last_key().or(lower);
                    self.findings.lost(page, place, problem, Bounds::below(lower, upper));
                    break;
                }
            };
            data += child.key.len();
            order.key(index, child.key);
            match self.claim(child.child) {
                Ok(()) => below.push(child.child, place, Some(child.key)),
                Err(problem) => {
                    below.skip(child.key);
                    let next = node.child(index + 1).ok().map(|next| next.key).or(upper);
                    let bounds = Bounds::below(Some(child.key), next);
                    self.findings.child(child.child, page, place, problem, bounds);
                }
            }
        }
        below.end_of_branch(upper);
        self.findings.all(page, place, &order.finish());
        if whole && !node.is_dense(data) {
            self.findings.at(page, place, Problem::Gap);
        }
    }

    fn names(&mut self, page: u64, node: &Node<'_>) {
        for (index, row) in (0..).zip(node.rows()) {
            let Ok(row) = row else { return };
            match bucket_of(page, index, row) {
                Ok(_) if self.buckets.len() >= MAX_BUCKETS => {
                    return self.findings.page(page, Problem::Buckets(MAX_BUCKETS));
                }
                Ok(bucket) => self.buckets.push(bucket),
                Err(problem) => self.findings.page(page, problem),
            }
        }
    }
}

/// What is wrong with a leaf.
struct LeafProblems<'a> {
    /// What ends its rows early, and the last key before that.
    cut: Option<(Problem, Option<&'a [u8]>)>,
    /// Bytes of its keys and values.
    data: usize,
    problems: Vec<Problem>,
}

/// Checks the rows of one leaf.
fn leaf<'a>(
    node: &Node<'a>,
    place: Place,
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
) -> LeafProblems<'a> {
    let mut order = Order::new(lower, upper);
    let mut cut = None;
    let mut data = 0;
    let mut rows = RowChecks::new(place);
    for (index, row) in (0..).zip(node.rows()) {
        match row {
            Ok(row) => {
                data += row.key.len() + row.value.len();
                order.key(index, row.key);
                rows.row(index, row);
            }
            Err(problem) => {
                cut = Some((problem, order.last_key()));
                break;
            }
        }
    }
    let mut problems = order.finish();
    problems.extend(rows.found);
    LeafProblems { cut, data, problems }
}

/// Order of the keys of one page, and their place between the bounds that the parent gives. Each defect is told
/// once for a page.
struct Order<'a> {
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    last: Option<(u16, &'a [u8])>,
    unordered: Option<Problem>,
    below: bool,
}

impl<'a> Order<'a> {
    fn new(lower: Option<&'a [u8]>, upper: Option<&'a [u8]>) -> Self {
        Self { lower, upper, last: None, unordered: None, below: false }
    }

    fn key(&mut self, index: u16, key: &'a [u8]) {
        match self.last {
            None => self.below = self.lower.is_some_and(|lower| key < lower),
            Some((_, last)) if key <= last => {
                self.unordered = self.unordered.or(Some(Problem::KeyOrder(index)));
            }
            Some(_) => {}
        }
        self.last = Some((index, key));
    }

    fn last_key(&self) -> Option<&'a [u8]> {
        self.last.map(|(_, key)| key)
    }

    // When keys are in order, the last one tells whether all are below the bound.
    fn finish(self) -> Vec<Problem> {
        let beyond = self.last.zip(self.upper).filter(|((_, key), upper)| key >= upper);
        let beyond = beyond.map(|((index, _), _)| Problem::KeyBeyondNext(index));
        let below = self.below.then_some(Problem::KeyBelowParent);
        [self.unordered, below, beyond].into_iter().flatten().collect()
    }
}

/// What the rows of a bucket must be, told once for a page.
struct RowChecks {
    place: Place,
    found: Option<Problem>,
}

impl RowChecks {
    const fn new(place: Place) -> Self {
        Self { place, found: None }
    }

    fn row(&mut self, index: u16, row: page::LeafElement<'_>) {
        if self.place.is_root() || self.found.is_some() {
            return;
        }
        self.found = match row.flags {
            0 if self.place.is_key() && RowKey::parse(row.key).is_none() => {
                Some(Problem::Revision(index))
            }
            0 => None,
            page::BUCKET_FLAG => Some(Problem::NestedBucket(index)),
            flags => Some(Problem::ElementFlags { index, flags }),
        };
    }
}

impl Place {
    fn bucket(index: u16, name: &[u8]) -> Self {
        Self::new(index, name == buckets::KEY)
    }
}
