//! The state of the agent: how each event changes what is known.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_schemas::MemberId;
use etcdr_schemas::config::Problem;
use etcdr_schemas::manifest::Alarm;
use etcdr_schemas::report::{
    CaptureStatus, FailureStatus, PruneStatus, QuotaStatus, StoredStatus, VerifyStatus,
};

use super::Limits;
use super::conditions::{self as kinds, Conditions};
use super::history::History;
use crate::event::{Captured, ClaimOutcome, Event, MemberSeen, PruneSeen, ScheduleSeen};

/// Members, alarms, schedules and problems of a configuration that are kept.
const MAX_SEEN: usize = 64;
/// A difference of clocks that matters, in seconds: claims are taken over after a minute.
const SKEW: u64 = 10;
/// Time to the quota that leaves hardly any to act.
const LAST_HOUR: Duration = Duration::from_secs(3600);

/// What is known.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) members: Vec<MemberSeen>,
    pub(super) members_at: Option<DateTime<Utc>>,
    /// When the member beside this agent last answered.
    pub(super) own_at: Option<DateTime<Utc>>,
    pub(super) alarms: Vec<Alarm>,
    pub(super) schedules: Vec<ScheduleSeen>,
    pub(super) stored: Option<StoredStatus>,
    /// When the store last answered.
    pub(super) store_at: Option<DateTime<Utc>>,
    /// Why it did not, if that was later.
    pub(super) store_error: Option<String>,
    pub(super) history: History,
    pub(super) capture: Option<CaptureStatus>,
    pub(super) last_failure: Option<FailureStatus>,
    pub(super) last_verify: Option<VerifyStatus>,
    pub(super) last_prune: Option<PruneStatus>,
    pub(super) quota: Option<QuotaStatus>,
    pub(super) dissenting: BTreeSet<MemberId>,
    pub(super) refused: Vec<String>,
    pub(super) stopping: bool,
    pub(super) conditions: Conditions,
}

