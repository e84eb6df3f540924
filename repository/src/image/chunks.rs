//! The bytes of a snapshot file, whatever they come from.

use std::io;

use bytes::Bytes;

/// The bytes of a snapshot file, in order, in chunks. After the first error it is at its end.
pub struct PlainChunks {
    size: Option<u64>,
    inner: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
}

impl PlainChunks {
    pub(crate) fn new(
        size: Option<u64>,
        inner: impl Iterator<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self { size, inner: Box::new(inner) }
    }

    /// Number of bytes to come in all, where it is known beforehand.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.size
    }
}

impl Iterator for PlainChunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.inner.next()
    }
}

impl std::fmt::Debug for PlainChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlainChunks({:?})", self.size)
    }
}
