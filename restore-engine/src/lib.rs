//! Understands, checks and rebuilds etcd data directories: offline, synchronous and deterministic.
//!
//! Everything that is read here is hostile until proven otherwise: lengths, counts and page numbers
//! are checked before they are used, and no allocation, loop or recursion is as large as a file says
//! it should be. Memory does not grow with the database, apart from a few bits per page.
//!
//! The lower half knows the file: [`bolt`] reads, checks, patches and writes bbolt databases,
//! [`mvcc`] knows the rows of bucket `key`, [`facts`] what a database says of itself.
//! The upper half knows the cluster: membership, WAL, `.snap`, and how they make a data directory
//! that a real etcd boots.

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
