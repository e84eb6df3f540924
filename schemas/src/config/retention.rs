//! Which snapshots are kept, and when the others go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// Which snapshots are kept: those that any rule keeps. Without a rule all are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// So many of the newest.
    pub keep_last: Option<u32>,
    /// The newest of each of the last so many hours that have one.
    pub keep_hourly: Option<u32>,
    /// The same for days.
    pub keep_daily: Option<u32>,
    /// The same for ISO weeks.
    pub keep_weekly: Option<u32>,
    /// The same for months.
    pub keep_monthly: Option<u32>,
    /// The same for years.
    pub keep_yearly: Option<u32>,
    /// All that are not older than this, counted back from the newest snapshot.
    pub keep_within: Option<Span>,
    /// Oldest ones go until all images together are no larger, also ones that a rule keeps; never
    /// one that is held, nor the newest verified.
    pub max_total_size: Option<Size>,
    /// Time zone in which hours, days, weeks, months and years begin.
    pub time_zone: Option<String>,
}

/// When the retention is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PruneConfig {
    /// When this agent prunes, as in a schedule; without it, it never does: `etcdr prune` with
    /// credentials that may delete does it then.
    pub cron: Option<String>,
    /// IANA time zone of `cron`.
    pub time_zone: String,
    /// Age that an object without a manifest must have before it is deleted: it may belong to a
    /// snapshot that is being taken, or to a restore that is being read.
    pub grace: Span,
}

impl Default for PruneConfig {
    fn default() -> Self {
        Self { cron: None, time_zone: "UTC".to_owned(), grace: Span::days(1) }
    }
}
