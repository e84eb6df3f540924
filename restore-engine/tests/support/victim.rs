//! A sound database that can be spoiled, byte by byte.

use etcdr_restore_engine::Error;
use etcdr_restore_engine::bolt::page::{FREELIST, Header, Node};
use etcdr_restore_engine::bolt::{Bucket, Db, Meta, Root};

use super::{etcd, findings, many, meta};

pub(crate) const PAGE: usize = 1024;

/// A sound database that can be spoiled.
pub(crate) struct Victim {
    pub(crate) bytes: Vec<u8>,
}

impl Victim {
    /// A database whose `key` has two levels of branches.
    pub(crate) fn new() -> Self {
        let victim = Self { bytes: etcd(1024, many(400, 100), meta(7)) };
        assert_eq!(findings(&victim.bytes), []);
        victim
    }

    pub(crate) fn meta(&self) -> Meta {
        *Db::open(self.bytes.as_slice()).unwrap().meta()
    }

    pub(crate) fn key(&self) -> u64 {
        let bucket: Bucket =
            Db::open(self.bytes.as_slice()).unwrap().bucket(b"key").unwrap().unwrap();
        match bucket.root {
            Root::Page(id) => id,
            Root::Inline { .. } => panic!("the bucket is too small"),
        }
    }

    pub(crate) fn node(&self, id: u64) -> Node<'_> {
        Node::parse(self.page(id)).unwrap()
    }

    pub(crate) fn page(&self, id: u64) -> &[u8] {
        let at = usize::try_from(id).unwrap() * PAGE;
        &self.bytes[at..at + PAGE]
    }

    /// The branch above the leaves, and one of its leaves in the middle.
    pub(crate) fn lowest(&self) -> (u64, u64) {
        let mut id = self.key();
        loop {
            let child = self.node(id).child(1).unwrap().child;
            if self.node(child).is_leaf() {
                return (id, child);
            }
            id = child;
        }
    }

    pub(crate) fn leaf(&self) -> u64 {
        self.lowest().1
    }

    pub(crate) fn put(mut self, page: u64, at: usize, bytes: &[u8]) -> Self {
        let at = usize::try_from(page).unwrap() * PAGE + at;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Overwrites part of the key of an element.
    pub(crate) fn put_key(self, page: u64, index: u16, at: usize, bytes: &[u8]) -> Self {
        let base = self.page(page).as_ptr() as usize;
        let node = self.node(page);
        let leaf = || node.row(index).unwrap().key;
        let key = if node.is_leaf() { leaf() } else { node.child(index).unwrap().key };
        let offset = key.as_ptr() as usize - base;
        self.put(page, offset + at, bytes)
    }

    pub(crate) fn metas(mut self, change: impl Fn(Meta) -> Meta) -> Self {
        let meta = change(self.meta());
        for page in [0, 1] {
            let at = usize::try_from(page).unwrap() * PAGE;
            self.bytes[at..at + 80].copy_from_slice(&meta.encode(page));
        }
        self
    }

    /// Adds a freelist page that names these pages.
    pub(crate) fn freelist(mut self, ids: &[u64]) -> Self {
        let id = self.meta().high_water_mark;
        let count = u16::try_from(ids.len()).unwrap();
        let header = Header { id, flags: FREELIST, count, overflow: 0 };
        let mut page = header.encode().to_vec();
        ids.iter().for_each(|id| page.extend_from_slice(&id.to_le_bytes()));
        page.resize(PAGE, 0);
        self.bytes.extend_from_slice(&page);
        self.metas(|meta| Meta { freelist: Some(id), high_water_mark: id + 1, ..meta })
    }

    /// Adds pages that nothing uses.
    pub(crate) fn spare(mut self, pages: u64) -> Self {
        let high_water_mark = self.meta().high_water_mark + pages;
        self.bytes.resize(usize::try_from(high_water_mark).unwrap() * PAGE, 0);
        self.metas(|meta| Meta { high_water_mark, ..meta })
    }

    #[track_caller]
    pub(crate) fn shows(self, code: &str) {
        let found = findings(&self.bytes);
        assert!(found.iter().any(|finding| finding.code == code), "{code}: {found:?}");
    }

    #[track_caller]
    pub(crate) fn refused_as(self, code: &str) {
        match Db::open(self.bytes).map(|_| ()) {
            Err(Error::NotBolt { problem }) => assert_eq!(problem.code(), code),
            other => panic!("{other:?}"),
        }
    }
}

// Offsets of fields in a page header and in an element.
pub(crate) const FLAGS: usize = 8;
pub(crate) const COUNT: usize = 10;
pub(crate) const OVERFLOW: usize = 12;
pub(crate) const FIRST: usize = 16;
