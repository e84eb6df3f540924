//! HashKV: the hash that every member computes over its key space, and how many keys are live.
//!
//! Without compaction it is a CRC over all rows. After one, a row at or below the compact revision only counts
//! when it is the newest of a live key (docs/etcd-formats.md 5.1), because members may differ in what they have
//! deleted already. Then the rows are read twice: once to find the newest ones, once to hash.

use std::ops::ControlFlow;

use etcdr_schemas::report::OfflineHash;
use etcdr_schemas::{ReadAt, Revision};

use super::newest::{Newest, TABLE};
use super::{RowKey, key_of};
use crate::bolt::{Bucket, Db};
use crate::snapshot::facts_and_key_bucket;
use crate::{Error, Result, buckets};

/// The compact revision of a store that was never compacted, as etcd reports it.
const NEVER: i64 = -1;

/// What a key space is, at one revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySpace {
    /// Its hash.
    pub hash: OfflineHash,
    /// Keys that a range over everything returns; a row with an empty key is none.
    pub live_keys: u64,
}

/// The value that etcd's `HashKV` gives at revision `at`, the current one without.
///
/// # Errors
/// [`Error::NotCovered`] when `at` is compacted or in the future; when the database is damaged.
pub fn hash_kv<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<OfflineHash> {
    let rows = Rows::new(db, at)?;
    if rows.compact == NEVER {
        let mut crc = start();
        rows.scan(&mut |_, _, raw, value| {
            feed(&mut crc, raw, value);
            Ok(())
        })?;
        return Ok(rows.report(crc));
    }
    Ok(rows.key_space(TABLE)?.hash)
}

/// Number of keys that are live at revision `at`, the current one without.
///
/// # Errors
/// See [`hash_kv`].
pub fn live_keys<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<u64> {
    let rows = Rows::new(db, at)?;
    let survey = rows.survey(TABLE)?;
    Ok(survey.live_keys())
}

/// Both at once, which reads the rows once less.
///
/// # Errors
/// See [`hash_kv`].
pub fn key_space<R: ReadAt>(db: &Db<R>, at: Option<Revision>) -> Result<KeySpace> {
    Rows::new(db, at)?.key_space(TABLE)
}

fn start() -> u32 {
    crc32c::crc32c(buckets::KEY)
}

fn feed(crc: &mut u32, raw: &[u8], value: &[u8]) {
    *crc = crc32c::crc32c_append(crc32c::crc32c_append(*crc, raw), value);
}

/// Takes the number, the parsed key, the raw key and the value of a row.
type VisitRow<'a> = dyn FnMut(u64, RowKey, &[u8], &[u8]) -> Result<()> + 'a;

/// The rows up to one revision.
struct Rows<'a, R> {
    db: &'a Db<R>,
    bucket: Bucket,
    at: Revision,
    compact: i64,
}

/// What a first reading of the rows finds.
struct Survey {
    newest: Newest,
    empty_key_is_live: bool,
    // CRC over all rows; only what HashKV wants when nothing is compacted.
    crc: u32,
    // Rows at or below the compact revision.
    compacted: u64,
}

impl Survey {
    fn live_keys(&self) -> u64 {
        self.newest.live().saturating_sub(u64::from(self.empty_key_is_live))
    }
}

impl<'a, R: ReadAt> Rows<'a, R> {
    fn new(db: &'a Db<R>, at: Option<Revision>) -> Result<Self> {
        let (facts, bucket) = facts_and_key_bucket(db)?;
        let at = at.filter(|at| at.0 > 0).unwrap_or(facts.revision);
        let compact = facts.compact_revision.map_or(NEVER, |revision| revision.0);
        if at > facts.revision || at.0 < compact {
            let oldest = facts.compact_revision.unwrap_or(Revision::FIRST);
            return Err(Error::NotCovered { asked: at, oldest, newest: facts.revision });
        }
        Ok(Self { db, bucket, at, compact })
    }

    /// Gives each row up to `at`, in order.
    fn scan(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let mut index = 0;
        let mut last = None;
        self.db.scan(&self.bucket, &mut |raw, value| {
            let row = RowKey::parse(raw).ok_or_else(|| bad_row(raw, "the key is no revision"))?;
            if last.is_some_and(|last| row <= last) {
                return Err(bad_row(raw, "the key is not above the one before it"));
            }
            last = Some(row);
            if row.main > self.at {
                return Ok(ControlFlow::Break(()));
            }
            visit(index, row, raw, value)?;
            index += 1;
            Ok(ControlFlow::Continue(()))
        })
    }

    fn survey(&self, capacity: usize) -> Result<Survey> {
        let mut survey = Survey {
            newest: Newest::new(capacity),
            empty_key_is_live: false,
            crc: start(),
            compacted: 0,
        };
        self.pass(&mut survey, true)?;
        while survey.newest.end_pass(survey.compacted) {
            self.pass(&mut survey, false)?;
        }
        Ok(survey)
    }

    fn pass(&self, survey: &mut Survey, first: bool) -> Result<()> {
        self.scan(&mut |index, row, raw, value| {
            let key = key_of(value).ok_or_else(|| bad_row(raw, "the value is no KeyValue"))?;
            if !survey.newest.row(index, key, row.tombstone) {
                return Err(Error::Limit { what: "keys in a database", limit: 1 << 50 });
            }
            if !first {
                return Ok(());
            }
            if key.is_empty() {
                survey.empty_key_is_live = !row.tombstone;
            }
            if row.main.0 <= self.compact {
                survey.compacted += 1;
            }
            // Once a row is compacted this CRC is of no use; the rows come in order.
            if survey.compacted == 0 {
                feed(&mut survey.crc, raw, value);
            }
            Ok(())
        })
    }

    fn key_space(&self, capacity: usize) -> Result<KeySpace> {
        let survey = self.survey(capacity)?;
        let crc = if survey.compacted == 0 { survey.crc } else { self.filtered(&survey.newest)? };
        Ok(KeySpace { hash: self.report(crc), live_keys: survey.live_keys() })
    }

    fn filtered(&self, newest: &Newest) -> Result<u32> {
        let mut crc = start();
        self.scan(&mut |index, row, raw, value| {
            let superseded =
                row.main.0 <= self.compact && newest.live() > 0 && !newest.is_newest(index);
            let kept_tombstone = row.main.0 == self.compact && row.tombstone;
            if !superseded && !kept_tombstone {
                feed(&mut crc, raw, value);
            }
            Ok(())
        })?;
        Ok(crc)
    }

    fn report(&self, hash: u32) -> OfflineHash {
        OfflineHash { revision: self.at, compact_revision: self.compact, hash }
    }
}

fn bad_row(raw: &[u8], problem: &'static str) -> Error {
    let key = raw.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    Error::Row { bucket: buckets::display(buckets::KEY), key, problem }
}
