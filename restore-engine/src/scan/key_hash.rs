//! Computes HashKV from the sums of leaves, once it is known which rows count.

use std::ops::ControlFlow;

use etcdr_schemas::{Hidden, ReadAt};

use super::keys::{Keys, RowAnalyzer};
use super::leaf::{Extent, LeafRows, bad_row, follows};
use crate::format::bolt::page::{LeafElement, Node};
use crate::format::bolt::page_reader::PageReader;
use crate::format::bolt::visit::{LeafVisitor, walk};
use crate::format::bolt::{Bucket, Db, Problem, Root};
use crate::format::buckets;
use crate::format::mvcc::RowKey;
use crate::format::mvcc::crc::{Combine, Sum};
use crate::{Error, Result};

/// The compact revision of a store that was never compacted, as etcd reports it.
pub(crate) const NEVER: i64 = -1;
/// Leaves whose sums are kept, 16 bytes each: 16 GiB of an ordinary database. With more of them all
/// are read again.
const MAX_LEAVES: usize = 4 << 20;
/// Sums that are allocated together: a list that doubles takes up to three times what is in it.
const CHUNK: usize = 4096;

/// The sum of a leaf that has rows at or below the compact revision.
#[derive(Debug, Clone, Copy)]
struct LeafSum {
    page: u32,
    compacted: u16,
    crc: u32,
    len: u32,
}

impl LeafSum {
    /// `None` for a leaf of more pages or bytes than any of etcd's.
    fn of<F>(page: u64, leaf: &LeafRows<F>) -> Option<Self> {
        Some(Self {
            page: page.try_into().ok()?,
            compacted: leaf.compacted.try_into().ok()?,
            crc: leaf.sum.crc(),
            len: leaf.sum.len().try_into().ok()?,
        })
    }

    const fn sum(self) -> Sum {
        Sum::new(self.crc, self.len as u64)
    }
}

/// Sums of leaves, in order.
#[derive(Debug, Default)]
struct LeafSums(Vec<Vec<LeafSum>>);

impl LeafSums {
    /// False when there are too many.
    fn push(&mut self, leaf: LeafSum) -> bool {
        if self.0.last().is_none_or(|last| last.len() == CHUNK) {
            if self.0.len() == MAX_LEAVES / CHUNK {
                return false;
            }
            self.0.push(Vec::with_capacity(CHUNK));
        }
        self.0.last_mut().map(|last| last.push(leaf)).is_some()
    }

    fn iter(&self) -> impl Iterator<Item = LeafSum> {
        self.0.iter().flatten().copied()
    }
}

/// Takes leaves in order, pass after pass, and makes the hash.
pub(crate) struct KeyHash<A: RowAnalyzer> {
    keys: Keys<A>,
    extent: Extent,
    workers: usize,
    combine: Combine,
    first_pass: bool,
    last: Option<RowKey>,
    /// Number and last one of all rows, once the first pass is over.
    rows: u64,
    end: Option<RowKey>,
    /// The leaves that may have rows that do not count; `None` when there are too many.
    leaves: Option<LeafSums>,
    compacted: u64,
    /// Over the leaves behind them.
    tail: Sum,
}

impl<A: RowAnalyzer> KeyHash<A> {
    pub(crate) fn new(keys: Keys<A>, extent: Extent, workers: usize) -> Self {
        Self {
            keys,
            extent,
            workers,
            combine: Combine::new(),
            first_pass: true,
            last: None,
            rows: 0,
            end: None,
            leaves: Some(LeafSums::default()),
            compacted: 0,
            tail: Sum::default(),
        }
    }

    /// Takes the next leaves in key order.
    pub(crate) fn take(&mut self, leaves: &[(u64, LeafRows<A::Facts>)]) -> Result<()> {
        for (page, leaf) in leaves {
            if let Some((first, last)) = leaf.ends {
                follows(self.last, first)?;
                self.last = Some(last);
            }
            if self.first_pass {
                self.sum(*page, leaf);
                self.rows += leaf.rows.len() as u64;
            }
        }
        let lists: Vec<_> = leaves.iter().map(|(_, leaf)| leaf.rows.as_slice()).collect();
        self.keys.take(&lists, self.workers)
    }

    fn sum<F>(&mut self, page: u64, leaf: &LeafRows<F>) {
        if leaf.compacted == 0 {
            self.tail = self.combine.join(self.tail, leaf.sum);
            return;
        }
        self.compacted += u64::from(leaf.compacted);
        let sum = LeafSum::of(page, leaf);
        if !self.leaves.as_mut().zip(sum).is_some_and(|(leaves, sum)| leaves.push(sum)) {
            self.leaves = None;
        }
    }

    /// Ends a pass over all leaves. True when another one is needed.
    pub(crate) fn end_pass(&mut self) -> bool {
        self.first_pass = false;
        self.end = self.end.or(self.last.take());
        self.last = None;
        self.keys.end_pass()
    }

    /// Number of live keys, the empty one too.
    pub(crate) fn live(&self) -> u64 {
        self.keys.live()
    }

