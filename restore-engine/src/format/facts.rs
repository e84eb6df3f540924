//! Facts about an image: what its bytes say about revision, raft position and size.
//!
//! A snapshot file is a database followed by the SHA-256 of it. [`facts`] reads them at random from
//! any database; [`SnapshotScanner`](crate::stream::SnapshotScanner) takes the same facts out of
//! the bytes as they stream by.

use etcdr_schemas::{RaftIndex, ReadAt, Revision, Term};

use crate::format::bolt::{Bucket, Db};
use crate::format::buckets;
use crate::format::mvcc::RowKey;
use crate::{Error, Result};

mod alarms;
pub(crate) mod bucket_roots;
pub(crate) mod markers;

pub(crate) use alarms::alarms;
pub(crate) use markers::Markers;

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    /// Bytes of a page.
    pub page_size: u32,
    /// Bytes of the database, up to its high-water mark; the digest behind it is not counted.
    pub db_size: u64,
    /// Current revision: the highest of the last row and the compaction markers, at least 1.
    pub revision: Revision,
    /// The highest compaction that was accepted, finished or not.
    pub compact_revision: Option<Revision>,
    /// The compaction that was accepted last.
    pub scheduled_compact: Option<Revision>,
    /// The compaction that was carried out last.
    pub finished_compact: Option<Revision>,
    /// Revision of the last row.
    pub last_row: Option<Revision>,
    /// Raft index that the image reflects.
    pub raft_index: Option<RaftIndex>,
    /// Raft term of that index; etcd 3.5 and newer.
    pub raft_term: Option<Term>,
    /// Version of the storage schema; etcd 3.6 and newer.
    pub storage_version: Option<String>,
}

impl ImageFacts {
    pub(crate) fn new(
        page_size: u32,
        db_size: u64,
        last_row: Option<Revision>,
        markers: Markers,
    ) -> Self {
        let compact_revision = markers.compact_revision();
        let revision = last_row.max(compact_revision).max(Some(Revision::FIRST));
        Self {
            page_size,
            db_size,
            revision: revision.unwrap_or(Revision::FIRST),
            compact_revision,
            scheduled_compact: markers.scheduled,
            finished_compact: markers.finished,
            last_row,
            raft_index: markers.raft_index,
            raft_term: markers.raft_term,
            storage_version: markers.storage_version,
        }
    }
}

/// Reads the facts of a database, at random.
///
/// # Errors
/// When a page on the way is damaged or cannot be read, or bucket `key` is missing.
pub fn facts<R: ReadAt>(db: &Db<R>) -> Result<ImageFacts> {
    facts_and_key_bucket(db).map(|(facts, _)| facts)
}

pub(crate) fn facts_and_key_bucket<R: ReadAt>(db: &Db<R>) -> Result<(ImageFacts, Bucket)> {
    let all = db.buckets()?;
    let mut markers = Markers::default();
    if let Some(meta) = all.iter().find(|bucket| bucket.name == buckets::META) {
        for name in markers::NAMES {
            if let Some(value) = db.get(meta, name)? {
                markers.row(name, &value)?;
            }
        }
    }
    let key = all.into_iter().find(|bucket| bucket.name == buckets::KEY).ok_or_else(no_key)?;
    let last = match db.last(&key)? {
        Some((raw, _)) => Some(RowKey::parse(&raw).ok_or_else(not_a_revision)?.main),
        None => None,
    };
    Ok((ImageFacts::new(db.page_size(), db.size(), last, markers), key))
}

pub(crate) fn no_key() -> Error {
    Error::NotEtcd { reason: "it has no bucket `key`".into() }
}

fn not_a_revision() -> Error {
    Error::NotEtcd { reason: "the last key of bucket `key` is not a revision".into() }
}
