//! What was found when a snapshot was verified.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Contents, Finding};
use crate::level::Level;
use crate::revision::Revision;

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
    /// What the database holds, from level `semantic` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
}
