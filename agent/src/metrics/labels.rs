//! The labels. Their values come from closed sets, except names of schedules and ids of members,
//! which the configuration and the member list bound.

use etcdr_schemas::report::Level;
use prometheus_client::encoding::EncodeLabelSet;

use crate::event::ClaimOutcome;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BySchedule {
    pub(super) schedule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByScheduleOutcome {
    pub(super) schedule: String,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByOutcome {
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByLevelOutcome {
    pub(super) level: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByStage {
    pub(super) stage: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByMember {
    pub(super) member: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKind {
    pub(super) kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByUrgency {
    pub(super) urgency: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: String,
    pub(super) agent: String,
}

pub(super) const CLAIMS: [ClaimOutcome; 6] = [
    ClaimOutcome::Won,
    ClaimOutcome::Lost,
    ClaimOutcome::TakenOver,
    ClaimOutcome::Done,
    ClaimOutcome::LostLater,
    ClaimOutcome::Failed,
];

pub(super) const fn claim(outcome: ClaimOutcome) -> &'static str {
    match outcome {
        ClaimOutcome::Won => "won",
        ClaimOutcome::Lost => "lost",
        ClaimOutcome::TakenOver => "taken_over",
        ClaimOutcome::Done => "done",
        ClaimOutcome::LostLater => "lost_later",
        ClaimOutcome::Failed => "failed",
    }
}

/// etcd may learn new alarms; a label does not.
pub(super) fn alarm(kind: &str) -> &'static str {
    match kind {
        "NOSPACE" => "NOSPACE",
        "CORRUPT" => "CORRUPT",
        _ => "other",
    }
}

pub(super) const fn ok_or(ok: bool, other: &'static str) -> &'static str {
    if ok { "ok" } else { other }
}

pub(super) const fn verification(level: Level, ok: bool) -> ByLevelOutcome {
    ByLevelOutcome { level: level.name(), outcome: ok_or(ok, "damaged") }
}
