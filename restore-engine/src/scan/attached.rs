//! Which keys end up attached to which leases, in memory that does not grow with the number of
//! keys.
//!
//! Only the newest row of a key attaches it: older ones may name leases that no longer exist, and a
//! deletion attaches nothing. The caller decides for each row whether its lease matters. A full
//! table is halved, and the other half of the keys waits for another pass over the rows.

use std::collections::HashMap;

use super::fingerprint::{Fingerprint, Part, thin};

/// Keys in the table: just as many as do not make it grow past 2^18 slots, 9 MiB.
pub(crate) const TABLE: usize = (1 << 18) / 8 * 7 - 1;

/// Finds the attached keys, pass by pass.
#[derive(Debug)]
pub(crate) struct Attached {
    table: HashMap<Fingerprint, i64>,
    part: Part,
    todo: Vec<Part>,
    capacity: usize,
}

impl Attached {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { table: HashMap::new(), part: Part::ALL, todo: Vec::new(), capacity }
    }

    /// Takes a row, in order: its key, and its lease when that matters. False when there are too
    /// many keys for the splits that we allow.
    #[must_use]
    pub(crate) fn row(&mut self, key: &[u8], lease: Option<i64>) -> bool {
        if lease.is_none() && self.table.is_empty() {
            return true;
        }
        let fingerprint = Fingerprint::of(key);
        let Some(lease) = lease else {
            self.table.remove(&fingerprint);
            return true;
        };
        if !self.part.holds(fingerprint.slot) {
            return true;
        }
        self.table.insert(fingerprint, lease);
        while self.table.len() > self.capacity {
            let Some(other) = self.part.halve() else { return false };
            self.todo.push(other);
            let part = self.part;
            thin(&mut self.table, |fingerprint| part.holds(fingerprint.slot));
        }
        true
    }

    /// Ends a pass and gives what it found, in no particular order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (Fingerprint, i64)> {
        std::mem::take(&mut self.table).into_iter()
    }

    /// Begins the next pass; false when none is needed.
    #[must_use]
    pub(crate) fn next_pass(&mut self) -> bool {
        match self.todo.pop() {
            Some(part) => {
                self.part = part;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_that_is_halved_again_and_again_does_not_grow() {
        let most = 1024 / 8 * 7;
        let mut attached = Attached::new(most - 1);
        for key in 0u32..60_000 {
            assert!(attached.row(&key.to_be_bytes(), Some(1)));
            assert!(attached.table.capacity() <= most, "{key}: {}", attached.table.capacity());
        }
        assert!(attached.part.halvings() > 3, "{}", attached.part.halvings());
    }

    proptest! {
        #[test]
        fn passes_find_what_a_plain_map_finds(
            rows in proptest::collection::vec((0u8..60, proptest::option::of(1i64..9)), 0..300),
            capacity in 1usize..70,
        ) {
            let mut model = BTreeMap::new();
            for (key, lease) in &rows {
                model.insert(*key, *lease);
            }
            let mut want = BTreeMap::new();
            for lease in model.values().flatten() {
                *want.entry(*lease).or_insert(0) += 1;
            }
            let mut attached = Attached::new(capacity);
            let mut got = BTreeMap::new();
            loop {
                for (key, lease) in &rows {
                    prop_assert!(attached.row(&[*key], *lease));
                }
                for (_, lease) in attached.take() {
                    *got.entry(lease).or_insert(0) += 1;
                }
                if !attached.next_pass() {
                    break;
                }
            }
            prop_assert_eq!(got, want);
        }
    }
}
