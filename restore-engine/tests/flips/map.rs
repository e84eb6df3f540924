//! What each byte of a sound database is.

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::page::{
    BUCKET_FLAG, BUCKET_HEADER, ELEMENT, FREELIST, HEADER, Header, LEAF, Node,
};

/// Kinds of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Magic, version, numbers and checksum of a meta page.
    Meta,
    /// Number and flags in the header of a meta page.
    MetaHeader,
    /// The rest of a meta page's header, which no reader uses.
    MetaUnread,
    /// Free pages, what follows the last element's data, what follows a meta.
    Unused,
    /// Number in the header of a page.
    PageId,
    /// Its flags, in a page or an inline bucket.
    PageFlags,
    /// Its count, in a page or an inline bucket.
    Count,
    /// Its overflow.
    Overflow,
    /// Flags of a leaf's element.
    ElementFlags,
    /// Positions and sizes, except those below.
    Element,
    /// Sizes of the last row of a page: what follows them is unused, so nothing shows that they are
    /// wrong.
    LastSize,
    /// Size of the last key of a branch.
    LastBranchKeySize,
    /// Number of a child, or of a bucket's root.
    Child,
    /// A key in a branch.
    BranchKey,
    /// A key of a row, and a bucket's name.
    Key,
    /// A value of a row.
    Value,
    /// Sequence of a bucket, which etcd does not use.
    Sequence,
    /// Number and overflow in the header of an inline page, which mean nothing there.
    InlineUnread,
    /// Sizes of the last row of an inline page: the value around it ends there.
    InlineEnd,
    /// A freelist: its count and its page numbers.
    Freelist,
}

impl Kind {
    pub(crate) const ALL: [Self; 20] = [
        Self::Meta,
        Self::MetaHeader,
        Self::MetaUnread,
        Self::Unused,
        Self::PageId,
        Self::PageFlags,
        Self::Count,
        Self::Overflow,
        Self::ElementFlags,
        Self::Element,
        Self::LastSize,
        Self::LastBranchKeySize,
        Self::Child,
        Self::BranchKey,
        Self::Key,
        Self::Value,
        Self::Sequence,
        Self::InlineUnread,
        Self::InlineEnd,
        Self::Freelist,
    ];
}

/// A file whose bytes are being classified.
struct Map<'a> {
    bytes: &'a [u8],
    page_size: usize,
    kinds: Vec<Kind>,
}

/// What each byte up to the end of the file is.
pub(crate) fn map(bytes: &[u8]) -> Vec<Kind> {
    made(bytes).kinds
}

/// Pages that no tree uses.
pub(crate) fn free_pages(bytes: &[u8]) -> Vec<u64> {
    let map = made(bytes);
    let pages = map.kinds.chunks(map.page_size).zip(0u64..);
    let free = pages.filter(|(page, _)| page.iter().all(|kind| *kind == Kind::Unused));
    // The middle of a large value is no free page.
    free.map(|(_, id)| id).collect()
}

/// Pages of the tree below a page; none when it is no branch.
pub(crate) fn below(bytes: &[u8], page: u64) -> Vec<u64> {
    let page_size = u64::from(Db::open(bytes).unwrap().page_size());
    let at = page.checked_mul(page_size).and_then(|at| usize::try_from(at).ok());
    let Some(node) = at.and_then(|at| bytes.get(at..)).and_then(|page| Node::parse(page).ok())
    else {
        return Vec::new();
    };
    if node.is_leaf() {
        return Vec::new();
    }
    let children = node.children().map_while(|child| Some(child.ok()?.child));
    children.flat_map(|child| [vec![child], below(bytes, child)].concat()).collect()
}

fn made(bytes: &[u8]) -> Map<'_> {
    let meta = *Db::open(bytes).unwrap().meta();
    let page_size = usize::try_from(meta.page_size).unwrap();
    let mut map = Map { bytes, page_size, kinds: vec![Kind::Unused; bytes.len()] };
    for page in 0..2 {
        let at = page * page_size;
        map.set(at, 10, Kind::MetaHeader);
        map.set(at + 10, 6, Kind::MetaUnread);
        map.set(at + 16, 64, Kind::Meta);
    }
    map.page(meta.root);
    if let Some(id) = meta.freelist {
        let at = usize::try_from(id).unwrap() * page_size;
        let header = map.header(at);
        assert_eq!(header.flags, FREELIST);
        map.set(at, 8, Kind::PageId);
        map.set(at + 8, 2, Kind::PageFlags);
        map.set(at + 10, 2, Kind::Freelist);
        map.set(at + 12, 4, Kind::Overflow);
        map.set(at + HEADER, usize::from(header.count) * 8, Kind::Freelist);
    }
    map
}

impl Map<'_> {
    fn set(&mut self, at: usize, len: usize, kind: Kind) {
        self.kinds[at..at + len].fill(kind);
    }

    fn header(&self, at: usize) -> Header {
        Header::parse(&self.bytes[at..]).unwrap()
    }

    fn u32(&self, at: usize) -> usize {
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap()) as usize
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    fn page(&mut self, id: u64) {
        let at = usize::try_from(id).unwrap() * self.page_size;
        self.set(at, 8, Kind::PageId);
        self.set(at + 12, 4, Kind::Overflow);
        self.elements(at, false);
    }

    /// Flags, count and elements of a page that begins at a byte.
    fn elements(&mut self, at: usize, inline: bool) {
        let header = self.header(at);
        self.set(at + 8, 2, Kind::PageFlags);
        self.set(at + 10, 2, Kind::Count);
        for index in 0..usize::from(header.count) {
            let element = at + HEADER + index * ELEMENT;
            let last = index + 1 == usize::from(header.count);
            if header.flags == LEAF {
                self.row(element, last, inline);
            } else {
                self.child(element, last);
            }
        }
    }

    fn row(&mut self, at: usize, last: bool, inline: bool) {
        let (flags, pos) = (self.u32(at), self.u32(at + 4));
        let (key, value) = (self.u32(at + 8), self.u32(at + 12));
        let sizes = match (last, inline) {
            (false, _) => Kind::Element,
            (true, false) => Kind::LastSize,
            (true, true) => Kind::InlineEnd,
        };
        self.set(at, 4, Kind::ElementFlags);
        self.set(at + 4, 4, Kind::Element);
        self.set(at + 8, 8, sizes);
        let start = at + pos;
        self.set(start, key, Kind::Key);
        if flags == BUCKET_FLAG as usize {
            self.bucket(start + key, value);
        } else {
            self.set(start + key, value, Kind::Value);
        }
    }

    fn bucket(&mut self, at: usize, len: usize) {
        let root = self.u64(at);
        self.set(at, 8, Kind::Child);
        self.set(at + 8, 8, Kind::Sequence);
        if root == 0 {
            let page = at + BUCKET_HEADER;
            assert!(len > BUCKET_HEADER);
            self.set(page, 8, Kind::InlineUnread);
            self.set(page + 12, 4, Kind::InlineUnread);
            self.elements(page, true);
        } else {
            self.page(root);
        }
    }

    fn child(&mut self, at: usize, last: bool) {
        let (pos, key, child) = (self.u32(at), self.u32(at + 4), self.u64(at + 8));
        self.set(at, 4, Kind::Element);
        self.set(at + 4, 4, if last { Kind::LastBranchKeySize } else { Kind::Element });
        self.set(at + 8, 8, Kind::Child);
        self.set(at + pos, key, Kind::BranchKey);
        self.page(child);
    }
}
