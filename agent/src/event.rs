//! What happens in a running agent, as one closed list. The loop emits events; log lines, metrics,
//! the status page and the admin interface are made of them and of nothing else.

use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_schemas::config::Problem;
use etcdr_schemas::manifest::{Alarm, Manifest};
use etcdr_schemas::report::{Level, PruneReport};
use etcdr_schemas::{MemberId, Revision, SnapshotId};

use etcdr_operations::capture::Stages;

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The members were asked how they are.
    Members(Vec<MemberSeen>),
    /// The alarms that are raised now.
    Alarms(Vec<Alarm>),
    /// The schedules and when they fire next.
    Schedules(Vec<ScheduleSeen>),
    /// The repository's list was read.
    Catalog(CatalogSeen),
    /// The store could not be read or written.
    StoreFailed {
        /// Why.
        error: String,
    },
    /// Who takes a tick was decided.
    Claim {
        /// The schedule.
        schedule: String,
        /// The time it was for.
        tick: DateTime<Utc>,
        /// What became of it.
        outcome: ClaimOutcome,
        /// The agent that has it, where another one does.
        holder: Option<String>,
    },
    /// A capture waits until a round of defragmentation is over.
    CaptureWaits {
        /// The schedule; `None` on demand.
        schedule: Option<String>,
        /// The agent that carries the round out.
        holder: String,
    },
    /// A capture begins.
    CaptureBegan {
        /// The schedule; `None` on demand.
        schedule: Option<String>,
    },
    /// A snapshot exists.
    Captured(Box<Captured>),
    /// A capture failed. No snapshot was recorded.
    CaptureFailed {
        /// The schedule; `None` on demand.
        schedule: Option<String>,
        /// Why.
        error: String,
        /// Whether it is tried again for this tick.
        again: bool,
    },
    /// Members hold other data than the majority.
    Dissent {
        /// Those members.
        members: Vec<MemberId>,
        /// The revision they were compared at.
        revision: Revision,
    },
    /// A snapshot was verified.
    Verified {
        /// Which.
        id: SnapshotId,
        /// How deep.
        level: Level,
        /// What was found wrong; `None` when it is sound.
        failure: Option<String>,
    },
    /// The retention was carried out.
    Pruned(PruneSeen),
    /// Pruning failed as a whole.
    PruneFailed {
        /// Why.
        error: String,
    },
    /// A member was defragmented, or should have been.
    Defragmented {
        /// Which.
        member: MemberId,
        /// File size before and after in bytes, or why not.
        result: Result<(u64, u64), String>,
        /// How long the member was busy.
        took: Duration,
    },
    /// A round of defragmentation was not begun, or ended early.
    DefragmentSkipped {
        /// Why.
        reason: String,
    },
    /// Revisions were compacted, or should have been.
    Compacted {
        /// Up to where, or why not.
        result: Result<Revision, String>,
    },
    /// When the database reaches its quota, if it grows as before.
    Quota {
        /// The quota in bytes.
        quota: u64,
        /// Bytes of the largest member's database file.
        size: u64,
        /// Time that is left; `None` when it does not grow.
        left: Option<Duration>,
    },
    /// The dead man's switch was called, or should have been.
    Heartbeat {
        /// Why it was not.
        failure: Option<String>,
    },
    /// The configuration was read again.
    Reloaded,
    /// The configuration was read again and refused: the old one stays.
    ReloadRefused {
        /// What is wrong with it.
        problems: Vec<Problem>,
    },
    /// Another agent of the same name is alive.
    NameTwice {
        /// The name.
        name: String,
    },
    /// The clock of this machine and that of the store or of etcd are apart.
    ClockSkew {
        /// By so many seconds, ours minus theirs.
        seconds: i64,
    },
    /// The agent stops.
    Stopping,
}

/// One member, as it was seen.
#[derive(Debug, Clone)]
pub struct MemberSeen {
    /// Its id.
    pub id: MemberId,
    /// Its name; empty when it has not started yet.
    pub name: String,
    /// Whether it is the one beside this agent.
    pub own: bool,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// What it said, or why it said nothing.
    pub state: Result<MemberState, String>,
}

/// What a member said of itself.
#[derive(Debug, Clone)]
pub struct MemberState {
    /// Server version.
    pub version: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it does not vote.
    pub learner: bool,
    /// Bytes of the database file.
    pub db_size: u64,
    /// Bytes of it in use.
    pub db_size_in_use: u64,
    /// Its revision.
    pub revision: Revision,
    /// Errors that it reports.
    pub errors: Vec<String>,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSeen {
    /// Its name.
    pub name: String,
    /// Its cron expression.
    pub cron: String,
    /// When it fires next, jitter and splay included; `None` when never or paused.
    pub next: Option<DateTime<Utc>>,
    /// Whether it is paused.
    pub paused: bool,
}

/// What the repository holds of this cluster.
#[derive(Debug, Clone, Default)]
pub struct CatalogSeen {
    /// Number of snapshots.
    pub snapshots: u64,
    /// Bytes of their images.
    pub bytes: u64,
    /// The newest ones, newest first, a bounded number.
    pub newest: Vec<SnapshotSeen>,
}

/// One snapshot of the repository.
#[derive(Debug, Clone)]
pub struct SnapshotSeen {
    /// Its id.
    pub id: SnapshotId,
    /// Bytes of the stored image.
    pub stored_size: u64,
    /// Whether it is marked suspect.
    pub suspect: bool,
    /// The schedule it was taken for, where known.
    pub schedule: Option<String>,
}

/// What became of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClaimOutcome {
    /// This agent has it.
    Won,
    /// Another agent has it.
    Lost,
    /// This agent took it over from one that gave no sign of life.
    TakenOver,
    /// The tick's snapshot exists already.
    Done,
    /// This agent lost it while it worked.
    LostLater,
    /// The repository could not be asked.
    Failed,
}

/// A snapshot that was taken.
#[derive(Debug, Clone)]
pub struct Captured {
    /// The schedule; `None` on demand.
    pub schedule: Option<String>,
    /// Its manifest.
    pub manifest: Manifest,
    /// How long each stage took.
    pub stages: Stages,
    /// Warnings that came with it.
    pub warnings: Vec<String>,
}

/// What a prune did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneSeen {
    /// Snapshots that stay.
    pub kept: u64,
    /// Snapshots that are gone.
    pub deleted: u64,
    /// Objects without a manifest that are gone.
    pub swept: u64,
    /// Bytes of what is gone.
    pub bytes: u64,
    /// Objects that the store keeps (retention of the store, no right).
    pub withheld: u64,
}

impl From<&PruneReport> for PruneSeen {
    fn from(report: &PruneReport) -> Self {
        let totals = &report.totals;
        Self {
            kept: totals.kept,
            deleted: totals.deleted,
            swept: totals.swept,
            // Deleting a manifest gives no room back yet.
            bytes: totals.swept_bytes,
            withheld: totals.withheld,
        }
    }
}
