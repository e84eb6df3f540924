//! Pages that are still to be checked, with the bounds of their keys.

/// Pages that are read together at most: their leaves are 1 GiB of an ordinary database.
const BATCH: usize = 256 * 1024;
/// Bytes of keys that are kept with them at most.
const KEYS: usize = 16 << 20;

/// Which tree a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TreeId {
    bucket: u16,
    key: bool,
}

impl TreeId {
    /// The bucket of buckets.
    pub(super) const ROOT: Self = Self { bucket: u16::MAX, key: false };

    pub(super) const fn new(bucket: u16, key: bool) -> Self {
        Self { bucket, key }
    }

    pub(super) fn is_root(self) -> bool {
        self == Self::ROOT
    }

    pub(super) const fn is_key(self) -> bool {
        self.key
    }

    pub(super) fn index(self) -> Option<usize> {
        (!self.is_root()).then_some(usize::from(self.bucket))
    }
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    const NONE: Self = Self { start: 0, len: 0 };
}

/// One page that is still to be checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item {
    pub(super) page: u64,
    pub(super) tree: TreeId,
    lower: Span,
    upper: Span,
}

/// Pages that are still to be checked. Keys are kept once: the lower bound of a page is the upper
/// bound of its left neighbour.
#[derive(Debug, Default)]
pub(super) struct Batch {
    items: Vec<Item>,
    keys: Vec<u8>,
    // The last page of the branch that is being added, whose upper bound is not known yet.
    open: bool,
}

impl Batch {
    pub(super) fn push(&mut self, page: u64, tree: TreeId, lower: Option<&[u8]>) {
        let lower = lower.map_or(Span::NONE, |key| self.keep(key));
        self.close(lower);
        self.items.push(Item { page, tree, lower, upper: Span::NONE });
        self.open = true;
    }

    /// A child that is not added still bounds its left neighbour.
    pub(super) fn skip(&mut self, lower: &[u8]) {
        if self.open {
            let lower = self.keep(lower);
            self.close(lower);
        }
    }

    pub(super) fn end_of_branch(&mut self, upper: Option<&[u8]>) {
        if self.open {
            let upper = upper.map_or(Span::NONE, |key| self.keep(key));
            self.close(upper);
        }
    }

    fn close(&mut self, upper: Span) {
        if let (true, Some(last)) = (self.open, self.items.last_mut()) {
            last.upper = upper;
        }
        self.open = false;
    }

    fn keep(&mut self, key: &[u8]) -> Span {
        let span = u32::try_from(self.keys.len()).ok().zip(u32::try_from(key.len()).ok());
        self.keys.extend_from_slice(key);
        span.map_or(Span::NONE, |(start, len)| Span { start, len })
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether the batch must be checked before more is added; items and keys may take `room` bytes
    /// each.
    pub(super) fn is_full(&self, room: usize) -> bool {
        self.items.len() >= BATCH.min(room / size_of::<Item>()) || self.keys.len() >= KEYS.min(room)
    }

    pub(super) fn get(&self, index: usize) -> Option<&Item> {
        self.items.get(index)
    }

    pub(super) fn pages(&self) -> Vec<u64> {
        self.items.iter().map(|item| item.page).collect()
    }

    /// The bounds of an item's keys: at least the first, below the second.
    pub(super) fn bounds(&self, item: &Item) -> (Option<&[u8]>, Option<&[u8]>) {
        (self.slice(item.lower), self.slice(item.upper))
    }

    fn slice(&self, span: Span) -> Option<&[u8]> {
        let start = usize::try_from(span.start).ok()?;
        let end = start.checked_add(usize::try_from(span.len).ok()?)?;
        self.keys.get(start..end).filter(|key| !key.is_empty())
    }
}

/// One bit for a page.
#[derive(Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    len: u64,
}

impl Bits {
    /// `len` is a number of pages that the file has been found to hold.
    pub(super) fn new(len: u64) -> Self {
        let words = usize::try_from(len.div_ceil(64)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], len }
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Sets a bit; false when it was set already.
    pub(super) fn set(&mut self, page: u64) -> bool {
        let index = usize::try_from(page / 64).unwrap_or(usize::MAX);
        let Some(word) = self.words.get_mut(index) else { return false };
        let bit = 1 << (page % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        fresh
    }

    /// Number of bits that are set.
    pub(super) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    pub(super) fn get(&self, page: u64) -> bool {
        let index = usize::try_from(page / 64).unwrap_or(usize::MAX);
        self.words.get(index).is_some_and(|word| word >> (page % 64) & 1 == 1)
    }
}
