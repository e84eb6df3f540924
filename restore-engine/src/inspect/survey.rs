//! Counts what the structural check reads.

use etcdr_schemas::Revision;
use etcdr_schemas::report::inspect::{InspectReport, StatusFacts};

use super::hash::{Leaves, Shift};
use super::keys::{Keys, TABLE};
use super::records::Records;
use super::space::Usage;
use crate::bolt::Bucket;
use crate::bolt::check::{Observe, Seen, Tree};
use crate::buckets;

/// One bucket and what is known of it.
#[derive(Debug)]
struct Place {
    name: Vec<u8>,
    usage: Usage,
    leaves: Leaves,
}

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Survey {
    buckets: Vec<Place>,
    keys: Keys,
    records: Records,
    // Pages of the bucket of buckets.
    root_pages: u64,
}

impl Survey {
    pub(super) fn new(prefix_depth: u32) -> Self {
        let keys = Keys::new(prefix_depth, TABLE);
        Self { buckets: Vec::new(), keys, records: Records::default(), root_pages: 0 }
    }

    /// Rows that could be read.
    pub(super) fn rows(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.usage.rows()).sum()
    }

    /// About how many bytes a defragmented copy has: the metas, the root and its pages.
    pub(super) fn defragmented(&self, page_size: u64) -> u64 {
        let pages = |bucket: &Place| bucket.usage.defragmented_pages(page_size);
        let leaves: u64 = self.buckets.iter().map(pages).sum();
        // A branch holds more than a hundred children; metas and freelist are three pages.
        (leaves + leaves / 100 + 3 + self.root_pages).saturating_mul(page_size)
    }

    /// Puts what was counted into the report.
    pub(super) fn tell(self, report: &mut InspectReport, top: usize, size: u64) {
        let total_rows = self.rows();
        let (mut keys, last_row, empty_key, prefixes) = self.keys.finish();
        self.records.tell(report, &mut keys, top);
        let compact = keys.scheduled_compact_revision.max(keys.finished_compact_revision);
        keys.compact_revision = compact;
        let revision = last_row.max(compact).max(Some(Revision::FIRST));
        keys.revision = revision.unwrap_or(Revision::FIRST);
        let total_keys = (!keys.estimated).then_some(keys.live_keys);
        // A row with an empty key, as a raised revision leaves one, is no key that anybody can read.
        keys.live_keys = keys.live_keys.saturating_sub(u64::from(empty_key && !keys.estimated));
        let has_key = self.buckets.iter().any(|bucket| bucket.name == buckets::KEY);
        report.keys = has_key.then_some(keys);
        report.prefixes = has_key.then(|| prefixes.tell(top));
        let shift = Shift::new();
        let mut hash = Some(0);
        for bucket in self.buckets {
            hash = hash.and_then(|hash| bucket.leaves.finish(&shift, &bucket.name, hash));
            report.buckets.push(bucket.usage.facts());
        }
        report.status = hash.map(|hash| StatusFacts {
            hash,
            revision: last_row.map_or(0, |revision| revision.0),
            total_rows,
            total_keys,
            total_size: size,
        });
    }
}

impl Observe for Survey {
    fn bucket(&mut self, bucket: &Bucket) {
        let (name, usage) = (bucket.name.clone(), Usage::new(bucket));
        self.buckets.push(Place { name, usage, leaves: Leaves::default() });
    }

    fn node(&mut self, seen: &Seen<'_>) {
        let Tree::Bucket(index) = seen.tree else {
            self.root_pages += seen.pages;
            return;
        };
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        if !seen.node.is_leaf() {
            return bucket.usage.branch(seen);
        }
        let is_key = bucket.name == buckets::KEY;
        let (mut rows, mut key_bytes, mut value_bytes, mut crc) = (0, 0, 0, 0);
        let mut first = None;
        for row in seen.node.rows().map_while(Result::ok) {
            rows += 1;
            key_bytes += row.key.len() as u64;
            value_bytes += row.value.len() as u64;
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, row.key), row.value);
            first = first.or(Some(row.key));
            if is_key {
                self.keys.row(row.key, row.value);
            } else {
                self.records.row(&bucket.name, row.key, row.value);
            }
        }
        bucket.usage.leaf(seen, rows, key_bytes, value_bytes);
        if let Some(first) = first {
            bucket.leaves.push(first, crc, key_bytes + value_bytes);
        }
    }
}

/// Only counts rows.
#[derive(Debug, Default)]
pub(super) struct CountRows {
    pub(super) rows: u64,
}

impl Observe for CountRows {
    fn bucket(&mut self, _: &Bucket) {}

    fn node(&mut self, seen: &Seen<'_>) {
        if seen.tree != Tree::Buckets && seen.node.is_leaf() {
            self.rows += seen.node.rows().map_while(Result::ok).count() as u64;
        }
    }
}
