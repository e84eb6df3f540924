//! Removes the lease from the value of a row.

use std::borrow::Cow;

use crate::format::fields::Fields;

/// Field number of the lease in `mvccpb.KeyValue`.
const LEASE: u64 = 6;

/// The value without its lease; every other byte stays. `None` when the bytes are not protobuf.
pub(crate) fn without_lease(message: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut kept: Option<Vec<u8>> = None;
    let mut fields = Fields::of(message);
    loop {
        let before = fields.left();
        let Some(field) = fields.next() else { break };
        let (number, _) = field?;
        let used = before.len() - fields.left().len();
        if number == LEASE {
            let so_far = message.len() - before.len();
            kept.get_or_insert(message.get(..so_far)?.to_vec());
        } else if let Some(kept) = &mut kept {
            kept.extend_from_slice(before.get(..used)?);
        }
    }
    Some(kept.map_or(Cow::Borrowed(message), Cow::Owned))
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::pb::etcd::KeyValue;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    proptest! {
        #[test]
        fn only_the_lease_goes(
            key: Vec<u8>, value: Vec<u8>, numbers: (i64, i64, i64), lease: i64,
        ) {
            let message = KeyValue {
                key: key.into(), value: value.into(),
                create_revision: numbers.0, mod_revision: numbers.1, version: numbers.2, lease,
            };
            let bytes = message.encode_to_vec();
            let without = without_lease(&bytes).unwrap();
            prop_assert_eq!(&*without, KeyValue { lease: 0, ..message.clone() }.encode_to_vec());
            prop_assert_eq!(matches!(without, Cow::Borrowed(_)), lease == 0);
            // A lease before the other fields, and one behind an unknown field.
            let odd = [&[0x30, 5][..], &bytes, &[0x38, 1], &[0x30, 7]].concat();
            let kept = without_lease(&odd).unwrap();
            prop_assert_eq!(&*kept, [&*without, &[0x38, 1][..]].concat());
        }

        #[test]
        fn arbitrary_bytes_are_no_trouble(bytes: Vec<u8>) {
            let _ = without_lease(&bytes);
        }
    }
}
