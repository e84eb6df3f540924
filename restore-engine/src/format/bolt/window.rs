//! Bytes that were read together: neighbouring pages cost one read.

use etcdr_schemas::ReadAt;

use super::page::MAX_LOGICAL_PAGE;
use super::read;
use crate::{Error, Result};

/// Bytes that are read at once where pages lie side by side.
pub(super) const WINDOW: u64 = 256 * 1024;
/// Pages that are not wanted, but read along rather than seeked over.
const GAP: u64 = 16;

/// Bytes that were read together.
#[derive(Debug, Default)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
    len: usize,
}

impl Window {
    pub(super) fn slice(&self, offset: u64, len: u64) -> Option<&[u8]> {
        let start = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.bytes.get(..self.len)?.get(start..end)
    }

    pub(super) fn fill<R: ReadAt>(&mut self, source: &R, offset: u64, len: u64) -> Result<()> {
        let len = usize::try_from(len)
            .map_err(|_| Error::Limit { what: "bytes in a page", limit: MAX_LOGICAL_PAGE })?;
        // One very large value must not keep its memory for the rest of the scan.
        if len as u64 <= WINDOW && self.bytes.len() as u64 > 4 * WINDOW {
            self.bytes = Vec::new();
        }
        if self.bytes.len() < len {
            self.bytes.resize(len, 0);
        }
        self.len = 0;
        read(source, self.bytes.get_mut(..len).unwrap_or_default(), offset)?;
        (self.start, self.len) = (offset, len);
        Ok(())
    }
}

/// How many pages from `first` on are worth reading together, when `following` come next.
pub(crate) fn run(first: u64, following: impl Iterator<Item = u64>) -> u64 {
    let limit = WINDOW / 1024;
    let mut last = first;
    for id in following {
        if id <= last || id - last > GAP || id - first >= limit {
            break;
        }
        last = id;
    }
    last - first + 1
}
