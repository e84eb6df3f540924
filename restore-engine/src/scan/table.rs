//! The last row of each key, in 36 bytes a key.
//!
//! Each number has as many bits as real databases need, so that a large one is checked in one
//! reading. A row whose numbers need more, as in a hostile database, is stored unpacked and counts
//! as three.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasherDefault;

use super::fingerprint::{IdentityHasher, Part, Slot, thin};

/// Places of a table that an unpacked row takes.
const WIDE: usize = 3;

/// Bits of each number.
mod bits {
    pub(super) const MAIN: u32 = 40;
    pub(super) const CREATE: u32 = 40;
    pub(super) const VERSION: u32 = 24;
    pub(super) const SIZE: u32 = 24;
    pub(super) const INDEX: u32 = 32;
    pub(super) const SUB: u32 = 16;
    pub(super) const LABELS: u32 = 46;
    /// Says that the row is stored unpacked.
    pub(super) const WIDE: u128 = 1 << 95;
}

/// The facts that an analyzer needs of a row, as numbers.
pub(crate) trait RowFacts: Copy + Send + Sync {
    fn numbers(self) -> Numbers;
    fn of(numbers: Numbers) -> Self;
}

impl RowFacts for () {
    fn numbers(self) -> Numbers {
        Numbers::default()
    }

    fn of(_: Numbers) {}
}

/// Numbers of which most are small.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// The revision that created the key.
    pub(crate) create: i64,
    /// How often the key was put since.
    pub(crate) version: i64,
    /// Bytes of the value.
    pub(crate) size: u32,
    /// Whatever else, in 46 bits.
    pub(crate) labels: u64,
}

/// The last row of a key so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastRow<F> {
    pub(crate) main: i64,
    pub(crate) sub: u32,
    /// Number of the row.
    pub(super) index: u32,
    pub(crate) tombstone: bool,
    pub(crate) facts: F,
}

/// A row whose numbers are small.
#[derive(Debug, Clone, Copy)]
struct Packed {
    low: [u8; 16],
    high: [u8; 12],
}

/// Fills a number from below.
#[derive(Default)]
struct Bits {
    all: u128,
    used: u32,
}

impl Bits {
    fn push(&mut self, value: impl TryInto<u128>, bits: u32) -> Option<()> {
        let value = value.try_into().ok().filter(|value| value >> bits == 0)?;
        self.all |= value << self.used;
        self.used += bits;
        Some(())
    }

    fn pop(&mut self, bits: u32) -> u128 {
        let value = self.all & ((1 << bits) - 1);
        self.all >>= bits;
        value
    }
}

impl Packed {
    const UNPACKED: Self = Self { low: [0; 16], high: high(bits::WIDE) };

    /// `None` when a number is too large.
    fn of<F: RowFacts>(row: &LastRow<F>) -> Option<Self> {
        let Numbers { create, version, size, labels } = row.facts.numbers();
        let mut low = Bits::default();
        low.push(row.main, bits::MAIN)?;
        low.push(create, bits::CREATE)?;
        low.push(version, bits::VERSION)?;
        low.push(size, bits::SIZE)?;
        let mut rest = Bits::default();
        rest.push(row.index, bits::INDEX)?;
        rest.push(row.sub, bits::SUB)?;
        rest.push(labels, bits::LABELS)?;
        rest.push(u8::from(row.tombstone), 1)?;
        Some(Self { low: low.all.to_le_bytes(), high: high(rest.all) })
    }

    /// `None` when the row is stored unpacked.
    fn row<F: RowFacts>(self) -> Option<LastRow<F>> {
        let mut all = [0; 16];
        all.iter_mut().zip(self.high).for_each(|(to, from)| *to = from);
        let mut rest = Bits { all: u128::from_le_bytes(all), used: 0 };
        if rest.all & bits::WIDE != 0 {
            return None;
        }
        let mut low = Bits { all: u128::from_le_bytes(self.low), used: 0 };
        // Each number was pushed from a value of this type, so it fits.
        let main = i64::try_from(low.pop(bits::MAIN)).ok()?;
        let create = i64::try_from(low.pop(bits::CREATE)).ok()?;
        let version = i64::try_from(low.pop(bits::VERSION)).ok()?;
        let size = u32::try_from(low.pop(bits::SIZE)).ok()?;
        let index = u32::try_from(rest.pop(bits::INDEX)).ok()?;
        let sub = u32::try_from(rest.pop(bits::SUB)).ok()?;
        let labels = u64::try_from(rest.pop(bits::LABELS)).ok()?;
        let tombstone = rest.pop(1) == 1;
        let facts = F::of(Numbers { create, version, size, labels });
        Some(LastRow { main, sub, index, tombstone, facts })
    }
}

/// The twelve bytes that are used.
const fn high(all: u128) -> [u8; 12] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = all.to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// Keys and their last rows.
pub(super) struct Table<F> {
    packed: HashMap<Slot, Packed, BuildHasherDefault<IdentityHasher>>,
    unpacked_rows: HashMap<Slot, LastRow<F>, BuildHasherDefault<IdentityHasher>>,
}

impl<F> Default for Table<F> {
    fn default() -> Self {
        Self { packed: HashMap::default(), unpacked_rows: HashMap::default() }
    }
}

/// Bytes of a key in a table: a map has a byte for each of its places.
pub(super) const ENTRY: usize = size_of::<(Slot, Packed)>() + 1;

