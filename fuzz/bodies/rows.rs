//! Bytes as keys and values of rows.

use etcdr_restore_engine::membership::MemberRow;
use etcdr_restore_engine::mvcc::{RowKey, key_of};
use etcdr_schemas::pb::disk::{ConfChange, Entry, KeyValue, Lease};
use etcdr_schemas::pb::etcd::AlarmMember;
use prost::Message;

/// The quick parser of a key agrees with the full one; a row's key is rebuilt from its parts.
pub(crate) fn run(data: &[u8]) {
    if let (Ok(full), Some(quick)) = (KeyValue::decode(data), key_of(data)) {
        assert_eq!(full.key.unwrap_or_default(), quick);
    }
    if let Some(row) = RowKey::parse(data) {
        assert_eq!(row.encode(), data);
    }
    let _ = Lease::decode(data);
    let _ = AlarmMember::decode(data);
    let _ = Entry::decode(data);
    let _ = ConfChange::decode(data);
    if let Ok(member) = serde_json::from_slice::<MemberRow>(data) {
        let json = serde_json::to_vec(&member).expect("a member is JSON");
        assert_eq!(serde_json::from_slice::<MemberRow>(&json).ok(), Some(member));
    }
}
