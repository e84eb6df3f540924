//! Makes a report of what is known.

use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_schemas::report::{
    MemberStatus, NewestStatus, ScheduleStatus, StatusReport, StatusWarning,
};
use etcdr_schemas::units::Span;

use super::conditions::{MAX_SHOWN, OVER_AGE};
use super::state::State;
use super::{About, Limits};
use crate::event::{MemberSeen, ScheduleSeen};

pub(super) fn report(
    about: &About,
    state: &State,
    alive: bool,
    now: DateTime<Utc>,
) -> StatusReport {
    let not_ready = not_ready(state, alive, now);
    let newest = newest(state, now);
    let mut warnings: Vec<StatusWarning> =
        over_age(about, state, &newest, now).into_iter().collect();
    warnings.extend(state.conditions.shown(now));
    warnings.truncate(MAX_SHOWN);
    StatusReport {
        agent: about.name.clone(),
        version: about.version.clone(),
        cluster: about.cluster.clone(),
        started_at: about.started_at,
        at: now,
        alive,
        ready: not_ready.is_empty(),
        not_ready,
        newest,
        stored: state.stored.clone(),
        timeline: state.history.entries().to_vec(),
        schedules: state.schedules.iter().map(|one| schedule(state, one)).collect(),
        paused: !state.schedules.is_empty() && state.schedules.iter().all(|one| one.paused),
        members: state.members.iter().map(|one| member(state, one)).collect(),
        members_at: state.members_at,
        alarms: state.alarms.clone(),
        capture: state.capture.clone(),
        last_failure: state.last_failure.clone(),
        last_verify: state.last_verify.clone(),
        last_prune: state.last_prune.clone(),
        quota: state.quota.clone(),
        refused_config: state.refused.clone(),
        warnings,
    }
}

/// Reasons why nothing can be saved now.
fn not_ready(state: &State, alive: bool, now: DateTime<Utc>) -> Vec<String> {
    let Limits { member_timeout, store_timeout, .. } = state.limits;
    let mut reasons = Vec::new();
    if !alive {
        reasons.push("the agent's loop hangs".to_owned());
    }
    if state.stopping {
        reasons.push("the agent is stopping".to_owned());
    }
    let own = state.members.iter().find(|one| one.own);
    match (own.map(|own| &own.state), state.own_at) {
        (Some(Err(error)), _) => reasons.push(format!("its etcd member does not answer: {error}")),
        (_, None) => reasons.push("its etcd member has not answered yet".to_owned()),
        (_, Some(at)) if since(at, now) > member_timeout => {
            reasons.push(format!("its etcd member has not answered since {}", clock(at)));
        }
        _ => {}
    }
    match (&state.store_error, state.store_at) {
        (Some(error), _) => reasons.push(format!("the store failed: {error}")),
        (None, None) => reasons.push("the store has not answered yet".to_owned()),
        (None, Some(at)) if since(at, now) > store_timeout => {
            reasons.push(format!("the store has not answered since {}", clock(at)));
        }
        _ => {}
    }
    reasons
}

fn newest(state: &State, now: DateTime<Utc>) -> NewestStatus {
    let id = state.history.newest();
    let age = id.map(|id| since(id.time(), now));
    let target = state.limits.target_age;
    NewestStatus {
        id,
        age_seconds: age.map(|age| age.as_secs()),
        target_age_seconds: target.as_secs(),
        on_target: age.is_some_and(|age| age <= target),
    }
}

/// That the agent fails its purpose; not before it has listed what is there.
fn over_age(
    about: &About,
    state: &State,
    newest: &NewestStatus,
    now: DateTime<Utc>,
) -> Option<StatusWarning> {
    if newest.on_target || (newest.id.is_none() && state.stored.is_none()) {
        return None;
    }
    let target = Span(state.limits.target_age);
    let since = newest.id.map_or(about.started_at, |id| {
        id.time()
            .checked_add_signed(chrono::Duration::from_std(target.0).unwrap_or_default())
            .unwrap_or(now)
    });
    let text = match newest.id {
        Some(id) => format!(
            "The newest restorable snapshot is of {}, older than the target of {target}.",
            clock(id.time())
        ),
        None => "There is no snapshot that could be restored.".to_owned(),
    };
    let (code, next) = (OVER_AGE.code.to_owned(), OVER_AGE.next.to_owned());
    Some(StatusWarning { code, urgent: OVER_AGE.urgent, since, last: now, count: 1, text, next })
}

fn schedule(state: &State, seen: &ScheduleSeen) -> ScheduleStatus {
    ScheduleStatus {
        name: seen.name.clone(),
        cron: seen.cron.clone(),
        next: seen.next,
        paused: seen.paused,
        last: state.history.last_of(&seen.name),
    }
}

fn member(state: &State, seen: &MemberSeen) -> MemberStatus {
    let said = seen.state.as_ref().ok();
    MemberStatus {
        id: seen.id,
        name: seen.name.clone(),
        own: seen.own,
        answered: said.is_some(),
        version: said.map(|said| said.version.clone()),
        leader: said.is_some_and(|said| said.leader),
        learner: said.is_some_and(|said| said.learner),
        db_size: said.map(|said| said.db_size),
        db_size_in_use: said.map(|said| said.db_size_in_use),
        revision: said.map(|said| said.revision),
        errors: match &seen.state {
            Ok(said) => said.errors.clone(),
            Err(error) => vec![error.clone()],
        },
        dissents: state.dissenting.contains(&seen.id),
    }
}

/// Nothing for a time that is still to come: clocks jump.
fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - at).to_std().unwrap_or_default()
}

fn clock(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}
