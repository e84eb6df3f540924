//! Leases that keys name and the database does not have.
//!
//! They come from tools that cut or merge stores. A server boots on them, and then a put that keeps
//! the key's lease panics it, again at every restart, on all members (docs/etcd-formats.md 6.3). So
//! no restored database may have them: each such lease gets a row.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use etcdr_schemas::ReadAt;
use etcdr_schemas::pb::disk::Lease;
use etcdr_schemas::report::DanglingLeases;
use prost::Message as _;

use super::too_many_keys;
use crate::error::{Error, Result};
use crate::format::bolt::patch;
use crate::format::bolt::{Bucket, Db};
use crate::format::buckets;
use crate::scan::attached::{Attached, TABLE};
use crate::scan::rows::{Row, rows};

/// Time to live of a lease that was missing, in seconds: ten years. Its keys did not expire at the
/// source either, and a restore must not be what deletes them.
pub(crate) const SYNTHETIC_TTL: i64 = 10 * 365 * 86_400;

/// Leases whose ids are held in memory, 8 MiB; more are looked up one by one.
const MAX_HELD: usize = 1 << 20;
/// Missing leases that we repair; each takes memory.
const MAX_DANGLING: usize = 1 << 18;
/// Ids in a report.
const MAX_REPORTED: usize = 100;

/// Missing leases, and how many live keys name each.
pub(crate) type Dangling = BTreeMap<i64, u64>;

/// The leases of a database.
pub(super) struct Leases<'a, R> {
    db: &'a Db<R>,
    bucket: Option<Bucket>,
    /// Ascending; all of them, or the first ones.
    held: Vec<i64>,
    complete: bool,
}

impl<'a, R: ReadAt> Leases<'a, R> {
    pub(super) fn of(db: &'a Db<R>) -> Result<Self> {
        Self::up_to(db, MAX_HELD)
    }

    fn up_to(db: &'a Db<R>, limit: usize) -> Result<Self> {
        let bucket = db.bucket(buckets::LEASE)?;
        let (mut held, mut complete) = (Vec::new(), true);
        if let Some(bucket) = &bucket {
            db.scan(bucket, &mut |key, _| {
                if held.len() == limit {
                    complete = false;
                    return Ok(ControlFlow::Break(()));
                }
                held.extend(id_of(key));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(Self { db, bucket, held, complete })
    }

    pub(super) fn holds(&self, id: i64) -> Result<bool> {
        // Rows are ordered as unsigned numbers.
        if self.held.binary_search_by_key(&id.cast_unsigned(), |id| id.cast_unsigned()).is_ok() {
            return Ok(true);
        }
        match &self.bucket {
            Some(bucket) if !self.complete => Ok(self.db.get(bucket, &key_of(id))?.is_some()),
            _ => Ok(false),
        }
    }
}

/// The id in the key of a row of bucket `lease`.
pub(super) fn id_of(key: &[u8]) -> Option<i64> {
    key.try_into().ok().map(i64::from_be_bytes)
}

fn key_of(id: i64) -> [u8; 8] {
    id.to_be_bytes()
}

/// Finds leases that are missing in a database.
///
/// # Errors
/// For a damaged database, and more missing leases than can be repaired.
pub(crate) fn dangling<R: ReadAt>(db: &Db<R>) -> Result<Dangling> {
    let leases = Leases::of(db)?;
    let mut found = Dangling::new();
    let Some(key) = db.bucket(buckets::KEY)? else { return Ok(found) };
    let mut attached = Attached::new(TABLE);
    loop {
        rows(db, &key, &mut |row| follow(&mut attached, &row, missing(&leases, &row)?))?;
        collect(&mut attached, &mut found)?;
        if !attached.next_pass() {
            return Ok(found);
        }
    }
}

/// The lease of a row, when the database does not have it.
pub(super) fn missing<R: ReadAt>(leases: &Leases<'_, R>, row: &Row<'_>) -> Result<Option<i64>> {
    let lease = Some(row.kv.lease).filter(|lease| *lease != 0 && !row.at.tombstone);
    match lease {
        Some(lease) if !leases.holds(lease)? => Ok(Some(lease)),
        _ => Ok(None),
    }
}

pub(super) fn follow(attached: &mut Attached, row: &Row<'_>, lease: Option<i64>) -> Result<()> {
    if attached.row(row.kv.key, lease) { Ok(()) } else { Err(too_many_keys()) }
}

/// Adds what a pass found.
pub(super) fn collect(attached: &mut Attached, found: &mut Dangling) -> Result<()> {
    for (_, lease) in attached.take() {
        *found.entry(lease).or_default() += 1;
        if found.len() > MAX_DANGLING {
            let what = "leases that keys name and the database does not have";
            return Err(Error::Limit { what, limit: MAX_DANGLING as u64 });
        }
    }
    Ok(())
}

/// A row for each missing lease, in order.
pub(crate) fn repair_rows(dangling: &Dangling) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let row = |id: i64| {
        let lease = Lease { id: Some(id), ttl: Some(SYNTHETIC_TTL), remaining_ttl: None };
        let (key, value): patch::Row = (key_of(id).to_vec(), lease.encode_to_vec());
        (key, value)
    };
    dangling.keys().copied().map(row).collect()
}

/// The report of missing leases; `None` when there are none.
pub(crate) fn report(dangling: &Dangling) -> Option<DanglingLeases> {
    let ids = dangling.keys().take(MAX_REPORTED).map(|id| format!("{id:x}")).collect();
    (!dangling.is_empty()).then(|| DanglingLeases {
        count: dangling.len() as u64,
        keys: dangling.values().sum(),
        ttl_seconds: SYNTHETIC_TTL,
        ids,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::format::bolt::writer::Writer;

    #[test]
    fn leases_that_are_not_held_in_memory_are_looked_up() {
        let mut writer = Writer::create(Cursor::new(Vec::new()), 1024).unwrap();
        writer.bucket(buckets::LEASE).unwrap();
        for id in 0..500i64 {
            writer.row(&key_of(3 * id), b"lease").unwrap();
        }
        // Ids are random numbers of 63 bits; the highest bit orders them last.
        writer.row(&key_of(-7), b"lease").unwrap();
        let db = Db::open(writer.finish().unwrap().into_inner()).unwrap();
        for limit in [0, 1, 100, 501, MAX_HELD] {
            let leases = Leases::up_to(&db, limit).unwrap();
            assert_eq!(leases.complete, limit >= 501);
            for id in 0..1500 {
                assert_eq!(leases.holds(id).unwrap(), id % 3 == 0, "{id} of {limit}");
            }
            assert!(leases.holds(-7).unwrap() && !leases.holds(-8).unwrap());
        }
    }
}
