//! bbolt files: the format of `member/snap/db` and of the body of a snapshot file.
//!
//! A file is an array of pages. Two meta pages at its start name the root of a B+ tree of buckets,
//! and each bucket is a B+ tree of rows, or a small page inside the root's. Data pages carry no
//! checksum in this format: what can be checked is structure, and [`crate::check::structure`] does
//! that. Everything is parsed from slices with explicit little-endian reads.

use etcdr_schemas::ReadAt;

use crate::{Error, Result};

mod db;
pub mod meta;
pub mod page;
pub(crate) mod page_reader;
pub mod patch;
mod problem;
mod tree;
pub(crate) mod visit;
pub(crate) mod window;
pub mod writer;

pub use db::{Bucket, Db, Root, Visit};
pub(crate) use db::{MAX_BUCKETS, bucket_of, inline_node};
pub use meta::Meta;
pub use page_reader::ScanBudget;
pub use problem::Problem;

/// Reads from the medium, with the offset in the error.
pub(crate) fn read<R: ReadAt + ?Sized>(source: &R, buf: &mut [u8], offset: u64) -> Result<()> {
    source.read_exact_at(buf, offset).map_err(|source| Error::Read { offset, source })
}
