//! What a database holds, counted.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::revision::Revision;

/// What a database holds: level `semantic`. Lists name the largest first and are bounded; what they
/// do not name is in their `other`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Contents {
    /// Rows of the key space: every change that is still there.
    pub rows: u64,
    /// Keys that are not deleted, and bytes of their values.
    pub live: Tally,
    /// HashKV as it was computed: at the revision that the manifest records, the current one
    /// otherwise.
    pub hash_kv: Option<OfflineHash>,
    /// Whether that equals what the manifest records of the live members; absent when it could not
    /// be compared.
    pub hash_kv_matches: Option<bool>,
    /// Whether Kubernetes keeps its objects here.
    pub kubernetes: bool,
    /// Live objects by resource; group after the name for custom and aggregated types.
    pub resources: Breakdown,
    /// Live objects by namespace; those of the cluster are not among them.
    pub namespaces: Breakdown,
    /// Live keys that name no Kubernetes object, by the first part of their path.
    pub prefixes: Breakdown,
    /// Live values below Kubernetes' prefixes, by encoding.
    pub encodings: Vec<Counted>,
    /// Keys that sealed live values: without them these are lost.
    pub encryption_keys: Vec<EncryptionKey>,
    /// Leases.
    pub leases: LeaseSummary,
    /// Users and roles.
    pub auth: AuthSummary,
}

/// Keys, and bytes of their values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    /// Number of keys.
    pub keys: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Tally {
    /// Adds another one to it.
    pub fn add(&mut self, more: Self) {
        self.keys = self.keys.saturating_add(more.keys);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }
}

/// One line of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counted {
    /// What is counted.
    pub name: String,
    /// How many keys.
    pub keys: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

/// HashKV that was computed from a database file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OfflineHash {
    /// Revision of the hash.
    pub revision: Revision,
    /// Compact revision of the hash; -1 when never compacted.
    pub compact_revision: i64,
    /// The value.
    pub hash: u32,
}

/// A bounded list of counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Breakdown {
    /// The largest first.
    pub named: Vec<Counted>,
    /// What the list has no room for.
    pub other: Tally,
}

/// A key that values are sealed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EncryptionKey {
    /// Provider and version, such as `aescbc:v1` or `kms:v2`.
    pub provider: String,
    /// Name of the key, or of the KMS plugin.
    pub key: String,
    /// Live values that it sealed.
    pub values: u64,
}

/// Leases.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeaseSummary {
    /// Leases that exist.
    pub count: u64,
    /// Live keys that are attached to one of them.
    pub attached_keys: u64,
    /// Leases that live keys name and that do not exist; most keys first, bounded.
    pub dangling: Vec<DanglingLease>,
    /// Live keys of all dangling leases.
    pub dangling_keys: u64,
}

/// A lease that keys name and that does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DanglingLease {
    /// Its id, in hex as etcdctl shows it.
    pub id: String,
    /// Live keys that name it.
    pub keys: u64,
}

/// Users and roles.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthSummary {
    /// Whether authentication is on: a restored cluster asks for the same passwords.
    pub enabled: bool,
    /// Number of users.
    pub users: u64,
    /// Number of roles.
    pub roles: u64,
}
