//! One pass over a snapshot file: its digests, its length and its facts.

use std::fmt;

use etcdr_schemas::Sha256Digest;

use super::digest::TailedSha256;
use super::intake::Received;
use super::pages::PageTracker;
use super::splitter::{Shape, Sink, Splitter};
use crate::error::{Error, Result};
use crate::format::facts::ImageFacts;

/// What a pass over a whole and undamaged snapshot file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedSnapshot {
    /// Bytes of the file: the database and its digest.
    pub plain_size: u64,
    /// SHA-256 of the file.
    pub plain_sha256: Sha256Digest,
    /// What the database says about itself.
    pub facts: ImageFacts,
}

/// Takes a snapshot file in pieces of any size, as it streams by, and hashes it on the caller's
/// thread.
///
/// Its memory is 4 bytes a page. Only [`finish`](Self::finish) decides: before it, nothing is known
/// about the file.
pub struct SnapshotScanner {
    splitter: Splitter,
    sha: TailedSha256,
    facts: FactsSink,
}

impl Default for SnapshotScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SnapshotScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let taken = self.splitter.taken();
        f.debug_struct("SnapshotScanner").field("taken", &taken).finish_non_exhaustive()
    }
}

impl SnapshotScanner {
    /// A scanner that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        let splitter = Splitter::snapshot_file();
        Self { splitter, sha: TailedSha256::default(), facts: FactsSink::default() }
    }

    /// Bytes that the whole file must have; known once the first 128 KiB have been pushed.
    #[must_use]
    pub fn expected_size(&self) -> Option<u64> {
        self.splitter.shape().map(Shape::snapshot_size)
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`Error::NotBolt`] when the file cannot be a snapshot, [`Error::Length`] when it is longer
    /// than its meta page says. Further pushes are of no use then.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        self.splitter.push(chunk, &mut self.facts)?;
        self.sha.update(chunk);
        Ok(())
    }

    /// Judges the file.
    ///
    /// # Errors
    /// [`Error::Length`] when it was cut, [`Error::Digest`] when its content is not what etcd sent,
    /// others when its pages do not lead to a revision.
    pub fn finish(self) -> Result<ScannedSnapshot> {
        let Self { splitter, sha, mut facts } = self;
        let (size, shape) = splitter.finish(&mut facts)?;
        let received = Received::hashed(size, shape, sha.finish());
        received.check(None, false)?;
        let facts = facts.finish()?;
        Ok(ScannedSnapshot { plain_size: size, plain_sha256: received.sha256, facts })
    }
}

/// Looks at the pages of a database as they come.
#[derive(Debug, Default)]
pub(super) struct FactsSink(Option<(Shape, Box<PageTracker>)>);

impl Sink for FactsSink {
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        self.0 = Some((*shape, Box::new(PageTracker::new(&shape.meta))));
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some((_, pages)) = &mut self.0 {
            pages.push(bytes);
        }
        Ok(())
    }
}

impl FactsSink {
    /// What the database says of itself, when all of it has come.
    ///
    /// # Errors
    /// When its pages do not lead to a revision.
    pub(super) fn finish(&self) -> Result<ImageFacts> {
        let nothing = || Error::Length { expected: Sha256Digest::LEN as u64, actual: 0 };
        let (shape, pages) = self.0.as_ref().ok_or_else(nothing)?;
        pages.facts(&shape.meta, shape.db_size)
    }
}
