//! The rows of bucket `key`: what a row's key and its value say.

pub(crate) mod crc;
pub(crate) mod detach;
mod key;
mod value;

pub use key::{RowKey, key_of};
pub use value::KeyValue;
