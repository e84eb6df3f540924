//! A hold: a snapshot that no retention deletes while it holds.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::SnapshotId;

/// Upper bound of a hold's size in bytes; a larger object is not read, and holds.
pub const MAX_HOLD_BYTES: u64 = 64 << 10;

/// `<cluster>/holds/<id>.json`. Unknown fields are kept in `extra` and written back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hold {
    /// The snapshot that is held: that of its key, or the hold is not believed, and holds.
    pub snapshot: SnapshotId,
    /// Why, in the words of whoever holds it.
    pub reason: String,
    /// Who holds it, where that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends; without it, when it is released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
    /// Fields of later versions, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Hold {
    /// Whether it still holds.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}
