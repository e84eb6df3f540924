//! What the agents of a cluster do besides snapshots, each duty by one of them: prune, defragment, compact.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_node::Client;
use etcdr_schemas::Revision;
use etcdr_schemas::config::{Config, OnStart};
use tokio::sync::watch;
use tokio::time::sleep;

use super::ticks::{Next, Ticks};
use super::{Shared, watch as members};
use crate::Error;
use crate::candidates;
use crate::event::Event;
use crate::schedule::Schedule;
use crate::turn::{self, Terms, Turn};

/// Longest sleep.
const NAP: Duration = Duration::from_secs(1);
/// Pause after a duty that could not be contended for.
const AGAIN: Duration = Duration::from_secs(30);

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Duty {
    /// Carries the retention out.
    Prune,
    /// Gives free pages of the members' files back.
    Defragment,
    /// Forgets old revisions.
    Compact,
}

impl Duty {
    pub(super) const ALL: [Self; 3] = [Self::Prune, Self::Defragment, Self::Compact];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prune => "prune",
            Self::Defragment => "defragment",
            Self::Compact => "compact",
        }
    }

    /// When: expression and zone; `None` when it is not asked for.
    pub(super) fn cron(self, config: &Config) -> Option<(&str, &str)> {
        let maintenance = &config.maintenance;
        match self {
            Self::Prune => {
                let cron = config.prune.cron.as_deref()?;
                Some((cron, config.prune.time_zone.as_str()))
            }
            Self::Defragment => {
                let defragment = maintenance.defragment.as_ref()?;
                Some((defragment.cron.as_str(), defragment.time_zone.as_str()))
            }
            Self::Compact => {
                let compact = maintenance.compact.as_ref()?;
                Some((compact.cron.as_str(), compact.time_zone.as_str()))
            }
        }
    }
}

/// Follows one duty as long as the configuration asks for it. Ticks that were missed are not caught up: these duties
/// have time.
pub(super) async fn follow(shared: Arc<Shared>, duty: Duty, mut stop: watch::Receiver<bool>) {
    let mut ticks = Ticks::default();
    while !*stop.borrow() {
        let settings = shared.settings();
        let Some((cron, zone)) = duty.cron(&settings.config) else { return };
        let cluster = &settings.config.cluster;
        let Ok(schedule) = Schedule::plain(duty.name(), cron, zone, cluster) else { return };
        let now = (shared.clock)();
        let nap = match ticks.next(&schedule, OnStart::Wait, now) {
            Next::Now(tick) => {
                let done = tokio::select! {
                    done = contend(&shared, duty, tick) => done,
                    _ = stop.changed() => return,
                };
                match done {
                    Ok(()) => {
                        ticks.handled(tick);
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(duty = duty.name(), %error, "cannot find out whose duty it is");
                        AGAIN
                    }
                }
            }
            Next::At(time) => (time - now).to_std().unwrap_or_default().min(NAP),
            Next::Never => NAP,
        };
        tokio::select! {
            () = sleep(nap.max(Duration::from_millis(1))) => {}
            _ = stop.changed() => {}
        }
    }
}

/// One agent of the cluster does it.
async fn contend(shared: &Arc<Shared>, duty: Duty, tick: DateTime<Utc>) -> Result<(), Error> {
    let settings = shared.settings();
    let seen = members::look(shared).await;
    let own = seen.iter().find(|member| member.own).map(|member| member.id);
    let terms = Terms {
        rank: candidates::rank(&seen, own, settings.config.capture.max_lag),
        quiet_since: shared.quiet_since(),
        member: own,
        grace: settings.config.agent.takeover.0,
    };
    let repository = settings.open().await?;
    let slot = turn::duty(&settings.config.cluster, duty.name(), tick);
    let contest = turn::take(&repository, slot, &shared.identity, terms, &*shared.clock, |_| {});
    let Turn::Mine(held, _) = contest.await? else { return Ok(()) };
    tokio::select! {
        () = perform(shared, duty) => held.done(Vec::new()).await,
        () = held.keep() => Err(held.lost()),
    }
}

/// Does it; what comes of it is told.
async fn perform(shared: &Shared, duty: Duty) {
    match duty {
        Duty::Prune => {}
        Duty::Defragment => {}
        Duty::Compact => {
            let result = compact(shared).await;
            shared.tell(&Event::Compacted { result: result.map_err(|error| error.to_string()) });
        }
    }
}

/// A round of defragmentation. One sentence a member.
pub(super) async fn defragment(shared: &Shared, force: bool) -> Result<Vec<String>, Error> {
    let _ = (shared, force);
    Ok(Vec::new())
}

/// Keeps the newest revisions. The revision that all members have is asked of the one beside us.
async fn compact(shared: &Shared) -> Result<Revision, Error> {
    let settings = shared.settings();
    let Some(config) = &settings.config.maintenance.compact else { return Ok(Revision(0)) };
    let client = Client::connect(&settings.own_member()?).await?;
    let current = client.current_revision().await?;
    let keep = i64::try_from(config.keep_revisions).unwrap_or(i64::MAX);
    let at = Revision(current.0.saturating_sub(keep));
    if at.0 > 1 {
        client.maintenance().compact(at, false).await?;
    }
    Ok(at)
}
