//! Prometheus metrics of a running agent.
//!
//! Counters and histograms follow the events; gauges are filled from the status report at each
//! scrape, so that an age is right at the second and a member that went takes its series with it.
//! Every label has a bounded set of values.

use std::fs::File;
use std::io::Read as _;
use std::sync::{Mutex, PoisonError};

use etcdr_schemas::report::StatusReport;
use prometheus_client::encoding::text;
use prometheus_client::registry::{Metric, Registry};

use crate::event::Event;

mod counters;
mod gauges;
mod labels;
mod table;

pub use table::{Row, TABLE};

use counters::Counters;
use gauges::Gauges;

/// What [`Metrics::encode`] gives is of this type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics. Shared behind an `Arc`.
pub struct Metrics {
    registry: Registry,
    counters: Counters,
    /// One scrape at a time fills and writes them.
    gauges: Mutex<Gauges>,
}

impl Metrics {
    /// Counters at zero.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let gauges = Gauges::new(&mut registry);
        let counters = Counters::new(&mut registry);
        Self { registry, counters, gauges: Mutex::new(gauges) }
    }

    /// Counts what happened.
    pub fn apply(&self, event: &Event) {
        self.counters.apply(event);
    }

    /// All metrics in OpenMetrics text. `memory`: bytes of the process, where known.
    #[must_use]
    pub fn encode(&self, report: &StatusReport, memory: Option<u64>) -> String {
        let gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
        gauges.fill(report, memory);
        let mut text = String::new();
        // Writing to a `String` does not fail; if it did, what was written by then would be shown.
        let _ = text::encode(&mut text, &self.registry);
        // As the format writes it; a value is what ends a line, and no label holds the end of one.
        text.replace(" inf\n", " +Inf\n")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Registers a metric under its row of the table.
fn register<M: Metric + Clone>(registry: &mut Registry, name: &'static str, metric: M) -> M {
    let help = table::row(name).map_or("", |row| row.help);
    // The format adds `_total` itself.
    registry.register(name.strip_suffix("_total").unwrap_or(name), help, metric.clone());
    metric
}

/// Bytes of memory of this process (VmRSS); `None` where the kernel does not say.
#[must_use]
pub fn resident_memory() -> Option<u64> {
    let mut text = String::new();
    File::open("/proc/self/status").ok()?.take(16 << 10).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}
