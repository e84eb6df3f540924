//! Snapshots: one, a list, and one that was exported.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::ids::{ClusterName, SnapshotId};
use crate::manifest::Manifest;
use crate::revision::Revision;

/// `etcdr snapshot save`, `import` and `show`: one snapshot.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotReport {
    /// The manifest.
    pub manifest: Manifest,
    /// What is known of its signature.
    pub signature: SignatureState,
    /// Things that need a look.
    pub warnings: Vec<String>,
    /// Why it is held; absent when it is not, or when that was not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
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
    /// Why it is held; absent when it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// A manifest that is there but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
