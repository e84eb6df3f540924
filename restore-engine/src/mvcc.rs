//! The key space: rows of bucket `key`, ordered by revision, and what can be computed from them.
//!
//! Leaves are read in file order by several threads, and judged in order of revision: see [`crate::bolt`]'s `sweep`.
//! Of a row little is kept, and of a key one entry in a table of bounded size.

pub(crate) mod attached;
pub(crate) mod crc;
pub(crate) mod detach;
pub(crate) mod fingerprint;
pub mod hash;
mod key;
pub(crate) mod keys;
pub(crate) mod leaf;
pub(crate) mod table;
pub(crate) mod total;
mod value;
mod view;

pub(crate) use hash::all_rows;
pub use hash::{KeySpace, hash_kv, hash_kv_with, key_space, key_space_with, live_keys};
pub use key::{RowKey, key_of};
pub use value::KeyValue;
pub use view::{Row, View, VisitRow};
