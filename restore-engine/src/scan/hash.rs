//! HashKV: the hash that every member computes over its key space, and how many keys are live.
//!
//! Without compaction it is a CRC over all rows. After one, a row at or below the compact revision
//! only counts when it is the newest of a live key (docs/etcd-formats.md 5.1), because members may
//! differ in what they have deleted already. The leaves are summed one by one as they are read, and
//! the sums put together; where a leaf turns out to hold rows that do not count, it is read again.

use std::ops::ControlFlow;

use etcdr_schemas::report::OfflineHash;
use etcdr_schemas::{ReadAt, Revision};

use super::fingerprint::Fingerprint;
use super::key_hash::{KeyHash, NEVER};
use super::keys::{Keys, Marks, NoAnalyzer};
use super::leaf::{Extent, LeafRows, ReadFacts, bad_row};
use crate::format::bolt::page::{LeafElement, Node};
use crate::format::bolt::visit::{LeafVisitor, walk};
use crate::format::bolt::{Bucket, Db, ScanBudget};
use crate::format::facts::facts_and_key_bucket;
use crate::format::mvcc::RowKey;
use crate::format::mvcc::crc::Sum;
use crate::format::mvcc::key_of;
use crate::{Error, Result};

/// Threads of the calls that have no parameter for them.
const WORKERS: usize = 2;

/// What a key space is, at one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpace {
    /// Its hash.
    pub hash: OfflineHash,
    /// Keys that a range over everything returns; a row with an empty key is none.
    pub live_keys: u64,
}

/// The value that etcd's `HashKV` returns at revision `at`; at the current one for `None`.
///
/// # Errors
/// [`Error::NotCovered`] when `at` is compacted or in the future; when the database is damaged.
pub fn hash_kv<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<OfflineHash> {
    hash_kv_with(db, at, WORKERS)
}

/// [`hash_kv`] on `workers` threads.
///
/// # Errors
/// See [`hash_kv`].
pub fn hash_kv_with<R: ReadAt>(
    db: &Db<R>,
    at: Option<Revision>,
    workers: usize,
) -> Result<OfflineHash> {
    let range = Range::new(db, at)?;
    let needs_keys = range.compact != NEVER;
    Ok(KeySurvey::run(db, &range, workers, needs_keys)?.key_space(db, &range)?.hash)
}

/// Number of keys that are live at revision `at`; at the current one for `None`.
///
/// # Errors
/// See [`hash_kv`].
pub fn live_keys<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<u64> {
    let range = Range::new(db, at)?;
    Ok(KeySurvey::run(db, &range, WORKERS, true)?.live_keys())
}

/// Bucket `key` as a whole.
pub(crate) struct AllRows {
    /// Over all its rows.
    pub(crate) sum: Sum,
    pub(crate) rows: u64,
    /// Keys that are not deleted, the empty one too.
    pub(crate) live: u64,
    pub(crate) last: Option<RowKey>,
}

/// Which rows of bucket `key` are the newest of a live key.
pub(crate) struct Newest(KeyHash<NoAnalyzer>);

impl Newest {
    /// Reads bucket `key` as a whole.
    pub(crate) fn of<R: ReadAt>(db: &Db<R>, bucket: &Bucket) -> Result<Self> {
        let at = Revision(i64::MAX);
        let extent = Extent { at, compact: NEVER, beyond: false };
        let marks = Marks { at: at.0, marked: at.0 };
        KeySurvey::with_marks(db, bucket, extent, WORKERS, true, marks)
            .map(|survey| Self(survey.hash))
    }

    /// Whether row number `index`, from 0 in order, is one.
    pub(crate) fn is_newest(&self, index: u32) -> bool {
        self.0.is_newest(index)
    }
}

/// Reads bucket `key` as a whole.
pub(crate) fn all_rows<R: ReadAt>(db: &Db<R>, bucket: &Bucket, workers: usize) -> Result<AllRows> {
    let at = Revision(i64::MAX);
    let extent = Extent { at, compact: NEVER, beyond: false };
    let marks = Marks { at: at.0, marked: NEVER };
    let KeySurvey { hash, .. } = KeySurvey::with_marks(db, bucket, extent, workers, true, marks)?;
    Ok(AllRows { sum: hash.tail(), rows: hash.rows(), live: hash.live(), last: hash.end() })
}

/// HashKV and the number of live keys at revision `at`, from one reading of the rows.
///
/// # Errors
/// See [`hash_kv`].
pub fn key_space<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<KeySpace> {
    key_space_with(db, at, WORKERS)
}

