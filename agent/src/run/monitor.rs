//! The monitor: asks members, alarms and store regularly.

use std::sync::Arc;
use std::time::Duration;

use etcdr_node::{ConnectOptions, Metrics};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Shared;
use crate::Error;
use crate::candidates;
use crate::claims::Terms;
use crate::event::{CatalogSeen, Event, MemberSeen, ScheduleSeen, SnapshotSeen};
use crate::maintenance::forecast::Forecast;
use crate::maintenance::{self, Members};
use crate::schedule::Schedule;
use etcdr_operations::settings::Settings;

/// How often the repository is listed when nothing has changed in it as far as this agent knows.
const LIST_EVERY: Duration = Duration::from_secs(300);
/// How often it is tried again when it could not be listed.
const LIST_AGAIN: Duration = Duration::from_secs(15);
/// How often the next ticks are computed, and emitted when they changed.
const TICKS_EVERY: Duration = Duration::from_secs(1);
/// Snapshots whose manifests are read for the timeline.
const MAX_TIMELINE: usize = 50;
/// Longest wait for all members, who are asked at once.
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(15);

/// Monitors as long as the agent runs.
pub(super) async fn follow(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let (mut probe_at, mut list_at) = (Instant::now(), Instant::now());
    let (mut schedules, mut forecast) = (Vec::new(), Forecast::default());
    while !*stop.borrow() {
        if Instant::now() >= probe_at {
            let seen = probe(&shared).await;
            quota(&shared, &seen, &mut forecast).await;
            probe_at = Instant::now() + shared.settings().config.maintenance.every.0;
        }
        if Instant::now() >= list_at {
            list_at = Instant::now() + if list(&shared).await { LIST_EVERY } else { LIST_AGAIN };
        }
        let seen = next_ticks(&shared);
        if seen != schedules {
            shared.emit(&Event::Schedules(seen.clone()));
            schedules = seen;
        }
        tokio::select! {
            () = sleep(TICKS_EVERY) => {}
            // This agent has changed the repository: what it shows should not be minutes old.
            () = shared.stored.notified() => list_at = Instant::now(),
            _ = stop.changed() => {}
        }
    }
}

/// Asks all members for their status and alarms, and emits both.
pub(super) async fn probe(shared: &Shared) -> Vec<MemberSeen> {
    let members = match shared.settings().own_member() {
        Ok(own) => Members::through(own),
        Err(error) => return unknown(shared, error.to_string()),
    };
    let seen = match tokio::time::timeout(MEMBERS_TIMEOUT, members.probe()).await {
        Ok(Ok((seen, alarms))) => {
            shared.emit(&Event::Alarms(alarms));
            seen
        }
        silent => {
            let reason = match silent {
                Ok(Err(error)) => error.to_string(),
                _ => format!("it did not answer within {} s", MEMBERS_TIMEOUT.as_secs()),
            };
            // The others are known from before.
            let before = shared.members.borrow().clone();
            if before.is_empty() {
                return unknown(shared, reason);
            }
            members.probe_others(before, &reason).await
        }
    };
    shared.members.send_replace(seen.clone());
    shared.emit(&Event::Members(seen.clone()));
    seen
}

/// Emits that the member beside us is silent and that nobody else is known.
fn unknown(shared: &Shared, reason: String) -> Vec<MemberSeen> {
    let own = MemberSeen {
        id: etcdr_schemas::MemberId(0),
        name: "unknown".to_owned(),
        own: true,
        client_urls: Vec::new(),
        state: Err(reason),
    };
    shared.emit(&Event::Members(vec![own]));
    Vec::new()
}

/// Asks the members and decides how this agent contends for a tick.
pub(super) async fn terms(shared: &Shared, settings: &Settings) -> Terms {
    let seen = probe(shared).await;
    let own = seen.iter().find(|member| member.own).map(|member| member.id);
    // From what the members say now: with an old view, agents would disagree about who comes first.
    let rank = candidates::rank(&seen, own, settings.config.capture.max_lag);
    Terms {
        rank,
        silent_since: shared.silent_since(rank),
        member: own,
        grace: settings.config.agent.takeover.0,
    }
}

