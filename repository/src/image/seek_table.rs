//! The seek table at the end of an image: where each zstd frame lies.
//!
//! Layout (zstd's contrib/seekable_format, all numbers little-endian): a skippable frame of magic
//! 0x184D2A5E and a length; for each frame its compressed and its plain size, 4 bytes each; a
//! footer of the number of frames (4 bytes), a descriptor (1 byte, 0 = no checksums) and magic
//! 0x8F92EAB1. The `zstd` program skips it. Each frame carries its own content checksum, so the
//! table needs none.

use crate::error::{Error, Result};

const SKIPPABLE_MAGIC: u32 = 0x184D_2A5E;
const SEEKABLE_MAGIC: u32 = 0x8F92_EAB1;
const HEADER: u64 = 8;
const ENTRY: u64 = 8;

/// Bytes of the footer, with which a reader begins.
pub(crate) const FOOTER: u64 = 9;

/// Plain bytes of every frame but the last that this version writes.
pub(crate) const FRAME_SIZE: u32 = 4 << 20;

/// Largest frame that is read: it bounds the memory that a hostile image can ask for.
pub(crate) const MAX_FRAME_SIZE: u32 = 16 << 20;

/// Largest number of frames: 4 TiB of frames as this version writes them.
pub(crate) const MAX_FRAMES: u32 = 1 << 20;

/// Sizes of one frame, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) packed: u32,
    pub(crate) plain: u32,
}

/// Frames in order. Built while sealing, validated while unsealing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SeekTable(Vec<Frame>);

/// What the manifest says about the frames; the table must agree with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Key of the image, for errors.
    pub(crate) key: &'a str,
    /// Plain bytes in total.
    pub(crate) plain_size: u64,
    /// Plain bytes of every frame but the last.
    pub(crate) frame_size: u32,
    /// Bytes of all frames and the table.
    pub(crate) packed_size: u64,
}

impl SeekTable {
    /// Notes one frame. `false` when the table is full.
    #[must_use]
    pub(crate) fn push(&mut self, frame: Frame) -> bool {
        let room = self.0.len() < MAX_FRAMES as usize;
        if room {
            self.0.push(frame);
        }
        room
    }

    pub(crate) fn frames(&self) -> &[Frame] {
        &self.0
    }

    /// The skippable frame.
    pub(crate) fn encode(&self) -> Vec<u8> {
        // At most MAX_FRAMES entries: the numbers fit.
        let count = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        let length = u64::from(count) * ENTRY + FOOTER;
        let mut bytes = Vec::with_capacity(self.0.len() * 8 + 17);
        bytes.extend(SKIPPABLE_MAGIC.to_le_bytes());
        bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        for frame in &self.0 {
            bytes.extend(frame.packed.to_le_bytes());
            bytes.extend(frame.plain.to_le_bytes());
        }
        bytes.extend(count.to_le_bytes());
        bytes.push(0);
        bytes.extend(SEEKABLE_MAGIC.to_le_bytes());
        bytes
    }

    /// Reads the footer: the size in bytes of the whole table, which ends the packed bytes.
    pub(crate) fn size_from_footer(footer: &[u8], expected: Expected<'_>) -> Result<u64> {
        let fail =
            |reason: &str| Err(Error::damaged(expected.key, format!("seek table: {reason}")));
        let (Some(count), Some(&descriptor), Some(magic)) =
            (u32_at(footer, 0), footer.get(4), u32_at(footer, 5))
        else {
            return fail("the footer is cut");
        };
        if magic != SEEKABLE_MAGIC {
            return fail("there is none at the end of the image");
        }
        if descriptor != 0 {
            return fail("a descriptor that this version does not write");
        }
        let wanted = expected.plain_size.div_ceil(u64::from(expected.frame_size.max(1)));
        if count > MAX_FRAMES || u64::from(count) != wanted {
            return fail("the number of frames does not fit the manifest");
        }
        let size = HEADER + u64::from(count) * ENTRY + FOOTER;
        if size > expected.packed_size { fail("it is larger than the image") } else { Ok(size) }
    }

