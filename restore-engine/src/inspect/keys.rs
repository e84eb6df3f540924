//! Rows of bucket `key`, in any order: how many there are, and which keys are live.
//!
//! A table maps fingerprints of keys to their newest row. When it is full, half of the keys leave it, chosen by
//! their fingerprints, and each of those that stay counts double: then the live numbers are estimates, and the
//! report says so. With a million keys or more in the sample they are right to a fraction of a percent.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use etcdr_schemas::Revision;
use etcdr_schemas::report::inspect::KeyFacts;

use super::prefixes::{Id, Table};
use crate::mvcc::{RowKey, key_of};

/// Keys in the table: as many as 2^21 slots hold, 80 MiB.
pub(super) const TABLE: usize = (1 << 21) / 8 * 7 - 1;
/// Halvings of the table; there are not as many rows as would need more.
const MAX_HALVINGS: u32 = 31;

/// The newest row of a key.
#[derive(Debug, Clone, Copy)]
struct Newest {
    main: i64,
    sub: i64,
    bytes: u32,
    // The lowest bit says that it deletes.
    prefix: Id,
    deletes: bool,
}

/// Hands a fingerprint through: it is a hash already.
#[derive(Debug, Default)]
struct Through(u64);

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// What is known of the rows so far.
#[derive(Debug)]
pub(super) struct Keys {
    facts: KeyFacts,
    newest_row: Option<Revision>,
    table: HashMap<u64, Newest, BuildHasherDefault<Through>>,
    capacity: usize,
    halvings: u32,
    empty_key: Option<(Revision, bool)>,
    prefixes: Table,
}

impl Keys {
    pub(super) fn new(prefix_depth: u32, capacity: usize) -> Self {
        Self {
            facts: KeyFacts::default(),
            newest_row: None,
            table: HashMap::default(),
            capacity,
            halvings: 0,
            empty_key: None,
            prefixes: Table::new(prefix_depth),
        }
    }

    pub(super) fn row(&mut self, raw: &[u8], value: &[u8]) {
        let size = (raw.len() + value.len()) as u64;
        self.facts.revisions += 1;
        self.facts.bytes += size;
        self.facts.largest_row = self.facts.largest_row.max(size);
        let (Some(row), Some(key)) = (RowKey::parse(raw), key_of(value)) else {
            self.facts.malformed += 1;
            return;
        };
        self.facts.deletions += u64::from(row.tombstone);
        self.newest_row = self.newest_row.max(Some(row.main));
        self.facts.oldest_row =
            Some(self.facts.oldest_row.map_or(row.main, |old| old.min(row.main)));
        let prefix = self.prefixes.row(key, size);
        if key.is_empty() {
            let newer = self.empty_key.is_none_or(|(revision, _)| revision < row.main);
            if newer {
                self.empty_key = Some((row.main, !row.tombstone));
            }
        }
        self.note(key, row, prefix, size);
    }

    fn note(&mut self, key: &[u8], row: RowKey, prefix: Id, size: u64) {
        let fingerprint = fingerprint(key);
        if !self.samples(fingerprint) {
            return;
        }
        let bytes = u32::try_from(size).unwrap_or(u32::MAX);
        let (main, sub, deletes) = (row.main.0, row.sub, row.tombstone);
        let newest = Newest { main, sub, bytes, prefix, deletes };
        let entry = self.table.entry(fingerprint).or_insert(newest);
        if (entry.main, entry.sub) < (main, sub) {
            *entry = newest;
        }
        while self.table.len() > self.capacity && self.halvings < MAX_HALVINGS {
            self.halvings += 1;
            let mask = mask(self.halvings);
            self.table.retain(|fingerprint, _| *fingerprint >> 24 & mask == 0);
        }
    }

    // Not the bits by which the table itself finds its slots.
    fn samples(&self, fingerprint: u64) -> bool {
        fingerprint >> 24 & mask(self.halvings) == 0
    }

    /// The numbers, and the prefixes.
    pub(super) fn finish(self) -> (KeyFacts, Option<Revision>, bool, Table) {
        let Self { mut facts, table, halvings, mut prefixes, .. } = self;
        let weight = 1 << halvings;
        for newest in table.values().filter(|newest| !newest.deletes) {
            let bytes = u64::from(newest.bytes) << halvings;
            facts.live_keys += weight;
            facts.live_bytes = facts.live_bytes.saturating_add(bytes);
            prefixes.live(newest.prefix, weight, bytes);
        }
        facts.estimated = halvings > 0;
        let empty_key = self.empty_key.is_some_and(|(_, live)| live);
        (facts, self.newest_row, empty_key, prefixes)
    }
}

const fn mask(halvings: u32) -> u64 {
    (1 << halvings) - 1
}

fn fingerprint(key: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(key);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn put(main: i64, key: &str) -> (Vec<u8>, Vec<u8>) {
        let value = [&[0x0a, u8::try_from(key.len()).unwrap()], key.as_bytes()].concat();
        (RowKey::put(Revision(main), 0).encode(), value)
    }

    #[test]
    fn a_sample_is_near_the_truth_and_says_so() {
        let mut keys = Keys::new(1, 20_000);
        for number in 0..200_000 {
            let (raw, value) = put(number + 2, &format!("/k/{number}"));
            keys.row(&raw, &value);
        }
        let (facts, newest, _, _) = keys.finish();
        assert!(facts.estimated && facts.live_keys.abs_diff(200_000) < 10_000, "{facts:?}");
        assert_eq!((facts.revisions, newest), (200_000, Some(Revision(200_001))));
    }

    proptest! {
        #[test]
        fn rows_in_any_order_give_what_a_plain_map_gives(
            rows in proptest::collection::vec((0u8..40, any::<bool>()), 1..200),
            order in any::<u64>(),
        ) {
            let mut model = std::collections::HashMap::new();
            let mut made: Vec<_> = (2..).zip(&rows).map(|(main, (key, deletes))| {
                model.insert(*key, *deletes);
                let row = RowKey { main: Revision(main), sub: 0, tombstone: *deletes };
                (row.encode(), put(main, &key.to_string()).1)
            }).collect();
            made.sort_by_key(|(raw, _)| fingerprint(raw) ^ order);
            let mut keys = Keys::new(2, TABLE);
            made.iter().for_each(|(raw, value)| keys.row(raw, value));
            let (facts, _, _, prefixes) = keys.finish();
            let live = model.values().filter(|deletes| !**deletes).count() as u64;
            prop_assert_eq!((facts.live_keys, facts.estimated), (live, false));
            let told = prefixes.tell(1);
            prop_assert_eq!(told.by_count[0].live_keys, live);
        }
    }
}