/// How this agent holds what nobody else contends for.
pub(super) fn at_once(shared: &Shared, settings: &Settings) -> Terms {
    let members = shared.members.borrow();
    Terms {
        rank: 0,
        silent_since: Instant::now(),
        member: members.iter().find(|member| member.own).map(|member| member.id),
        grace: settings.config.agent.takeover.0,
    }
}

/// Whom a capture may ask: the member beside this agent; while it is silent, the others.
pub(super) fn endpoints(
    shared: &Shared,
    settings: &Settings,
) -> Result<Vec<ConnectOptions>, Error> {
    let own = settings.own_member()?;
    let members = shared.members.borrow();
    // The own member first: its data need not cross the network, and its agent is the one that was
    // ranked by it. While it is silent, any snapshot is better than none.
    let silent = members.iter().any(|member| member.own && member.state.is_err());
    if !silent {
        return Ok(vec![own]);
    }
    let answering = members.iter().filter(|member| member.state.is_ok());
    let urls = answering.filter_map(|member| member.client_urls.first());
    Ok(urls.map(|url| own.at(url)).chain([own.clone()]).collect())
}

/// How the size of the largest member's file grows, against the quota.
async fn quota(shared: &Shared, seen: &[MemberSeen], forecast: &mut Forecast) {
    let sizes = seen.iter().filter_map(|member| Some(member.state.as_ref().ok()?.db_size));
    let Some(size) = sizes.max() else { return };
    forecast.observe((shared.clock)(), size);
    let settings = shared.settings();
    let configured = settings.config.maintenance.quota.map(|quota| quota.0);
    let quota = match (configured, settings.own_member()) {
        (None, Ok(own)) => {
            let url = settings.config.etcd.metrics_url.as_deref();
            let asked = Metrics::read(&own, url);
            let asked = tokio::time::timeout(MEMBERS_TIMEOUT, asked).await;
            asked.ok().and_then(Result::ok).and_then(|metrics| metrics.quota)
        }
        (configured, _) => configured,
    };
    if let Some(event) = maintenance::quota(forecast, quota) {
        shared.emit(&event);
    }
}

/// Lists the repository and emits what it holds. `false` when it could not be listed.
async fn list(shared: &Shared) -> bool {
    let settings = shared.settings();
    let cluster = &settings.config.cluster;
    let listed = async {
        let repository = settings.open().await?;
        let objects = repository.list_objects(cluster).await?;
        let newest: Vec<_> = objects.ids.iter().take(MAX_TIMELINE).copied().collect();
        let (manifests, _) = repository.manifests(cluster, &newest).await;
        let bytes = objects.images.values().fold(0u64, |sum, image| sum.saturating_add(image.size));
        let newest = manifests.into_iter().map(|loaded| SnapshotSeen {
            id: loaded.manifest.id,
            stored_size: loaded.manifest.image.stored_size,
            suspect: !loaded.manifest.suspect.is_empty(),
            schedule: loaded.manifest.trigger.and_then(|trigger| trigger.schedule),
        });
        let snapshots = objects.ids.len() as u64;
        Ok::<_, Error>(CatalogSeen { snapshots, bytes, newest: newest.collect() })
    };
    match listed.await {
        Ok(catalog) => {
            shared.emit(&Event::Catalog(catalog));
            true
        }
        Err(error) => {
            shared.emit(&Event::StoreFailed { error: error.to_string() });
            false
        }
    }
}

/// The schedules and when they fire next.
pub(super) fn next_ticks(shared: &Shared) -> Vec<ScheduleSeen> {
    let (settings, now) = (shared.settings(), (shared.clock)());
    let schedules = settings.config.schedules.iter().map(|config| {
        let paused = shared.is_paused(&config.name);
        let schedule = Schedule::parse(config, &settings.config.cluster).ok();
        let next = schedule
            .filter(|_| !paused)
            .and_then(|schedule| schedule.next_after(now).map(|tick| schedule.fires_at(tick)));
        ScheduleSeen { name: config.name.clone(), cron: config.cron.clone(), next, paused }
    });
    schedules.collect()
}
