//! Maintenance of etcd itself: defragmentation, compaction, alarms and quota.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// Defragmentation, compaction, and the watch over alarms and quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// Rolling defragmentation; without it, none.
    pub defragment: Option<DefragmentConfig>,
    /// Compaction of old revisions; without it, none. Kubernetes API servers compact by themselves.
    pub compact: Option<CompactConfig>,
    /// How often members, alarms and sizes are looked at.
    pub every: Span,
    /// The members' `--quota-backend-bytes`, when their metrics cannot be read.
    pub quota: Option<Size>,
    /// A warning is given when the database is going to reach the quota within this time.
    pub quota_warning: Span,
}

impl Default for MaintenanceConfig {
    fn default() -> Self {
        Self {
            defragment: None,
            compact: None,
            every: Span::seconds(15),
            quota: None,
            quota_warning: Span::days(7),
        }
    }
}

/// Rolling defragmentation: one member at a time, the leader last, never with an unhealthy member
/// or during a capture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DefragmentConfig {
    /// When, as in a schedule.
    pub cron: String,
    /// IANA time zone of `cron`.
    pub time_zone: String,
    /// Smallest share of the file that must be free, 0 to 1.
    pub min_fragmentation: f64,
    /// Smallest database file that is worth it.
    pub min_size: Size,
    /// Pause between two members.
    pub pause: Span,
}

impl Default for DefragmentConfig {
    fn default() -> Self {
        Self {
            cron: "30 3 * * *".to_owned(),
            time_zone: "UTC".to_owned(),
            min_fragmentation: 0.45,
            min_size: Size::mib(100),
            pause: Span::seconds(30),
        }
    }
}

/// Compaction of old revisions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompactConfig {
    /// When, as in a schedule.
    pub cron: String,
    /// IANA time zone of `cron`.
    pub time_zone: String,
    /// Revisions that stay.
    pub keep_revisions: u64,
}

impl Default for CompactConfig {
    fn default() -> Self {
        Self { cron: "0 * * * *".to_owned(), time_zone: "UTC".to_owned(), keep_revisions: 100_000 }
    }
}
