//! A fingerprint of a key: the 128 bits of SipHash-1-3. One half is the key in a table, and 6 bits
//! of the other choose one of 64 tables: among ten million keys two share those 70 bits once in 20
//! million databases.
//!
//! Databases may be hostile, so keys with equal fingerprints must be hard to find. An attacker who
//! finds some only misleads the check of a file that is already his.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};

/// Both halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// Its key in the table of its shard.
    pub(crate) slot: Slot,
    /// Chooses the shard.
    table: u64,
}

/// A key in a table. Bytes, so that it takes no more room than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot([u8; 8]);

/// Parts of a table that grow on their own.
pub(super) const SHARDS: usize = 64;

impl Fingerprint {
    pub(crate) fn of(key: &[u8]) -> Self {
        let [slot, table] = sip128(key);
        Self { slot: Slot(slot.to_le_bytes()), table }
    }

    pub(super) fn shard(self) -> usize {
        usize::try_from(self.table >> 58).unwrap_or_default()
    }
}

impl Hash for Fingerprint {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.slot.hash(state);
    }
}

impl Hash for Slot {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from_le_bytes(self.0));
    }
}

fn sip128(bytes: &[u8]) -> [u64; 2] {
    let mut state = State::new();
    state.0[1] ^= 0xee;
    state.feed(bytes);
    state.0[2] ^= 0xee;
    let first = state.finish();
    state.0[1] ^= 0xdd;
    [first, state.finish()]
}

struct State([u64; 4]);

impl State {
    const fn new() -> Self {
        // The key is zero: it would have to be in this program anyway.
        Self([
            0x736f_6d65_7073_6575,
            0x646f_7261_6e64_6f6d,
            0x6c79_6765_6e65_7261,
            0x7465_6462_7974_6573,
        ])
    }

    fn round(&mut self) {
        let [a, b, c, d] = &mut self.0;
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }

    fn word(&mut self, word: u64) {
        self.0[3] ^= word;
        self.round();
        self.0[0] ^= word;
    }

    fn feed(&mut self, bytes: &[u8]) {
        let (words, tail) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(tail) {
            *to = *from;
        }
        self.word(u64::from_le_bytes(last) | (bytes.len() as u64) << 56);
    }

    fn finish(&mut self) -> u64 {
        self.round();
        self.round();
        self.round();
        self.0.iter().fold(0, |all, word| all ^ word)
    }
}

/// Halvings of what a table is responsible for; more would be 2^32 passes.
const MAX_HALVINGS: u32 = 32;

/// Low bits of a slot, which choose its place in a hash map. A part is chosen by the bits above, up
/// to the highest seven: if it used the low ones, the slots that stay would crowd into a fraction
/// of the map.
const OF_THE_MAP: u32 = 24;

/// The keys whose slots have these bits in the middle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    bits: u32,
    value: u64,
}

impl Part {
    pub(super) const ALL: Self = Self { bits: 0, value: 0 };

    /// How often it was halved.
    pub(super) const fn halvings(self) -> u32 {
        self.bits
    }

    /// Keeps one half and gives the other; `None` when it was halved too often.
    pub(super) const fn halve(&mut self) -> Option<Self> {
        let Self { bits, value } = *self;
        if bits == MAX_HALVINGS {
            return None;
        }
        self.bits += 1;
        Some(Self { bits: bits + 1, value: value | 1 << bits })
    }

    pub(super) const fn holds(self, key: Slot) -> bool {
        (u64::from_le_bytes(key.0) >> OF_THE_MAP) & ((1 << self.bits) - 1) == self.value
    }
}

/// Keeps some entries of a map. They are taken out and put back: a map counts the places of removed
/// entries as used, and would double its memory instead of reusing them.
pub(super) fn thin<K, V, S>(map: &mut HashMap<K, V, S>, keep: impl Fn(&K) -> bool)
where
    K: Eq + Hash,
    S: BuildHasher + Default,
{
    let kept: Vec<_> = map.drain().filter(|(key, _)| keep(key)).collect();
    map.extend(kept);
}

/// Hands a fingerprint through: it is a hash already.
#[derive(Debug, Default)]
pub(crate) struct IdentityHasher(u64);

impl std::hash::Hasher for IdentityHasher {
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

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher};

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The standard library has the same with 64 bits, which differ in one constant.
        #[test]
        fn it_is_siphash(bytes: Vec<u8>) {
            let mut state = State::new();
            state.feed(&bytes);
            state.0[2] ^= 0xff;
            let mut standard = DefaultHasher::new();
            standard.write(&bytes);
            prop_assert_eq!(state.finish(), standard.finish());
        }

        #[test]
        fn keys_differ(a: Vec<u8>, b: Vec<u8>) {
            let (one, other) = (Fingerprint::of(&a), Fingerprint::of(&b));
            prop_assert_eq!(one == other, a == b);
            prop_assert!(a == b || (one.slot != other.slot && one.table != other.table));
            prop_assert!(one.shard() < SHARDS);
        }
    }
}
