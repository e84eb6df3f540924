//! A snapshot file or a raw database as it streams by, split into what it is made of.
//!
//! The first pages say how long the database is. A file of zeroes, of noise or of nothing is
//! refused after them; an archive that decompresses to more than its database can be is refused
//! soon after. Only the database itself reaches the sink: behind the high-water mark a raw copy has
//! garbage, and a snapshot its digest.

use etcdr_schemas::Sha256Digest;

use crate::error::{Error, Result};
use crate::format::bolt::meta::{self, Meta};
use crate::format::bolt::page::MAX_PAGE_SIZE;

/// Bytes that hold both meta pages at any page size.
const HEAD: usize = 2 * MAX_PAGE_SIZE as usize;

/// Bytes that may follow the database in a raw copy, besides as many as it has: bbolt grows files
/// ahead.
const GROWTH: u64 = 64 << 20;

/// What the meta pages say of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The newest meta page.
    pub(crate) meta: Meta,
    /// Bytes of the database.
    pub(crate) db_size: u64,
}

impl Shape {
    /// Bytes of a snapshot file: the database and its digest.
    pub(crate) const fn snapshot_size(&self) -> u64 {
        self.db_size.saturating_add(Sha256Digest::LEN as u64)
    }
}

/// Takes the bytes of the database.
pub(crate) trait Sink {
    /// The meta pages are there; nothing is written yet.
    fn begin(&mut self, _: &Shape) -> Result<()> {
        Ok(())
    }

    /// The next bytes of the database.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// How long a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    /// At most this many bytes; at least the database.
    Within(u64),
    /// The database and its digest.
    OfSnapshot,
}

/// A stream that is being split.
#[derive(Debug)]
pub(super) struct Splitter {
    length: Length,
    limit: u64,
    head: Vec<u8>,
    shape: Option<Shape>,
    taken: u64,
    handed_on: u64,
}

impl Splitter {
    /// For a file of at most `limit` bytes, in either form.
    pub(super) const fn any_form(limit: u64) -> Self {
        Self::new(Length::Within(limit), limit)
    }

    /// For a snapshot file and nothing else.
    pub(super) const fn snapshot_file() -> Self {
        Self::new(Length::OfSnapshot, u64::MAX)
    }

    const fn new(length: Length, limit: u64) -> Self {
        Self { length, limit, head: Vec::new(), shape: None, taken: 0, handed_on: 0 }
    }

    /// What the meta pages say, once they have come.
    pub(super) const fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }

    /// Bytes that have come.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`Error::NotBolt`] for a stream that is no database, [`Error::Length`] for one that is too
    /// long, and whatever the sink says.
    pub(super) fn push(&mut self, mut chunk: &[u8], sink: &mut dyn Sink) -> Result<()> {
        self.taken = self.taken.saturating_add(chunk.len() as u64);
        self.check_limit()?;
        if self.shape.is_none() {
            let (part, rest) = chunk.split_at(chunk.len().min(HEAD - self.head.len()));
            self.head.extend_from_slice(part);
            if self.head.len() < HEAD {
                return Ok(());
            }
            chunk = rest;
            self.recognise(sink)?;
        }
        self.hand_on(chunk, sink)
    }

    fn check_limit(&self) -> Result<()> {
        match self.taken > self.limit {
            true => Err(Error::Length { expected: self.limit, actual: self.taken }),
            false => Ok(()),
        }
    }

    /// Reads the meta pages from the head and gives the head to the sink.
    fn recognise(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let head = std::mem::take(&mut self.head);
        let meta = meta::discover(&head[..])?.chosen;
        meta.check(None).map_err(|problem| Error::NotBolt { problem })?;
        let shape = Shape { meta, db_size: meta.database_size().unwrap_or(u64::MAX) };
        self.limit = match self.length {
            Length::Within(limit) => {
                limit.min(shape.db_size.saturating_mul(2).saturating_add(GROWTH))
            }
            Length::OfSnapshot => shape.snapshot_size(),
        };
        self.shape = Some(shape);
        self.check_limit()?;
        sink.begin(&shape)?;
        self.hand_on(&head, sink)
    }

    fn hand_on(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let left = self.shape.map_or(0, |shape| shape.db_size.saturating_sub(self.handed_on));
        let part = bytes.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(bytes);
        self.handed_on += part.len() as u64;
        if part.is_empty() { Ok(()) } else { sink.write(part) }
    }

    /// The stream is over. Gives its size and what it is.
    ///
    /// # Errors
    /// For a stream that is no database, or that is cut short.
    pub(super) fn finish(mut self, sink: &mut dyn Sink) -> Result<(u64, Shape)> {
        if self.shape.is_none() {
            self.recognise(sink)?;
        }
        let size = self.taken;
        let cut = |expected| Error::Length { expected, actual: size };
        let shape = self.shape.ok_or_else(|| cut(Sha256Digest::LEN as u64))?;
        let least = match self.length {
            Length::Within(_) => shape.db_size,
            Length::OfSnapshot => shape.snapshot_size(),
        };
        if size < least { Err(cut(shape.snapshot_size())) } else { Ok((size, shape)) }
    }
}
