//! What a running agent says of itself: `etcdr status`, and what its page shows.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Level;
use crate::ids::{ClusterName, MemberId, SnapshotId};
use crate::manifest::Alarm;
use crate::revision::Revision;

/// `etcdr status`: a running agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatusReport {
    /// How the agent is called.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// The cluster that it saves.
    pub cluster: ClusterName,
    /// When it was started.
    pub started_at: DateTime<Utc>,
    /// When this was said.
    pub at: DateTime<Utc>,
    /// Whether its loop turned within the last minute.
    pub alive: bool,
    /// Whether it can save: etcd and the store answered lately.
    pub ready: bool,
    /// Why it cannot, as sentences; empty when it can.
    pub not_ready: Vec<String>,
    /// The newest snapshot that a restore would take, and its age against the target.
    pub newest: NewestStatus,
    /// What the repository holds of the cluster; `None` before it was listed.
    pub stored: Option<StoredStatus>,
    /// Snapshots and failures, newest first, a bounded number.
    pub timeline: Vec<TimelineEntry>,
    /// The schedules, as configured.
    pub schedules: Vec<ScheduleStatus>,
    /// Whether all schedules are paused.
    pub paused: bool,
    /// The members, as they were last seen.
    pub members: Vec<MemberStatus>,
    /// When they were last asked.
    pub members_at: Option<DateTime<Utc>>,
    /// Alarms that are raised in etcd.
    pub alarms: Vec<Alarm>,
    /// The capture that is going on.
    pub capture: Option<CaptureStatus>,
    /// The last capture that failed.
    pub last_failure: Option<FailureStatus>,
    /// The last verification.
    pub last_verify: Option<VerifyStatus>,
    /// The last prune.
    pub last_prune: Option<PruneStatus>,
    /// How far the database is from its quota.
    pub quota: Option<QuotaStatus>,
    /// What was wrong with the configuration that was read last and refused; empty when the one in
    /// use is the newest.
    pub refused_config: Vec<String>,
    /// What needs a look, the worst first.
    pub warnings: Vec<StatusWarning>,
}

/// The newest restorable snapshot: one that exists and is not marked suspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NewestStatus {
    /// Its id; `None` when there is none, or none is known of yet.
    pub id: Option<SnapshotId>,
    /// Seconds since its capture began.
    pub age_seconds: Option<u64>,
    /// The age in seconds above which the agent fails its purpose (`watch.target_age`).
    pub target_age_seconds: u64,
    /// Whether it is younger than that; `false` when there is none.
    pub on_target: bool,
}

/// What the repository holds of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoredStatus {
    /// Number of snapshots.
    pub snapshots: u64,
    /// Bytes of their images.
    pub bytes: u64,
    /// When it was listed.
    pub at: DateTime<Utc>,
}

/// One point of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// When the capture began; of a failure, when it was told.
    pub at: DateTime<Utc>,
    /// What became of it.
    pub outcome: TimelineOutcome,
    /// The snapshot.
    pub id: Option<SnapshotId>,
    /// The schedule; `None` on demand, or where not known.
    pub schedule: Option<String>,
    /// Bytes stored.
    pub stored_size: Option<u64>,
    /// Seconds that it took, where this agent took it.
    pub seconds: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// What became of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimelineOutcome {
    /// A snapshot that can be restored.
    Snapshot,
    /// A snapshot that is marked suspect.
    Suspect,
    /// No snapshot.
    Failed,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleStatus {
    /// Its name.
    pub name: String,
    /// Its cron expression.
    pub cron: String,
    /// When it fires next.
    pub next: Option<DateTime<Utc>>,
    /// Whether it is paused.
    pub paused: bool,
    /// When this agent last took a snapshot for it.
    pub last: Option<DateTime<Utc>>,
}

/// One member of the etcd cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberStatus {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty when it has not started yet.
    pub name: String,
    /// Whether it is the one beside this agent.
    pub own: bool,
    /// Whether it answered.
    pub answered: bool,
    /// Server version.
    pub version: Option<String>,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it does not vote.
    pub learner: bool,
    /// Bytes of the database file.
    pub db_size: Option<u64>,
    /// Bytes of it in use.
    pub db_size_in_use: Option<u64>,
    /// Its revision.
    pub revision: Option<Revision>,
    /// Errors that it reports, or why it did not answer.
    pub errors: Vec<String>,
    /// Whether it held other data than the majority when they were last compared.
    pub dissents: bool,
}

/// A capture that is going on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CaptureStatus {
    /// The schedule; `None` on demand.
    pub schedule: Option<String>,
    /// Since when.
    pub since: DateTime<Utc>,
}

/// Something that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FailureStatus {
    /// When.
    pub at: DateTime<Utc>,
    /// The schedule; `None` on demand.
    pub schedule: Option<String>,
    /// Why.
    pub error: String,
}

/// A verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerifyStatus {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// The snapshot.
    pub id: SnapshotId,
    /// How deep.
    pub level: Level,
    /// What was found wrong; `None` when it is sound.
    pub failure: Option<String>,
}

/// A prune.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PruneStatus {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Snapshots that stayed.
    pub kept: u64,
    /// Snapshots that went.
    pub deleted: u64,
    /// Objects without a manifest that went.
    pub swept: u64,
    /// Bytes of what went.
    pub bytes: u64,
    /// Objects that the store kept.
    pub withheld: u64,
    /// Why it failed as a whole.
    pub error: Option<String>,
}

/// How far the database is from its quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QuotaStatus {
    /// The quota in bytes.
    pub quota: u64,
    /// Bytes of the largest member's database file.
    pub size: u64,
    /// Seconds until it is reached, if it goes on as it does; `None` when it does not grow.
    pub seconds_left: Option<u64>,
    /// When this was reckoned.
    pub at: DateTime<Utc>,
}

/// Something that needs a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusWarning {
    /// Stable code such as `capture.failed`.
    pub code: String,
    /// Whether backups are at risk now.
    pub urgent: bool,
    /// Since when.
    pub since: DateTime<Utc>,
    /// When it was last seen.
    pub last: DateTime<Utc>,
    /// How often.
    pub count: u64,
    /// What is the matter.
    pub text: String,
    /// What to do about it.
    pub next: String,
}
