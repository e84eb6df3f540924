//! Keeps a few bytes of each page that streams by, so that the tree can be walked at the end.
//!
//! The pages on the way from the root to the last revision may stream by in any order, and free
//! pages cannot be distinguished from used ones. So each page that claims its own number leaves one
//! word: a branch its last child, a leaf of revisions its last one. Only the walk at the end shows
//! which of them count. Overflow pages are parsed like others, because the head that claims them
//! may itself be a free page; the walk never reaches their words.

use std::collections::{BTreeMap, HashMap};

use etcdr_schemas::Revision;

use super::words::{Word, Words};
use crate::format::bolt::page::{self, BRANCH, ELEMENT, HEADER, Header, LEAF, MAX_DEPTH, Node};
use crate::format::bolt::{Meta, Problem};
use crate::format::buckets;
use crate::format::facts::bucket_roots::{BucketRoots, KeyRoot, MetaRoot, read_markers};
use crate::format::facts::markers::{self, Markers};
use crate::format::facts::{ImageFacts, no_key};
use crate::format::mvcc::RowKey;
use crate::{Error, Result};

/// Leaves of bucket names or of markers that are remembered. Only old copies of them make it more
/// than two.
const MAX_CANDIDATES: usize = 16 * 1024;
/// Keys and elements behind the first page of their leaf that are waited for.
const MAX_AWAITED: usize = 64 * 1024;
/// Largest root page, with its overflow, that is kept whole. etcd's has less than 4 KiB.
const MAX_ROOT: u64 = 1 << 20;

/// A leaf that may turn out to be the one that is wanted.
#[derive(Debug, Clone)]
enum Candidate {
    /// It holds buckets: the roots of `key` and `meta`.
    Buckets(BucketRoots),
    /// It holds markers; none when they cannot be read.
    Markers(Option<Markers>),
}

/// Bytes of a leaf or branch that lie behind its first page.
#[derive(Debug)]
struct Awaited {
    page: u64,
    what: AwaitedPart,
    bytes: Vec<u8>,
    need: usize,
}

#[derive(Debug, Clone, Copy)]
enum AwaitedPart {
    BranchElement,
    LeafElement { at: u64, end: u64 },
    Key,
}

/// Collects words, page by page.
#[derive(Debug)]
pub(super) struct PageTracker {
    page_size: usize,
    high_water_mark: u64,
    root: u64,
    position: u64,
    partial: Vec<u8>,
    words: Words,
    awaited: BTreeMap<(u64, u64), Awaited>,
    candidates: HashMap<u64, Candidate>,
    root_bytes: Vec<u8>,
    root_size: usize,
}

impl PageTracker {
    pub(super) fn new(meta: &Meta) -> Self {
        Self {
            page_size: meta.page_size as usize,
            high_water_mark: meta.high_water_mark,
            root: meta.root,
            position: 0,
            partial: Vec::new(),
            words: Words::default(),
            awaited: BTreeMap::new(),
            candidates: HashMap::new(),
            root_bytes: Vec::new(),
            root_size: 0,
        }
    }

    pub(super) fn push(&mut self, mut data: &[u8]) {
        let mut page = self.position / self.page_size as u64;
        self.position += data.len() as u64;
        if !self.partial.is_empty() {
            let (head, rest) = data.split_at(data.len().min(self.page_size - self.partial.len()));
            self.partial.extend_from_slice(head);
            data = rest;
            if self.partial.len() < self.page_size {
                return;
            }
            let mut partial = std::mem::take(&mut self.partial);
            self.page(page, &partial);
            partial.clear();
            self.partial = partial;
            page += 1;
        }
        let mut pages = data.chunks_exact(self.page_size);
        for bytes in &mut pages {
            self.page(page, bytes);
            page += 1;
        }
        self.partial.extend_from_slice(pages.remainder());
    }

