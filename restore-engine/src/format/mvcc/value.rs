//! The value of a row: one version of one key.

use etcdr_schemas::Revision;

use crate::format::fields::Fields;

/// `mvccpb.KeyValue`, borrowed from a page. Absent fields are zero, as etcd leaves them out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// Revision at which this generation of the key began.
    pub create_revision: Revision,
    /// Revision of this change.
    pub mod_revision: Revision,
    /// Number of this change in its generation, from 1.
    pub version: i64,
    /// The user's value.
    pub value: &'a [u8],
    /// Lease that the key is attached to; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Reads a value of bucket `key`. Unknown fields are passed over; `None` when the bytes are not
    /// protobuf or one of the six fields has another type.
    #[must_use]
    pub fn parse(message: &'a [u8]) -> Option<Self> {
        let mut parsed = Self::default();
        for field in Fields::of(message) {
            let (number, value) = field?;
            match number {
                1 => parsed.key = value.bytes()?,
                2 => parsed.create_revision = Revision(value.signed()?),
                3 => parsed.mod_revision = Revision(value.signed()?),
                4 => parsed.version = value.signed()?,
                5 => parsed.value = value.bytes()?,
                6 => parsed.lease = value.signed()?,
                _ => {}
            }
        }
        Some(parsed)
    }

    /// Whether only the key is there: what the row of a deletion holds.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        *self == Self { key: self.key, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::pb::disk;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_real_row_is_read() {
        let row = b"\x0a\x02/b\x10\x07\x18\x07\x20\x01\x2a\x04bee2";
        let got = KeyValue::parse(row).unwrap();
        let want = KeyValue {
            key: b"/b",
            create_revision: Revision(7),
            mod_revision: Revision(7),
            version: 1,
            value: b"bee2",
            lease: 0,
        };
        assert_eq!(got, want);
        assert!(!got.is_bare() && KeyValue::parse(b"\x0a\x02/b").unwrap().is_bare());
        assert_eq!(KeyValue::parse(b""), Some(KeyValue::default()));
        for bad in [&b"\x0a\x05/b"[..], b"\x08\x01", b"\x12\x01x", &[0xff; 11]] {
            assert_eq!(KeyValue::parse(bad), None, "{bad:02x?}");
        }
    }

    proptest! {
        #[test]
        fn it_reads_what_prost_writes(
            key: Option<Vec<u8>>, create: Option<i64>, modified: Option<i64>,
            version: Option<i64>, value: Option<Vec<u8>>, lease: Option<i64>,
        ) {
            let message = disk::KeyValue {
                key: key.clone().map(Into::into),
                create_revision: create,
                mod_revision: modified,
                version,
                value: value.clone().map(Into::into),
                lease,
            };
            let bytes = message.encode_to_vec();
            let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
            let want = KeyValue {
                key: &key,
                create_revision: Revision(create.unwrap_or_default()),
                mod_revision: Revision(modified.unwrap_or_default()),
                version: version.unwrap_or_default(),
                value: &value,
                lease: lease.unwrap_or_default(),
            };
            prop_assert_eq!(KeyValue::parse(&bytes), Some(want));
            prop_assert_eq!(super::super::key_of(&bytes), Some(key.as_slice()));
        }

        #[test]
        fn arbitrary_bytes_are_no_trouble(bytes: Vec<u8>) {
            let _ = KeyValue::parse(&bytes);
        }
    }
}
