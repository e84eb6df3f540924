//! One pass over a snapshot file: its digests, its length and its facts.

use std::fmt;

use etcdr_schemas::{RunningSha256, Sha256Digest};

use super::pages::PageTracker;
use crate::format::bolt::{Meta, meta};
use crate::format::facts::ImageFacts;
use crate::{Error, Result};

/// Bytes that are held until the meta pages are read: two pages of the largest size.
const PREFIX: usize = 128 * 1024;
/// Bytes of the digest behind the database.
const TRAILER: usize = Sha256Digest::LEN;

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

/// Takes a snapshot file in pieces of any size, as it streams by.
///
/// Its memory is 4 bytes a page. [`finish`](Self::finish) is the only judge: until it says that the file is
/// whole, nothing about it is known.
pub struct SnapshotScanner {
    taken: u64,
    sha: RunningSha256,
    state: State,
}

enum State {
    /// The metas are not complete yet.
    Prefix(Vec<u8>),
    Body(Box<Body>),
}

struct Body {
    meta: Meta,
    db_size: u64,
    pages: PageTracker,
    data_digest: Option<Sha256Digest>,
    trailer: Vec<u8>,
}

impl Default for SnapshotScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SnapshotScanner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotScanner").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl SnapshotScanner {
    /// A scanner that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        let state = State::Prefix(Vec::new());
        Self { taken: 0, sha: RunningSha256::new(), state }
    }

    /// Bytes that the whole file must have; known once the first 128 KiB have been pushed.
    #[must_use]
    pub fn expected_size(&self) -> Option<u64> {
        match &self.state {
            State::Prefix(_) => None,
            State::Body(body) => Some(body.expected_size()),
        }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`Error::NotBolt`] when the file cannot be a snapshot, [`Error::Length`] when it is longer than its
    /// meta page says. Further pushes are of no use then.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<()> {
        self.taken = self.taken.saturating_add(chunk.len() as u64);
        if let State::Prefix(prefix) = &mut self.state {
            let (held, rest) = chunk.split_at(chunk.len().min(PREFIX - prefix.len()));
            prefix.extend_from_slice(held);
            if prefix.len() < PREFIX {
                return Ok(());
            }
            self.start()?;
            chunk = rest;
        }
        self.feed(chunk)
    }

    /// Judges the file.
    ///
    /// # Errors
    /// [`Error::Length`] when it was cut, [`Error::Digest`] when its content is not what etcd sent, others
    /// when its pages do not lead to a revision.
    pub fn finish(mut self) -> Result<ScannedSnapshot> {
        if matches!(self.state, State::Prefix(_)) {
            self.start()?;
        }
        let plain_size = self.taken;
        let State::Body(body) = self.state else {
            return Err(Error::Length { expected: TRAILER as u64, actual: plain_size });
        };
        let expected = body.expected_size();
        let (Some(actual), Ok(trailer)) = (body.data_digest, body.trailer.try_into()) else {
            return Err(Error::Length { expected, actual: plain_size });
        };
        let trailer = Sha256Digest::from_bytes(trailer);
        if trailer != actual {
            return Err(Error::Digest { expected: trailer, actual });
        }
        let facts = body.pages.facts(&body.meta, body.db_size)?;
        Ok(ScannedSnapshot { plain_size, plain_sha256: self.sha.finish(), facts })
    }

    /// Reads the metas out of the prefix, then takes it as the first bytes of the body.
    fn start(&mut self) -> Result<()> {
        let State::Prefix(prefix) = &mut self.state else { return Ok(()) };
        let prefix = std::mem::take(prefix);
        let metas = meta::discover(&prefix)?;
        let meta = metas.chosen;
        meta.check(None).map_err(|problem| Error::NotBolt { problem })?;
        let db_size = meta.database_size().unwrap_or(u64::MAX);
        let pages = PageTracker::new(&meta);
        let body = Body { meta, db_size, pages, data_digest: None, trailer: Vec::new() };
        self.state = State::Body(Box::new(body));
        self.feed(&prefix)
    }

    fn feed(&mut self, chunk: &[u8]) -> Result<()> {
        let State::Body(body) = &mut self.state else { return Ok(()) };
        let left = body.db_size - body.pages.position();
        let data = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        let (data, trailer) = chunk.split_at(data);
        self.sha.update(data);
        body.pages.push(data);
        if body.pages.position() == body.db_size && body.data_digest.is_none() {
            body.data_digest = Some(self.sha.clone().finish());
        }
        if trailer.len() > TRAILER - body.trailer.len() {
            return Err(Error::Length { expected: body.expected_size(), actual: self.taken });
        }
        self.sha.update(trailer);
        body.trailer.extend_from_slice(trailer);
        Ok(())
    }
}

impl Body {
    fn expected_size(&self) -> u64 {
        self.db_size.saturating_add(TRAILER as u64)
    }
}
