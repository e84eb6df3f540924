//! What a check can find, and one thing that it found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Needs a look.
    Warning,
    /// Data is damaged.
    Damage,
}

/// One thing that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Stable code such as `bolt.page.unreachable`.
    pub code: String,
    /// How bad.
    pub severity: Severity,
    /// Where: bucket, page, key, revision or object key.
    pub place: String,
    /// What was found.
    pub message: String,
    /// What to do about it.
    #[serde(default)]
    pub advice: String,
}

/// A kind of finding. Each crate keeps those that it can make in tables, so that a test can ask for
/// a planted defect of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FindingKind {
    /// Stable code. Part of the report contract: codes are added, never changed.
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What to do about it, as a sentence.
    pub advice: &'static str,
}

impl FindingKind {
    /// A finding of this kind.
    #[must_use]
    pub fn at(&self, place: impl Into<String>, message: impl Into<String>) -> Finding {
        Finding {
            code: self.code.to_owned(),
            severity: self.severity,
            place: place.into(),
            message: message.into(),
            advice: self.advice.to_owned(),
        }
    }
}
