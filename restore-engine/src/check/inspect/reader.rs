//! Reads leaves on several threads, and keeps their sums and the figures of each row of bucket
//! `key`.

use super::prefixes::{Id, PrefixNames};
use crate::format::bolt::page::Node;
use crate::format::bolt::visit::LeafVisitor;
use crate::format::mvcc::crc::Sum;
use crate::format::mvcc::{RowKey, key_of};
use crate::scan::fingerprint::{Fingerprint, Slot};
use crate::scan::names::KnownNames;

/// Largest leaf of another bucket whose rows are parsed, in bytes.
const MAX_LEAF: u64 = 4 << 20;

/// Reads leaves.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) names: PrefixNames,
}

/// One leaf.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// Bytes of the logical page.
    pub(super) size: u64,
    pub(super) rows: u64,
    pub(super) key_bytes: u64,
    pub(super) value_bytes: u64,
    /// CRC over its rows.
    pub(super) sum: Sum,
    /// Rows of bucket `key`.
    pub(super) key_rows: Vec<KeyRow>,
    /// Rows of bucket `key` that cannot be read: how many, and their bytes.
    pub(super) malformed: (u64, u64),
    /// The page itself, of other buckets.
    pub(super) page: Vec<u8>,
}

/// One row of bucket `key`.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRow {
    /// Half of the fingerprint of the user's key. Two keys that share it count as one: among a
    /// million keys, once in 30 million databases.
    pub(super) key: Slot,
    pub(super) main: i64,
    pub(super) sub: u32,
    /// Bytes of key and value.
    pub(super) size: u32,
    pub(super) prefix: Id,
    pub(super) deletes: bool,
}

impl LeafVisitor for Reader {
    type ThreadCache = KnownNames;
    type Out = Leaf;

    fn leaf(&self, known: &mut KnownNames, _: u64, node: &Node<'_>) -> (Leaf, usize) {
        let mut leaf = Leaf { size: node.size(), ..Leaf::default() };
        leaf.key_rows.reserve_exact(usize::from(node.count()));
        for row in node.rows().map_while(Result::ok) {
            let size = leaf.add(row.key, row.value);
            match (RowKey::parse(row.key), key_of(row.value)) {
                (Some(at), Some(key)) => leaf.key_rows.push(KeyRow {
                    key: Fingerprint::of(key).slot,
                    main: at.main.0,
                    sub: u32::try_from(at.sub).unwrap_or(u32::MAX),
                    size: u32::try_from(size).unwrap_or(u32::MAX),
                    prefix: self.names.id(known, key),
                    deletes: at.tombstone,
                }),
                _ => leaf.malformed = (leaf.malformed.0 + 1, leaf.malformed.1 + size),
            }
        }
        let heap = leaf.key_rows.capacity() * size_of::<KeyRow>();
        (leaf, heap)
    }

    fn other(&self, node: &Node<'_>) -> Option<(Leaf, usize)> {
        let mut leaf = Leaf { size: node.size(), ..Leaf::default() };
        for row in node.rows().map_while(Result::ok) {
            leaf.add(row.key, row.value);
        }
        if node.size() <= MAX_LEAF {
            leaf.page = node.bytes().to_vec();
        }
        let heap = leaf.page.len();
        Some((leaf, heap))
    }
}

impl Leaf {
    /// Counts a row and returns its size.
    fn add(&mut self, key: &[u8], value: &[u8]) -> u64 {
        self.rows += 1;
        self.key_bytes += key.len() as u64;
        self.value_bytes += value.len() as u64;
        self.sum.feed(key);
        self.sum.feed(value);
        (key.len() + value.len()) as u64
    }
}
