//! What the demo did, stage by stage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
