//! The counters and histograms, which follow events.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::Level;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::labels::{
    self, ByLevelOutcome, ByOutcome, ByScheduleOutcome, ByStage, CLAIMS, verification,
};
use super::register;
use crate::event::{Event, PruneSeen, ScheduleSeen};
use etcdr_operations::capture::Stages;

/// Schedules that have a label of their own; those beyond share `other`.
const MAX_SCHEDULES: usize = 64;
/// The label of captures that no schedule asked for.
const ON_DEMAND: &str = "on-demand";

type Stage = Family<ByStage, Histogram, fn() -> Histogram>;

/// Counters and histograms, and the gauges that have no other source than one event.
pub(super) struct Counters {
    known: Mutex<BTreeSet<String>>,
    snapshots: Family<ByScheduleOutcome, Counter>,
    stage_seconds: Stage,
    stage_bytes: Stage,
    read_transaction: Histogram,
    claims: Family<ByScheduleOutcome, Counter>,
    dissents: Counter,
    verifications: Family<ByLevelOutcome, Counter>,
    prunes: Family<ByOutcome, Counter>,
    pruned_snapshots: Counter,
    pruned_orphans: Counter,
    pruned_bytes: Counter,
    withheld: Counter,
    defragmentations: Family<ByOutcome, Counter>,
    defragmentation_seconds: Histogram,
    reclaimed: Counter,
    compactions: Family<ByOutcome, Counter>,
    store_errors: Counter,
    heartbeats: Family<ByOutcome, Counter>,
    reloads: Family<ByOutcome, Counter>,
    skew: Gauge,
    name_conflicts: Counter,
}

/// 10 ms to 23 min.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 3.2, 11))
}

/// 64 KiB to 16 GiB.
fn bytes() -> Histogram {
    Histogram::new(exponential_buckets(65_536.0, 4.0, 10))
}

