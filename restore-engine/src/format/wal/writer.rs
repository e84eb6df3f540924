//! The first segment of a restored member.

use bytes::Bytes;
use etcdr_schemas::MemberId;
use etcdr_schemas::pb::disk::{ConfChange, Entry, HardState, WalMetadata, WalSnapshot};
use prost::Message;

use super::record::{Encoder, RecordKind};
use crate::format::membership::NewCluster;

/// Name of the first segment: sequence 0, entries from index 0 on.
pub const SEGMENT_NAME: &str = "0000000000000000-0000000000000000.wal";

/// The raft term of everything that a restore writes.
pub const RESTORE_TERM: u64 = 1;

/// `Entry.Type` of a membership change.
const ENTRY_CONF_CHANGE: i32 = 1;

/// The segment of `member`: one entry a member that adds it, all committed, and the mark of a
/// snapshot at the last of them.
///
/// The snapshot mark carries the configuration, which 3.7 reads, 3.5 and 3.6 accept and 3.4 skips.
/// The file is not preallocated to 64,000,000 bytes as etcd's own are: every version boots a short
/// one, cuts the next segment by itself, and a restore should not write 64 MB of zeroes a member.
#[must_use]
pub fn initial_segment(cluster: &NewCluster, member: MemberId) -> Vec<u8> {
    let voters = cluster.members();
    let commit = voters.len() as u64;
    let first = voters.first().map_or(0, |member| member.id.0);
    let mut log = Encoder::default();
    // A segment opens with the checksum of the one before it; 0 in the first.
    log.push(RecordKind::Crc, None);
    let metadata = WalMetadata { node_id: member.0, cluster_id: cluster.id().0 };
    log.push(RecordKind::Metadata, Some(metadata.encode_to_vec()));
    log.push(RecordKind::Snapshot, Some(WalSnapshot::default().encode_to_vec()));
    // Every member gets identical entries: raft compares the logs of members by index and term, and
    // assumes that equal ones have equal content.
    for (index, voter) in (1..).zip(voters) {
        let change = ConfChange {
            id: 0,
            r#type: 0,
            node_id: voter.id.0,
            context: Some(Bytes::from(voter.json())),
        };
        let data = Some(Bytes::from(change.encode_to_vec()));
        let entry = Entry { r#type: ENTRY_CONF_CHANGE, term: RESTORE_TERM, index, data };
        log.push(RecordKind::Entry, Some(entry.encode_to_vec()));
    }
    // The commit covers all entries: with a lower one the members start but elect no leader, with a
    // higher one etcd panics.
    let state = HardState { term: RESTORE_TERM, vote: first, commit };
    log.push(RecordKind::State, Some(state.encode_to_vec()));
    let mark =
        WalSnapshot { index: commit, term: RESTORE_TERM, conf_state: Some(cluster.conf_state()) };
    log.push(RecordKind::Snapshot, Some(mark.encode_to_vec()));
    log.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::membership::InitialCluster;

    /// What etcdutl 3.5.30 wrote for one member with the default token (docs/etcd-formats.md 4.4).
    const REAL: &str = "\
        0400000000000084 08041000 00000000 \
        1f00000000000081 0801 10d5eddad004 1a15 08c0d3e5ebce8dc9ecc801 10a7c8f4a3988abefa29 00 \
        0e00000000000082 0805 10f3ef838008 1a04 08001000 0000 \
        7500000000000083 0802 10ec82979508 1a6b 08011001 1801 2263 \
          0800 1000 18c0d3e5ebce8dc9ecc801 2252 JSON 000000 \
        1900000000000087 0803 1084d1e5c30f 1a0f 0801 10c0d3e5ebce8dc9ecc801 1801 00000000000000 \
        1d00000000000083 0805 10c3dcee960d 1a13 08011001 1a0d 08c0d3e5ebce8dc9ecc8012800 000000";

    const MEMBER: &str =
        r#"{"id":14472638927791024576,"peerURLs":["http://127.0.0.1:23201"],"name":"default"}"#;

    fn real() -> Vec<u8> {
        let json: String = MEMBER.bytes().map(|b| format!("{b:02x}")).collect();
        let hex: Vec<u8> =
            REAL.replace("JSON", &json).bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |p: &[u8]| u8::from_str_radix(std::str::from_utf8(p).unwrap(), 16).unwrap();
        hex.chunks_exact(2).map(pair).collect()
    }

    #[test]
    fn one_member_gives_the_bytes_of_etcdutl() {
        let initial = InitialCluster::parse("default=http://127.0.0.1:23201").unwrap();
        let cluster = NewCluster::new(initial, "etcd-cluster").unwrap();
        let ours = initial_segment(&cluster, cluster.members()[0].id);
        assert_eq!(real().len(), 288);
        assert_eq!(ours, real());
    }
}
