//! The watch: members, alarms and store, looked at regularly.

use std::sync::Arc;
use std::time::Duration;

use etcdr_node::{Client, ConnectOptions, Status};
use etcdr_schemas::manifest::Member;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Shared;
use crate::Error;
use crate::event::ScheduleSeen;
use crate::event::{CatalogSeen, Event, MemberSeen, MemberState, SnapshotSeen};
use crate::schedule::Schedule;
use crate::settings::Settings;

/// How often the repository is listed when nothing has changed in it as far as this agent knows.
const LIST_EVERY: Duration = Duration::from_secs(300);
/// How often it is tried again when it could not be listed.
const LIST_AGAIN: Duration = Duration::from_secs(15);
/// How often the next ticks are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Snapshots whose manifests are read for the timeline.
const NEWEST: usize = 50;
/// Longest wait for one member.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks as long as the agent runs.
pub(super) async fn follow(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let (mut look_at, mut list_at) = (Instant::now(), Instant::now());
    let mut schedules = Vec::new();
    while !*stop.borrow() {
        if Instant::now() >= look_at {
            look(&shared).await;
            alarms(&shared).await;
            look_at = Instant::now() + shared.settings().config.maintenance.every.0;
        }
        if Instant::now() >= list_at {
            list_at = Instant::now() + if list(&shared).await { LIST_EVERY } else { LIST_AGAIN };
        }
        let seen = next_ticks(&shared);
        if seen != schedules {
            shared.tell(&Event::Schedules(seen.clone()));
            schedules = seen;
        }
        tokio::select! {
            () = sleep(TELL_EVERY) => {}
            () = shared.stored.notified() => list_at = Instant::now(),
            _ = stop.changed() => {}
        }
    }
}

/// Asks all members how they are, and tells.
pub(super) async fn look(shared: &Shared) -> Vec<MemberSeen> {
    let own = match shared.settings().own_member() {
        Ok(options) => options,
        Err(error) => return forget(shared, &error.to_string()),
    };
    let own_status = status(&own).await;
    let others = match &own_status {
        Ok((client, _)) => client.member_list(false).await.map_err(|error| error.to_string()),
        Err(error) => Err(error.clone()),
    };
    let seen = match others {
        Ok(members) => {
            let own_id = own_status.as_ref().ok().map(|(_, status)| status.member_id);
            let asked = members.iter().map(|member| async {
                match &own_status {
                    Ok((_, status)) if Some(member.id) == own_id => seen(member, true, Ok(status)),
                    _ => {
                        let asked = peer_status(member, &own).await;
                        seen(member, false, asked.as_ref().map_err(Clone::clone))
                    }
                }
            });
            join_all(asked).await
        }
        // The member beside us is silent: the others are known from before.
        Err(error) => return elsewhere(shared, &own, error).await,
    };
    shared.members.send_replace(seen.clone());
    shared.tell(&Event::Members(seen.clone()));
    seen
}

/// Asks the members that were known before the own one fell silent.
async fn elsewhere(shared: &Shared, own: &ConnectOptions, error: String) -> Vec<MemberSeen> {
    let known = shared.members.borrow().clone();
    let asked = known.into_iter().map(|before| {
        let error = error.clone();
        async move {
            if before.own {
                return MemberSeen { state: Err(error), ..before };
            }
            let asked = reach_any(&before.client_urls, own).await;
            let state = asked.map(|status| state(&status));
            MemberSeen { state, ..before }
        }
    });
    let seen: Vec<_> = join_all(asked).await;
    if seen.is_empty() {
        return forget(shared, &error);
    }
    shared.members.send_replace(seen.clone());
    shared.tell(&Event::Members(seen.clone()));
    seen
}

