//! Rows in key order become the pages of one tree, bottom up.
//!
//! A page is written when it is full, so a tree takes the memory of one page for each of its
//! levels. Both [`super::writer`] and [`super::patch`] build with it.

use std::io::Write;

use super::page::{
    BRANCH, BUCKET_HEADER, ELEMENT, HEADER, Header, LEAF, MAX_KEY, MAX_LOGICAL_PAGE, MAX_PAGE_SIZE,
};
use crate::format::buckets::display;
use crate::{Error, Result};

/// Pages over which a leaf may grow for the sake of its last one.
const MAX_GROWN_PAGES: usize = 8;

/// Writes pages one after the other and numbers them.
#[derive(Debug)]
pub(crate) struct PageOut<W> {
    out: W,
    page_size: usize,
    next: u64,
    buffer: Vec<u8>,
}

impl<W: Write> PageOut<W> {
    /// `out` must be positioned where page `next` begins.
    pub(crate) fn new(out: W, page_size: u32, next: u64) -> Self {
        Self { out, page_size: page_size as usize, next, buffer: Vec::new() }
    }

    pub(crate) const fn page_size(&self) -> usize {
        self.page_size
    }

    /// Number of the first page that was not written.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    /// Writes one logical page and returns its number.
    fn emit(&mut self, flags: u16, entries: &Entries) -> Result<u64> {
        let id = self.next;
        let pages = entries.encoded_len().div_ceil(self.page_size);
        let overflow = u32::try_from(pages - 1)
            .map_err(|_| Error::Limit { what: "bytes in a page", limit: MAX_LOGICAL_PAGE })?;
        self.buffer.clear();
        entries.encode(&mut self.buffer, Header { id, flags, count: entries.count(), overflow });
        self.buffer.resize(pages * self.page_size, 0);
        self.out.write_all(&self.buffer).map_err(|source| Error::Write { page: id, source })?;
        self.next = id + pages as u64;
        // One huge value must not keep its memory.
        self.buffer.shrink_to(4 * self.page_size);
        Ok(id)
    }
}

/// The elements of a page that is being built.
#[derive(Debug, Default)]
struct Entries {
    elements: Vec<Entry>,
    data: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    start: usize,
    ksize: u32,
    vsize: u32,
    // The bucket flag of a leaf's element, the page number of a branch's.
    tag: u64,
}

impl Entries {
    fn push(&mut self, tag: u64, key: &[u8], value: &[u8]) -> Result<()> {
        let size = |bytes: &[u8]| u32::try_from(bytes.len()).ok();
        let limit = Error::Limit { what: "bytes in a row", limit: MAX_LOGICAL_PAGE };
        let (Some(ksize), Some(vsize)) = (size(key), size(value)) else { return Err(limit) };
        let start = self.data.len();
        let len = self.encoded_len() + ELEMENT + key.len() + value.len();
        if len as u64 > MAX_LOGICAL_PAGE - u64::from(MAX_PAGE_SIZE) {
            return Err(limit);
        }
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
        self.elements.push(Entry { start, ksize, vsize, tag });
        Ok(())
    }

    fn count(&self) -> u16 {
        u16::try_from(self.elements.len()).unwrap_or(u16::MAX)
    }

    fn encoded_len(&self) -> usize {
        HEADER + self.elements.len() * ELEMENT + self.data.len()
    }

    /// Whether the leaf must be written before a row of `row` bytes is added. A leaf whose last
    /// page would stay mostly empty takes the row all the same and grows by more pages: rows of a
    /// page and a half would otherwise waste a quarter of the file.
    fn is_full(&self, row: usize, page_size: usize) -> bool {
        let used = self.encoded_len();
        let pages = used.div_ceil(page_size);
        let room = pages * page_size;
        let waste = room - used;
        self.count() > 0
            && !self.fits(row, room)
            && (waste <= room / 8 || pages >= MAX_GROWN_PAGES || !self.fits(row, usize::MAX))
    }

    fn fits(&self, row: usize, limit: usize) -> bool {
        self.encoded_len() + ELEMENT + row <= limit
            && self.elements.len() < usize::from(u16::MAX - 1)
    }

    /// Takes the last element out: its tag and key.
    fn pop(&mut self) -> Option<(u64, Vec<u8>)> {
        let entry = self.elements.pop()?;
        let key = self.data.split_off(entry.start);
        Some((entry.tag, key))
    }

    fn first_key(&self) -> Vec<u8> {
        let end = self.elements.first().map_or(0, |entry| entry.ksize as usize);
        self.data.get(..end).unwrap_or_default().to_vec()
    }

    fn clear(&mut self) {
        self.elements.clear();
        self.data.clear();
        self.data.shrink_to(MAX_PAGE_SIZE as usize);
    }

    fn encode(&self, out: &mut Vec<u8>, header: Header) {
        out.extend_from_slice(&header.encode());
        for (index, entry) in self.elements.iter().enumerate() {
            // An element gives the distance from its own start to its key, not an offset in the
            // page.
            let pos = (self.elements.len() - index) * ELEMENT + entry.start;
            let pos = u32::try_from(pos).unwrap_or(u32::MAX).to_le_bytes();
            if header.flags == LEAF {
                let flags = u32::try_from(entry.tag).unwrap_or_default();
                out.extend_from_slice(&flags.to_le_bytes());
                out.extend_from_slice(&pos);
                out.extend_from_slice(&entry.ksize.to_le_bytes());
                out.extend_from_slice(&entry.vsize.to_le_bytes());
            } else {
                out.extend_from_slice(&pos);
                out.extend_from_slice(&entry.ksize.to_le_bytes());
                out.extend_from_slice(&entry.tag.to_le_bytes());
            }
        }
        out.extend_from_slice(&self.data);
    }
}

