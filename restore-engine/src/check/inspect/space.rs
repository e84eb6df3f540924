//! Pages of each bucket, how full they are, and what a defragmented copy would need.

use etcdr_schemas::report::inspect::BucketFacts;

use super::reader::Leaf;
use crate::format::bolt::page::{ELEMENT, HEADER};
use crate::format::bolt::{Bucket, Root};
use crate::format::buckets::display;

/// Bytes of a bucket's name that are shown.
const NAME: usize = 64;
/// How full a defragmentation makes a page, in percent (docs/etcd-formats.md 1.8).
const DEFRAG_FILL: u64 = 90;

/// The space that one bucket takes.
#[derive(Debug)]
pub(super) struct Usage {
    facts: BucketFacts,
    // Bytes of leaves that fit into one page, with their elements, and of pages for those that do
    // not.
    small: u64,
    large_pages: u64,
    used: u64,
    leaf_bytes: u64,
}

impl Usage {
    pub(super) fn new(bucket: &Bucket) -> Self {
        let name = bucket.name.get(..NAME).unwrap_or(&bucket.name);
        let inline = matches!(bucket.root, Root::Inline { .. });
        let facts = BucketFacts { name: display(name), inline, ..BucketFacts::default() };
        Self { facts, small: 0, large_pages: 0, used: 0, leaf_bytes: 0 }
    }

    /// A branch that spans these pages, with this many levels above it.
    pub(super) fn branch(&mut self, pages: u64, depth: u32) {
        self.facts.branch_pages += 1;
        self.facts.overflow_pages += pages.saturating_sub(1);
        self.facts.depth = self.facts.depth.max(depth + 2);
    }

    pub(super) fn leaf(&mut self, leaf: &Leaf, page_size: u64) {
        self.facts.rows += leaf.rows;
        self.facts.key_bytes += leaf.key_bytes;
        self.facts.value_bytes += leaf.value_bytes;
        if self.facts.inline {
            return;
        }
        let pages = leaf.size / page_size.max(1);
        self.facts.leaf_pages += 1;
        self.facts.overflow_pages += pages.saturating_sub(1);
        self.facts.depth = self.facts.depth.max(1);
        let payload = leaf.rows * ELEMENT as u64 + leaf.key_bytes + leaf.value_bytes;
        self.used += HEADER as u64 + payload;
        self.leaf_bytes += leaf.size;
        if pages == 1 {
            self.small += payload;
        } else {
            self.large_pages += pages;
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.facts.rows
    }

    /// About how many pages its rows need when they are written anew, branches not counted.
    pub(super) fn defragmented_pages(&self, page_size: u64) -> u64 {
        let room = page_size.saturating_sub(HEADER as u64) * DEFRAG_FILL / 100;
        self.small.div_ceil(room.max(1)) + self.large_pages
    }

    pub(super) fn facts(mut self) -> BucketFacts {
        self.facts.fill_percent = percent(self.used, self.leaf_bytes);
        self.facts
    }
}

/// A share in percent, with one decimal.
pub(super) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    (part as f64 / whole as f64 * 1000.0).round() / 10.0
}
