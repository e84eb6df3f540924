//! The one table of etcd's buckets and of the rows that we know by name.

/// The key space: revision to `KeyValue`.
pub const KEY: &[u8] = b"key";
/// Where etcd keeps its own counters and markers.
pub const META: &[u8] = b"meta";
/// Leases by id.
pub const LEASE: &[u8] = b"lease";
/// Active alarms.
pub const ALARM: &[u8] = b"alarm";
/// Whether authentication is on, and its revision.
pub const AUTH: &[u8] = b"auth";
/// Users.
pub const AUTH_USERS: &[u8] = b"authUsers";
/// Roles.
pub const AUTH_ROLES: &[u8] = b"authRoles";
/// Members by id, unpadded lower-case hex.
pub const MEMBERS: &[u8] = b"members";
/// Members that were removed.
pub const MEMBERS_REMOVED: &[u8] = b"members_removed";
/// Cluster version and downgrade.
pub const CLUSTER: &[u8] = b"cluster";

/// All buckets, in the order in which they are stored.
pub const ALL: [&[u8]; 10] =
    [ALARM, AUTH, AUTH_ROLES, AUTH_USERS, CLUSTER, KEY, LEASE, MEMBERS, MEMBERS_REMOVED, META];

/// Rows of bucket `meta`.
pub mod meta {
    /// Raft index that the database reflects, u64 big-endian.
    pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
    /// Raft term of that entry, u64 big-endian; from 3.5 on.
    pub const TERM: &[u8] = b"term";
    /// Voters as JSON; from 3.5 on. No version reads it back.
    pub const CONF_STATE: &[u8] = b"confState";
    /// Schema version as text; from 3.6 on.
    pub const STORAGE_VERSION: &[u8] = b"storageVersion";
    /// The compaction that was accepted last, a 17 byte revision.
    pub const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
    /// The compaction that was finished last, a 17 byte revision.
    pub const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
}

/// Rows of bucket `auth`.
pub mod auth {
    /// One byte, 1 when authentication is on.
    pub const ENABLED: &[u8] = b"authEnabled";
    /// Goes up with each change of users and roles, u64 big-endian.
    pub const REVISION: &[u8] = b"authRevision";
}

/// Rows of bucket `cluster`.
pub mod cluster {
    /// The cluster's version as text.
    pub const VERSION: &[u8] = b"clusterVersion";
    /// A downgrade that was asked for, as JSON; from 3.5 on.
    pub const DOWNGRADE: &[u8] = b"downgrade";
}

/// A bucket's name for people; bytes that are not text are escaped.
#[must_use]
pub fn display(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
