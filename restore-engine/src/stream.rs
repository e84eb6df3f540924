//! An image that streams by from its first to its last byte: recognised, bounded, hashed, and told of.

mod form;
pub(crate) mod intake;
mod pages;
pub mod refile;
mod scanner;
mod source;
mod words;

pub use form::{Expected, Form};
pub use scanner::{ScannedSnapshot, SnapshotScanner};
pub use source::Source;
