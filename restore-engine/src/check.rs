//! Checks of images and of data directories, and what they hold: one module a level of
//! verification.
//!
//! What a check finds wrong with the data is a [`Finding`](etcdr_schemas::report::Finding); an
//! error means that the check could not be made.

pub mod content;
pub mod data_dir;
mod error_finding;
pub mod file;
pub mod inspect;
pub mod semantic;
pub mod status;
pub mod structure;

pub use content::{Content, content};
pub use data_dir::{DataDir, data_dir};
pub use file::{FileVerdict, file};
pub use structure::{Structure, structure, structure_with};
