//! The local file system: reading a file at any offset, and durable writes.

pub mod durable;
pub mod local;
pub mod outfile;
