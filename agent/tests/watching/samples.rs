//! An agent that is well and one that is not, each made of events as the loop emits them.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use etcdr_agent::event::{
    Captured, CatalogSeen, Event, MemberSeen, MemberState, PruneSeen, ScheduleSeen, SnapshotSeen,
};
use etcdr_agent::status::{About, AgentStatus, Limits};
use etcdr_operations::capture::Stages;
use etcdr_schemas::config::Problem;
use etcdr_schemas::manifest::{Alarm, Manifest};
use etcdr_schemas::report::Level;
use etcdr_schemas::{MemberId, Revision, SnapshotId};
use serde_json::json;

pub fn noon() -> DateTime<Utc> {
    "2026-11-24T12:00:00Z".parse().unwrap()
}

pub fn before(minutes: i64) -> DateTime<Utc> {
    noon() - TimeDelta::minutes(minutes)
}

pub fn fresh(name: &str) -> AgentStatus {
    let about = About {
        name: name.to_owned(),
        cluster: "prod-eu".parse().unwrap(),
        version: "0.1.0".to_owned(),
        started_at: before(3 * 24 * 60 + 250),
    };
    let limits = Limits {
        target_age: Duration::from_secs(7200),
        quota_warning: Duration::from_secs(7 * 86_400),
        member_timeout: Duration::from_secs(60),
        store_timeout: Duration::from_secs(3600),
    };
    AgentStatus::new(about, limits)
}

pub fn id(at: DateTime<Utc>) -> SnapshotId {
    SnapshotId::new(at, Revision(8_412_345), 0x1a2b_3c4d)
}

pub fn manifest(at: DateTime<Utc>, suspect: &[&str]) -> Manifest {
    let digest = "ab".repeat(32);
    let document = json!({
        "format": 1, "kind": "full", "id": id(at).to_string(), "cluster": "prod-eu",
        "members": [], "source": {"endpoint": "https://127.0.0.1:2379"},
        "revision": 8_412_345, "db_size": 512 << 20,
        "started_at": at, "finished_at": at + TimeDelta::milliseconds(9400),
        "image": {
            "key": "prod-eu/images/x.db.zst.age", "plain_size": (512 << 20) + 32,
            "plain_sha256": digest,
            "stored_size": 118 << 20, "stored_sha256": digest, "codec": {}
        },
        "alarms": [], "suspect": suspect, "tool_version": "0.1.0"
    });
    serde_json::from_value(document).expect("a manifest")
}

pub fn captured(schedule: Option<&str>, at: DateTime<Utc>, suspect: &[&str]) -> Event {
    let stages = Stages {
        examine: Duration::from_millis(40),
        agreement: Duration::from_millis(900),
        stream: Duration::from_secs(6),
        upload: Duration::from_millis(1200),
        read_back: Duration::from_secs(1),
        commit: Duration::from_millis(60),
    };
    Event::Captured(Box::new(Captured {
        schedule: schedule.map(str::to_owned),
        manifest: manifest(at, suspect),
        stages,
        warnings: suspect.iter().map(|text| (*text).to_owned()).collect(),
    }))
}

pub fn failed(schedule: &str, error: &str, again: bool) -> Event {
    let (schedule, error) = (Some(schedule.to_owned()), error.to_owned());
    Event::CaptureFailed { schedule, error, again }
}

pub fn seen(at: DateTime<Utc>, suspect: bool) -> SnapshotSeen {
    SnapshotSeen { id: id(at), stored_size: 110 << 20, suspect, schedule: Some("hourly".into()) }
}

pub fn catalog(newest: Vec<SnapshotSeen>, snapshots: u64) -> Event {
    Event::Catalog(CatalogSeen { snapshots, bytes: snapshots * (118 << 20), newest })
}