    /// Takes one page: `bytes` are all of it, but none of its overflow.
    fn page(&mut self, id: u64, bytes: &[u8]) {
        if !self.awaited.is_empty() {
            self.deliver(id, bytes);
        }
        let Some(header) = Header::parse(bytes) else { return };
        if id == self.root {
            let size = (u64::from(header.overflow) + 1) * self.page_size as u64;
            self.root_size = usize::try_from(size.min(MAX_ROOT)).unwrap_or_default();
        }
        if self.root_bytes.len() < self.root_size {
            self.root_bytes.extend_from_slice(bytes);
        }
        if header.id != id {
            return;
        }
        match (header.flags, header.count.checked_sub(1)) {
            (LEAF, None) => self.words.set(id, Word::Empty),
            (LEAF, Some(last)) => {
                self.leaf(id, &header, last, bytes);
                if header.overflow == 0 && self.candidates.len() < MAX_CANDIDATES {
                    self.candidate(id, bytes);
                }
            }
            (BRANCH, Some(last)) => {
                let at = HEADER + usize::from(last) * ELEMENT + 8;
                match page::u64_at(bytes, at) {
                    Some(child) => self.words.set(id, Word::Branch(child)),
                    None => self.wait(id, at as u64, 8, &header, AwaitedPart::BranchElement),
                }
            }
            _ => {}
        }
    }

    fn leaf(&mut self, id: u64, header: &Header, last: u16, bytes: &[u8]) {
        let at = HEADER + usize::from(last) * ELEMENT;
        let end = (u64::from(header.overflow) + 1) * self.page_size as u64;
        match bytes.get(at..at + ELEMENT) {
            Some(element) => self.leaf_element(id, at as u64, end, element, Some((header, bytes))),
            None => {
                let at = at as u64;
                self.wait(id, at, ELEMENT, header, AwaitedPart::LeafElement { at, end });
            }
        }
    }

    /// Follows the last element of a leaf to its key, in `page` if it is there, or waits for it.
    fn leaf_element(
        &mut self,
        id: u64,
        at: u64,
        end: u64,
        element: &[u8],
        page: Option<(&Header, &[u8])>,
    ) {
        let field = |offset| page::u32_at(element, offset);
        let (Some(flags), Some(pos), Some(ksize)) = (field(0), field(4), field(8)) else { return };
        let Ok(len) = usize::try_from(ksize) else { return };
        if flags != 0 || !(RowKey::LEN..=RowKey::LEN + 1).contains(&len) {
            return;
        }
        let start = at + u64::from(pos);
        if start + u64::from(ksize) > end {
            return;
        }
        let here = page.and_then(|(_, bytes)| {
            let start = usize::try_from(start).ok()?;
            bytes.get(start..start + len)
        });
        match here {
            Some(key) => self.key(id, key),
            None => self.await_at(id, start, len, AwaitedPart::Key),
        }
    }

    fn key(&mut self, id: u64, key: &[u8]) {
        if let Some(row) = RowKey::parse(key) {
            self.words.set(id, Word::Leaf(u64::try_from(row.main.0).unwrap_or_default()));
        }
    }

    fn wait(&mut self, id: u64, at: u64, need: usize, header: &Header, what: AwaitedPart) {
        let end = (u64::from(header.overflow) + 1) * self.page_size as u64;
        if at + need as u64 <= end {
            self.await_at(id, at, need, what);
        }
    }

    /// Waits for bytes `at` of the logical page `id`.
    fn await_at(&mut self, id: u64, at: u64, need: usize, what: AwaitedPart) {
        let offset = id * self.page_size as u64 + at;
        if self.awaited.len() < MAX_AWAITED {
            let bytes = Vec::with_capacity(need);
            self.awaited.insert((offset, id), Awaited { page: id, what, bytes, need });
        }
    }

    /// Gives the awaited bytes of page `id` to those that wait for them.
    fn deliver(&mut self, id: u64, bytes: &[u8]) {
        let start = id * self.page_size as u64;
        let end = start + bytes.len() as u64;
        while let Some(entry) = self.awaited.first_entry() {
            if entry.key().0 >= end {
                return;
            }
            let ((offset, _), mut awaited) = entry.remove_entry();
            let at = usize::try_from(offset.saturating_sub(start)).unwrap_or_default();
            let rest = bytes.get(at..).unwrap_or_default();
            let part = rest.len().min(awaited.need - awaited.bytes.len());
            awaited.bytes.extend_from_slice(rest.get(..part).unwrap_or_default());
            if awaited.bytes.len() < awaited.need {
                self.awaited.insert((end, awaited.page), awaited);
            } else {
                self.arrived(&awaited);
            }
        }
    }

