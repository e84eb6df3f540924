//! An image that streams by from its first to its last byte: recognised, bounded, hashed, and told of.

pub(crate) mod intake;
mod pages;
pub mod refile;
mod scanner;
pub(crate) mod source;
mod words;

pub use scanner::{ScannedSnapshot, SnapshotScanner};
pub use source::{Expected, Form, Source};
