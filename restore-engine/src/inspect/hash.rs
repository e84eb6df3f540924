//! The hash of `snapshot status`, put together from the hashes of leaves that come by in any order.
//!
//! It is a CRC-32C over the names and rows of all buckets in order. CRCs are linear: the CRC of two texts one after
//! the other follows from those of both and the length of the second. So each leaf leaves its first key, its
//! CRC and its length, and at the end these are sorted and combined.

/// CRC-32C's polynomial, reflected.
const POLYNOMIAL: u32 = 0x82F6_3B78;

/// Leaves that are remembered: 8 GiB and more of an ordinary database, 160 MiB of memory at most.
const MAX_LEAVES: usize = 4 << 20;

/// What advances a CRC over 2^n zero bytes, for each n.
#[derive(Debug)]
pub(super) struct Shift([[u32; 32]; 40]);

impl Shift {
    pub(super) fn new() -> Self {
        let mut bit = [0; 32];
        for (n, row) in bit.iter_mut().enumerate() {
            *row = if n == 0 { POLYNOMIAL } else { 1 << (n - 1) };
        }
        // Squared three times it advances by eight bits.
        let mut power = square(&square(&square(&bit)));
        let mut powers = [[0; 32]; 40];
        for slot in &mut powers {
            *slot = power;
            power = square(&power);
        }
        Self(powers)
    }

    /// The CRC of what `first` covers followed by `length` bytes that `second` covers.
    pub(super) fn combine(&self, first: u32, second: u32, length: u64) -> u32 {
        let powers = self.0.iter().enumerate().filter(|(n, _)| length >> n & 1 == 1);
        powers.fold(first, |crc, (_, power)| apply(power, crc)) ^ second
    }
}

fn apply(matrix: &[u32; 32], vector: u32) -> u32 {
    let rows = matrix.iter().enumerate().filter(|(n, _)| vector >> n & 1 == 1);
    rows.fold(0, |sum, (_, row)| sum ^ row)
}

fn square(matrix: &[u32; 32]) -> [u32; 32] {
    matrix.map(|row| apply(matrix, row))
}

/// What one leaf leaves. The first bytes of its first key are enough to sort nearly all of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Leaf {
    head: u128,
    rest: Box<[u8]>,
    crc: u32,
    length: u32,
}

/// The leaves of one bucket.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    leaves: Vec<Leaf>,
    too_many: bool,
}

impl Leaves {
    pub(super) fn push(&mut self, first: &[u8], crc: u32, length: u64) {
        let Some(length) = u32::try_from(length).ok().filter(|_| self.leaves.len() < MAX_LEAVES)
        else {
            self.too_many = true;
            return;
        };
        let (head, rest) = first.split_at(first.len().min(16));
        let mut padded = [0; 16];
        padded.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
        let head = u128::from_be_bytes(padded);
        self.leaves.push(Leaf { head, rest: rest.into(), crc, length });
    }

    /// Goes on with the hash of all buckets before; `None` when there were too many leaves.
    pub(super) fn finish(mut self, shift: &Shift, name: &[u8], before: u32) -> Option<u32> {
        self.leaves.sort_unstable();
        let start = crc32c::crc32c_append(before, name);
        let all = |crc, leaf: &Leaf| shift.combine(crc, leaf.crc, u64::from(leaf.length));
        (!self.too_many).then(|| self.leaves.iter().fold(start, all))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_in_any_order_give_the_crc_of_the_whole(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..20),
            turn in 0usize..20,
        ) {
            let mut leaves = Leaves::default();
            let mut whole = crc32c::crc32c(b"name");
            let mut parts = Vec::new();
            for (number, value) in (0u64..).zip(&values) {
                // Keys shorter and longer than what is kept beside the heap.
                let mut key = number.to_be_bytes().to_vec();
                key.resize(8 + usize::try_from(number % 3).unwrap() * 8, b'k');
                whole = crc32c::crc32c_append(crc32c::crc32c_append(whole, &key), value);
                let crc = crc32c::crc32c_append(crc32c::crc32c(&key), value);
                parts.push((key.clone(), crc, (key.len() + value.len()) as u64));
            }
            parts.rotate_left(turn % values.len());
            parts.iter().for_each(|(key, crc, length)| leaves.push(key, *crc, *length));
            prop_assert_eq!(leaves.finish(&Shift::new(), b"name", 0), Some(whole));
        }
    }
}
