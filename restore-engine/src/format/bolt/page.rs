//! Layout of a page, and bounds-checked reading of its elements.
//!
//! A logical page is one page plus its overflow pages. It starts with a 16 byte header, then come
//! 16 byte elements, then keys and values. Inline buckets hold the same image at any alignment, so
//! numbers are always copied out of the bytes.

use super::Problem;

/// Bytes of the header of a page.
pub const HEADER: usize = 16;
/// Bytes of an element of a branch or a leaf.
pub const ELEMENT: usize = 16;
/// Smallest page that we read, in bytes.
pub const MIN_PAGE_SIZE: u32 = 1024;
/// Largest page that a supported machine has, in bytes.
pub const MAX_PAGE_SIZE: u32 = 64 * 1024;
/// More bytes than any logical page that etcd can write: its requests are far smaller.
pub const MAX_LOGICAL_PAGE: u64 = 128 << 20;
/// More levels than any tree that fits on a disk.
pub const MAX_DEPTH: u32 = 64;
/// bbolt's own limit of a key, in bytes.
pub const MAX_KEY: u32 = 32768;
/// Bytes of the header of a bucket's value: root page and sequence.
pub const BUCKET_HEADER: usize = 16;

/// Page flags, as bbolt numbers them.
pub const BRANCH: u16 = 0x01;
/// See [`BRANCH`].
pub const LEAF: u16 = 0x02;
/// See [`BRANCH`].
pub const META: u16 = 0x04;
/// See [`BRANCH`].
pub const FREELIST: u16 = 0x10;
/// Flag of a leaf element whose value is a bucket.
pub const BUCKET_FLAG: u32 = 0x01;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let raw = bytes.get(at..at.checked_add(2)?)?;
    raw.try_into().ok().map(u16::from_le_bytes)
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let raw = bytes.get(at..at.checked_add(4)?)?;
    raw.try_into().ok().map(u32::from_le_bytes)
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let raw = bytes.get(at..at.checked_add(8)?)?;
    raw.try_into().ok().map(u64::from_le_bytes)
}

/// Header of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Own page number; 0 in an inline bucket.
    pub id: u64,
    /// One of the page flags.
    pub flags: u16,
    /// Number of elements.
    pub count: u16,
    /// Number of pages that follow and belong to this one.
    pub overflow: u32,
}

impl Header {
    /// Reads the first 16 bytes of `page`; `None` when there are fewer.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        Some(Self {
            id: u64_at(page, 0)?,
            flags: u16_at(page, 8)?,
            count: u16_at(page, 10)?,
            overflow: u32_at(page, 12)?,
        })
    }

    /// The 16 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..10].copy_from_slice(&self.flags.to_le_bytes());
        bytes[10..12].copy_from_slice(&self.count.to_le_bytes());
        bytes[12..].copy_from_slice(&self.overflow.to_le_bytes());
        bytes
    }
}

/// One row, or one bucket, of a leaf.
#[derive(Debug, Clone, Copy)]
pub struct LeafElement<'a> {
    /// [`BUCKET_FLAG`] or 0.
    pub flags: u32,
    /// The key, 1 to [`MAX_KEY`] bytes.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// One child of a branch.
#[derive(Debug, Clone, Copy)]
pub struct BranchElement<'a> {
    /// Lower bound of the child's keys.
    pub key: &'a [u8],
    /// The child's page number, not checked yet.
    pub child: u64,
}

/// A logical page that is a branch or a leaf.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    bytes: &'a [u8],
    header: Header,
}

