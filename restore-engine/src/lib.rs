//! Understands, checks and rebuilds etcd data directories: offline, synchronous and deterministic.
//!
//! Everything that is read here is hostile until proven otherwise: lengths, counts and page numbers
//! are checked before they are used, and no allocation, loop or recursion is as large as a file says
//! it should be. Memory does not grow with the database, apart from a few bits per page.
//!
//! The lower half knows the file: [`bolt`] reads, checks, patches and writes bbolt databases,
//! [`mvcc`] knows the rows of bucket `key` and their hash, [`snapshot`] what a snapshot file adds.
//! The upper half knows the cluster: membership, WAL, `.snap`, and how they make a data directory
//! that a real etcd boots.

pub mod error;
pub mod findings;
pub mod local;

pub mod bolt;
pub mod buckets;
mod fields;
pub mod kubernetes;
pub mod mvcc;
pub mod snapshot;
pub mod status;

pub mod durable;
pub mod inspect;
mod intake;
pub mod membership;
pub mod outfile;
pub mod plan;
mod rebuild;
pub mod refile;
pub mod restore;
pub mod semantic;
mod shell;
pub mod snap;
pub mod verify;
pub mod wal;

pub use error::{Error, Result};
pub use status::{Status, status};
