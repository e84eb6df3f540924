//! The layers of an image from the outside in, for reading: stored bytes, age, packed bytes.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use age::stream::StreamReader;
use bytes::Bytes;
use etcdr_schemas::manifest::{Encryption, Image};
use tokio::runtime::Handle;

use crate::bridge;
use crate::error::Result;
use crate::keys::Identities;
use crate::store::fetch::Object;

/// Largest age header that is read. One recipient takes some 150 bytes, a post-quantum one 2 KiB.
const MAX_HEADER: u64 = 1 << 20;

/// What the packed bytes (frames and seek table) are read through.
pub(crate) enum PackedReader<R> {
    Age(Box<StreamReader<HeaderLimit<R>>>),
    Plain(R),
}

impl<R: Read> PackedReader<R> {
    /// Opens the outermost layer of `image`.
    pub(crate) fn open(image: &Image, identities: &Identities, stored: R) -> Result<Self> {
        let Some(Encryption::Age { recipients }) = &image.codec.encryption else {
            return Ok(Self::Plain(stored));
        };
        let left = Arc::new(AtomicU64::new(MAX_HEADER));
        let limited = HeaderLimit { inner: stored, left: Arc::clone(&left) };
        let reader = identities.decrypt(limited, &image.key, recipients)?;
        // The header is read. From here on age works chunk by chunk, so no limit is needed.
        left.store(u64::MAX, Ordering::Relaxed);
        Ok(Self::Age(Box::new(reader)))
    }
}

impl<R: Read> Read for PackedReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Age(reader) => reader.read(buf),
            Self::Plain(reader) => reader.read(buf),
        }
    }
}

impl<R: Read + Seek> Seek for PackedReader<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Age(reader) => reader.seek(to),
            Self::Plain(reader) => reader.seek(to),
        }
    }
}

/// Ends a header that never ends: age reads on until it has one, into memory.
pub(crate) struct HeaderLimit<R> {
    inner: R,
    left: Arc<AtomicU64>,
}

impl<R: Read> Read for HeaderLimit<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the age header never ends"));
        }
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        let read = self.inner.read(buf.get_mut(..room).unwrap_or_default())?;
        if left != u64::MAX {
            self.left.store(left.saturating_sub(read as u64), Ordering::Relaxed);
        }
        Ok(read)
    }
}

impl<R: Seek> Seek for HeaderLimit<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// An object as a blocking, seekable file with one window of read-ahead.
pub(crate) struct ObjectReader {
    object: Object,
    handle: Handle,
    position: u64,
    window: Bytes,
    window_at: u64,
    ahead: Arc<AtomicU64>,
}

impl ObjectReader {
    /// `ahead` is how many bytes a read that misses the window asks for; it can be changed while
    /// the reader is deep inside other layers.
    pub(crate) fn new(object: Object, handle: Handle, ahead: Arc<AtomicU64>) -> Self {
        Self { object, handle, position: 0, window: Bytes::new(), window_at: 0, ahead }
    }

    /// The part of the window from the current position on.
    fn ready(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.window_at);
        let skip = skip.and_then(|skip| usize::try_from(skip).ok()).unwrap_or(usize::MAX);
        self.window.get(skip..).unwrap_or_default()
    }

    fn load(&mut self, wanted: usize) -> Result<()> {
        let ahead = self.ahead.load(Ordering::Relaxed).max(wanted as u64);
        let range = self.position..self.position.saturating_add(ahead).min(self.object.size());
        let object = self.object.clone();
        // The old window goes first: two would double the memory.
        self.window = Bytes::new();
        self.window_at = range.start;
        self.window = bridge::wait(&self.handle, async move { object.range(range).await })?;
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.object.size() || buf.is_empty() {
            return Ok(0);
        }
        if self.ready().is_empty() {
            self.load(buf.len()).map_err(crate::Error::into_io)?;
        }
        let ready = self.ready();
        let count = ready.len().min(buf.len());
        for (to, from) in buf.iter_mut().zip(ready) {
            *to = *from;
        }
        self.position = self.position.saturating_add(count as u64);
        Ok(count)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.object.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
