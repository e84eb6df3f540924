//! Checks of images and of data directories, one module a level, and what they hold.

pub mod file;
pub mod inspect;
pub mod semantic;
pub mod status;
pub mod structure;

pub use file::{
    Content, DataDir, FileVerdict, Structure, content, data_dir, file, structure, structure_with,
};