/// [`key_space`] on `workers` threads.
///
/// # Errors
/// See [`hash_kv`].
pub fn key_space_with<R: ReadAt>(
    db: &Db<R>,
    at: Option<Revision>,
    workers: usize,
) -> Result<KeySpace> {
    let range = Range::new(db, at)?;
    KeySurvey::run(db, &range, workers, true)?.key_space(db, &range)
}

/// The rows up to one revision, which the database covers.
pub(crate) struct Range {
    pub(crate) bucket: Bucket,
    pub(crate) at: Revision,
    pub(crate) compact: i64,
}

impl Range {
    pub(crate) fn new<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<Self> {
        let (facts, bucket) = facts_and_key_bucket(db)?;
        let at = at.filter(|at| at.0 > 0).unwrap_or(facts.revision);
        let compact = facts.compact_revision.map_or(NEVER, |revision| revision.0);
        if at > facts.revision || at.0 < compact {
            let oldest = facts.compact_revision.unwrap_or(Revision::FIRST);
            return Err(Error::NotCovered { asked: at, oldest, newest: facts.revision });
        }
        Ok(Self { bucket, at, compact })
    }

    pub(crate) const fn extent(&self) -> Extent {
        Extent { at: self.at, compact: self.compact, beyond: false }
    }
}

/// One reading of the key space: its newest rows, and the sums of its leaves.
pub(crate) struct KeySurvey {
    empty_key_is_live: bool,
    pub(crate) hash: KeyHash<NoAnalyzer>,
}

impl KeySurvey {
    fn run<R: ReadAt>(db: &Db<R>, range: &Range, workers: usize, with_keys: bool) -> Result<Self> {
        let marks = Marks { at: range.at.0, marked: range.compact };
        Self::with_marks(db, &range.bucket, range.extent(), workers, with_keys, marks)
    }

    /// Afterwards [`KeyHash::is_newest`] can be asked about rows up to `marks.marked`.
    pub(crate) fn with_marks<R: ReadAt>(
        db: &Db<R>,
        bucket: &Bucket,
        extent: Extent,
        workers: usize,
        with_keys: bool,
        marks: Marks,
    ) -> Result<Self> {
        let visitor = Rows { extent, with_keys };
        let hash = KeyHash::new(
            Keys::new(NoAnalyzer, marks, ScanBudget::from(workers).table),
            extent,
            workers,
        );
        let mut survey = Self { empty_key_is_live: false, hash };
        loop {
            walk(db, bucket, workers, &visitor, &mut |leaves| survey.take(leaves))?;
            if !survey.hash.end_pass() {
                return Ok(survey);
            }
        }
    }

    fn take(&mut self, mut leaves: Vec<(u64, LeafRows<()>)>) -> Result<ControlFlow<()>> {
        let empty_key = Fingerprint::of(b"");
        for (_, leaf) in &mut leaves {
            if let Some(error) = leaf.error.take() {
                return Err(error);
            }
            for row in leaf.rows.iter().filter(|row| row.fingerprint == empty_key) {
                self.empty_key_is_live = !row.tombstone;
            }
        }
        self.hash.take(&leaves)?;
        let over = leaves.iter().any(|(_, leaf)| leaf.ends_after);
        Ok(if over { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn live_keys(&self) -> u64 {
        self.hash.live().saturating_sub(u64::from(self.empty_key_is_live))
    }

    fn key_space<R: ReadAt>(&self, db: &Db<R>, range: &Range) -> Result<KeySpace> {
        let hash = self.hash.value(db, &range.bucket)?;
        let hash = OfflineHash { revision: range.at, compact_revision: range.compact, hash };
        Ok(KeySpace { hash, live_keys: self.live_keys() })
    }
}

/// Reads the rows of leaves, and their keys when they are needed.
struct Rows {
    extent: Extent,
    with_keys: bool,
}

impl LeafVisitor for Rows {
    type ThreadCache = ();
    type Out = LeafRows<()>;

    fn leaf(&self, (): &mut (), page: u64, node: &Node<'_>) -> (Self::Out, usize) {
        let damaged = |problem| Error::Page { page, offset: 0, problem };
        let mut fingerprint = |_: RowKey, element: &LeafElement<'_>| {
            let key = key_of(element.value)
                .ok_or_else(|| bad_row(element.key, "the value is no KeyValue"))?;
            Ok((Fingerprint::of(key), ()))
        };
        let facts: Option<ReadFacts<'_, ()>> =
            if self.with_keys { Some(&mut fingerprint) } else { None };
        let leaf = LeafRows::read(node, self.extent, damaged, facts);
        let weight = leaf.weight();
        (leaf, weight)
    }
}
