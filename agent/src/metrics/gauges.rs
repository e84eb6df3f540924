//! The gauges, filled from a report at each scrape, so that a member that is gone takes its series
//! with it.

use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use etcdr_schemas::report::{MemberStatus, StatusReport};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::labels::{self, Build, ByKind, ByMember, BySchedule, ByUrgency};
use super::register;

type Float = Gauge<f64, AtomicU64>;
/// A gauge that may be absent.
type Maybe = Family<[(&'static str, &'static str); 0], Float>;

/// The gauges.
pub(super) struct Gauges {
    newest: Float,
    age: Float,
    target: Float,
    on_target: Gauge,
    ready: Gauge,
    alive: Gauge,
    snapshots: Maybe,
    bytes: Maybe,
    capturing: Gauge,
    next_run: Family<BySchedule, Float>,
    paused: Family<BySchedule, Gauge>,
    dissenting: Gauge,
    verify_ok: Maybe,
    verify_at: Maybe,
    up: Family<ByMember, Gauge>,
    db_size: Family<ByMember, Float>,
    db_in_use: Family<ByMember, Float>,
    alarms: Family<ByKind, Gauge>,
    quota: Maybe,
    quota_size: Maybe,
    quota_left: Maybe,
    refused: Gauge,
    warnings: Family<ByUrgency, Gauge>,
    memory: Maybe,
    build: Family<Build, Gauge>,
}

impl Gauges {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            newest: register(
                registry,
                "etcdr_newest_restorable_snapshot_timestamp_seconds",
                Float::default(),
            ),
            age: register(
                registry,
                "etcdr_newest_restorable_snapshot_age_seconds",
                Float::default(),
            ),
            target: register(registry, "etcdr_target_age_seconds", Float::default()),
            on_target: register(registry, "etcdr_on_target", Gauge::default()),
            ready: register(registry, "etcdr_ready", Gauge::default()),
            alive: register(registry, "etcdr_alive", Gauge::default()),
            snapshots: register(registry, "etcdr_repository_snapshots", Maybe::default()),
            bytes: register(registry, "etcdr_repository_bytes", Maybe::default()),
            capturing: register(registry, "etcdr_capturing", Gauge::default()),
            next_run: register(
                registry,
                "etcdr_schedule_next_run_timestamp_seconds",
                Family::default(),
            ),
            paused: register(registry, "etcdr_schedule_paused", Family::default()),
            dissenting: register(registry, "etcdr_members_dissenting", Gauge::default()),
            verify_ok: register(registry, "etcdr_last_verify_ok", Maybe::default()),
            verify_at: register(registry, "etcdr_last_verify_timestamp_seconds", Maybe::default()),
            up: register(registry, "etcdr_member_up", Family::default()),
            db_size: register(registry, "etcdr_member_db_size_bytes", Family::default()),
            db_in_use: register(registry, "etcdr_member_db_in_use_bytes", Family::default()),
            alarms: register(registry, "etcdr_alarms", Family::default()),
            quota: register(registry, "etcdr_quota_bytes", Maybe::default()),
            quota_size: register(registry, "etcdr_quota_db_size_bytes", Maybe::default()),
            quota_left: register(registry, "etcdr_quota_left_seconds", Maybe::default()),
            refused: register(registry, "etcdr_config_refused", Gauge::default()),
            warnings: register(registry, "etcdr_warnings", Family::default()),
            memory: register(registry, "etcdr_resident_memory_bytes", Maybe::default()),
            build: register(registry, "etcdr_build_info", Family::default()),
        }
    }

    pub(super) fn fill(&self, report: &StatusReport, memory: Option<u64>) {
        self.fill_age(report);
        self.ready.set(report.ready.into());
        self.alive.set(report.alive.into());
        let stored = report.stored.as_ref();
        maybe(&self.snapshots, stored.map(|stored| stored.snapshots as f64));
        maybe(&self.bytes, stored.map(|stored| stored.bytes as f64));
        self.capturing.set(report.capture.is_some().into());
        let verify = report.last_verify.as_ref();
        maybe(&self.verify_ok, verify.map(|seen| f64::from(u8::from(seen.failure.is_none()))));
        maybe(&self.verify_at, verify.map(|seen| unix(seen.at)));
        let quota = report.quota.as_ref();
        maybe(&self.quota, quota.map(|seen| seen.quota as f64));
        maybe(&self.quota_size, quota.map(|seen| seen.size as f64));
        let left = quota.map(|seen| seen.seconds_left.map_or(f64::INFINITY, |left| left as f64));
        maybe(&self.quota_left, left);
        self.refused.set((!report.refused_config.is_empty()).into());
        maybe(&self.memory, memory.map(|bytes| bytes as f64));
        self.build.clear();
        let (version, agent) = (report.version.clone(), report.agent.clone());
        self.build.get_or_create(&Build { version, agent }).set(1);
        self.fill_schedules(report);
        self.fill_members(&report.members);
        for kind in ["NOSPACE", "CORRUPT", "other"] {
            let raised = report.alarms.iter().filter(|one| labels::alarm(&one.kind) == kind);
            self.alarms.get_or_create(&ByKind { kind }).set(number(raised.count()));
        }
        for (urgency, urgent) in [("urgent", true), ("mild", false)] {
            let these = report.warnings.iter().filter(|one| one.urgent == urgent);
            self.warnings.get_or_create(&ByUrgency { urgency }).set(number(these.count()));
        }
    }

    fn fill_age(&self, report: &StatusReport) {
        let newest = &report.newest;
        self.newest.set(newest.id.map_or(0.0, |id| unix(id.time())));
        self.age.set(newest.age_seconds.map_or(f64::INFINITY, |age| age as f64));
        self.target.set(newest.target_age_seconds as f64);
        self.on_target.set(newest.on_target.into());
    }

    fn fill_schedules(&self, report: &StatusReport) {
        self.next_run.clear();
        self.paused.clear();
        for one in &report.schedules {
            let label = BySchedule { schedule: one.name.clone() };
            self.paused.get_or_create(&label).set(one.paused.into());
            if let Some(next) = one.next {
                self.next_run.get_or_create(&label).set(unix(next));
            }
        }
    }

    fn fill_members(&self, members: &[MemberStatus]) {
        self.up.clear();
        self.db_size.clear();
        self.db_in_use.clear();
        for one in members {
            let label = ByMember { member: one.id.to_string() };
            self.up.get_or_create(&label).set(one.answered.into());
            if let Some(size) = one.db_size {
                self.db_size.get_or_create(&label).set(size as f64);
            }
            if let Some(size) = one.db_size_in_use {
                self.db_in_use.get_or_create(&label).set(size as f64);
            }
        }
        self.dissenting.set(number(members.iter().filter(|one| one.dissents).count()));
    }
}

fn maybe(gauge: &Maybe, value: Option<f64>) {
    gauge.clear();
    if let Some(value) = value {
        gauge.get_or_create(&[]).set(value);
    }
}

fn unix(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
