//! The status: events to reports.

use etcdr_agent::event::{ClaimOutcome, Event};
use etcdr_schemas::config::Problem;
use etcdr_schemas::report::{Level, StatusReport, TimelineOutcome};
use etcdr_schemas::{MemberId, Revision};

use crate::samples::{
    before, captured, catalog, failed, fresh, healthy, id, members, noon, schedule, seen, unhealthy,
};

fn codes(report: &StatusReport) -> Vec<&str> {
    report.warnings.iter().map(|one| one.code.as_str()).collect()
}

#[test]
fn a_healthy_agent_is_ready_and_on_target() {
    let report = healthy().report(noon());
    assert!(report.ready && report.alive && report.newest.on_target, "{report:#?}");
    assert_eq!(report.newest.age_seconds, Some(720));
    assert_eq!(report.warnings, []);
    assert_eq!(report.schedules[0].last, Some(before(12)));
}

#[test]
fn nothing_is_claimed_before_anything_was_seen() {
    let report = fresh("a").report(noon());
    assert!(!report.ready && !report.newest.on_target);
    assert_eq!(report.not_ready.len(), 2, "{:?}", report.not_ready);
    assert_eq!(codes(&report), [""; 0]);
}

#[test]
fn an_empty_repository_is_over_target() {
    let status = fresh("a");
    status.apply(&catalog(Vec::new(), 0), noon());
    assert_eq!(codes(&status.report(noon())), ["age.over_target"]);
}

#[test]
fn a_suspect_or_damaged_snapshot_is_not_the_newest_restorable() {
    let status = fresh("a");
    status.apply(&captured(Some("hourly"), before(90), &[]), before(90));
    status.apply(&captured(Some("hourly"), before(60), &[]), before(60));
    status.apply(&captured(Some("hourly"), before(30), &["members disagree"]), before(30));
    let report = status.report(noon());
    assert_eq!(report.newest.id, Some(id(before(60))));
    assert_eq!(codes(&report), ["snapshot.suspect"]);
    let failure = Some("bytes differ".to_owned());
    status.apply(&Event::Verified { id: id(before(60)), level: Level::Object, failure }, noon());
    let report = status.report(noon());
    assert_eq!(report.newest.id, Some(id(before(90))));
    assert!(codes(&report).contains(&"verify.failed"));
    // The list does not know that it is damaged.
    status.apply(&catalog(vec![seen(before(60), false), seen(before(90), false)], 2), noon());
    assert_eq!(status.report(noon()).newest.id, Some(id(before(90))));
}

#[test]
fn a_list_brings_what_others_took_and_takes_what_is_gone() {
    let status = fresh("a");
    status.apply(&captured(Some("hourly"), before(60), &[]), before(60));
    status.apply(&captured(Some("hourly"), before(50), &[]), before(50));
    status.apply(&catalog(vec![seen(before(20), false), seen(before(60), false)], 2), before(10));
    let report = status.report(noon());
    assert_eq!(report.newest.id, Some(id(before(20))));
    let ids: Vec<_> = report.timeline.iter().filter_map(|entry| entry.id).collect();
    assert_eq!(ids, [id(before(20)), id(before(60))]);
    status.apply(&catalog(Vec::new(), 0), noon());
    assert_eq!(status.report(noon()).newest.id, None);
}

#[test]
fn a_list_that_was_begun_before_a_snapshot_does_not_take_it() {
    let status = fresh("a");
    status.apply(&captured(None, before(1), &[]), noon());
    status.apply(&catalog(vec![seen(before(60), false)], 1), noon());
    assert_eq!(status.report(noon()).newest.id, Some(id(before(1))));
}

#[test]
fn a_list_that_ends_early_says_nothing_of_what_is_older() {
    let status = fresh("a");
    status.apply(&captured(None, before(90), &[]), before(90));
    status.apply(&catalog(vec![seen(before(20), true)], 40), noon());
    assert_eq!(status.report(noon()).newest.id, Some(id(before(90))));
}

