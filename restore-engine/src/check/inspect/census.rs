//! Counts what the structural check reads, bucket by bucket.

use etcdr_schemas::Revision;
use etcdr_schemas::report::inspect::{InspectReport, StatusFacts};

use super::keys::{Keys, TABLE};
use super::prefixes::PrefixNames;
use super::reader::Leaf;
use super::records::Records;
use super::space::Usage;
use crate::check::structure::Observe;
use crate::format::bolt::Bucket;
use crate::format::bolt::page::Node;
use crate::format::buckets;
use crate::format::mvcc::crc::{Combine, Sum};

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Census {
    buckets: Vec<(Vec<u8>, Usage)>,
    page_size: u64,
    keys: Keys,
    records: Records,
    // CRC over all rows so far: buckets and leaves come in order.
    sum: Sum,
    combine: Combine,
    // Pages of the bucket of buckets.
    root_pages: u64,
}

impl Census {
    pub(super) fn new(page_size: u32) -> Self {
        Self {
            buckets: Vec::new(),
            page_size: u64::from(page_size),
            keys: Keys::new(TABLE),
            records: Records::default(),
            sum: Sum::default(),
            combine: Combine::new(),
            root_pages: 0,
        }
    }

    /// Takes the next leaf of the last bucket.
    pub(super) fn leaf(&mut self, leaf: &Leaf) {
        let Some((name, usage)) = self.buckets.last_mut() else { return };
        usage.leaf(leaf, self.page_size);
        self.sum = self.combine.join(self.sum, leaf.sum);
        if name == buckets::KEY {
            return self.keys.leaf(leaf);
        }
        let rows = Node::parse(&leaf.page).into_iter().flat_map(Node::rows);
        for row in rows.map_while(Result::ok) {
            self.records.row(name, row.key, row.value);
        }
    }

    /// Rows that could be read.
    pub(super) fn rows(&self) -> u64 {
        self.buckets.iter().map(|(_, usage)| usage.rows()).sum()
    }

    /// About how many bytes a defragmented copy has: leaves, branches, metas and root.
    pub(super) fn defragmented(&self) -> u64 {
        let pages = |(_, usage): &(_, Usage)| usage.defragmented_pages(self.page_size);
        let leaves: u64 = self.buckets.iter().map(pages).sum();
        // A branch holds more than a hundred children; metas and freelist are three pages.
        (leaves + leaves / 100 + 3 + self.root_pages).saturating_mul(self.page_size)
    }

    /// Puts what was counted into the report.
    pub(super) fn report_to(
        self,
        report: &mut InspectReport,
        names: PrefixNames,
        top: usize,
        size: u64,
    ) {
        let total_rows = self.rows();
        let totals = self.keys.finish();
        let mut keys = totals.facts;
        self.records.report_to(report, &mut keys, top);
        let compact = keys.scheduled_compact_revision.max(keys.finished_compact_revision);
        keys.compact_revision = compact;
        let revision = totals.newest_row.max(compact).max(Some(Revision::FIRST));
        keys.revision = revision.unwrap_or(Revision::FIRST);
        let total_keys = keys.live_keys + u64::from(totals.empty_key);
        report.status = Some(StatusFacts {
            hash: self.sum.crc(),
            revision: totals.newest_row.map_or(0, |revision| revision.0),
            total_rows,
            total_keys: (!keys.estimated).then_some(total_keys),
            total_size: size,
        });
        if self.buckets.iter().any(|(name, _)| name == buckets::KEY) {
            report.keys = Some(keys);
            report.prefixes = Some(totals.counts.into_report(names, top));
        }
        report.buckets = self.buckets.into_iter().map(|(_, usage)| usage.facts()).collect();
    }
}

impl Observe for Census {
    fn root(&mut self, pages: u64) {
        self.root_pages += pages;
    }

    fn bucket(&mut self, bucket: &Bucket) {
        self.sum.feed(&bucket.name);
        self.buckets.push((bucket.name.clone(), Usage::new(bucket)));
    }

    fn branch(&mut self, pages: u64, depth: u32) {
        if let Some((_, usage)) = self.buckets.last_mut() {
            usage.branch(pages, depth);
        }
    }
}
