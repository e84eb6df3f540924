//! The calls of etcd's gRPC API that we use.

use std::time::Duration;

/// One method of etcd's API. Paths are facts of the API (etcd `rpc.proto`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    /// For messages.
    pub(crate) name: &'static str,
    /// Path of the request.
    pub(crate) path: &'static str,
    /// Longest answer, in bytes, that is read into memory.
    pub(crate) max_reply: usize,
    /// Whether etcd walks the whole database before it answers.
    pub(crate) slow: bool,
}

/// Longest answer of a call that has little to say, in bytes.
const MAX_SHORT_REPLY: usize = 4 << 20;
/// Longest range of many large values, in bytes: etcd itself sets no limit to an answer.
const MAX_LONG_REPLY: usize = 64 << 20;

const fn quick(name: &'static str, path: &'static str) -> Call {
    Call { name, path, max_reply: MAX_SHORT_REPLY, slow: false }
}

const fn slow(name: &'static str, path: &'static str) -> Call {
    Call { name, path, max_reply: MAX_SHORT_REPLY, slow: true }
}

pub(crate) const AUTHENTICATE: Call = quick("Authenticate", "/etcdserverpb.Auth/Authenticate");
pub(crate) const STATUS: Call = quick("Status", "/etcdserverpb.Maintenance/Status");
pub(crate) const ALARM: Call = quick("Alarm", "/etcdserverpb.Maintenance/Alarm");
pub(crate) const HASH_KV: Call = slow("HashKV", "/etcdserverpb.Maintenance/HashKV");
pub(crate) const DEFRAGMENT: Call = slow("Defragment", "/etcdserverpb.Maintenance/Defragment");
pub(crate) const SNAPSHOT: Call = quick("Snapshot", "/etcdserverpb.Maintenance/Snapshot");
pub(crate) const MEMBER_LIST: Call = quick("MemberList", "/etcdserverpb.Cluster/MemberList");
pub(crate) const LEASE_LEASES: Call =
    Call { max_reply: MAX_LONG_REPLY, ..quick("LeaseLeases", "/etcdserverpb.Lease/LeaseLeases") };
pub(crate) const LEASE_GRANT: Call = quick("LeaseGrant", "/etcdserverpb.Lease/LeaseGrant");
pub(crate) const RANGE: Call =
    Call { max_reply: MAX_LONG_REPLY, ..quick("Range", "/etcdserverpb.KV/Range") };
pub(crate) const PUT: Call = quick("Put", "/etcdserverpb.KV/Put");
pub(crate) const DELETE_RANGE: Call = quick("DeleteRange", "/etcdserverpb.KV/DeleteRange");
pub(crate) const TXN: Call = quick("Txn", "/etcdserverpb.KV/Txn");
pub(crate) const COMPACT: Call = slow("Compact", "/etcdserverpb.KV/Compact");

impl Call {
    /// The time limit of this call, given that of a short one.
    pub(crate) fn limit(&self, command_timeout: Duration) -> Duration {
        // A limit all the same: a member that hangs must not hold its caller for ever.
        if self.slow { command_timeout.saturating_mul(30) } else { command_timeout }
    }
}
