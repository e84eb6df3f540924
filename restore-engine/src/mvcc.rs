//! The key space: rows of bucket `key`, ordered by revision, and what can be computed from them.

pub(crate) mod attached;
pub mod hash;
mod key;
pub(crate) mod newest;
pub(crate) mod value;

pub use hash::{KeySpace, hash_kv, key_space, live_keys};
pub use key::{RowKey, key_of};
