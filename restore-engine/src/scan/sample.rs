//! A sample of keys, in memory that does not grow with their number.
//!
//! A damaged database is read once, so keys for which there is no room cannot wait for another
//! pass. Instead half of the keys, chosen by their fingerprints, leave the table, and each of those
//! that stay counts double.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use super::fingerprint::{IdentityHasher, Part, Slot, thin};

/// A sample of keys, with a value for each.
#[derive(Debug)]
pub(crate) struct Sample<V> {
    map: HashMap<Slot, V, BuildHasherDefault<IdentityHasher>>,
    part: Part,
    capacity: usize,
}

impl<V> Sample<V> {
    /// A sample of all keys as long as they are not more than `capacity`.
    pub(crate) fn new(capacity: usize) -> Self {
        Self { map: HashMap::default(), part: Part::ALL, capacity }
    }

    /// Sets the value of a key, unless the key is not in the sample or its present value is newer.
    pub(crate) fn put(&mut self, key: Slot, value: V, newer: impl FnOnce(&V) -> bool) {
        if !self.part.holds(key) {
            return;
        }
        match self.map.entry(key) {
            Entry::Occupied(mut known) => {
                if !newer(known.get()) {
                    known.insert(value);
                }
            }
            Entry::Vacant(place) => {
                place.insert(value);
            }
        }
        // No database has enough rows to need more halvings than the limit.
        while self.map.len() > self.capacity && self.part.halve().is_some() {
            let part = self.part;
            thin(&mut self.map, |key| part.holds(*key));
        }
    }

    /// How often the sample was halved: each key represents two to the power of it.
    pub(crate) const fn halvings(&self) -> u32 {
        self.part.halvings()
    }

    /// The values, in no particular order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &V> {
        self.map.values()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Fingerprint;
    use super::*;

    #[test]
    fn a_sample_that_is_halved_again_and_again_does_not_grow() {
        let most = 1024 / 8 * 7;
        let mut sample = Sample::new(most - 1);
        for key in 0u32..60_000 {
            sample.put(Fingerprint::of(&key.to_be_bytes()).slot, (), |()| false);
            assert!(sample.map.capacity() <= most, "{key}: {}", sample.map.capacity());
        }
        let estimate = sample.values().count() << sample.halvings();
        assert!(sample.halvings() > 3 && estimate.abs_diff(60_000) < 9000, "{estimate}");
    }
}