#[test]
fn readiness_follows_etcd_and_the_store() {
    let status = healthy();
    status.apply(&Event::StoreFailed { error: "503".into() }, noon());
    let report = status.report(noon());
    assert_eq!(report.not_ready, ["the store failed: 503"]);
    status.apply(&catalog(Vec::new(), 0), noon());
    assert!(status.report(noon()).ready);
    let mut silent = members();
    silent[1].state = Err("refused".into());
    status.apply(&Event::Members(silent), noon());
    assert_eq!(status.report(noon()).not_ready, ["its etcd member does not answer: refused"]);
    // Another member's silence does not keep this agent from saving.
    let mut silent = members();
    silent[0].state = Err("refused".into());
    status.apply(&Event::Members(silent), noon());
    let report = status.report(noon());
    assert!(report.ready && codes(&report).contains(&"member.down"));
    assert!(!status.report(before(-2)).ready, "the member was not asked for two minutes");
    status.apply(&Event::Members(members()), noon());
    status.apply(&Event::Stopping, noon());
    assert!(!status.report(noon()).ready);
}

#[test]
fn conditions_end_when_events_say_so() {
    let status = healthy();
    let raise_and_clear: Vec<(&str, Event, Event)> = vec![
        ("capture.failed", failed("hourly", "x", false), captured(Some("hourly"), before(1), &[])),
        (
            "config.refused",
            Event::ReloadRefused { problems: vec![Problem::new("a", "b")] },
            Event::Reloaded,
        ),
        (
            "heartbeat.failed",
            Event::Heartbeat { failure: Some("x".into()) },
            Event::Heartbeat { failure: None },
        ),
        ("clock.skew", Event::ClockSkew { seconds: -11 }, Event::ClockSkew { seconds: 1 }),
        (
            "schedule.paused",
            Event::Schedules(vec![schedule("hourly", "@hourly", 5, true)]),
            Event::Schedules(vec![schedule("hourly", "@hourly", 5, false)]),
        ),
        ("claim.failed", claim(ClaimOutcome::Failed), claim(ClaimOutcome::Lost)),
        (
            "members.dissent",
            Event::Dissent { members: vec![MemberId(7)], revision: Revision(3) },
            Event::Dissent { members: Vec::new(), revision: Revision(4) },
        ),
        (
            "quota.soon",
            Event::Quota { quota: 9, size: 8, left: Some(std::time::Duration::from_secs(60)) },
            Event::Quota { quota: 9, size: 4, left: None },
        ),
    ];
    for (code, raise, clear) in raise_and_clear {
        status.apply(&raise, noon());
        status.apply(&raise, noon());
        let report = status.report(noon());
        assert_eq!(codes(&report), [code]);
        assert!(!report.warnings[0].next.is_empty());
        status.apply(&clear, noon());
        assert_eq!(codes(&status.report(noon())), [""; 0], "{code} stays");
    }
}

fn claim(outcome: ClaimOutcome) -> Event {
    Event::Claim { schedule: "hourly".into(), tick: noon(), outcome, holder: None }
}

#[test]
fn memory_is_bounded() {
    let status = fresh("a");
    for minute in 0..1000 {
        status
            .apply(&failed(&format!("s{minute}"), &"x".repeat(9000), false), before(1000 - minute));
        status.apply(&captured(None, before(1000 - minute), &[]), before(1000 - minute));
    }
    let report = status.report(noon());
    assert_eq!(report.timeline.len(), 200);
    let many = (0..1000).map(|n| failed(&format!("s{n}"), &"x".repeat(9000), false));
    many.for_each(|event| status.apply(&event, noon()));
    let report = status.report(noon());
    assert_eq!(report.warnings.len(), 20);
    assert!(serde_json::to_vec(&report).unwrap().len() < 200_000);
    // The failures pushed every snapshot out of the timeline; the newest one is known all the same.
    assert!(report.timeline.iter().all(|entry| entry.outcome == TimelineOutcome::Failed));
    assert_eq!(report.newest.id, Some(id(before(1))));
}

#[test]
fn the_worst_comes_first() {
    let report = unhealthy().report(noon());
    assert_eq!(report.warnings[0].code, "age.over_target");
    let urgent: Vec<bool> = report.warnings.iter().map(|one| one.urgent).collect();
    assert!(urgent.is_sorted_by(|a, b| a >= b), "{:?}", codes(&report));
    assert!(!report.ready && !report.newest.on_target);
}
