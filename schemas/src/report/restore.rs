//! What a restore is going to do, and what it did.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A directory that was moved aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MovedAside {
    /// Where it was.
    pub from: String,
    /// Where it is.
    pub to: String,
}