fn forget(shared: &Shared, error: &str) -> Vec<MemberSeen> {
    let unknown = MemberSeen {
        id: etcdr_schemas::MemberId(0),
        name: "unknown".to_owned(),
        own: true,
        client_urls: Vec::new(),
        state: Err(error.to_owned()),
    };
    shared.tell(&Event::Members(vec![unknown]));
    Vec::new()
}

async fn status(options: &ConnectOptions) -> Result<(Client, Status), String> {
    let asked = async {
        let client = Client::connect(options).await?;
        let status = client.status().await?;
        Ok::<_, etcdr_node::Error>((client, status))
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("it did not answer within {} s", PATIENCE.as_secs())),
    }
}

async fn peer_status(member: &Member, own: &ConnectOptions) -> Result<Status, String> {
    if member.client_urls.is_empty() {
        return Err("it has not started yet".to_owned());
    }
    reach_any(&member.client_urls, own).await
}

async fn reach_any(urls: &[String], own: &ConnectOptions) -> Result<Status, String> {
    let mut reason = "it advertises no client URL".to_owned();
    for url in urls {
        match status(&own.at(url)).await {
            Ok((_, status)) => return Ok(status),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}

fn seen(member: &Member, own: bool, status: Result<&Status, String>) -> MemberSeen {
    MemberSeen {
        id: member.id,
        name: member.name.clone(),
        own,
        client_urls: member.client_urls.clone(),
        state: status.map(state),
    }
}

fn state(status: &Status) -> MemberState {
    MemberState {
        version: status.version.clone(),
        leader: status.is_leader(),
        learner: status.learner,
        db_size: status.db_size,
        db_size_in_use: status.db_size_in_use,
        revision: status.revision,
        errors: status.errors.clone(),
    }
}

/// Whom a capture may ask: the member beside this agent; while it is silent, the others.
pub(super) fn endpoints(
    shared: &Shared,
    settings: &Settings,
) -> Result<Vec<ConnectOptions>, Error> {
    let own = settings.own_member()?;
    let members = shared.members.borrow();
    let silent = members.iter().any(|member| member.own && member.state.is_err());
    if !silent {
        return Ok(vec![own]);
    }
    let answering = members.iter().filter(|member| member.state.is_ok());
    let urls = answering.filter_map(|member| member.client_urls.first());
    Ok(urls.map(|url| own.at(url)).chain([own.clone()]).collect())
}

async fn alarms(shared: &Shared) {
    let Ok(own) = shared.settings().own_member() else { return };
    if let Ok((client, _)) = status(&own).await
        && let Ok(alarms) = client.alarms().await
    {
        shared.tell(&Event::Alarms(alarms));
    }
}

/// Lists the repository, and tells. `false` when it could not.
async fn list(shared: &Shared) -> bool {
    let settings = shared.settings();
    let cluster = &settings.config.cluster;
    let listed = async {
        let repository = settings.open().await?;
        let survey = repository.survey(cluster).await?;
        let newest: Vec<_> = survey.ids.iter().take(NEWEST).copied().collect();
        let (manifests, _) = repository.manifests(cluster, &newest).await;
        let bytes = survey.images.values().fold(0u64, |sum, image| sum.saturating_add(image.size));
        let newest = manifests.into_iter().map(|loaded| SnapshotSeen {
            id: loaded.manifest.id,
            stored_size: loaded.manifest.image.stored_size,
            suspect: !loaded.manifest.suspect.is_empty(),
            schedule: loaded.manifest.trigger.and_then(|trigger| trigger.schedule),
        });
        let snapshots = survey.ids.len() as u64;
        Ok::<_, Error>(CatalogSeen { snapshots, bytes, newest: newest.collect() })
    };
    match listed.await {
        Ok(catalog) => {
            shared.tell(&Event::Catalog(catalog));
            true
        }
        Err(error) => {
            shared.tell(&Event::StoreFailed { error: error.to_string() });
            false
        }
    }
}

/// The schedules and when they fire next.
fn next_ticks(shared: &Shared) -> Vec<ScheduleSeen> {
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
