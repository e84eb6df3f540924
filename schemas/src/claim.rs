//! Who takes a tick: small objects that agents write where there is none.
//!
//! A tick's claims are numbered from 0. Whoever writes the next number holds the tick; a holder
//! shows that it is alive by writing the next number again, so that renewing and taking over
//! contend for the same key, and the store decides. No clock but that of the observer is needed.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{MemberId, SnapshotId};

/// Upper bound of a claim, in bytes.
pub const MAX_CLAIM_BYTES: u64 = 64 << 10;

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimRecord {
    /// Random text that one run of an agent is told by; names can be given twice.
    pub instance: String,
    /// Name of the agent.
    pub agent: String,
    /// The member beside it, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member: Option<MemberId>,
    /// When it was written, by the agent's clock. For people; nothing is decided by it.
    pub written_at: DateTime<Utc>,
    /// How far the work is.
    #[serde(flatten)]
    pub stage: ClaimStage,
}

/// How far the work on a tick is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum ClaimStage {
    /// The holder works.
    Working,
    /// The holder is about to write this manifest.
    Committing {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The work is done; nobody needs to do it again.
    Done {
        /// The snapshots that came of it.
        #[serde(default)]
        ids: Vec<SnapshotId>,
    },
    /// The holder gave up; another one may try.
    Failed {
        /// Why.
        error: String,
    },
}

impl ClaimStage {
    /// Whether the holder is still at it, as far as it says.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Working | Self::Committing { .. })
    }
}

/// What a snapshot was taken for, as its manifest records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trigger {
    /// Name of the agent.
    pub agent: String,
    /// The schedule; absent on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The time that the schedule named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<DateTime<Utc>>,
}