impl Counters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let stage = |constructor: fn() -> Histogram| Stage::new_with_constructor(constructor);
        let counters = Self {
            known: Mutex::default(),
            snapshots: register(registry, "etcdr_snapshots_total", Family::default()),
            stage_seconds: register(registry, "etcdr_capture_stage_seconds", stage(seconds)),
            stage_bytes: register(registry, "etcdr_capture_stage_bytes", stage(bytes)),
            read_transaction: register(registry, "etcdr_read_transaction_seconds", seconds()),
            claims: register(registry, "etcdr_claims_total", Family::default()),
            dissents: register(registry, "etcdr_dissents_total", Counter::default()),
            verifications: register(registry, "etcdr_verifications_total", Family::default()),
            prunes: register(registry, "etcdr_prunes_total", Family::default()),
            pruned_snapshots: register(
                registry,
                "etcdr_pruned_snapshots_total",
                Counter::default(),
            ),
            pruned_orphans: register(registry, "etcdr_pruned_orphans_total", Counter::default()),
            pruned_bytes: register(registry, "etcdr_pruned_bytes_total", Counter::default()),
            withheld: register(registry, "etcdr_prune_withheld_objects_total", Counter::default()),
            defragmentations: register(registry, "etcdr_defragmentations_total", Family::default()),
            defragmentation_seconds: register(registry, "etcdr_defragmentation_seconds", seconds()),
            reclaimed: register(
                registry,
                "etcdr_defragmentation_reclaimed_bytes_total",
                Counter::default(),
            ),
            compactions: register(registry, "etcdr_compactions_total", Family::default()),
            store_errors: register(registry, "etcdr_store_errors_total", Counter::default()),
            heartbeats: register(registry, "etcdr_heartbeats_total", Family::default()),
            reloads: register(registry, "etcdr_config_reloads_total", Family::default()),
            skew: register(registry, "etcdr_clock_skew_seconds", Gauge::default()),
            name_conflicts: register(registry, "etcdr_name_conflicts_total", Counter::default()),
        };
        counters.begin();
        counters
    }

    /// A series that appears with its first event has no increase: all that are known of begin at
    /// 0.
    fn begin(&self) {
        let sets = [
            (&self.prunes, ["ok", "failed"].as_slice()),
            (&self.defragmentations, &["ok", "failed", "skipped"]),
            (&self.compactions, &["ok", "failed"]),
            (&self.heartbeats, &["ok", "failed"]),
            (&self.reloads, &["ok", "refused"]),
        ];
        for (family, outcomes) in sets {
            for outcome in outcomes {
                drop(family.get_or_create(&ByOutcome { outcome }));
            }
        }
        for level in Level::ALL {
            for ok in [true, false] {
                drop(self.verifications.get_or_create(&verification(level, ok)));
            }
        }
        for stage in ["examine", "agreement", "stream", "upload", "read_back", "commit"] {
            drop(self.stage_seconds.get_or_create(&ByStage { stage }));
        }
        for stage in ["stream", "upload", "read_back"] {
            drop(self.stage_bytes.get_or_create(&ByStage { stage }));
        }
        self.begin_schedule(ON_DEMAND.to_owned());
    }

    fn begin_schedule(&self, schedule: String) {
        for outcome in ["ok", "suspect", "failed", "retried"] {
            let label = ByScheduleOutcome { schedule: schedule.clone(), outcome };
            drop(self.snapshots.get_or_create(&label));
        }
        for outcome in CLAIMS.map(labels::claim) {
            let label = ByScheduleOutcome { schedule: schedule.clone(), outcome };
            drop(self.claims.get_or_create(&label));
        }
    }

    pub(super) fn apply(&self, event: &Event) {
        match event {
            Event::Schedules(schedules) => self.schedules(schedules),
            Event::StoreFailed { .. } => count(&self.store_errors, 1),
            Event::Claim { schedule, outcome, .. } => {
                let (schedule, outcome) = (self.schedule(Some(schedule)), labels::claim(*outcome));
                self.claims.get_or_create(&ByScheduleOutcome { schedule, outcome }).inc();
            }
            Event::Captured(captured) => {
                let sound = captured.manifest.suspect.is_empty();
                self.captured(captured.schedule.as_deref(), labels::ok_or(sound, "suspect"));
                self.stages(&captured.stages, &captured.manifest);
            }
            Event::CaptureFailed { schedule, again, .. } => {
                let outcome = if *again { "retried" } else { "failed" };
                self.captured(schedule.as_deref(), outcome);
            }
            Event::Dissent { members, .. } if !members.is_empty() => count(&self.dissents, 1),
            Event::Verified { level, failure, .. } => {
                self.verifications.get_or_create(&verification(*level, failure.is_none())).inc();
            }
            Event::Pruned(seen) => self.pruned(seen),
            Event::PruneFailed { .. } => outcome(&self.prunes, "failed"),
            Event::Defragmented { result, took, .. } => self.defragmented(result, *took),
            Event::DefragmentSkipped { .. } => outcome(&self.defragmentations, "skipped"),
            Event::Compacted { result } => {
                outcome(&self.compactions, labels::ok_or(result.is_ok(), "failed"));
            }
            Event::Heartbeat { failure } => {
                outcome(&self.heartbeats, labels::ok_or(failure.is_none(), "failed"));
            }
            Event::Reloaded => outcome(&self.reloads, "ok"),
            Event::ReloadRefused { .. } => outcome(&self.reloads, "refused"),
            Event::NameTwice { .. } => count(&self.name_conflicts, 1),
            Event::ClockSkew { seconds } => {
                self.skew.set(*seconds);
            }
            _ => {}
        }
    }

    fn schedules(&self, schedules: &[ScheduleSeen]) {
        for one in schedules {
            let label = self.schedule(Some(&one.name));
            self.begin_schedule(label);
        }
    }

    /// The label of a schedule; `other` for those beyond the limit.
    fn schedule(&self, name: Option<&str>) -> String {
        let Some(name) = name else { return ON_DEMAND.to_owned() };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(name) {
            if known.len() >= MAX_SCHEDULES {
                return "other".to_owned();
            }
            known.insert(name.to_owned());
        }
        name.to_owned()
    }

    fn captured(&self, schedule: Option<&str>, outcome: &'static str) {
        let schedule = self.schedule(schedule);
        self.snapshots.get_or_create(&ByScheduleOutcome { schedule, outcome }).inc();
    }

    fn stages(&self, stages: &Stages, manifest: &Manifest) {
        let Stages { examine, agreement, stream, upload, read_back, commit } = *stages;
        let times = [
            ("examine", examine),
            ("agreement", agreement),
            ("stream", stream),
            ("upload", upload),
            ("read_back", read_back),
            ("commit", commit),
        ];
        for (stage, time) in times {
            self.stage_seconds.get_or_create(&ByStage { stage }).observe(time.as_secs_f64());
        }
        let (plain, stored) = (manifest.image.plain_size, manifest.image.stored_size);
        for (stage, size) in [("stream", plain), ("upload", stored), ("read_back", stored)] {
            self.stage_bytes.get_or_create(&ByStage { stage }).observe(size as f64);
        }
        self.read_transaction.observe(stream.as_secs_f64());
    }

    fn pruned(&self, seen: &PruneSeen) {
        outcome(&self.prunes, "ok");
        count(&self.pruned_snapshots, seen.deleted);
        count(&self.pruned_orphans, seen.swept);
        count(&self.pruned_bytes, seen.bytes);
        count(&self.withheld, seen.withheld);
    }

    fn defragmented(&self, result: &Result<(u64, u64), String>, took: Duration) {
        outcome(&self.defragmentations, labels::ok_or(result.is_ok(), "failed"));
        self.defragmentation_seconds.observe(took.as_secs_f64());
        if let Ok((before, after)) = result {
            count(&self.reclaimed, before.saturating_sub(*after));
        }
    }
}

fn count(counter: &Counter, by: u64) {
    counter.inc_by(by);
}

fn outcome(family: &Family<ByOutcome, Counter>, outcome: &'static str) {
    family.get_or_create(&ByOutcome { outcome }).inc();
}