    /// Number of rows.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows
    }

    /// The last row of all.
    pub(crate) const fn end(&self) -> Option<RowKey> {
        self.end
    }

    /// Over the leaves that have no compacted rows: all of them, when nothing was ever compacted.
    pub(crate) const fn tail(&self) -> Sum {
        self.tail
    }

    /// Whether row number `index` is the newest of a live key; of the rows that are marked.
    pub(crate) fn is_newest(&self, index: u32) -> bool {
        self.keys.is_newest(index)
    }

    pub(crate) fn into_tally(self) -> A::Tally {
        self.keys.into_tally()
    }

    /// The hash.
    pub(crate) fn value<R: ReadAt>(&self, db: &Db<R>, bucket: &Bucket) -> Result<u32> {
        let mut all = Sum::default();
        all.feed(buckets::KEY);
        if self.compacted > 0 {
            let filter = Filter { live: self.keys.live() > 0, hash: self };
            let compacted = match (&self.leaves, &bucket.root) {
                (Some(leaves), Root::Page(_)) => filter.listed(db, leaves)?,
                _ => filter.all(db, bucket)?,
            };
            all = self.combine.join(all, compacted);
        }
        Ok(self.combine.join(all, self.tail).crc())
    }
}

/// Which rows count.
struct Filter<'a, A: RowAnalyzer> {
    hash: &'a KeyHash<A>,
    /// Whether any key is live; without one nothing is superseded.
    live: bool,
}

impl<A: RowAnalyzer> Filter<'_, A> {
    fn counts(&self, index: u32, row: RowKey) -> bool {
        let compact = self.hash.extent.compact;
        if row.main.0 > compact {
            return row.main <= self.hash.extent.at;
        }
        let superseded = self.live && !self.hash.keys.is_newest(index);
        !(superseded || row.main.0 == compact && row.tombstone)
    }

    /// Over the leaves of the list: those with rows that do not count are read again.
    fn listed<R: ReadAt>(&self, db: &Db<R>, leaves: &LeafSums) -> Result<Sum> {
        let mut again = Vec::new();
        let mut first = 0u32;
        for leaf in leaves.iter() {
            let rows = first..first.saturating_add(leaf.compacted.into());
            if !self.live || rows.clone().any(|index| !self.hash.keys.is_newest(index)) {
                again.push((u64::from(leaf.page), first));
            }
            first = rows.end;
        }
        let mut sums = self.again(db, &again)?.into_iter().peekable();
        let mut all = Sum::default();
        for leaf in leaves.iter() {
            let page = u64::from(leaf.page);
            let sum = sums.next_if(|(known, _)| *known == page).map_or(leaf.sum(), |(_, sum)| sum);
            all = self.hash.combine.join(all, sum);
        }
        Ok(all)
    }

    /// Sums these leaves, each given with the number of its first row, over the rows that count.
    fn again<R: ReadAt>(&self, db: &Db<R>, leaves: &[(u64, u32)]) -> Result<Vec<(u64, Sum)>> {
        let reader = PageReader::new(db, self.hash.workers, &Hidden);
        let pages: Vec<u64> = leaves.iter().map(|(page, _)| *page).collect();
        let mut sums = Vec::with_capacity(pages.len());
        while sums.len() < pages.len() {
            let done = sums.len();
            let asked = pages.get(done..).unwrap_or_default();
            let read = reader.read(asked, &|(): &mut (), at, node: &Node<'_>| {
                let first = leaves.get(done + at).map_or(0, |(_, first)| *first);
                (self.leaf(first, node), 0)
            })?;
            for (page, answer) in asked.iter().zip(read.values) {
                let sum =
                    answer.and_then(|sum| sum).map_err(|problem| db.damaged(*page, problem))?;
                sums.push((*page, sum));
            }
        }
        Ok(sums)
    }

    fn leaf(&self, first: u32, node: &Node<'_>) -> Result<Sum, Problem> {
        let mut sum = Sum::default();
        for (number, element) in (0u16..).zip(node.rows()) {
            let element = element?;
            let row = RowKey::parse(element.key).ok_or(Problem::Revision(number))?;
            if self.counts(first.saturating_add(u32::from(number)), row) {
                sum.feed(element.key);
                sum.feed(element.value);
            }
        }
        Ok(sum)
    }

    /// Over all leaves with compacted rows, read once more.
    fn all<R: ReadAt>(&self, db: &Db<R>, bucket: &Bucket) -> Result<Sum> {
        let (mut next, mut all) = (0u32, Sum::default());
        walk(db, bucket, self.hash.workers, &SingleRows, &mut |leaves| {
            for (_, rows) in leaves {
                let rows = rows?;
                // Leaves that only have later rows are in the tail.
                if rows.first().is_some_and(|(key, _)| key.main.0 > self.hash.extent.compact) {
                    return Ok(ControlFlow::Break(()));
                }
                for (key, sum) in rows {
                    if self.counts(next, key) {
                        all = self.hash.combine.join(all, sum);
                    }
                    next = next.saturating_add(1);
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }
}

/// Sums each row by itself; they are joined when it is known which number each has.
struct SingleRows;

impl LeafVisitor for SingleRows {
    type ThreadCache = ();
    type Out = Result<Vec<(RowKey, Sum)>>;

    fn leaf(&self, (): &mut (), page: u64, node: &Node<'_>) -> (Self::Out, usize) {
        let row = |element: Result<LeafElement<'_>, Problem>| {
            let element = element.map_err(|problem| Error::Page { page, offset: 0, problem })?;
            let key = RowKey::parse(element.key)
                .ok_or_else(|| bad_row(element.key, "the key is no revision"))?;
            let mut sum = Sum::default();
            sum.feed(element.key);
            sum.feed(element.value);
            Ok((key, sum))
        };
        let rows: Result<Vec<_>> = node.rows().map(row).collect();
        let weight = rows.as_ref().map_or(0, |rows| rows.len() * size_of::<(RowKey, Sum)>());
        (rows, weight)
    }
}
