//! `etcdr.json`: the object that makes a prefix a repository.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The repository format that this version writes and the only one that it opens.
pub const FORMAT: u32 = 1;

/// Content of `etcdr.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RepositoryInfo {
    /// Always 1.
    pub format: u32,
    /// 32 random hex digits.
    pub repository_id: String,
    /// When `etcdr init` wrote it.
    pub created_at: DateTime<Utc>,
    /// Recipients that images are encrypted to when a save names none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// `true` when `etcdr init --no-encryption` was said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unencrypted: bool,
    /// Fields of later versions, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
