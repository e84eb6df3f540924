//! Reads, checks and rebuilds etcd data directories and snapshots, without a running etcd.
//!
//! An etcd snapshot is a bbolt database. It holds the key space with its history, the leases, users
//! and alarms, and also what belongs to the cluster that is lost: members, raft position, versions.
//! A restore must keep the first part byte for byte and replace the second part, so that every
//! supported etcd starts on the result. This crate knows the formats for that, proves what it
//! reads, and writes data directories that it has read back before they get their names.
//!
//! # Reading order
//!
//! The modules are layers; none uses one above it.
//!
//! - [`durable`], [`local`], [`outfile`]: the local file system. All changes go through
//!   [`durable::Disk`], which tests can stop at any step.
//! - Formats, each by itself: [`bolt`] (pages, trees, writing, patching), [`mvcc`] (rows of bucket
//!   `key`), [`buckets`], [`facts`] (revision, compaction and raft position of an image),
//!   [`membership`], [`wal`], [`snap`].
//! - [`stream`]: an image that arrives from its first to its last byte. It is split, bounded and
//!   hashed while it is written.
//! - [`scan`]: all rows in order of revision. HashKV, live keys and the state at a revision come
//!   from here, in memory of a fixed size.
//! - [`check`]: what is wrong with an image or a data directory (levels `content`, `structure` and
//!   `semantic`), and what it holds (`inspect`).
//! - [`kubernetes`]: the objects in the rows, and the checklist after a restore.
//! - [`mod@plan`] and [`restore`]: a restore, first decided without touching anything, then carried
//!   out.
//!
//! To follow a restore, begin with [`plan::plan`] and [`restore::restore`]. To follow a check,
//! begin with [`semantic::examine`].
//!
//! # Invariants
//!
//! - Input is hostile. Lengths, counts and page numbers are checked before use, and no allocation,
//!   loop or recursion is as large as a file claims it should be. A panic on any input is a bug.
//! - Memory does not grow with the database, apart from a few bits a page and a bit a row. When a
//!   table is full, the rows are read in another pass.
//! - Time, randomness and paths are arguments. Equal plans and equal sources give equal bytes.
//! - Damage is a [`Finding`](etcdr_schemas::report::Finding), an [`Error`] means that a check could
//!   not be made. A restore turns findings of damage into errors.
//! - A restore overwrites and deletes nothing that existed before, apart from what an interrupted
//!   restore of the same target left. It builds beside the target, proves and syncs, and renames
//!   last.
//!
//! # Example
//!
//! ```
//! use std::io::Cursor;
//!
//! use etcdr_restore_engine::bolt::{Db, writer::Writer};
//! use etcdr_restore_engine::check::structure::check;
//! use etcdr_restore_engine::mvcc::RowKey;
//! use etcdr_restore_engine::{facts, scan};
//! use etcdr_schemas::{Hidden, Revision};
//!
//! # fn main() -> Result<(), etcdr_restore_engine::Error> {
//! // A database with one row: key `a` was put at revision 2.
//! let value = b"\x0a\x01a\x10\x02\x18\x02\x20\x01\x2a\x01x";
//! let mut writer = Writer::create(Cursor::new(Vec::new()), 4096)?;
//! writer.bucket(b"key")?;
//! writer.row(&RowKey::put(Revision(2), 0).encode(), value)?;
//! let mut image = writer.finish()?.into_inner();
//!
//! let db = Db::open(image.clone())?;
//! assert_eq!(check(&db, &Hidden)?, []);
//! assert_eq!(facts::facts(&db)?.revision, Revision(2));
//! assert_eq!(scan::live_keys(&db, None)?, 1);
//!
//! // One flipped bit in the number of the root page is found.
//! image[2 * 4096] ^= 1;
//! let findings = check(&Db::open(image)?, &Hidden)?;
//! assert_eq!(findings[0].code, "bolt.page.id");
//! # Ok(())
//! # }
//! ```

pub mod error;
pub mod findings;
mod shell;

pub mod check;
mod disk;
mod format;
pub mod kubernetes;
pub mod plan;
pub mod restore;
pub mod scan;
pub mod stream;

pub use check::status::{Status, status};
pub use check::{inspect, semantic, status};
pub use disk::{durable, local, outfile};
pub use error::{Error, Result};
pub use format::{bolt, buckets, facts, membership, mvcc, snap, wal};
