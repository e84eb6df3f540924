//! What an audit of a cluster's snapshots found. The same JSON is kept in the repository, signed.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Finding, Level};
use crate::ids::{AuditId, ClusterName, SnapshotId};

/// `etcdr audit`, and `<cluster>/reports/audits/<audit>-<sequence>.json`.
///
/// A report stands alone: it holds the results of everything that its audit has looked at so far,
/// also in earlier runs, and what is still to do. So the newest report of an audit is enough to go
/// on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditReport {
    /// The audit. One that is resumed keeps its id.
    pub audit: AuditId,
    /// Number of this report among those of the audit, from 1.
    pub sequence: u32,
    /// Id of the repository.
    pub repository_id: String,
    /// The cluster whose snapshots were looked at.
    pub cluster: ClusterName,
    /// How far it came.
    pub state: AuditState,
    /// What it comes to.
    pub verdict: AuditVerdict,
    /// What was asked for.
    pub settings: AuditSettings,
    /// When the audit began; its first run, when it was resumed.
    pub started_at: DateTime<Utc>,
    /// When this report was written.
    pub written_at: DateTime<Utc>,
    /// Version of etcdr.
    pub tool_version: String,
    /// What is there.
    pub inventory: AuditInventory,
    /// How many snapshots were chosen, and what became of them.
    pub totals: AuditTotals,
    /// What was found by listing and by reading manifests. At most 1,000 of each code; `counts` has
    /// all.
    pub findings: Vec<Finding>,
    /// Number of findings by code, those of `results` included.
    pub counts: BTreeMap<String, u64>,
    /// What came out for each snapshot, in the order in which they were looked at.
    pub results: Vec<AuditResult>,
    /// Chosen and not yet looked at, in order.
    pub pending: Vec<SnapshotId>,
}

/// What was asked of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditSettings {
    /// How deep each chosen snapshot is looked at.
    pub level: Level,
    /// Which are looked at first.
    pub order: AuditOrder,
    /// Which are chosen.
    pub sample: AuditSample,
    /// Decides which snapshots a sample holds: 16 hex digits. The same seed chooses the same ones.
    pub seed: String,
}

/// Which snapshots are looked at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AuditOrder {
    /// The newest.
    Newest,
    /// Those never verified, newest first; then those whose verification is longest ago.
    OldestVerified,
}

/// How many snapshots are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditSample {
    /// All of them.
    All,
    /// Thousandths of all, rounded up: 100 is 10%.
    PerMille(u32),
    /// This many.
    Count(u64),
}

/// How far an audit came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditState {
    /// Written on the way, in case the run is killed.
    Running,
    /// A signal stopped it, or the store went away.
    Interrupted,
    /// The budget of bytes or time was used up.
    OutOfBudget,
    /// Everything that was chosen was looked at.
    Complete,
}

/// What an audit comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditVerdict {
    /// Nothing that needs a look.
    Good,
    /// Something needs a look, or could not be checked.
    Warnings,
    /// Something is damaged.
    Damaged,
}

/// What a listing of the cluster's prefix tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditInventory {
    /// Manifests.
    pub snapshots: u64,
    /// Objects of any kind.
    pub objects: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// Snapshots that the ledger has as deleted on purpose and that are not there.
    #[serde(default)]
    pub pruned: u64,
    /// The newest snapshot whose manifest can be used and whose image is there.
    pub newest: Option<SnapshotId>,
    /// The newest snapshot that this audit or an earlier one found good at level `object` or
    /// deeper.
    pub newest_verified: Option<SnapshotId>,
    /// Snapshots that no audit has found good at level `object` or deeper.
    pub never_verified: u64,
}

/// Numbers of an audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditTotals {
    /// Snapshots that were chosen.
    pub chosen: u64,
    /// Passed at the level.
    pub good: u64,
    /// Damaged.
    pub damaged: u64,
    /// Could not be checked at the level.
    pub unchecked: u64,
    /// Stored bytes that were read: the size of the image once for each level that reads it.
    pub bytes_read: u64,
}

/// What came out for one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditResult {
    /// The snapshot.
    pub id: SnapshotId,
    /// What came out.
    pub outcome: AuditOutcome,
    /// The deepest level that passed.
    pub passed: Option<Level>,
    /// When it was looked at.
    pub at: DateTime<Utc>,
    /// Stored bytes that were read.
    #[serde(default)]
    pub bytes: u64,
    /// What was found in it: at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// What came out for one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// Every check of the level passed.
    Good,
    /// It is damaged.
    Damaged,
    /// The check could not be made: no key, no answer, a manifest that may not be believed.
    Unchecked,
}

/// `etcdr audit --all-clusters`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AuditSet {
    /// One for each cluster.
    pub audits: Vec<AuditReport>,
    /// What was found outside of all clusters, and clusters that could not be looked at.
    pub findings: Vec<Finding>,
}
