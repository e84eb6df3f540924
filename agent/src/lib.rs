//! Takes snapshots: composes the node that is asked, the engine that understands and the repository that
//! keeps.
//!
//! The one-shot capture behind `etcdr snapshot save`, the import of files, the verification of one
//! snapshot and the audit of all. Order matters here
//! more than anywhere: nothing is named a snapshot before its bytes were scanned, stored, and read back.

pub mod admin;
mod agreement;
pub mod audit;
pub mod board;
pub mod capture;
pub mod command;
mod error;
pub mod event;
pub mod import;
pub mod inspect;
pub mod metrics;
pub mod pages;
mod pour;
mod source;
pub mod verify;

pub use error::Error;