impl<'a> Node<'a> {
    /// Takes the bytes of a whole logical page.
    ///
    /// # Errors
    /// When it is neither branch nor leaf, or has no room for its elements.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Problem> {
        let header = Header::parse(bytes).ok_or(Problem::Element(0))?;
        if header.flags != BRANCH && header.flags != LEAF {
            return Err(Problem::Kind(header.flags));
        }
        if HEADER + usize::from(header.count) * ELEMENT > bytes.len() {
            return Err(Problem::Element(header.count));
        }
        Ok(Self { bytes, header })
    }

    /// Bytes of the logical page.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The whole logical page.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Number of elements.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.header.count
    }

    /// Whether it is a leaf; a branch otherwise.
    #[must_use]
    pub const fn is_leaf(&self) -> bool {
        self.header.flags == LEAF
    }

    /// The rows of a leaf, in stored order, ending at the first defect.
    pub fn rows(self) -> impl Iterator<Item = Result<LeafElement<'a>, Problem>> {
        let mut end = self.data_start();
        (0..self.header.count).map(move |index| self.row_after(index, &mut end))
    }

    /// The children of a branch, in stored order.
    pub fn children(self) -> impl Iterator<Item = Result<BranchElement<'a>, Problem>> {
        let mut end = self.data_start();
        (0..self.header.count).map(move |index| self.child_after(index, &mut end))
    }

    /// One row of a leaf.
    ///
    /// # Errors
    /// When it points outside the page, or its key has an impossible length.
    pub fn row(&self, index: u16) -> Result<LeafElement<'a>, Problem> {
        self.row_after(index, &mut self.data_start())
    }

    /// One child of a branch.
    ///
    /// # Errors
    /// See [`Self::row`].
    pub fn child(&self, index: u16) -> Result<BranchElement<'a>, Problem> {
        self.child_after(index, &mut self.data_start())
    }

    /// Whether its elements' `data` bytes of keys and values lie side by side behind the elements,
    /// as every bbolt writes them. A count or a length that was changed leaves a gap.
    pub(crate) fn is_dense(&self, data: usize) -> bool {
        match self.header.count {
            // Nothing was ever behind the header of an empty page.
            0 => self.bytes.iter().skip(HEADER).all(|byte| *byte == 0),
            _ => self.data_end() == self.data_start() + data,
        }
    }

    /// Whether the last element's data ends where the page does, as in an inline bucket.
    pub(crate) fn is_exact(&self) -> bool {
        self.data_end() == self.bytes.len()
    }

    /// Where the last element says that its data ends.
    fn data_end(&self) -> usize {
        let Some(last) = self.header.count.checked_sub(1) else { return HEADER };
        let last = HEADER + usize::from(last) * ELEMENT;
        let field = |offset| u32_at(self.bytes, last + offset).map_or(0, |field| field as usize);
        match self.is_leaf() {
            true => last + field(4) + field(8) + field(12),
            false => last + field(0) + field(4),
        }
    }

    fn data_start(&self) -> usize {
        HEADER + usize::from(self.header.count) * ELEMENT
    }

    // `end` is where the data of the element before ended. bbolt writes them one after the other;
    // insisting on it stops a small page from claiming the same large bytes many times.
    fn row_after(&self, index: u16, end: &mut usize) -> Result<LeafElement<'a>, Problem> {
        let bad = Problem::Element(index);
        let at = self.element(index).ok_or(bad)?;
        let field = |offset| u32_at(self.bytes, at + offset).ok_or(bad);
        let (flags, pos, ksize, vsize) = (field(0)?, field(4)?, field(8)?, field(12)?);
        let key = self.data(index, at, pos, ksize, end)?;
        let value = self.slice(*end, vsize).ok_or(bad)?;
        *end += value.len();
        Ok(LeafElement { flags, key, value })
    }

    fn child_after(&self, index: u16, end: &mut usize) -> Result<BranchElement<'a>, Problem> {
        let bad = Problem::Element(index);
        let at = self.element(index).ok_or(bad)?;
        let pos = u32_at(self.bytes, at).ok_or(bad)?;
        let ksize = u32_at(self.bytes, at + 4).ok_or(bad)?;
        let child = u64_at(self.bytes, at + 8).ok_or(bad)?;
        Ok(BranchElement { key: self.data(index, at, pos, ksize, end)?, child })
    }

    fn element(&self, index: u16) -> Option<usize> {
        (index < self.header.count).then(|| HEADER + usize::from(index) * ELEMENT)
    }

    fn data(
        &self,
        index: u16,
        at: usize,
        pos: u32,
        ksize: u32,
        end: &mut usize,
    ) -> Result<&'a [u8], Problem> {
        if ksize == 0 || ksize > MAX_KEY {
            return Err(Problem::KeySize { index, size: ksize });
        }
        let start = usize::try_from(pos).ok().and_then(|pos| at.checked_add(pos));
        let start = start.filter(|start| *start >= *end).ok_or(Problem::Element(index))?;
        let key = self.slice(start, ksize).ok_or(Problem::Element(index))?;
        *end = start + key.len();
        Ok(key)
    }

    fn slice(&self, start: usize, len: u32) -> Option<&'a [u8]> {
        let end = start.checked_add(usize::try_from(len).ok()?)?;
        self.bytes.get(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A leaf from a real server: bucket `auth` of a fresh cluster, inline (docs/etcd-formats.md
    // 1.6).
    const AUTH: &[u8] = b"\0\0\0\0\0\0\0\0\x02\0\x01\0\0\0\0\0\
        \0\0\0\0\x10\0\0\0\x0c\0\0\0\x08\0\0\0authRevision\0\0\0\0\0\0\0\x07";

    #[test]
    fn a_real_inline_page_parses() {
        let node = Node::parse(AUTH).unwrap();
        let row = node.row(0).unwrap();
        assert_eq!((row.flags, row.key), (0, b"authRevision".as_slice()));
        assert_eq!(row.value, 7u64.to_be_bytes());
        assert_eq!(node.row(1).unwrap_err(), Problem::Element(1));
    }

    #[test]
    fn hostile_elements_are_refused() {
        let cases: [(usize, u8, Problem); 5] = [
            (8, 0x10, Problem::Kind(0x10)),
            (10, 9, Problem::Element(9)),
            (20, 0x0f, Problem::Element(0)),
            (24, 0, Problem::KeySize { index: 0, size: 0 }),
            (28, 9, Problem::Element(0)),
        ];
        for (at, value, want) in cases {
            let mut bytes = AUTH.to_vec();
            bytes[at] = value;
            let got = Node::parse(&bytes).and_then(|node| node.row(0).map(|_| ()));
            assert_eq!(got.unwrap_err(), want, "byte {at} = {value}");
        }
    }

    #[test]
    fn elements_that_share_their_bytes_are_refused() {
        let mut bytes = vec![0; 64];
        bytes[8] = 2;
        bytes[10] = 2;
        for (element, pos) in [(16, 32), (32, 16)] {
            bytes[element + 4] = pos;
            bytes[element + 8] = 4;
            bytes[element + 12] = 4;
        }
        let node = Node::parse(&bytes).unwrap();
        assert!(node.row(1).is_ok());
        assert_eq!(node.rows().nth(1).unwrap().unwrap_err(), Problem::Element(1));
    }
}
