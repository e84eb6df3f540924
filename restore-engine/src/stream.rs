//! An image that streams by from its first to its last byte: split, bounded and hashed.
//!
//! One [`splitter`] serves all callers; what a caller does with the bytes of the database is its
//! `Sink`.

mod digest;
mod form;
pub(crate) mod intake;
mod pages;
pub mod refile;
mod scanner;
mod source;
pub(crate) mod splitter;
mod words;

pub use form::{Expected, Form};
pub use scanner::{ScannedSnapshot, SnapshotScanner};
pub use source::Source;