    /// Reads the whole table and checks it against the manifest: this is what keeps a hostile image
    /// from unpacking to more than it says.
    pub(crate) fn parse(bytes: &[u8], expected: Expected<'_>) -> Result<Self> {
        let fail =
            |reason: &str| Err(Error::damaged(expected.key, format!("seek table: {reason}")));
        let length = (bytes.len() as u64).checked_sub(HEADER);
        let header = (u32_at(bytes, 0), u32_at(bytes, 4).map(u64::from));
        if length.is_none() || header != (Some(SKIPPABLE_MAGIC), length) {
            return fail("its header is not that of a skippable frame");
        }
        let entries = bytes.get(8..bytes.len().saturating_sub(9)).unwrap_or_default();
        let frames: Vec<Frame> = entries
            .chunks_exact(8)
            .filter_map(|entry| Some(Frame { packed: u32_at(entry, 0)?, plain: u32_at(entry, 4)? }))
            .collect();
        let packed: u64 = frames.iter().map(|frame| u64::from(frame.packed)).sum();
        let plain: u64 = frames.iter().map(|frame| u64::from(frame.plain)).sum();
        if packed.checked_add(bytes.len() as u64) != Some(expected.packed_size) {
            return fail("its frames do not fill the image");
        }
        if plain != expected.plain_size {
            return fail("its frames do not add up to the manifest's size");
        }
        let mut last_first = frames.iter().rev();
        let last_fits = last_first.next().is_none_or(|last| last.fits(1, expected.frame_size));
        let full = expected.frame_size;
        if !last_fits || !last_first.all(|frame| frame.fits(full, full)) {
            return fail("a frame has a size that no writer gives it");
        }
        Ok(Self(frames))
    }
}

impl Frame {
    /// Whether the plain size is in bounds and the packed one possible for it.
    fn fits(self, least: u32, most: u32) -> bool {
        let bound = zstd::zstd_safe::compress_bound(self.plain as usize);
        (least..=most).contains(&self.plain) && self.packed > 0 && self.packed as usize <= bound
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Frame = Frame { packed: 100, plain: 1000 };
    const LAST: Frame = Frame { packed: 50, plain: 10 };

    fn table() -> SeekTable {
        SeekTable(vec![FULL, FULL, LAST])
    }

    fn expected() -> Expected<'static> {
        Expected { key: "k", plain_size: 2010, frame_size: 1000, packed_size: 250 + 41 }
    }

    #[test]
    fn a_table_round_trips() {
        let bytes = table().encode();
        assert_eq!(bytes.len(), 41);
        let footer = &bytes[bytes.len() - 9..];
        assert_eq!(SeekTable::size_from_footer(footer, expected()).unwrap(), 41);
        assert_eq!(SeekTable::parse(&bytes, expected()).unwrap(), table());
    }

    #[test]
    fn every_flipped_byte_of_a_table_is_found() {
        let good = table().encode();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let footer = &bad[bad.len() - 9..];
            let found = SeekTable::size_from_footer(footer, expected())
                .and_then(|_| SeekTable::parse(&bad, expected()));
            assert!(found.is_err(), "byte {at}");
        }
        for cut in 0..good.len() {
            assert!(SeekTable::parse(&good[..cut], expected()).is_err(), "length {cut}");
        }
    }

    #[test]
    fn frames_that_add_up_but_hide_a_bomb_are_refused() {
        let bomb = SeekTable(vec![
            Frame { packed: 100, plain: 2000 },
            Frame { packed: 100, plain: 0 },
            LAST,
        ]);
        assert!(SeekTable::parse(&bomb.encode(), expected()).is_err());
        let fat = SeekTable(vec![
            Frame { packed: 199, plain: 1000 },
            Frame { packed: 1, plain: 1000 },
            LAST,
        ]);
        assert!(SeekTable::parse(&fat.encode(), expected()).is_ok());
        let fatter = Expected { packed_size: 5050 + 41, ..expected() };
        let fat = SeekTable(vec![Frame { packed: 4900, plain: 1000 }, FULL, LAST]);
        assert!(SeekTable::parse(&fat.encode(), fatter).is_err());
    }
}
