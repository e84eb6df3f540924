//! Which rows are the newest of their keys, in memory that does not grow with the number of keys.
//!
//! A table maps fingerprints of keys to the number of their newest row. When it is full, it is split: half of
//! the keys stay, the other half becomes the work of another pass over the rows. What remains is one bit
//! for a row.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Keys in the table: just as many as do not make it grow past 2^19 slots, 13 MiB.
pub(crate) const TABLE: usize = (1 << 19) / 8 * 7 - 1;
/// Splits of the table; more would be 2^32 passes.
const MAX_SPLITS: u32 = 32;

/// 128 bits of a key. Two keys that share them are as unlikely as a failing disk that tells nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    slot: u64,
    part: u64,
}

fn hash(prefix: u8, key: &[u8]) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u8(prefix);
    hasher.write(key);
    hasher.finish()
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.slot);
    }
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

/// The keys whose fingerprints end in these bits.
#[derive(Debug, Clone, Copy)]
struct Part {
    bits: u32,
    value: u64,
}

impl Part {
    const fn holds(self, part: u64) -> bool {
        part & ((1 << self.bits) - 1) == self.value
    }
}

/// Finds the newest rows of all keys, pass by pass.
#[derive(Debug)]
pub(crate) struct Newest {
    table: HashMap<Fingerprint, u64, BuildHasherDefault<Through>>,
    part: Part,
    todo: Vec<Part>,
    capacity: usize,
    bits: Vec<u64>,
    live: u64,
}

impl Newest {
    pub(crate) fn new(capacity: usize) -> Self {
        let part = Part { bits: 0, value: 0 };
        Self {
            table: HashMap::default(),
            part,
            todo: Vec::new(),
            capacity,
            bits: Vec::new(),
            live: 0,
        }
    }

    /// Takes row number `index`, in order. False when there are too many keys for the splits that we allow.
    #[must_use]
    pub(crate) fn row(&mut self, index: u64, key: &[u8], tombstone: bool) -> bool {
        let part = hash(1, key);
        if !self.part.holds(part) {
            return true;
        }
        let fingerprint = Fingerprint { slot: hash(0, key), part };
        self.table.insert(fingerprint, index << 1 | u64::from(tombstone));
        while self.table.len() > self.capacity {
            if self.part.bits == MAX_SPLITS {
                return false;
            }
            let Part { bits, value } = self.part;
            self.part.bits += 1;
            self.todo.push(Part { bits: bits + 1, value: value | 1 << bits });
            let part = self.part;
            self.table.retain(|fingerprint, _| part.holds(fingerprint.part));
        }
        true
    }

    /// Ends a pass; of its rows, the first `marked` get a bit. True when another pass is needed.
    #[must_use]
    pub(crate) fn end_pass(&mut self, marked: u64) -> bool {
        let words = usize::try_from(marked.div_ceil(64)).unwrap_or(usize::MAX);
        self.bits.resize(words, 0);
        for (_, row) in self.table.drain() {
            if row & 1 == 0 {
                self.live += 1;
                let index = row >> 1;
                if let Some(word) = self.bits.get_mut(word_of(index)) {
                    *word |= 1 << (index % 64);
                }
            }
        }
        match self.todo.pop() {
            Some(part) => {
                self.part = part;
                true
            }
            None => {
                self.table = HashMap::default();
                false
            }
        }
    }

    /// Number of keys whose newest row is not a deletion.
    pub(crate) const fn live(&self) -> u64 {
        self.live
    }

    /// Whether row number `index`, one of those marked, is the newest of its key and not a deletion.
    pub(crate) fn is_newest(&self, index: u64) -> bool {
        self.bits.get(word_of(index)).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

fn word_of(index: u64) -> usize {
    usize::try_from(index / 64).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn passes_find_what_a_plain_map_finds(
            rows in proptest::collection::vec((0u8..60, any::<bool>()), 0..300),
            capacity in 1usize..70,
        ) {
            let mut model = HashMap::new();
            for (index, (key, tombstone)) in rows.iter().enumerate() {
                model.insert(*key, (index, *tombstone));
            }
            let mut newest = Newest::new(capacity);
            loop {
                for (index, (key, tombstone)) in (0..).zip(&rows) {
                    prop_assert!(newest.row(index, &[*key], *tombstone));
                }
                if !newest.end_pass(rows.len() as u64) {
                    break;
                }
            }
            let live = model.values().filter(|(_, tombstone)| !tombstone).count();
            prop_assert_eq!(newest.live(), live as u64);
            for (index, (key, _)) in rows.iter().enumerate() {
                let want = model[key] == (index, false);
                prop_assert_eq!(newest.is_newest(index as u64), want);
            }
        }
    }
}
