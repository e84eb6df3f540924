//! JSON results of the commands. Each carries `"schema": "etcdr/<thing>/v1"`, has its JSON Schema under
//! `schemas/json`, and gains fields within v1 but never loses or changes one.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::ids::{ClusterId, ClusterName, MemberId, SnapshotId};
use crate::manifest::Manifest;
use crate::revision::Revision;
use crate::version::TargetVersion;

/// A report with its schema's name in front.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Report<T> {
    /// `etcdr/<thing>/v1`.
    pub schema: String,
    /// The report itself.
    #[serde(flatten)]
    pub body: T,
}

/// What a report is called.
pub trait Named {
    /// The `<thing>` of `etcdr/<thing>/v1`.
    const THING: &'static str;

    /// Puts the schema's name in front.
    fn report(self) -> Report<Self>
    where
        Self: Sized,
    {
        Report { schema: format!("etcdr/{}/v1", Self::THING), body: self }
    }
}

macro_rules! named {
    ($($type:ty => $thing:literal,)*) => { $(impl Named for $type { const THING: &'static str = $thing; })* };
}

named! {
    InitReport => "init",
    KeygenReport => "keygen",
    SnapshotReport => "snapshot",
    SnapshotList => "snapshot-list",
    ExportReport => "export",
    VerifyReport => "verify",
    RestorePlan => "restore-plan",
    RestoreReceipt => "restore-receipt",
    DemoReport => "demo",
    ErrorReport => "error",
}

/// `etcdr init`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InitReport {
    /// Where the repository is, without secrets.
    pub repository: String,
    /// Its id.
    pub repository_id: String,
    /// Default recipients.
    pub recipients: Vec<String>,
}

/// `etcdr keygen`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct KeygenReport {
    /// The age recipient (public).
    pub recipient: String,
    /// The minisign public key, base64.
    pub signing_public_key: String,
    /// The files that were written.
    pub files: Vec<String>,
}

/// `etcdr snapshot save`, `import` and `show`: one snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotReport {
    /// The manifest.
    pub manifest: Manifest,
    /// What is known of its signature.
    pub signature: SignatureState,
    /// Things that need a look.
    pub warnings: Vec<String>,
}

/// What is known of a manifest's signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignatureState {
    /// There is none.
    Unsigned,
    /// There is one; no public key was given to check it with.
    NotChecked,
    /// It is good.
    Verified,
}

/// `etcdr snapshot list`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotList {
    /// The cluster that was listed.
    pub cluster: ClusterName,
    /// Newest first.
    pub snapshots: Vec<SnapshotSummary>,
    /// Manifests that are there but cannot be used.
    pub unusable: Vec<Unusable>,
}

/// One line of a list.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotSummary {
    /// The snapshot's name.
    pub id: SnapshotId,
    /// When the capture began.
    pub time: DateTime<Utc>,
    /// Its revision.
    pub revision: Revision,
    /// Bytes of the snapshot file.
    pub plain_size: u64,
    /// Bytes stored.
    pub stored_size: u64,
    /// Version of the source's server.
    pub server_version: Option<String>,
    /// Whether the image is encrypted.
    pub encrypted: bool,
    /// Whether there are reasons not to trust it.
    pub suspect: bool,
}

/// A manifest that is there but cannot be used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Unusable {
    /// Key of the manifest.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// `etcdr snapshot export`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExportReport {
    /// The snapshot.
    pub id: SnapshotId,
    /// The file; `-` for stdout.
    pub file: String,
    /// Bytes written.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
}

/// How deep a verification goes. Each level includes those before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Schema, signature, chain.
    Manifest,
    /// Stored size and SHA-256; needs no key.
    Object,
    /// Decrypted, decompressed, etcd's own digest.
    Content,
    /// bbolt: metas, page graph, free list, key order, page bounds.
    Structure,
}

impl Level {
    /// All levels, shallowest first.
    pub const ALL: [Self; 4] = [Self::Manifest, Self::Object, Self::Content, Self::Structure];

    /// The name in CLI, config and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::Object => "object",
            Self::Content => "content",
            Self::Structure => "structure",
        }
    }
}

impl std::fmt::Display for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Needs a look.
    Warning,
    /// Data is damaged.
    Damage,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable code such as `bolt.page.unreachable`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// Where: bucket, page, key, revision or object key.
    pub place: String,
    /// What was found.
    pub message: String,
}

/// `etcdr verify`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct VerifyReport {
    /// The snapshot's id, or the file's path.
    pub subject: String,
    /// The level that was asked for.
    pub level: Level,
    /// The levels that passed, shallowest first.
    pub passed: Vec<Level>,
    /// What was found; empty for a good snapshot.
    pub findings: Vec<Finding>,
    /// Whether every level up to `level` passed.
    pub ok: bool,
    /// Revision of the image, from level `structure` on.
    pub revision: Option<Revision>,
    /// Bytes of the snapshot file that were checked.
    pub plain_size: Option<u64>,
}

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

/// `etcdr demo`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DemoReport {
    /// etcd's version.
    pub etcd_version: String,
    /// The stages with their times.
    pub stages: Vec<DemoStage>,
    /// Whether the restored cluster equals what was lost.
    pub identical: bool,
}

/// One stage of the demo.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DemoStage {
    /// What was done.
    pub name: String,
    /// Seconds it took.
    pub seconds: f64,
    /// What came out.
    pub outcome: String,
}

/// Any command that failed, with `--output json`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReport {
    /// What happened.
    pub error: String,
    /// What is safe.
    pub safe: String,
    /// What to do next.
    pub next: String,
    /// The exit code.
    pub exit_code: u8,
}
