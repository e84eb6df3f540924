//! Keys of bucket `key`, and the user's key inside a row.

use etcdr_schemas::Revision;

use crate::format::fields::{Fields, Value};

/// Key of a row: a revision, and whether the row deletes its key.
///
/// Stored as `u64be main`, `_`, `u64be sub`, and `t` for a deletion (docs/etcd-formats.md 2.1), so
/// that bytes order like revisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Revision of the transaction.
    pub main: Revision,
    /// Number of the change inside it, from 0.
    pub sub: i64,
    /// Whether it is a deletion.
    pub tombstone: bool,
}

impl RowKey {
    /// Bytes of the key of a row that puts; one more for one that deletes.
    pub const LEN: usize = 17;

    /// The key of a row that puts.
    #[must_use]
    pub const fn put(main: Revision, sub: i64) -> Self {
        Self { main, sub, tombstone: false }
    }

    /// Reads a key; `None` when these bytes are not a revision.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let tombstone = match bytes.get(Self::LEN..)? {
            [] => false,
            [b't'] => true,
            _ => return None,
        };
        let number = |at: usize| {
            let raw = bytes.get(at..at + 8)?.try_into().ok()?;
            i64::try_from(u64::from_be_bytes(raw)).ok()
        };
        if bytes.get(8) != Some(&b'_') {
            return None;
        }
        Some(Self { main: Revision(number(0)?), sub: number(9)?, tombstone })
    }

    /// The bytes of the key. A negative number, which is not a revision, becomes 0.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let number = |n: i64| u64::try_from(n).unwrap_or_default().to_be_bytes();
        let mut bytes = Vec::with_capacity(Self::LEN + 1);
        bytes.extend_from_slice(&number(self.main.0));
        bytes.push(b'_');
        bytes.extend_from_slice(&number(self.sub));
        if self.tombstone {
            bytes.push(b't');
        }
        bytes
    }
}

/// The user's key in the value of a row (`mvccpb.KeyValue`, field 1), without decoding the rest; an
/// absent field is the empty key. `None` when the bytes are not protobuf.
#[must_use]
pub fn key_of(message: &[u8]) -> Option<&[u8]> {
    let mut key: &[u8] = &[];
    for field in Fields::of(message) {
        if let (1, Value::Bytes(bytes)) = field? {
            key = bytes;
        }
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn bytes_that_are_no_revision_are_refused() {
        let good = RowKey { main: Revision(6), sub: 0, tombstone: true }.encode();
        assert_eq!(RowKey::parse(&good).unwrap().encode(), good);
        let mut cases = vec![vec![], good[..16].to_vec(), [good.clone(), vec![b't']].concat()];
        for (at, byte) in [(0, 0x80), (8, b'-'), (9, 0xff), (17, b'x')] {
            let mut bytes = good.clone();
            bytes[at] = byte;
            cases.push(bytes);
        }
        for bytes in cases {
            assert_eq!(RowKey::parse(&bytes), None, "{bytes:02x?}");
        }
    }

    #[test]
    fn the_key_is_found_wherever_it_is() {
        assert_eq!(key_of(b"\x0a\x02/a\x10\x02\x18\x02\x20\x01\x2a\x011"), Some(&b"/a"[..]));
        assert_eq!(key_of(b"\x10\x02\x0a\x01k"), Some(&b"k"[..]));
        assert_eq!(key_of(b""), Some(&b""[..]));
        assert_eq!(key_of(b"\x0a\x05/a"), None);
        assert_eq!(key_of(&[0xff; 11]), None);
    }

    proptest! {
        #[test]
        fn bytes_order_like_revisions(a: (u32, u16, bool), b: (u32, u16, bool)) {
            let key = |(main, sub, tombstone): (u32, u16, bool)| RowKey {
                main: Revision(main.into()), sub: sub.into(), tombstone,
            };
            let (a, b) = (key(a), key(b));
            prop_assert_eq!(a.cmp(&b), a.encode().cmp(&b.encode()));
            prop_assert_eq!(RowKey::parse(&a.encode()), Some(a));
        }

        #[test]
        fn arbitrary_bytes_are_no_trouble(bytes: Vec<u8>) {
            let _ = key_of(&bytes);
            let _ = RowKey::parse(&bytes);
        }
    }
}
