//! What uploads and reads are cut into, near and far.

use super::location::Location;

/// Bytes of one request of a sequential read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RangeSize(u64);

impl RangeSize {
    /// A request has a way to go.
    const REMOTE: Self = Self(2 << 20);
    /// A disk is near, and what is asked for ahead takes memory.
    const LOCAL: Self = Self(512 << 10);

    /// The size for a store that lies there.
    pub(crate) const fn of(location: &Location) -> Self {
        if location.is_near() { Self::LOCAL } else { Self::REMOTE }
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
    /// The least that S3 takes.
    pub(crate) const REMOTE: Self = Self(5 << 20);
    /// For stores that take any.
    const LOCAL: Self = Self(1 << 20);

    /// The size for a store that lies there.
    pub(crate) const fn of(location: &Location) -> Self {
        if location.is_near() { Self::LOCAL } else { Self::REMOTE }
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
