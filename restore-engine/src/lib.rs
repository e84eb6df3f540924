//! Understands, checks and rebuilds etcd data directories: offline, synchronous and deterministic.
//!
//! Everything that is read here is hostile until proven otherwise: lengths, counts and page numbers
//! are checked before they are used, and no allocation, loop or recursion is as large as a file
//! says it should be. Memory does not grow with the database, apart from a few bits per page.
//!
//! The modules are layers, and none uses one above it. Each format by itself, and reading and
//! writing local files: [`bolt`], [`mvcc`], [`facts`], [`membership`], [`wal`], [`snap`],
//! [`durable`]. An image as it passes: [`stream`]. All rows and what follows from them: [`scan`].
//! What is wrong with an image or a data directory, and what it holds: [`check`]. A restore,
//! decided and carried out: [`mod@plan`], [`restore`].

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
