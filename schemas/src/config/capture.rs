//! How a snapshot is taken without harm to etcd.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Size, Span};

/// How a snapshot is taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CaptureConfig {
    /// Most bytes a second that are taken from etcd; without it as fast as it goes.
    pub rate_limit: Option<Size>,
    /// Longest time for which etcd's read transaction may be held open by one capture: pages that
    /// it pins cannot be reused, so the database grows. A capture that takes longer is given up and
    /// tried again.
    pub max_hold: Span,
    /// Revisions by which the chosen member may be behind the cluster.
    pub max_lag: u64,
    /// Where sealed (compressed and encrypted) bytes may wait when the store is slower than etcd.
    pub spool: Option<SpoolConfig>,
    /// When the capture gives way to etcd.
    pub back_off: BackOff,
    /// How often a capture that failed is tried again before the tick counts as failed.
    pub retries: u32,
    /// First pause between two tries; it doubles, up to five minutes.
    pub retry_pause: Span,
    /// Scheduling priority of this process, 0 (as others) to 19 (lowest).
    pub nice: u8,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            rate_limit: None,
            max_hold: Span::minutes(10),
            max_lag: 1000,
            spool: None,
            back_off: BackOff::default(),
            retries: 3,
            retry_pause: Span::seconds(5),
            nice: 10,
        }
    }
}

/// Where sealed bytes may wait.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// A directory that is not on etcd's disk.
    pub directory: String,
    /// Most bytes in it.
    #[serde(default = "SpoolConfig::default_size")]
    pub max_size: Size,
}

impl SpoolConfig {
    const fn default_size() -> Size {
        Size::mib(2048)
    }
}

/// When the capture gives way to etcd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BackOff {
    /// Whether it does.
    pub enabled: bool,
    /// The member's WAL fsync time (99th percentile) above which the capture pauses.
    pub wal_fsync: Span,
    /// The time of a linearizable read above which it pauses, for members whose metrics cannot be
    /// read.
    pub latency: Span,
    /// How often they are looked at.
    pub every: Span,
    /// Longest pause at one time: the read transaction stays open meanwhile.
    pub max_pause: Span,
}

impl Default for BackOff {
    fn default() -> Self {
        Self {
            enabled: true,
            wal_fsync: Span(std::time::Duration::from_millis(250)),
            latency: Span(std::time::Duration::from_millis(500)),
            every: Span::seconds(1),
            max_pause: Span::seconds(5),
        }
    }
}