/// Builds one tree from rows in key order. `levels[0]` is the leaf that is being built, the next
/// levels are branches.
#[derive(Debug, Default)]
pub(crate) struct TreeBuilder {
    levels: Vec<Entries>,
    last: Vec<u8>,
}

/// A finished tree.
pub(crate) enum Tree {
    /// Its only leaf, not written: the page image that an inline bucket holds.
    Inline(Vec<u8>),
    /// Its root page.
    Page(u64),
}

impl TreeBuilder {
    /// Adds a row; `flag` is [`BUCKET_FLAG`] or 0.
    pub(crate) fn push<W: Write>(
        &mut self,
        out: &mut PageOut<W>,
        flag: u32,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), RowError> {
        if key.is_empty() || key.len() > MAX_KEY as usize {
            return Err(RowError::Row("a key is empty or too long"));
        }
        if !self.last.is_empty() && key <= self.last.as_slice() {
            return Err(RowError::Row("keys are not in strictly ascending order"));
        }
        key.clone_into(&mut self.last);
        if self.levels.is_empty() {
            self.levels.push(Entries::default());
        }
        let row = key.len() + value.len();
        if self.levels.first().is_some_and(|leaf| leaf.is_full(row, out.page_size())) {
            self.flush(out, 0)?;
        }
        if let Some(leaf) = self.levels.first_mut() {
            leaf.push(u64::from(flag), key, value)?;
        }
        Ok(())
    }

    /// Requires the next rows to be above `key`.
    pub(crate) fn resume_after(&mut self, key: Vec<u8>) {
        self.last = key;
    }

    /// Writes what is left and returns the root. A tree that fits into `inline` bytes is not
    /// written but returned as a page image.
    pub(crate) fn finish<W: Write>(mut self, out: &mut PageOut<W>, inline: usize) -> Result<Tree> {
        if self.levels.is_empty() {
            self.levels.push(Entries::default());
        }
        if let [leaf] = self.levels.as_slice()
            && leaf.encoded_len() <= inline
        {
            let mut image = Vec::new();
            let header = Header { id: 0, flags: LEAF, count: leaf.count(), overflow: 0 };
            leaf.encode(&mut image, header);
            return Ok(Tree::Inline(image));
        }
        let mut level = 0;
        loop {
            let top = level + 1 == self.levels.len();
            let Some(entries) = self.levels.get(level) else { break };
            if top {
                // A branch with one child is not a root: the child is.
                if level > 0
                    && let [only] = entries.elements.as_slice()
                {
                    return Ok(Tree::Page(only.tag));
                }
                let flags = if level == 0 { LEAF } else { BRANCH };
                return out.emit(flags, entries).map(Tree::Page);
            }
            if entries.count() > 0 {
                self.flush(out, level)?;
            }
            level += 1;
        }
        Err(Error::Limit { what: "levels in a tree", limit: 64 })
    }

    /// Writes the page that is being built at `level` and links it into its parent.
    fn flush<W: Write>(&mut self, out: &mut PageOut<W>, level: usize) -> Result<()> {
        let Some(entries) = self.levels.get_mut(level) else { return Ok(()) };
        let id = out.emit(if level == 0 { LEAF } else { BRANCH }, entries)?;
        let key = entries.first_key();
        entries.clear();
        self.link(out, level + 1, id, &key)
    }

    /// Adds a child to the branch that is being built at `level`, 1 or higher. To continue a tree
    /// that exists, link what is left of its right edge, highest level first.
    pub(crate) fn link<W: Write>(
        &mut self,
        out: &mut PageOut<W>,
        level: usize,
        child: u64,
        key: &[u8],
    ) -> Result<()> {
        while self.levels.len() <= level {
            self.levels.push(Entries::default());
        }
        let limit = out.page_size();
        let Some(branch) = self.levels.get_mut(level) else { return Ok(()) };
        // A branch gets at least two children, even with keys as large as a page. It leaves its
        // last child to its right neighbour, so that the neighbour has two as well.
        if branch.count() > 2 && !branch.fits(key.len(), limit) {
            let kept = branch.pop();
            self.flush(out, level)?;
            if let (Some((id, kept)), Some(branch)) = (kept, self.levels.get_mut(level)) {
                branch.push(id, &kept, &[])?;
            }
        }
        match self.levels.get_mut(level) {
            Some(branch) => branch.push(child, key, &[]),
            None => Ok(()),
        }
    }
}

/// Why a row was not taken.
pub(crate) enum RowError {
    Row(&'static str),
    Other(Error),
}

impl From<Error> for RowError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl RowError {
    pub(crate) fn in_bucket(self, name: &[u8]) -> Error {
        match self {
            Self::Row(problem) => Error::Rows { bucket: display(name), problem },
            Self::Other(error) => error,
        }
    }
}

/// The value of a bucket in the bucket of buckets.
pub(crate) fn bucket_value(tree: &Tree) -> Vec<u8> {
    let (root, image) = match tree {
        Tree::Inline(image) => (0, image.as_slice()),
        Tree::Page(id) => (*id, [].as_slice()),
    };
    let mut value = Vec::with_capacity(BUCKET_HEADER + image.len());
    value.extend_from_slice(&root.to_le_bytes());
    value.extend_from_slice(&0u64.to_le_bytes());
    value.extend_from_slice(image);
    value
}

/// Largest image of an inline bucket, in bytes: bbolt inlines up to a quarter of a page.
pub(crate) const fn inline_limit(page_size: usize) -> usize {
    page_size / 4
}
