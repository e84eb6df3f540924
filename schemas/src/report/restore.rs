//! What a restore is going to do, and what it did.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EncryptionKey, OfflineHash};
use crate::digest::Sha256Digest;
use crate::ids::{ClusterId, MemberId};
use crate::revision::Revision;
use crate::version::TargetVersion;

/// What a restore is going to do: `etcdr restore --dry-run`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestorePlan {
    /// What is restored: a snapshot id or a file.
    pub source: String,
    /// Revision of the source.
    pub revision: Revision,
    /// The etcd minor that the data directories are written for.
    pub target_version: TargetVersion,
    /// Token of the new cluster.
    pub cluster_token: String,
    /// Id of the new cluster.
    pub cluster_id: ClusterId,
    /// All members of the new cluster, ids ascending.
    pub members: Vec<PlannedMember>,
    /// How the revision is raised, so that watchers and informers resync; absent when it is not.
    pub bump: Option<PlannedBump>,
    /// The steps, in order, one sentence each.
    pub steps: Vec<String>,
    /// Bytes that each target needs.
    pub bytes_per_member: u64,
    /// What a person should look at before going on.
    pub warnings: Vec<String>,
    /// What follows from what was asked for.
    #[serde(default)]
    pub notes: Vec<String>,
    /// How the database is written anew; absent when its pages are taken as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<PlannedRebuild>,
    /// What a person does after the first start, in this order; empty unless Kubernetes was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checklist: Vec<CheckStep>,
}

/// How a database is written anew, and what is left out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedRebuild {
    /// Only keys that begin with one of these are kept; empty when all are.
    pub only_prefixes: Vec<String>,
    /// Keys that begin with one of these are left out, with their history.
    pub exclude_prefixes: Vec<String>,
    /// Which revisions are kept.
    pub history: History,
    /// Whether all leases are left out; their keys stay and never expire.
    pub drop_leases: bool,
    /// Left out: keys whose lease was due, and these leases.
    pub drop_expired: Option<PlannedExpiry>,
    /// Whether users, roles and the switch of authentication are left out.
    pub drop_auth: bool,
    /// Whether what the lost Kubernetes control plane had registered is left out.
    pub kubernetes: bool,
}

/// Which revisions a rebuild keeps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// All that the source has.
    #[default]
    All,
    /// Only the current value of each key; everything before counts as compacted.
    Current,
}

/// By which clock leases are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedExpiry {
    /// When the source was taken from the cluster.
    pub taken_at: DateTime<Utc>,
    /// A lease is due when this is later than `taken_at` and its time to live.
    pub now: DateTime<Utc>,
}

/// One step of a checklist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CheckStep {
    /// What to do.
    pub title: String,
    /// Why, with what is known of this snapshot.
    pub why: String,
    /// Commands that do it or show it.
    pub commands: Vec<String>,
}

/// One member of a planned cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedMember {
    /// Its name.
    pub name: String,
    /// Its new id.
    pub id: MemberId,
    /// Its peer URLs.
    pub peer_urls: Vec<String>,
    /// Where its data directory is written; absent for a member that this run does not write.
    pub data_dir: Option<String>,
    /// Where its WAL is written when not inside the data directory.
    pub wal_dir: Option<String>,
}

/// How the revision is raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedBump {
    /// The revision that the new cluster starts at.
    pub to: Revision,
    /// How much is added.
    pub by: i64,
    /// Where the number comes from.
    pub reason: String,
}

/// What a restore did: written beside each data directory as `<data-dir>.etcdr-receipt.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RestoreReceipt {
    /// The plan that was carried out.
    pub plan: RestorePlan,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it was done.
    pub finished_at: DateTime<Utc>,
    /// SHA-256 of the snapshot file that was restored.
    pub source_sha256: Sha256Digest,
    /// HashKV of each restored member at the revision it starts at, computed offline.
    pub hash_kv: OfflineHash,
    /// Keys that are live in the restored store.
    pub live_keys: u64,
    /// What was changed in the database, one sentence each.
    pub changes: Vec<String>,
    /// What was moved aside, and where it is now.
    pub moved_aside: Vec<MovedAside>,
    /// The command that starts each member.
    pub start_commands: Vec<String>,
    /// Version of etcdr.
    pub tool_version: String,
    /// What was written anew and what was left out; absent when the pages were taken as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebuilt: Option<Rebuilt>,
    /// Leases that keys name and the source does not have, and what was done about them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dangling_leases: Option<DanglingLeases>,
    /// What is known of the Kubernetes cluster whose store this is, when it was named as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesFacts>,
}

/// What a rebuild read, wrote and left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rebuilt {
    /// Bytes of the source's database.
    pub source_bytes: u64,
    /// Bytes of the new database.
    pub bytes: u64,
    /// Rows of bucket `key` in the source.
    pub rows_read: u64,
    /// Rows of bucket `key` that were taken over.
    pub rows_kept: u64,
    /// What was left out of bucket `key`, and why; nothing appears twice.
    pub dropped: Vec<DroppedKeys>,
    /// Leases that were left out.
    pub leases_dropped: u64,
    /// Rows that named a lease and name none now.
    pub rows_detached: u64,
    /// Users that were left out.
    pub users_dropped: u64,
    /// Roles that were left out.
    pub roles_dropped: u64,
    /// Revision of an empty row that was added because all rows there were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision_held_at: Option<Revision>,
}

/// Rows that were left out for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DroppedKeys {
    /// The reason.
    pub reason: DropReason,
    /// The prefix, where that is the reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Keys that were live.
    pub keys: u64,
    /// Rows, deletions and older revisions included.
    pub rows: u64,
}

/// Why rows are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The key begins with a prefix that was excluded.
    Prefix,
    /// The key begins with none of the prefixes that were asked for.
    OtherPrefix,
    /// The key's lease was due.
    Expired,
    /// An older revision, or a deletion.
    Superseded,
}

/// Leases that keys name and that the source does not have. etcd would crash at a write that keeps
/// such a lease, so each got a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DanglingLeases {
    /// How many leases.
    pub count: u64,
    /// How many live keys name them.
    pub keys: u64,
    /// The time to live that each was given, in seconds.
    pub ttl_seconds: i64,
    /// Their ids in hex, as etcdctl prints them; at most 100 of them.
    pub ids: Vec<String>,
}

/// What a store says about its Kubernetes cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KubernetesFacts {
    /// Live objects by resource, for resources that the checklist names.
    pub objects: std::collections::BTreeMap<String, u64>,
    /// Keys that encrypt values at rest: without them these values cannot be read.
    pub encryption_keys: Vec<EncryptionKey>,
}

/// A directory that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MovedAside {
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
}
