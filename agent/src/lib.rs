//! Takes snapshots: composes the node that is asked, the engine that understands and the repository that
//! keeps.
//!
//! For now the one-shot capture behind `etcdr snapshot save`, and the import of files. Order matters here
//! more than anywhere: nothing is named a snapshot before its bytes were scanned, stored, and read back.

mod agreement;
pub mod capture;
mod error;
pub mod import;
mod pour;
mod source;

pub use error::Error;