    fn arrived(&mut self, awaited: &Awaited) {
        match awaited.what {
            AwaitedPart::Key => self.key(awaited.page, &awaited.bytes),
            AwaitedPart::LeafElement { at, end } => {
                self.leaf_element(awaited.page, at, end, &awaited.bytes, None);
            }
            AwaitedPart::BranchElement => {
                if let Some(child) = page::u64_at(&awaited.bytes, 0) {
                    self.words.set(awaited.page, Word::Branch(child));
                }
            }
        }
    }

    /// Keeps what a leaf says that holds buckets or markers.
    fn candidate(&mut self, id: u64, bytes: &[u8]) {
        let Ok(node) = Node::parse(bytes) else { return };
        let Ok(first) = node.row(0) else { return };
        if first.flags == page::BUCKET_FLAG {
            let mut roots = BucketRoots::default();
            if roots.add(id, node).is_ok() {
                self.candidates.insert(id, Candidate::Buckets(roots));
            }
        } else if markers::NAMES.contains(&first.key) || first.key == buckets::meta::CONF_STATE {
            self.candidates.insert(id, Candidate::Markers(read_markers(node).ok()));
        }
    }

    /// Walks from the root to the last revision and the markers, when all pages have been seen.
    pub(super) fn facts(&self, meta: &Meta, db_size: u64) -> Result<ImageFacts> {
        let roots = self.bucket_roots()?;
        let last_row = match roots.key.ok_or_else(no_key)? {
            KeyRoot::Inline(revision) => revision,
            KeyRoot::Page(root) => self.last_revision(root)?,
        };
        let markers = match roots.meta {
            None => Markers::default(),
            Some(MetaRoot::Inline(markers)) => markers,
            Some(MetaRoot::Page(id)) => match (self.candidates.get(&id), self.words.get(id)) {
                (Some(Candidate::Markers(Some(markers))), _) => markers.clone(),
                (None, Word::Empty) => Markers::default(),
                _ => return Err(self.lost(id)),
            },
        };
        Ok(ImageFacts::new(meta.page_size, db_size, last_row, markers))
    }

    fn bucket_roots(&self) -> Result<BucketRoots> {
        let damaged = |problem| self.error(self.root, problem);
        let header = Header::parse(&self.root_bytes).ok_or_else(|| self.lost(self.root))?;
        if header.id != self.root {
            return Err(damaged(Problem::WrongId(header.id)));
        }
        let node = Node::parse(&self.root_bytes).map_err(damaged)?;
        let mut roots = BucketRoots::default();
        if node.is_leaf() {
            roots.add(self.root, node)?;
            return Ok(roots);
        }
        for child in node.children() {
            let id = child.map_err(damaged)?.child;
            match self.candidates.get(&id) {
                Some(Candidate::Buckets(more)) => {
                    roots.key = roots.key.or_else(|| more.key.clone());
                    roots.meta = roots.meta.or_else(|| more.meta.clone());
                }
                _ => return Err(self.lost(id)),
            }
        }
        Ok(roots)
    }

    fn last_revision(&self, root: u64) -> Result<Option<Revision>> {
        let mut id = root;
        for _ in 0..MAX_DEPTH {
            if !(2..self.high_water_mark).contains(&id) {
                return Err(self.error(id, Problem::Range(self.high_water_mark)));
            }
            match self.words.get(id) {
                Word::Branch(child) => id = child,
                Word::Leaf(main) => return Ok(i64::try_from(main).ok().map(Revision)),
                Word::Empty if id == root => return Ok(None),
                Word::Empty => return Err(self.error(id, Problem::Empty)),
                Word::Nothing => return Err(self.lost(id)),
            }
        }
        Err(self.error(id, Problem::Depth(MAX_DEPTH)))
    }

    fn lost(&self, page: u64) -> Error {
        self.error(page, Problem::Lost)
    }

    fn error(&self, page: u64, problem: Problem) -> Error {
        Error::Page { page, offset: page.saturating_mul(self.page_size as u64), problem }
    }
}
