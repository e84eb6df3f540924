//! What the retention keeps and deletes, what was swept, what was deleted by name, and holds.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Unusable;
use crate::config::Retention;
use crate::hold::Hold;
use crate::ids::{ClusterName, SnapshotId};
use crate::units::Span;

/// `etcdr prune`: a decision for each snapshot, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether nothing was deleted because that was asked for.
    pub dry_run: bool,
    /// The time that it was decided as of.
    pub decided_at: DateTime<Utc>,
    /// The rules.
    pub policy: Retention,
    /// Age that an object without a manifest must have before it is deleted.
    pub grace: Span,
    /// Every snapshot whose manifest can be used, newest first.
    pub snapshots: Vec<PrunedSnapshot>,
    /// Manifests that are there and cannot be used. They are never deleted.
    pub unusable: Vec<Unusable>,
    /// Objects without a manifest that were swept, or would be. At most 1,000; `totals` has all.
    pub swept: Vec<SweptObject>,
    /// Numbers.
    pub totals: PruneTotals,
    /// Things that need a look.
    pub warnings: Vec<String>,
}

/// One snapshot and what is decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PrunedSnapshot {
    /// The snapshot.
    pub id: SnapshotId,
    /// Bytes of its image as stored.
    pub stored_size: u64,
    /// What is decided.
    pub action: PruneAction,
    /// Why: one at least.
    pub reasons: Vec<PruneReason>,
    /// What became of the decision to delete; absent for one that is kept, and in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<PruneOutcome>,
}

/// What is decided about a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PruneAction {
    /// It stays.
    Keep,
    /// It goes.
    Delete,
}

/// What became of an object that was to be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PruneOutcome {
    /// It is gone. Of a snapshot: it is not listed any more, and its image goes when the grace has
    /// passed.
    Deleted,
    /// The store does not let it go: it is locked, or these credentials may not delete.
    Withheld,
    /// It was held after the decision, and stays.
    Held,
    /// Another process has deleted it.
    Gone,
}

/// One reason, for programs and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneReason {
    /// The rule.
    pub rule: PruneRule,
    /// The same in words, e.g. `newest of day 2026-11-22`.
    pub detail: String,
}

/// A rule that keeps or deletes a snapshot.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum PruneRule {
    /// Keeps: somebody holds it.
    Held,
    /// Keeps: the newest that is known to be restorable.
    NewestVerified,
    /// Keeps: `keep_last`.
    Last,
    /// Keeps: `keep_hourly`.
    Hourly,
    /// Keeps: `keep_daily`.
    Daily,
    /// Keeps: `keep_weekly`.
    Weekly,
    /// Keeps: `keep_monthly`.
    Monthly,
    /// Keeps: `keep_yearly`.
    Yearly,
    /// Keeps: `keep_within`.
    Within,
    /// Keeps: no rule that keeps was given.
    NoRule,
    /// Keeps: its time is in the future, so that no rule can judge it.
    Future,
    /// Deletes: `max_total_size`, also what a rule keeps.
    MaxTotalSize,
    /// Deletes: no rule keeps it.
    Unneeded,
    /// Deletes: it was asked for by name.
    Asked,
    /// Neither: it was held, and the hold has expired.
    HoldExpired,
}

/// An object without a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SweptObject {
    /// Its key.
    pub key: String,
    /// What it is.
    pub kind: SweptKind,
    /// Bytes.
    pub size: u64,
    /// What became of it; absent in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<PruneOutcome>,
}

/// What an object without a manifest is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum SweptKind {
    /// An image that no manifest names.
    Image,
    /// An upload that was never committed.
    Part,
    /// The signature of a manifest that is gone.
    Signature,
    /// What was noted of a snapshot when it was deleted.
    Tombstone,
    /// A claim of a tick that is long over.
    Claim,
    /// A page of the ledger of deleted snapshots that explains no gap any more.
    Ledger,
}

/// Numbers of a prune. In a dry run: what they would be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneTotals {
    /// Snapshots that stay, withheld ones included.
    pub kept: u64,
    /// Bytes of their images.
    pub kept_bytes: u64,
    /// Snapshots that are gone.
    pub deleted: u64,
    /// Bytes of their images, which go when the grace has passed.
    pub deleted_bytes: u64,
    /// Objects without a manifest that are gone.
    pub swept: u64,
    /// Bytes of them: so much room there is more.
    pub swept_bytes: u64,
    /// Objects without a manifest that wait for the grace to pass.
    pub waiting: u64,
    /// Bytes of them.
    pub waiting_bytes: u64,
    /// Objects that the store does not let go.
    pub withheld: u64,
}

/// `etcdr snapshot delete`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeleteReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The snapshots that were named.
    pub snapshots: Vec<PrunedSnapshot>,
    /// Snapshots of the cluster that are left.
    pub left: u64,
    /// Things that need a look.
    pub warnings: Vec<String>,
}

/// `etcdr snapshot hold`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HoldReport {
    /// The cluster.
    pub cluster: ClusterName,
    /// The snapshot.
    pub id: SnapshotId,
    /// Whether it is held now.
    pub held: bool,
    /// The hold that was made; absent after a release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}
