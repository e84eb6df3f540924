//! The rows of bucket `meta`: raft position, compaction and storage version of an image.

use etcdr_schemas::{RaftIndex, Revision, Term};

use crate::format::buckets::{self, meta};
use crate::format::mvcc::RowKey;
use crate::{Error, Result};

/// Longest version text that we take, in bytes.
const MAX_VERSION: usize = 64;

/// The rows that [`Markers::row`] understands.
pub(crate) const NAMES: [&[u8]; 5] = [
    meta::CONSISTENT_INDEX,
    meta::FINISHED_COMPACT,
    meta::SCHEDULED_COMPACT,
    meta::STORAGE_VERSION,
    meta::TERM,
];

/// The values of these rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Markers {
    pub(crate) raft_index: Option<RaftIndex>,
    pub(crate) raft_term: Option<Term>,
    pub(crate) storage_version: Option<String>,
    pub(crate) scheduled: Option<Revision>,
    pub(crate) finished: Option<Revision>,
}

impl Markers {
    /// Takes one row. Rows that are not in [`NAMES`] are passed over.
    pub(crate) fn row(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match key {
            meta::CONSISTENT_INDEX => self.raft_index = Some(RaftIndex(number(key, value)?)),
            meta::TERM => self.raft_term = Some(Term(number(key, value)?)),
            meta::STORAGE_VERSION => self.storage_version = Some(version(key, value)?),
            meta::SCHEDULED_COMPACT => self.scheduled = Some(revision(key, value)?),
            meta::FINISHED_COMPACT => self.finished = Some(revision(key, value)?),
            _ => {}
        }
        Ok(())
    }

    /// The highest compaction, finished or not: the server refuses anything below it.
    pub(crate) fn compact_revision(&self) -> Option<Revision> {
        self.scheduled.max(self.finished)
    }
}

fn bad(key: &[u8], problem: &'static str) -> Error {
    let (bucket, key) = (buckets::display(buckets::META), buckets::display(key));
    Error::Row { bucket, key, problem }
}

fn number(key: &[u8], value: &[u8]) -> Result<u64> {
    let raw = value.try_into().map_err(|_| bad(key, "the value has not 8 bytes"))?;
    Ok(u64::from_be_bytes(raw))
}

fn revision(key: &[u8], value: &[u8]) -> Result<Revision> {
    RowKey::parse(value).map(|row| row.main).ok_or(bad(key, "the value is no revision"))
}

fn version(key: &[u8], value: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= MAX_VERSION);
    text.map(String::from).ok_or(bad(key, "the value is no version"))
}
