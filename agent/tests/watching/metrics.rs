//! The metrics: their text, and that the table lists all of them.

use std::collections::BTreeMap;

use etcdr_agent::event::Event;
use etcdr_agent::metrics::{Metrics, TABLE};
use etcdr_schemas::report::StatusReport;

use crate::samples::{
    before, captured, catalog, failed, fresh, healthy, members, noon, schedule, seen, unhealthy,
};

fn text(metrics: &Metrics, report: &StatusReport) -> String {
    metrics.encode(report, Some(4096))
}

#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|one| one == line), "no line {line:?} in\n{text}");
}

#[test]
fn the_table_tells_every_metric_and_no_other() {
    let metrics = Metrics::new();
    metrics.apply(&Event::Schedules(vec![schedule("hourly", "@hourly", 5, false)]));
    let text = text(&metrics, &healthy().report(noon()));
    let types: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let table: BTreeMap<&str, &str> = TABLE
        .iter()
        .map(|row| (row.name.strip_suffix("_total").unwrap_or(row.name), row.kind))
        .collect();
    assert_eq!(types, table);
    assert_eq!(table.len(), TABLE.len(), "a name is there twice");
    for row in TABLE {
        assert!(row.name.starts_with("etcdr_"), "{}", row.name);
        assert_eq!(row.kind == "counter", row.name.ends_with("_total"), "{}", row.name);
        assert!(!row.help.is_empty() && !row.help.ends_with('.'), "{}", row.name);
        for label in row.labels {
            let given = text
                .lines()
                .any(|line| line.starts_with(row.name) && line.contains(&format!("{label}=\"")));
            assert!(given, "{} has no label {label}", row.name);
        }
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn the_age_is_that_of_the_scrape() {
    let (metrics, status) = (Metrics::new(), healthy());
    assert_line(
        &text(&metrics, &status.report(noon())),
        "etcdr_newest_restorable_snapshot_age_seconds 720.0",
    );
    let later = text(&metrics, &status.report(before(-10)));
    assert_line(&later, "etcdr_newest_restorable_snapshot_age_seconds 1320.0");
    assert_line(&later, "etcdr_on_target 1");
}

#[test]
fn no_snapshot_is_an_endless_age() {
    let text = text(&Metrics::new(), &fresh("a").report(noon()));
    assert_line(&text, "etcdr_newest_restorable_snapshot_age_seconds +Inf");
    assert_line(&text, "etcdr_newest_restorable_snapshot_timestamp_seconds 0.0");
    assert_line(&text, "etcdr_on_target 0");
}

#[test]
fn series_begin_at_zero_and_count() {
    let metrics = Metrics::new();
    let report = healthy().report(noon());
    metrics.apply(&Event::Schedules(vec![schedule("hourly", "@hourly", 5, false)]));
    assert_line(
        &text(&metrics, &report),
        "etcdr_snapshots_total{schedule=\"hourly\",outcome=\"failed\"} 0",
    );
    metrics.apply(&failed("hourly", "x", true));
    metrics.apply(&failed("hourly", "x", false));
    metrics.apply(&captured(Some("hourly"), before(1), &[]));
    metrics.apply(&captured(None, before(1), &["disagree"]));
    let text = text(&metrics, &report);
    for line in [
        "etcdr_snapshots_total{schedule=\"hourly\",outcome=\"failed\"} 1",
        "etcdr_snapshots_total{schedule=\"hourly\",outcome=\"retried\"} 1",
        "etcdr_snapshots_total{schedule=\"hourly\",outcome=\"ok\"} 1",
        "etcdr_snapshots_total{schedule=\"on-demand\",outcome=\"suspect\"} 1",
        "etcdr_read_transaction_seconds_count 2",
        "etcdr_capture_stage_seconds_sum{stage=\"stream\"} 12.0",
        "etcdr_resident_memory_bytes{} 4096.0",
    ] {
        assert_line(&text, line);
    }
}

#[test]
fn a_member_that_went_takes_its_series_with_it() {
    let (metrics, status) = (Metrics::new(), healthy());
    assert!(text(&metrics, &status.report(noon())).contains("member=\"fd422379fda50e48\""));
    status.apply(&Event::Members(members().into_iter().take(2).collect()), noon());
    let text = text(&metrics, &status.report(noon()));
    assert!(!text.contains("fd422379fda50e48") && text.contains("91bc3c398fb3c146"), "{text}");
}

#[test]
fn labels_are_bounded_and_no_text_of_errors_is_one() {
    let (metrics, status) = (Metrics::new(), unhealthy());
    for number in 0..500 {
        metrics.apply(&failed(&format!("s{number}"), "secret text", false));
    }
    status.apply(&catalog(vec![seen(before(5), false)], 1), noon());
    let text = text(&metrics, &status.report(noon()));
    let series = text.lines().filter(|line| line.starts_with("etcdr_snapshots_total")).count();
    assert!(series <= 64 + 8, "{series}");
    assert!(!text.contains("secret") && !text.contains("AccessDenied"));
}