impl<F: RowFacts> Table<F> {
    /// The row that this one takes the place of.
    pub(super) fn put(&mut self, key: Slot, row: LastRow<F>) -> Option<LastRow<F>> {
        let packed = Packed::of(&row);
        let now = packed.unwrap_or(Packed::UNPACKED);
        let before = match self.packed.entry(key) {
            Entry::Occupied(mut entry) => Some(entry.insert(now)),
            Entry::Vacant(entry) => {
                entry.insert(now);
                None
            }
        };
        let unpacked = before.and_then(Packed::row);
        // Most tables have no unpacked row.
        if packed.is_none() {
            return self.unpacked_rows.insert(key, row).or(unpacked);
        }
        match (before, unpacked) {
            (Some(_), None) => self.unpacked_rows.remove(&key),
            (_, unpacked) => unpacked,
        }
    }

    /// Places that are taken.
    pub(super) fn places(&self) -> usize {
        self.packed.len() + self.unpacked_rows.len() * (WIDE - 1)
    }

    /// Forgets keys that do not belong to a part.
    pub(super) fn retain(&mut self, part: Part) {
        thin(&mut self.packed, |key| part.holds(*key));
        thin(&mut self.unpacked_rows, |key| part.holds(*key));
    }

    /// Takes all rows out.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = LastRow<F>> {
        let packed = self.packed.drain().filter_map(|(_, packed)| packed.row());
        packed.chain(self.unpacked_rows.drain().map(|(_, row)| row))
    }

    pub(super) fn clear(&mut self) {
        self.packed.clear();
        self.unpacked_rows.clear();
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::fingerprint::Fingerprint;
    use super::*;

    impl RowFacts for Numbers {
        fn numbers(self) -> Numbers {
            self
        }

        fn of(numbers: Numbers) -> Self {
            numbers
        }
    }

    fn number() -> impl Strategy<Value = i64> {
        let edges = [24, 40].map(|bits| (1i64 << bits) - 2..(1 << bits) + 2);
        let [version, revision] = edges;
        prop_oneof![any::<i64>(), -2i64..1000, version, revision, Just(i64::MAX), Just(i64::MIN)]
    }

    fn row() -> impl Strategy<Value = LastRow<Numbers>> {
        let sub = prop_oneof![0u32..10, 0xfff0u32..0x1_000f, any::<u32>()];
        let size = prop_oneof![0u32..10, (1u32 << 24) - 2..(1 << 24) + 2, any::<u32>()];
        let labels = 0u64..1 << 46;
        let rest = (sub, any::<u32>(), any::<bool>(), size, labels);
        (number(), number(), number(), rest).prop_map(|(main, create, version, rest)| {
            let (sub, index, tombstone, size, labels) = rest;
            let facts = Numbers { create, version, size, labels };
            LastRow { main, sub, index, tombstone, facts }
        })
    }

    proptest! {
        #[test]
        fn a_table_gives_back_what_was_put(
            puts in proptest::collection::vec((0u8..6, row()), 0..60),
            bits in 0u32..3,
        ) {
            let mut table = Table::default();
            let mut model = HashMap::new();
            for (key, row) in &puts {
                let slot = Fingerprint::of(&[*key]).slot;
                prop_assert_eq!(table.put(slot, *row), model.insert(*key, *row));
            }
            let wide = table.unpacked_rows.len();
            prop_assert_eq!(table.places(), model.len() + 2 * wide);
            let mut part = Part::ALL;
            (0..bits).for_each(|_| assert!(part.halve().is_some()));
            table.retain(part);
            model.retain(|key, _| part.holds(Fingerprint::of(&[*key]).slot));
            let order = |row: &LastRow<Numbers>| (row.main, row.index, row.facts.create);
            let mut found: Vec<_> = table.drain().collect();
            let mut wanted: Vec<_> = model.into_values().collect();
            found.sort_by_key(order);
            wanted.sort_by_key(order);
            prop_assert_eq!(found, wanted);
            prop_assert_eq!(table.places(), 0);
        }
    }

    #[test]
    fn a_table_that_is_halved_again_and_again_does_not_grow() {
        let row = LastRow { main: 1, sub: 0, index: 0, tombstone: false, facts: () };
        let most = 1024 / 8 * 7;
        let (mut table, mut part, mut halved) = (Table::default(), Part::ALL, 0);
        for key in 0u32..60_000 {
            let slot = Fingerprint::of(&key.to_be_bytes()).slot;
            if !part.holds(slot) {
                continue;
            }
            table.put(slot, row);
            assert!(table.packed.capacity() <= most, "{halved}: {}", table.packed.capacity());
            if table.places() == most {
                assert!(part.halve().is_some());
                table.retain(part);
                halved += 1;
            }
        }
        assert!(halved > 3, "{halved}");
    }

    #[test]
    fn usual_rows_are_packed_into_few_bytes() {
        assert_eq!(ENTRY, 37);
        let mut table = Table::default();
        let facts = Numbers {
            create: (1 << 40) - 1,
            version: (1 << 24) - 1,
            size: (1 << 24) - 1,
            labels: (1 << 46) - 1,
        };
        let main = (1 << 40) - 1;
        let row = LastRow { main, sub: 0xffff, index: u32::MAX, tombstone: true, facts };
        let slot = Fingerprint::of(b"key").slot;
        assert_eq!(table.put(slot, row), None);
        assert_eq!((table.places(), table.unpacked_rows.len()), (1, 0));
        assert_eq!(table.put(slot, LastRow { main: main + 1, ..row }), Some(row));
        assert_eq!((table.places(), table.unpacked_rows.len()), (3, 1));
    }
}
