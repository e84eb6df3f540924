//! A snapshot file or raw database, level by level.

use std::io;

use bytes::Bytes;
use etcdr_schemas::report::{Finding, Level, Severity};
use etcdr_schemas::{Progress, ReadAt};

use super::content::{Content, content};
use super::structure::{Structure, structure};
use crate::error::Result;

/// Bytes of one read when a file is read from end to end.
const CHUNK: usize = 1 << 20;

/// What the check of a snapshot file found.
#[derive(Debug, Clone)]
pub struct FileVerdict {
    /// The bytes.
    pub content: Content,
    /// The structure, when it was asked for and the bytes are good.
    pub structure: Option<Structure>,
}

impl FileVerdict {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let structure = self.structure.iter().flat_map(|structure| &structure.findings);
        self.content.findings.iter().chain(structure)
    }
}

/// A snapshot file or raw database, up to `level`, but not beyond `structure`: see
/// [`crate::check::semantic::examine`].
///
/// # Errors
/// [`Error::Source`] and [`Error::Read`] when the medium fails.
pub fn file<R: ReadAt>(image: R, level: Level, progress: &dyn Progress) -> Result<FileVerdict> {
    let content = content(Sequential { image: &image, offset: 0 }, None, progress)?;
    let good = content.findings.iter().all(|finding| finding.severity < Severity::Damage);
    let structure = match level {
        Level::Structure | Level::Semantic if good => Some(structure(&image, progress)?),
        _ => None,
    };
    Ok(FileVerdict { content, structure })
}

/// An image from its first to its last byte.
struct Sequential<R> {
    image: R,
    offset: u64,
}

impl<R: ReadAt> Iterator for Sequential<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.image.size().saturating_sub(self.offset);
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        if length == 0 {
            return None;
        }
        let mut chunk = vec![0; length];
        let read = self.image.read_exact_at(&mut chunk, self.offset);
        self.offset += length as u64;
        Some(read.map(|()| Bytes::from(chunk)))
    }
}
