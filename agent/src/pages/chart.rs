//! The timeline: the age of the newest restorable snapshot against its target, as it went, with
//! what was taken and what failed. Positions are percentages, so that text keeps its size on every
//! screen.

use chrono::{DateTime, TimeDelta, Utc};
use etcdr_schemas::report::{StatusReport, TimelineEntry, TimelineOutcome};

use super::format;
use super::html::Html;

/// The window that is shown, at least and at most.
const LEAST: TimeDelta = TimeDelta::hours(1);
const MOST: TimeDelta = TimeDelta::days(7);

/// Where things are in time and in age.
struct Scale {
    from: DateTime<Utc>,
    now: DateTime<Utc>,
    /// Seconds at the upper edge.
    top: f64,
}

/// One falling edge: up to `at`, the age grew from `start`.
#[derive(Debug, PartialEq)]
struct Tooth {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// The snapshot that was the newest meanwhile.
    of: DateTime<Utc>,
}

impl Scale {
    fn of(report: &StatusReport) -> Self {
        let now = report.at;
        let oldest = report.timeline.last().map_or(now, |entry| entry.at);
        let target = seconds(report.newest.target_age_seconds);
        let window = (now - oldest).max(LEAST).max(target).min(MOST);
        Self { from: now - window, now, top: 1.0 }
    }

    fn x(&self, at: DateTime<Utc>) -> f64 {
        let whole = (self.now - self.from).num_milliseconds().max(1) as f64;
        ((at - self.from).num_milliseconds() as f64 / whole).clamp(0.0, 1.0)
    }

    /// 0 is no age, 1 the upper edge.
    fn y(&self, age: f64) -> f64 {
        (age / self.top).clamp(0.0, 1.0)
    }
}

/// The teeth of the saw, oldest first.
fn teeth(entries: &[TimelineEntry], scale: &Scale) -> Vec<Tooth> {
    let good = entries.iter().filter(|entry| entry.outcome == TimelineOutcome::Snapshot);
    let mut times: Vec<DateTime<Utc>> = good.map(|entry| entry.at.min(scale.now)).collect();
    times.sort();
    let ends = times.iter().skip(1).copied().chain([scale.now]);
    let all = times.iter().zip(ends).map(|(of, to)| Tooth { from: *of, to, of: *of });
    all.filter(|tooth| tooth.to >= scale.from)
        .map(|tooth| Tooth { from: tooth.from.max(scale.from), ..tooth })
        .collect()
}

pub(super) fn draw(html: &mut Html, report: &StatusReport) {
    let mut scale = Scale::of(report);
    let teeth = teeth(&report.timeline, &scale);
    let target = report.newest.target_age_seconds as f64;
    let age = |tooth: &Tooth| (tooth.to - tooth.of).num_seconds().max(0) as f64;
    scale.top = teeth.iter().map(age).fold(target, f64::max) * 1.15 + 1.0;
    html.raw("<svg role=\"img\" width=\"100%\" height=\"176\" aria-label=\"");
    html.text(summary(report, &scale)).raw("\">");
    grid(html, &scale);
    saw(html, &teeth, &scale);
    let line = HEIGHT * (1.0 - scale.y(target)) + TOP;
    html.put("<line class=\"target\" x1=\"0\" x2=\"100%\" y1=\"", round(line), "\" y2=\"");
    html.put("", round(line), "\"/>");
    html.put("<text class=\"labt\" x=\"0\" y=\"", round(line - 5.0), "\">");
    html.put("target ", format::span(report.newest.target_age_seconds), "</text>");
    let shown = report.timeline.iter().rev().filter(|entry| entry.at >= scale.from);
    for entry in shown {
        point(html, entry, &scale);
    }
    html.raw("</svg>");
    legend(html);
}

const TOP: f64 = 14.0;
const HEIGHT: f64 = 126.0;

fn grid(html: &mut Html, scale: &Scale) {
    html.raw("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"140\" y2=\"140\"/>");
    let window = scale.now - scale.from;
    let format = if window > TimeDelta::days(2) { "%b %-d" } else { "%H:%M" };
    for (share, anchor) in [(0, "start"), (25, "middle"), (50, "middle"), (75, "middle")] {
        let at = scale.from + window * share / 100;
        html.put("<text class=\"lab\" y=\"168\" x=\"", share, "%\" text-anchor=\"");
        html.put("", anchor, "\">").put("", at.format(format), "</text>");
    }
    html.raw("<text class=\"lab\" y=\"168\" x=\"100%\" text-anchor=\"end\">now</text>");
}

