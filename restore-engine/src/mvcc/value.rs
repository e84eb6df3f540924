//! The few fields of a row's value that are needed while rows stream by, read without copying.

use std::borrow::Cow;

/// Field numbers of `mvccpb.KeyValue`.
const KEY: u64 = 1;
const VALUE: u64 = 5;
const LEASE: u64 = 6;

/// A value of bucket `key`, as far as it is needed. Absent fields are empty, as protobuf has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RowValue<'a> {
    /// The user's key.
    pub(crate) key: &'a [u8],
    /// The user's value.
    pub(crate) value: &'a [u8],
    /// Id of the lease that the key is attached to; 0 for none.
    pub(crate) lease: i64,
}

impl<'a> RowValue<'a> {
    /// `None` when the bytes are not protobuf.
    pub(crate) fn parse(message: &'a [u8]) -> Option<Self> {
        let mut found = Self::default();
        let mut rest = message;
        while !rest.is_empty() {
            let (field, after) = Field::first(rest)?;
            match (field.number, field.content) {
                (KEY, Content::Bytes(bytes)) => found.key = bytes,
                (VALUE, Content::Bytes(bytes)) => found.value = bytes,
                (LEASE, Content::Varint(lease)) => found.lease = lease.cast_signed(),
                _ => {}
            }
            rest = after;
        }
        Some(found)
    }
}

/// The same value with no lease; every other byte stays. `None` when the bytes are not protobuf.
pub(crate) fn without_lease(message: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut kept = Vec::new();
    let mut changed = false;
    let mut rest = message;
    while !rest.is_empty() {
        let (field, after) = Field::first(rest)?;
        if field.number == LEASE {
            if !changed {
                kept.extend_from_slice(message.get(..message.len() - rest.len())?);
            }
            changed = true;
        } else if changed {
            kept.extend_from_slice(rest.get(..rest.len() - after.len())?);
        }
        rest = after;
    }
    Some(if changed { Cow::Owned(kept) } else { Cow::Borrowed(message) })
}

struct Field<'a> {
    number: u64,
    content: Content<'a>,
}

enum Content<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

impl<'a> Field<'a> {
    /// The first field of a message, and what follows it.
    fn first(mut message: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let tag = varint(&mut message)?;
        let content = match tag & 7 {
            0 => Content::Varint(varint(&mut message)?),
            1 => {
                message = message.get(8..)?;
                Content::Fixed
            }
            2 => {
                let len = usize::try_from(varint(&mut message)?).ok()?;
                let (bytes, after) = message.split_at_checked(len)?;
                message = after;
                Content::Bytes(bytes)
            }
            5 => {
                message = message.get(4..)?;
                Content::Fixed
            }
            _ => return None,
        };
        Some((Self { number: tag >> 3, content }, message))
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::pb::etcd::KeyValue;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    proptest! {
        #[test]
        fn what_prost_writes_is_read_and_only_the_lease_goes(
            key: Vec<u8>, value: Vec<u8>, numbers: (i64, i64, i64), lease: i64,
        ) {
            let message = KeyValue {
                key: key.clone().into(), value: value.clone().into(),
                create_revision: numbers.0, mod_revision: numbers.1, version: numbers.2, lease,
            };
            let bytes = message.encode_to_vec();
            let read = RowValue::parse(&bytes).unwrap();
            prop_assert_eq!(read, RowValue { key: &key, value: &value, lease });
            let without = without_lease(&bytes).unwrap();
            prop_assert_eq!(&*without, KeyValue { lease: 0, ..message.clone() }.encode_to_vec());
            prop_assert_eq!(matches!(without, Cow::Borrowed(_)), lease == 0);
            // A lease before the other fields, and one of an unknown field behind it.
            let odd = [&[0x30, 5][..], &bytes, &[0x38, 1], &[0x30, 7]].concat();
            let kept = without_lease(&odd).unwrap();
            prop_assert_eq!(&*kept, [&*without, &[0x38, 1][..]].concat());
        }

        #[test]
        fn arbitrary_bytes_are_no_trouble(bytes: Vec<u8>) {
            prop_assert_eq!(RowValue::parse(&bytes).is_some(), without_lease(&bytes).is_some());
        }
    }
}
