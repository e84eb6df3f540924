//! Answers of etcd in our own types.

use etcdr_schemas::manifest::{Alarm, Member};
use etcdr_schemas::pb::etcd as pb;
use etcdr_schemas::{ClusterId, MemberId, RaftIndex, Revision, Term};

use crate::call_context::printable;

/// What a member says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Id of the cluster.
    pub cluster_id: ClusterId,
    /// Id of the member that answered.
    pub member_id: MemberId,
    /// Its revision when it answered.
    pub revision: Revision,
    /// Its raft term.
    pub raft_term: Term,
    /// Its raft index.
    pub raft_index: RaftIndex,
    /// The last index that it has applied; 0 from servers that do not report it.
    pub raft_applied_index: RaftIndex,
    /// Whom it takes for the leader; absent when there is none.
    pub leader: Option<MemberId>,
    /// Whether it does not vote.
    pub learner: bool,
    /// Version of the server, e.g. `3.5.30`.
    pub version: String,
    /// Storage version of the database, from etcd 3.6 on.
    pub storage_version: Option<String>,
    /// Bytes of the database file.
    pub db_size: u64,
    /// Bytes of it that are in use.
    pub db_size_in_use: u64,
    /// What the member complains about, e.g. raised alarms.
    pub errors: Vec<String>,
}

impl Status {
    pub(crate) fn new(reply: pb::StatusResponse) -> Self {
        let header = reply.header.unwrap_or_default();
        Self {
            cluster_id: ClusterId(header.cluster_id),
            member_id: MemberId(header.member_id),
            revision: Revision(header.revision),
            raft_term: Term(reply.raft_term),
            raft_index: RaftIndex(reply.raft_index),
            raft_applied_index: RaftIndex(reply.raft_applied_index),
            leader: (reply.leader != 0).then_some(MemberId(reply.leader)),
            learner: reply.is_learner,
            version: printable(&reply.version),
            storage_version: (!reply.storage_version.is_empty())
                .then(|| printable(&reply.storage_version)),
            db_size: u64::try_from(reply.db_size).unwrap_or(0),
            db_size_in_use: u64::try_from(reply.db_size_in_use).unwrap_or(0),
            errors: reply.errors.iter().take(16).map(|error| printable(error)).collect(),
        }
    }

    /// Whether this member is the leader.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.member_id)
    }
}

/// A member's hash of its key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashKvReply {
    /// The member that answered.
    pub member_id: MemberId,
    /// The member's revision when it answered.
    pub current_revision: Revision,
    /// The revision that was hashed.
    pub revision: Revision,
    /// The compact revision that the hash depends on; -1 when never compacted.
    pub compact_revision: i64,
    /// CRC-32C over the rows.
    pub hash: u32,
}

impl HashKvReply {
    /// `asked` is what the request named; 0 or less asks for the current revision.
    pub(crate) fn new(asked: Revision, reply: &pb::HashKvResponse) -> Self {
        let header = reply.header.unwrap_or_default();
        let reported = Some(reply.hash_revision).filter(|revision| *revision > 0);
        let asked = Some(asked.0).filter(|revision| *revision > 0);
        Self {
            member_id: MemberId(header.member_id),
            current_revision: Revision(header.revision),
            revision: Revision(asked.or(reported).unwrap_or(header.revision)),
            compact_revision: reply.compact_revision,
            hash: reply.hash,
        }
    }
}

pub(crate) fn member(member: pb::Member) -> Member {
    Member {
        id: MemberId(member.id),
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        learner: member.is_learner,
    }
}

/// Numbers of etcd's `AlarmType`.
pub(crate) fn alarm(alarm: pb::AlarmMember) -> Alarm {
    let kind = match alarm.alarm {
        1 => "NOSPACE".to_owned(),
        2 => "CORRUPT".to_owned(),
        other => other.to_string(),
    };
    Alarm { member_id: MemberId(alarm.member_id), kind }
}