/// The line and the area below it, in a stretched picture of 1000 by 1000.
fn saw(html: &mut Html, teeth: &[Tooth], scale: &Scale) {
    let mut points = Vec::new();
    for tooth in teeth {
        for at in [tooth.from, tooth.to] {
            let age = (at - tooth.of).num_seconds().max(0) as f64;
            points.push((scale.x(at) * 1000.0, (1.0 - scale.y(age)) * 1000.0));
        }
    }
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
        return;
    };
    let line: String =
        points.iter().map(|(x, y)| format!("{},{} ", round(*x), round(*y))).collect();
    html.raw(
        "<svg x=\"0\" y=\"14\" width=\"100%\" height=\"126\" viewBox=\"0 0 1000 1000\" \
         preserveAspectRatio=\"none\">",
    );
    html.put("<polygon class=\"area\" points=\"", round(first.0), ",1000 ").text(&line);
    html.put("", round(last.0), ",1000\"/>");
    html.put(
        "<polyline class=\"saw\" vector-effect=\"non-scaling-stroke\" points=\"",
        line,
        "\"/></svg>",
    );
}

fn point(html: &mut Html, entry: &TimelineEntry, scale: &Scale) {
    let x = round(scale.x(entry.at) * 100.0);
    html.put("<svg x=\"", x, "%\" y=\"140\" width=\"1\" height=\"1\">");
    html.raw(mark(entry.outcome)).raw("<title>");
    html.text(format::moment(entry.at)).raw(" ").text(outcome(entry.outcome));
    if let Some(error) = &entry.error {
        html.raw(": ").text(error);
    }
    html.raw("</title></svg>");
}

const fn mark(outcome: TimelineOutcome) -> &'static str {
    match outcome {
        TimelineOutcome::Snapshot => "<circle class=\"dot\" r=\"4.5\"/>",
        TimelineOutcome::Suspect => "<path class=\"sus\" d=\"M0-5 5 0 0 5-5 0Z\"/>",
        TimelineOutcome::Failed => "<path class=\"fail\" d=\"M-4-4 4 4M4-4-4 4\"/>",
    }
}

/// What became of a capture, in a word.
pub(super) const fn outcome(outcome: TimelineOutcome) -> &'static str {
    match outcome {
        TimelineOutcome::Snapshot => "snapshot",
        TimelineOutcome::Suspect => "suspect",
        TimelineOutcome::Failed => "failed",
    }
}

fn legend(html: &mut Html) {
    html.raw("<p class=\"key\" aria-hidden=\"true\">");
    for outcome in [TimelineOutcome::Snapshot, TimelineOutcome::Suspect, TimelineOutcome::Failed] {
        html.raw("<span><svg width=\"12\" height=\"12\" viewBox=\"-6 -6 12 12\">");
        html.raw(mark(outcome)).put("</svg>", self::outcome(outcome), "</span>");
    }
    html.raw(
        "<span><svg width=\"18\" height=\"12\"><path class=\"saw\" d=\"M1 10 16 2V10\"/>\
         </svg>age of the newest restorable</span></p>",
    );
}

fn summary(report: &StatusReport, scale: &Scale) -> String {
    let count = |outcome: TimelineOutcome| {
        let these = report.timeline.iter().filter(|entry| entry.at >= scale.from);
        these.filter(|entry| entry.outcome == outcome).count()
    };
    let window = (scale.now - scale.from).num_seconds().unsigned_abs();
    format!(
        "The last {}: {} snapshots, {} suspect, {} failed captures",
        format::span(window),
        count(TimelineOutcome::Snapshot),
        count(TimelineOutcome::Suspect),
        count(TimelineOutcome::Failed)
    )
}

/// Two digits after the point are finer than any screen.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn seconds(count: u64) -> TimeDelta {
    TimeDelta::try_seconds(i64::try_from(count).unwrap_or(i64::MAX)).unwrap_or(MOST)
}
