//! The key space: all rows of bucket `key` in order of revision, and what can be computed from
//! them.
//!
//! Several threads read the leaves in file order, and one takes the results in order of revision
//! (`bolt/page_reader`). Little is kept of a row, and one entry of a key, in a table of bounded
//! size.

pub(crate) mod attached;
pub(crate) mod fingerprint;
pub(crate) mod hash;
pub(crate) mod key_hash;
pub(crate) mod keys;
pub(crate) mod leaf;
pub(crate) mod names;
pub(crate) mod rows;
pub(crate) mod sample;
pub(crate) mod table;
mod view;

pub use hash::{KeySpace, hash_kv, hash_kv_with, key_space, key_space_with, live_keys};
pub use rows::{Row, VisitRow};
pub use view::View;
