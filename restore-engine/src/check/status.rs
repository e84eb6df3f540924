//! The figures of `snapshot status`: hash, revision, number of keys, size.
//!
//! The hash covers every bucket, name and rows, with nothing left out (docs/etcd-formats.md 3). All
//! tools agree on it, on revision and size; the number of keys is that of all rows up to 3.5 and
//! that of live keys from 3.6 on.

use std::ops::ControlFlow;

use etcdr_schemas::{ReadAt, Revision};

use crate::Result;
use crate::format::bolt::Db;
use crate::format::buckets;
use crate::format::facts;
use crate::format::mvcc::crc::{Combine, Sum};
use crate::scan::hash;

/// Threads of [`status`].
const WORKERS: usize = 2;

/// The answer of `snapshot status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// CRC-32C over all buckets: what the tools print as `hash`.
    pub hash: u32,
    /// Revision of the last row of bucket `key`; 0 when there is none. Not raised by compaction
    /// markers.
    pub revision: Revision,
    /// Rows of all buckets: `totalKey` of etcdctl 3.4 and etcdutl 3.5.
    pub rows: u64,
    /// Keys that are not deleted: `totalKey` of etcdutl 3.6. The empty key that a raised revision
    /// leaves counts.
    pub live_keys: u64,
    /// Bytes of the database, without the digest.
    pub total_size: u64,
    /// Version of the storage schema: `version` of etcdutl 3.6.
    pub storage_version: Option<String>,
}

/// Reads a whole database, which should have passed the structural check: the tools run theirs
/// first.
///
/// # Errors
/// When a page is damaged or cannot be read, or a row of bucket `key` is not what etcd writes.
pub fn status<R: ReadAt>(db: &Db<R>) -> Result<Status> {
    status_with(db, WORKERS)
}

/// [`status`] on `workers` threads.
///
/// # Errors
/// See [`status`].
pub fn status_with<R: ReadAt>(db: &Db<R>, workers: usize) -> Result<Status> {
    let combine = Combine::new();
    let mut status = Status {
        hash: 0,
        revision: Revision(0),
        rows: 0,
        live_keys: 0,
        total_size: db.size(),
        storage_version: facts::facts(db)?.storage_version,
    };
    let mut all = Sum::default();
    for bucket in db.buckets()? {
        all.feed(&bucket.name);
        if bucket.name == buckets::KEY {
            let key = hash::all_rows(db, &bucket, workers)?;
            all = combine.join(all, key.sum);
            status.rows += key.rows;
            status.live_keys = key.live;
            status.revision = key.last.map_or(Revision(0), |row| row.main);
            continue;
        }
        db.scan(&bucket, &mut |key, value| {
            all.feed(key);
            all.feed(value);
            status.rows += 1;
            Ok(ControlFlow::Continue(()))
        })?;
    }
    status.hash = all.crc();
    Ok(status)
}
