//! When snapshots are taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Span;

/// One schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleConfig {
    /// Its name, of letters, digits, `-` and `_`: part of a key in the repository. Agents of one
    /// cluster share schedules by name.
    pub name: String,
    /// Five fields (minute, hour, day of month, month, day of week), or `@hourly`, `@daily`,
    /// `@weekly`, `@monthly`, `@yearly`, or `@every 10s`.
    pub cron: String,
    /// IANA time zone in which the fields are meant.
    pub time_zone: String,
    /// Up to so much later, by a random time that all agents of the cluster share for one tick.
    pub jitter: Span,
    /// Up to so much later, by a time that is always the same for one cluster: spreads many
    /// clusters.
    pub splay: Span,
    /// What happens when the agent starts.
    pub on_start: OnStart,
    /// Whether a last snapshot is taken on SIGTERM, within the agent's grace.
    pub on_shutdown: bool,
    /// Whether it rests from the beginning.
    pub paused: bool,
}

impl Default for ScheduleConfig {
    fn default() -> Self {
        Self {
            name: "hourly".to_owned(),
            cron: "@hourly".to_owned(),
            time_zone: "UTC".to_owned(),
            jitter: Span::seconds(0),
            splay: Span::seconds(0),
            on_start: OnStart::Overdue,
            on_shutdown: false,
            paused: false,
        }
    }
}

/// What a schedule does when the agent starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnStart {
    /// Waits for the next tick.
    Wait,
    /// Takes the last tick that nobody has taken, however many were missed.
    Overdue,
}