pub fn member(id: u64, name: &str, leader: bool, own: bool) -> MemberSeen {
    let state = MemberState {
        version: "3.5.16".into(),
        leader,
        learner: false,
        db_size: 512 << 20,
        db_size_in_use: 402 << 20,
        revision: Revision(8_412_377),
        errors: Vec::new(),
    };
    MemberSeen {
        id: MemberId(id),
        name: name.into(),
        own,
        client_urls: Vec::new(),
        state: Ok(state),
    }
}

pub fn members() -> Vec<MemberSeen> {
    vec![
        member(0x8e9e_05c5_2164_694d, "etcd-0", true, false),
        member(0x91bc_3c39_8fb3_c146, "etcd-1", false, true),
        member(0xfd42_2379_fda5_0e48, "etcd-2", false, false),
    ]
}

pub fn schedule(name: &str, cron: &str, in_minutes: i64, paused: bool) -> ScheduleSeen {
    let next = (!paused).then(|| before(-in_minutes));
    ScheduleSeen { name: name.into(), cron: cron.into(), next, paused }
}

pub fn healthy() -> AgentStatus {
    let status = fresh("etcd-1");
    let pruned = PruneSeen { kept: 96, deleted: 3, swept: 0, bytes: 354 << 20, withheld: 0 };
    status.apply(&Event::Pruned(pruned), before(95));
    let hours = (1..30).map(|hour| seen(before(hour * 60 + 12), false));
    status.apply(&catalog(hours.collect(), 96), before(30));
    let schedules = vec![
        schedule("hourly", "@hourly", 48, false),
        schedule("nightly", "15 2 * * *", 855, false),
    ];
    status.apply(&Event::Schedules(schedules), before(30));
    status.apply(&captured(Some("hourly"), before(12), &[]), before(11));
    let verified = Event::Verified { id: id(before(12)), level: Level::Object, failure: None };
    status.apply(&verified, before(11));
    status.apply(&Event::Alarms(Vec::new()), before(0));
    let left = Some(Duration::from_secs(41 * 86_400));
    status.apply(&Event::Quota { quota: 2 << 30, size: 512 << 20, left }, before(0));
    status.apply(&Event::Members(members()), before(0));
    status
}

pub fn unhealthy() -> AgentStatus {
    let status = fresh("etcd-1<script>alert(1)</script>");
    let hours = (3..26).map(|hour| seen(before(hour * 60 + 37), hour == 9 || hour == 10));
    status.apply(&catalog(hours.collect(), 24), before(217));
    let schedules =
        vec![schedule("hourly", "@hourly", 23, false), schedule("nightly", "15 2 * * *", 0, true)];
    status.apply(&Event::Schedules(schedules), before(200));
    for minutes in [157, 97, 37] {
        let error = "the store refused the upload: 403 AccessDenied <img src=x>";
        status.apply(&failed("hourly", error, false), before(minutes));
    }
    let failure = Some("stored SHA-256 differs from the manifest's".to_owned());
    status
        .apply(&Event::Verified { id: id(before(277)), level: Level::Object, failure }, before(20));
    status.apply(&Event::StoreFailed { error: "403 AccessDenied".into() }, before(2));
    let mut members = members();
    members[0].state = Err("connection refused".into());
    status.apply(&Event::Members(members), before(0));
    let dissent = Event::Dissent {
        members: vec![MemberId(0xfd42_2379_fda5_0e48)],
        revision: Revision(8_412_300),
    };
    status.apply(&dissent, before(36));
    let alarm = Alarm { member_id: MemberId(0x91bc_3c39_8fb3_c146), kind: "NOSPACE".into() };
    status.apply(&Event::Alarms(vec![alarm]), before(0));
    let left = Some(Duration::from_secs(5 * 3600));
    status.apply(&Event::Quota { quota: 2 << 30, size: 1900 << 20, left }, before(0));
    let problems =
        vec![Problem::new("schedules[0].cron", "\"61 * * * *\" is not a cron expression")];
    status.apply(&Event::ReloadRefused { problems }, before(9));
    status.apply(&Event::PruneFailed { error: "403 AccessDenied".into() }, before(95));
    status
}
