//! Rows of bucket `key`: how many there are, and which keys are live.
//!
//! When there are more keys than a sample has room for, the live numbers are estimates, and the
//! report says so. With a million keys or so in the sample they are right to a fraction of a
//! percent.

use etcdr_schemas::Revision;
use etcdr_schemas::report::inspect::KeyFacts;

use super::prefixes::{Counts, Id};
use super::reader::{KeyRow, Leaf};
use crate::scan::fingerprint::{Fingerprint, Slot};
use crate::scan::sample::Sample;

/// Keys in the table: as many as 2^21 slots hold, 80 MiB.
pub(super) const TABLE: usize = (1 << 21) / 8 * 7 - 1;

/// The newest row of a key.
#[derive(Debug, Clone, Copy)]
struct Newest {
    main: i64,
    sub: u32,
    size: u32,
    prefix: Id,
    deletes: bool,
}

/// Counts of the rows so far.
#[derive(Debug)]
pub(super) struct Keys {
    facts: KeyFacts,
    newest_row: Option<Revision>,
    sample: Sample<Newest>,
    empty_key: Slot,
    // The empty key is no key that anybody can read: a raised revision leaves a row of it.
    empty: Option<Newest>,
    counts: Counts,
}

/// The counts when all rows were read.
#[derive(Debug)]
pub(super) struct KeyTotals {
    pub(super) facts: KeyFacts,
    /// Highest revision of a row.
    pub(super) newest_row: Option<Revision>,
    /// Whether the empty key is live, which the live keys do not count.
    pub(super) empty_key: bool,
    pub(super) counts: Counts,
}

impl Keys {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            facts: KeyFacts::default(),
            newest_row: None,
            sample: Sample::new(capacity),
            empty_key: Fingerprint::of(b"").slot,
            empty: None,
            counts: Counts::default(),
        }
    }

    /// Takes the rows of a leaf.
    pub(super) fn leaf(&mut self, leaf: &Leaf) {
        let facts = &mut self.facts;
        facts.revisions += leaf.rows;
        facts.bytes += leaf.key_bytes + leaf.value_bytes;
        facts.malformed += leaf.malformed.0;
        leaf.key_rows.iter().for_each(|row| self.row(row));
    }

    fn row(&mut self, row: &KeyRow) {
        let (main, size) = (Revision(row.main), u64::from(row.size));
        let facts = &mut self.facts;
        facts.largest_row = facts.largest_row.max(size);
        facts.deletions += u64::from(row.deletes);
        facts.oldest_row = Some(facts.oldest_row.map_or(main, |old| old.min(main)));
        self.newest_row = self.newest_row.max(Some(main));
        self.counts.row(row.prefix, size);
        let KeyRow { key, main, sub, size, prefix, deletes } = *row;
        let newest = Newest { main, sub, size, prefix, deletes };
        // Leaves of a damaged tree need not come in order.
        let newer = |known: &Newest| (known.main, known.sub) >= (main, sub);
        if key != self.empty_key {
            self.sample.put(key, newest, newer);
        } else if !self.empty.as_ref().is_some_and(newer) {
            self.empty = Some(newest);
        }
    }

    pub(super) fn finish(self) -> KeyTotals {
        let Self { mut facts, sample, mut counts, .. } = self;
        let halvings = sample.halvings();
        let weight = 1 << halvings;
        for newest in sample.values().filter(|newest| !newest.deletes) {
            let bytes = u64::from(newest.size) << halvings;
            facts.live_keys += weight;
            facts.live_bytes = facts.live_bytes.saturating_add(bytes);
            counts.live(newest.prefix, weight, bytes);
        }
        facts.estimated = halvings > 0;
        let empty_key = self.empty.is_some_and(|newest| !newest.deletes);
        KeyTotals { facts, newest_row: self.newest_row, empty_key, counts }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn row(main: i64, key: &str, deletes: bool) -> Leaf {
        let key = Fingerprint::of(key.as_bytes()).slot;
        let row = KeyRow { key, main, sub: 0, size: 10, prefix: 1, deletes };
        Leaf { rows: 1, key_bytes: 10, key_rows: vec![row], ..Leaf::default() }
    }

    #[test]
    fn a_sample_is_near_the_truth_and_says_so() {
        let mut keys = Keys::new(20_000);
        for number in 0..200_000 {
            keys.leaf(&row(number + 2, &format!("/k/{number}"), false));
        }
        let totals = keys.finish();
        let facts = totals.facts;
        assert!(facts.estimated && facts.live_keys.abs_diff(200_000) < 10_000, "{facts:?}");
        assert_eq!((facts.revisions, totals.newest_row), (200_000, Some(Revision(200_001))));
    }

    #[test]
    fn the_empty_key_is_counted_separately() {
        let mut keys = Keys::new(TABLE);
        keys.leaf(&row(5, "", false));
        keys.leaf(&row(2, "/a", false));
        let totals = keys.finish();
        assert_eq!((totals.facts.live_keys, totals.empty_key), (1, true));
    }

    proptest! {
        #[test]
        fn rows_in_any_order_give_what_a_plain_map_gives(
            rows in proptest::collection::vec((0u8..40, any::<bool>()), 1..200),
            order in any::<u64>(),
        ) {
            let mut model = HashMap::new();
            let mut made: Vec<_> = (2i64..).zip(&rows).map(|(main, (key, deletes))| {
                model.insert(*key, *deletes);
                row(main, &key.to_string(), *deletes)
            }).collect();
            let scatter = 0x9e37_79b9_7f4a_7c15_u64.cast_signed();
            made.sort_by_key(|leaf| {
                leaf.key_rows[0].main.wrapping_mul(scatter) ^ order.cast_signed()
            });
            let mut keys = Keys::new(TABLE);
            made.iter().for_each(|leaf| keys.leaf(leaf));
            let facts = keys.finish().facts;
            let live = model.values().filter(|deletes| !**deletes).count() as u64;
            prop_assert_eq!((facts.live_keys, facts.estimated), (live, false));
            prop_assert_eq!(facts.live_bytes, live * 10);
        }
    }
}
