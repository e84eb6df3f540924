//! `etcdr config check`: the configuration, and everything it leads to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Problem;

/// `etcdr config check`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigCheckReport {
    /// The file.
    pub path: String,
    /// What is wrong in it; nothing else was checked then.
    pub problems: Vec<Problem>,
    /// What was tried, in this order.
    pub checks: Vec<ConfigCheck>,
    /// Whether nothing failed.
    pub ok: bool,
}

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigCheck {
    /// What, e.g. `etcd.rights`: a stable name.
    pub name: String,
    /// How it went.
    pub result: Checked,
    /// What was seen.
    pub detail: String,
    /// What to do, where something is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Checked {
    /// As it should be.
    Passed,
    /// It works, and needs a look.
    Warning,
    /// It does not work.
    Failed,
    /// Not tried, because of what failed before or is not configured.
    Skipped,
}
