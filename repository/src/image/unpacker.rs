//! Single frames, decompressed within the bounds that a checked seek table sets.

use crate::error::{Error, Result};

/// Decompresses single frames to exactly the size that the seek table gives.
pub(crate) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        zstd::bulk::Decompressor::new().map(Self).map_err(Error::Compress)
    }

    /// Replaces the content of `out`. zstd writes no byte beyond the capacity, which is bounded: it
    /// is that of some frame of a checked seek table.
    pub(crate) fn unpack(
        &mut self,
        key: &str,
        packed: &[u8],
        plain: u32,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        out.reserve_exact(plain as usize);
        let done = self.0.decompress_to_buffer(packed, out);
        done.map_err(|error| Error::damaged(key, format!("a frame does not unpack: {error}")))?;
        if out.len() == plain as usize {
            return Ok(());
        }
        let reason = format!("a frame unpacks to {} bytes instead of {plain}", out.len());
        Err(Error::damaged(key, reason))
    }
}