impl State {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            members: Vec::new(),
            members_at: None,
            own_at: None,
            alarms: Vec::new(),
            schedules: Vec::new(),
            stored: None,
            store_at: None,
            store_error: None,
            history: History::default(),
            capture: None,
            last_failure: None,
            last_verify: None,
            last_prune: None,
            quota: None,
            dissenting: BTreeSet::new(),
            refused: Vec::new(),
            stopping: false,
            conditions: Conditions::default(),
        }
    }

    pub(super) fn apply(&mut self, event: &Event, now: DateTime<Utc>) {
        match event {
            Event::Members(members) => self.members(members, now),
            Event::Alarms(alarms) => self.alarms(alarms, now),
            Event::Schedules(schedules) => self.schedules(schedules, now),
            Event::Catalog(seen) => {
                self.stored =
                    Some(StoredStatus { snapshots: seen.snapshots, bytes: seen.bytes, at: now });
                self.history.listed(seen, now);
                self.store_answered(now);
            }
            Event::StoreFailed { error } => {
                self.store_error = Some(error.chars().take(300).collect());
                self.conditions.raise(&kinds::STORE, "", format!("The store failed: {error}"), now);
            }
            Event::Claim { schedule, outcome, .. } => self.claim(schedule, *outcome, now),
            Event::CaptureBegan { schedule } => {
                self.capture = Some(CaptureStatus { schedule: schedule.clone(), since: now });
            }
            Event::Captured(captured) => self.captured(captured, now),
            Event::CaptureFailed { schedule, error, again } => {
                self.capture_failed(schedule.as_deref(), error, *again, now);
            }
            Event::Dissent { members, revision } => {
                self.dissenting = members.iter().copied().take(MAX_SEEN).collect();
                self.raise_dissent(&format!("at revision {revision}"), now);
            }
            Event::Verified { id, level, failure } => {
                let (id, level, failure) = (*id, *level, failure.clone());
                self.verified(VerifyStatus { at: now, id, level, failure }, now);
            }
            Event::Pruned(seen) => {
                self.last_prune = Some(prune(seen, now));
                self.conditions.clear_all(&kinds::PRUNE);
                self.store_answered(now);
            }
            Event::PruneFailed { error } => {
                let failed = prune(&PruneSeen::default(), now);
                self.last_prune = Some(PruneStatus { error: Some(error.clone()), ..failed });
                self.conditions.raise(&kinds::PRUNE, "", format!("Pruning failed: {error}"), now);
            }
            other => self.apply_upkeep(other, now),
        }
    }

    /// Events of maintenance and of the agent itself.
    fn apply_upkeep(&mut self, event: &Event, now: DateTime<Utc>) {
        let conditions = &mut self.conditions;
        match event {
            Event::Defragmented { member, result: Ok(_), .. } => {
                conditions.clear(&kinds::DEFRAGMENT, member);
            }
            Event::Defragmented { member, result: Err(error), .. } => {
                let text = format!("Member {member} was not defragmented: {error}");
                conditions.raise(&kinds::DEFRAGMENT, member, text, now);
            }
            Event::Compacted { result: Ok(_) } => conditions.clear_all(&kinds::COMPACT),
            Event::Compacted { result: Err(error) } => {
                conditions.raise(&kinds::COMPACT, "", format!("Compaction failed: {error}"), now);
            }
            Event::Quota { quota, size, left } => self.quota(*quota, *size, *left, now),
            Event::Heartbeat { failure: None } => conditions.clear_all(&kinds::HEARTBEAT),
            Event::Heartbeat { failure: Some(error) } => {
                let text = format!("The dead man's switch was not told: {error}");
                conditions.raise(&kinds::HEARTBEAT, "", text, now);
            }
            Event::Reloaded => {
                self.refused.clear();
                conditions.clear_all(&kinds::CONFIG);
            }
            Event::ReloadRefused { problems } => self.refused(problems, now),
            Event::NameTwice { name } => {
                let text = format!("Another agent is called {name} too.");
                conditions.raise(&kinds::NAME_TWICE, name, text, now);
            }
            Event::ClockSkew { seconds } if seconds.unsigned_abs() >= SKEW => {
                let side = if *seconds > 0 { "ahead of" } else { "behind" };
                let text = format!(
                    "This machine's clock is {} s {side} the others'.",
                    seconds.unsigned_abs()
                );
                conditions.raise(&kinds::CLOCK_SKEW, "", text, now);
            }
            Event::ClockSkew { .. } => conditions.clear_all(&kinds::CLOCK_SKEW),
            Event::Stopping => self.stopping = true,
            _ => {}
        }
    }

    fn members(&mut self, members: &[MemberSeen], now: DateTime<Utc>) {
        self.members = members.iter().take(MAX_SEEN).cloned().collect();
        self.members_at = Some(now);
        let ids: BTreeSet<String> = members.iter().map(|one| one.id.to_string()).collect();
        for kind in [&kinds::MEMBER, &kinds::OWN_MEMBER, &kinds::MEMBER_ERRORS, &kinds::DEFRAGMENT]
        {
            self.conditions.retain(kind, |subject| ids.contains(subject));
        }
        self.dissenting.retain(|id| members.iter().any(|one| one.id == *id));
        for one in &self.members {
            let name = called(one);
            match &one.state {
                Ok(state) => {
                    self.conditions.clear(&kinds::MEMBER, one.id);
                    self.conditions.clear(&kinds::OWN_MEMBER, one.id);
                    if state.errors.is_empty() {
                        self.conditions.clear(&kinds::MEMBER_ERRORS, one.id);
                    } else {
                        let text = format!("Member {name} reports: {}", state.errors.join("; "));
                        self.conditions.raise(&kinds::MEMBER_ERRORS, one.id, text, now);
                    }
                    if one.own {
                        self.own_at = Some(now);
                    }
                }
                Err(error) => {
                    let kind = if one.own { &kinds::OWN_MEMBER } else { &kinds::MEMBER };
                    let text = format!("Member {name} does not answer: {error}");
                    self.conditions.raise(kind, one.id, text, now);
                }
            }
        }
    }

    fn alarms(&mut self, alarms: &[Alarm], now: DateTime<Utc>) {
        self.alarms = alarms.iter().take(MAX_SEEN).cloned().collect();
        let subject = |alarm: &Alarm| format!("{} {}", alarm.member_id, alarm.kind);
        let raised: BTreeSet<String> = self.alarms.iter().map(subject).collect();
        self.conditions.retain(&kinds::ALARM, |one| raised.contains(one));
        for alarm in &self.alarms {
            let seen = self.members.iter().find(|one| one.id == alarm.member_id);
            let name = seen.map_or_else(|| alarm.member_id.to_string(), called);
            let text = format!("Member {name} has raised alarm {}.", alarm.kind);
            self.conditions.raise(&kinds::ALARM, subject(alarm), text, now);
        }
    }

    fn schedules(&mut self, schedules: &[ScheduleSeen], now: DateTime<Utc>) {
        self.schedules = schedules.iter().take(MAX_SEEN).cloned().collect();
        let named = |name: &str| schedules.iter().any(|one| one.name == name);
        let paused = |name: &str| schedules.iter().any(|one| one.name == name && one.paused);
        self.conditions.retain(&kinds::PAUSED, paused);
        self.conditions.retain(&kinds::CLAIM, named);
        for one in self.schedules.iter().filter(|one| one.paused) {
            let text = format!("Schedule {} is paused.", one.name);
            self.conditions.raise(&kinds::PAUSED, &one.name, text, now);
        }
    }

    fn claim(&mut self, schedule: &str, outcome: ClaimOutcome, now: DateTime<Utc>) {
        if outcome == ClaimOutcome::Failed {
            let text = format!("The repository could not be asked who takes schedule {schedule}.");
            self.conditions.raise(&kinds::CLAIM, schedule, text, now);
        } else {
            self.conditions.clear(&kinds::CLAIM, schedule);
            self.store_answered(now);
        }
    }

    fn captured(&mut self, captured: &Captured, now: DateTime<Utc>) {
        self.capture = None;
        self.history.captured(captured, now);
        self.store_answered(now);
        self.conditions.clear_all(&kinds::CAPTURE);
        self.conditions.clear_all(&kinds::CAPTURE_WARNING);
        let manifest = &captured.manifest;
        match manifest.suspect.first() {
            None => self.conditions.clear_all(&kinds::SUSPECT),
            Some(reason) => {
                let text = format!("Snapshot {} is suspect: {reason}", manifest.id);
                self.conditions.raise(&kinds::SUSPECT, "", text, now);
            }
        }
        let remarks = captured.warnings.iter().filter(|text| !manifest.suspect.contains(text));
        for text in remarks.take(5) {
            self.conditions.raise(&kinds::CAPTURE_WARNING, text, text, now);
        }
        if let Some(hash_kv) = &manifest.hash_kv {
            self.dissenting =
                hash_kv.dissented.iter().map(|one| one.member_id).take(MAX_SEEN).collect();
            self.raise_dissent(&format!("at revision {}", hash_kv.revision), now);
        }
    }

    fn capture_failed(
        &mut self,
        schedule: Option<&str>,
        error: &str,
        again: bool,
        now: DateTime<Utc>,
    ) {
        self.capture = None;
        let (error, owned) = (cut(error), schedule.map(str::to_owned));
        self.last_failure = Some(FailureStatus { at: now, schedule: owned, error: error.clone() });
        // A try that is repeated is one failure of the tick, not several.
        if !again {
            self.history.failed(schedule, &error, now);
        }
        let whose =
            schedule.map_or("A capture on demand".to_owned(), |name| format!("Schedule {name}"));
        let then = if again { "; it is tried again" } else { "" };
        let text = format!("{whose} failed: {error}{then}");
        self.conditions.raise(&kinds::CAPTURE, schedule.unwrap_or_default(), text, now);
    }

    fn raise_dissent(&mut self, when: &str, now: DateTime<Utc>) {
        let dissenting = &self.dissenting;
        let still = |one: &str| dissenting.iter().any(|id| id.to_string() == one);
        self.conditions.retain(&kinds::DISSENT, still);
        for id in dissenting {
            let seen = self.members.iter().find(|one| one.id == *id);
            let name = seen.map_or_else(|| id.to_string(), called);
            let text = format!("Member {name} held other data than the majority {when}.");
            self.conditions.raise(&kinds::DISSENT, id, text, now);
        }
    }

    fn verified(&mut self, seen: VerifyStatus, now: DateTime<Utc>) {
        self.history.verified(seen.id, seen.failure.is_none());
        match &seen.failure {
            Some(failure) => {
                let text = format!("Snapshot {} is damaged: {failure}", seen.id);
                self.conditions.raise(&kinds::DAMAGED, seen.id, text, now);
            }
            // A newer one that is sound takes the place of those before it.
            None => {
                let newer =
                    |one: &str| one.parse().is_ok_and(|id: etcdr_schemas::SnapshotId| id > seen.id);
                self.conditions.retain(&kinds::DAMAGED, newer);
            }
        }
        self.last_verify = Some(VerifyStatus { failure: seen.failure.as_deref().map(cut), ..seen });
    }

    fn quota(&mut self, quota: u64, size: u64, left: Option<Duration>, now: DateTime<Utc>) {
        let seconds_left = left.map(|left| left.as_secs());
        self.quota = Some(QuotaStatus { quota, size, seconds_left, at: now });
        self.conditions.clear_all(&kinds::QUOTA);
        if let Some(left) = left.filter(|left| *left < self.limits.quota_warning) {
            let when = if left < LAST_HOUR {
                "within the hour".to_owned()
            } else {
                format!("in {} h", left.as_secs() / 3600)
            };
            let text = format!("The database reaches its quota {when}; etcd refuses writes then.");
            self.conditions.raise(&kinds::QUOTA, "", text, now);
        }
    }

    fn refused(&mut self, problems: &[Problem], now: DateTime<Utc>) {
        let sentence = |one: &Problem| cut(&format!("{}: {}", one.path, one.what));
        self.refused = problems.iter().take(MAX_SEEN).map(sentence).collect();
        let first = self.refused.first().map_or("no reason given", String::as_str);
        let text = format!("The changed configuration was refused: {first}");
        self.conditions.raise(&kinds::CONFIG, "", text, now);
    }

    fn store_answered(&mut self, now: DateTime<Utc>) {
        self.store_at = Some(now);
        self.store_error = None;
        self.conditions.clear_all(&kinds::STORE);
    }
}

/// A member's name, or its id before it has one.
fn called(member: &MemberSeen) -> String {
    if member.name.is_empty() { member.id.to_string() } else { member.name.clone() }
}

fn cut(text: &str) -> String {
    text.chars().take(500).collect()
}

fn prune(seen: &PruneSeen, at: DateTime<Utc>) -> PruneStatus {
    let PruneSeen { kept, deleted, swept, bytes, withheld } = *seen;
    PruneStatus { at, kept, deleted, swept, bytes, withheld, error: None }
}
