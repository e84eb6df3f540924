//! etcd's files and what is in them: each module knows one format, and decides nothing.

pub mod bolt;
pub mod buckets;
pub mod facts;
pub(crate) mod fields;
pub mod membership;
pub mod mvcc;
pub mod snap;
pub mod wal;
