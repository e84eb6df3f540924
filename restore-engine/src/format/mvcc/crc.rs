//! CRC-32C of bytes that were summed in pieces, on several threads.
//!
//! A CRC is linear: that of A and B together is that of A, advanced by as many zero bytes as B has,
//! and that of B, added without carry. Advancing is a multiplication by x to the power of B's bits,
//! modulo the polynomial; pieces are mostly pages, so the powers up to a few KiB are in a table.

/// Castagnoli's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82F6_3B78;
/// 1, bits reversed.
const ONE: u32 = 1 << 31;
/// Lengths whose power is in the table.
const SHORT: usize = 8192;

/// The sum of some bytes, and how many they are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    crc: u32,
    len: u64,
}

impl Sum {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.len = self.len.saturating_add(bytes.len() as u64);
    }

    pub(crate) const fn new(crc: u32, len: u64) -> Self {
        Self { crc, len }
    }

    pub(crate) const fn crc(self) -> u32 {
        self.crc
    }

    /// Bytes.
    pub(crate) const fn len(self) -> u64 {
        self.len
    }
}

/// Joins sums of adjacent bytes.
#[derive(Debug)]
pub(crate) struct Combine {
    /// x^(8n) for n below [`SHORT`].
    short: Vec<u32>,
    /// x^(8 * 2^n).
    powers: [u32; 64],
}

impl Combine {
    pub(crate) fn new() -> Self {
        // x^8, from x by squaring three times.
        let byte = (0..3).fold(ONE >> 1, |power, _| multiply(power, power));
        let mut powers = [byte; 64];
        let mut power = byte;
        for slot in powers.iter_mut().skip(1) {
            power = multiply(power, power);
            *slot = power;
        }
        let short = std::iter::successors(Some(ONE), |power| Some(multiply(*power, byte)));
        Self { short: short.take(SHORT).collect(), powers }
    }

    /// The sum of the bytes of `a` followed by those of `b`.
    pub(crate) fn join(&self, a: Sum, b: Sum) -> Sum {
        let crc = multiply(self.power(b.len), a.crc) ^ b.crc;
        Sum { crc, len: a.len.saturating_add(b.len) }
    }

    fn power(&self, len: u64) -> u32 {
        if let Some(power) = usize::try_from(len).ok().and_then(|len| self.short.get(len)) {
            return *power;
        }
        let bits = (0..64).zip(self.powers).filter(|(bit, _)| len >> bit & 1 == 1);
        bits.fold(ONE, |product, (_, power)| multiply(product, power))
    }
}

/// The product of two polynomials, modulo Castagnoli's.
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    for bit in (0..32).rev() {
        // Without branches: which bits are set is as good as random.
        product ^= b & 0u32.wrapping_sub(a >> bit & 1);
        b = (b >> 1) ^ (POLYNOMIAL & 0u32.wrapping_sub(b & 1));
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(bytes: &[u8]) -> Sum {
        let mut sum = Sum::default();
        sum.feed(bytes);
        sum
    }

    #[test]
    fn lengths_of_all_sizes_are_advanced() {
        let combine = Combine::new();
        for len in [0, 1, 2, 8191, 8192, 8193, 1 << 20, (1 << 22) + 12345] {
            let (a, b) = (b"revision".as_slice(), vec![0xa5; len]);
            let joined = combine.join(sum(a), sum(&b));
            assert_eq!(joined, sum(&[a, &b].concat()), "{len}");
            assert_eq!(joined.crc(), crc32c::crc32c_combine(sum(a).crc, sum(&b).crc, len), "{len}");
        }
    }

    proptest! {
        #[test]
        fn pieces_give_the_sum_of_the_whole(pieces: Vec<Vec<u8>>) {
            let combine = Combine::new();
            let join = |all, piece: &Vec<u8>| combine.join(all, sum(piece));
            let all = pieces.iter().fold(Sum::default(), join);
            prop_assert_eq!(all, sum(&pieces.concat()));
        }
    }
}
