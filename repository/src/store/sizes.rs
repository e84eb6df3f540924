//! Sizes of the parts and ranges that uploads and reads are cut into, for local and remote stores.

use super::location::Location;

/// Bytes of one request of a sequential read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeSize(u64);

impl RangeSize {
    /// Each request costs a round trip, so it asks for more.
    const REMOTE: Self = Self(2 << 20);
    /// A local disk answers at once, and reading ahead takes memory.
    const LOCAL: Self = Self(512 << 10);

    /// The size for a store at this location.
    pub(crate) const fn of(location: &Location) -> Self {
        if location.is_local() { Self::LOCAL } else { Self::REMOTE }
    }

    /// In bytes.
    pub(crate) const fn bytes(self) -> u64 {
        self.0
    }
}

/// Size of a part, in bytes, while an upload is small. Small parts, so that small and large
/// databases cost the same memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartSize(u64);

/// Parts grow with what was uploaded, which keeps 5 TiB, the largest object of S3, within its limit
/// of 10,000 parts: 1024 parts reach 5 GiB, and each further e-fold takes another 1024.
const GROWTH: u64 = 1024;

impl PartSize {
    /// The smallest part that S3 accepts.
    pub(crate) const REMOTE: Self = Self(5 << 20);
    /// Local stores take parts of any size.
    const LOCAL: Self = Self(1 << 20);

    /// The size for a store at this location.
    pub(crate) const fn of(location: &Location) -> Self {
        if location.is_local() { Self::LOCAL } else { Self::REMOTE }
    }

    /// Size of the next part after `sent` bytes.
    pub(crate) fn after(self, sent: u64) -> usize {
        let size = (sent / GROWTH).next_multiple_of(1 << 20).clamp(self.0, 5 << 30);
        usize::try_from(size).unwrap_or(usize::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_the_largest_object() {
        for size in [PartSize::REMOTE, PartSize::LOCAL] {
            let (mut sent, mut parts) = (0u64, 0u32);
            while sent < 5 << 40 {
                sent += size.after(sent) as u64;
                parts += 1;
            }
            assert!(parts < 10_000, "{size:?}: {parts}");
        }
        assert_eq!(PartSize::REMOTE.after(0), 5 << 20);
        assert_eq!(PartSize::REMOTE.after(5 << 30), 5 << 20);
        assert_eq!(PartSize::REMOTE.after(80 << 30), 80 << 20);
    }
}
