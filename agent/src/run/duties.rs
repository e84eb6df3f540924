//! The duties of the agents besides snapshots, each done by one of them: prune, defragment,
//! compact.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_node::Client;
use etcdr_schemas::config::{Config, OnStart};
use tokio::sync::watch;
use tokio::time::sleep;

use super::ticks::{Next, Ticks};
use super::{Shared, monitor, round};
use crate::Error;
use crate::claims::{self, ClaimResult};
use crate::event::{Event, PruneSeen};
use crate::maintenance;
use crate::schedule::Schedule;
use etcdr_operations::prune;

/// Longest sleep.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// Pause after a duty that could not be contended for.
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// A duty of the agents.
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

/// Follows one duty as long as the configuration asks for it. Ticks that were missed are not caught
/// up: these duties have time.
pub(super) async fn follow(shared: Arc<Shared>, duty: Duty, mut stop: watch::Receiver<bool>) {
    let mut ticks = Ticks::default();
    while !*stop.borrow() {
        let settings = shared.settings();
        let Some((cron, zone)) = duty.cron(&settings.config) else { return };
        let cluster = &settings.config.cluster;
        let Ok(schedule) = Schedule::plain(duty.name(), cron, zone, cluster) else { return };
        let now = (shared.clock)();
        let wait = match ticks.next(&schedule, OnStart::Wait, now) {
            Next::Now(tick) => {
                let done = tokio::select! {
                    done = contend(&shared, duty, &schedule, tick) => done,
                    _ = stop.changed(), if duty != Duty::Defragment => return,
                };
                match done {
                    Ok(true) => {
                        ticks.handled(tick);
                        continue;
                    }
                    // Reported already; within the tick it is tried again.
                    Ok(false) => RETRY_PAUSE.min(settings.config.agent.takeover.0),
                    Err(Error::Stopping) => return,
                    Err(error) => {
                        tracing::warn!(
                            duty = duty.name(),
                            %error,
                            "cannot find out whose duty it is"
                        );
                        RETRY_PAUSE
                    }
                }
            }
            Next::At(time) => (time - now).to_std().unwrap_or_default().min(MAX_SLEEP),
            Next::Never => MAX_SLEEP,
        };
        tokio::select! {
            () = sleep(wait.max(Duration::from_millis(1))) => {}
            _ = stop.changed() => {}
        }
    }
}

/// One agent of the cluster does it. `false`: it is to be tried again.
async fn contend(
    shared: &Arc<Shared>,
    duty: Duty,
    schedule: &Schedule,
    tick: DateTime<Utc>,
) -> Result<bool, Error> {
    match duty {
        Duty::Prune => by_one(shared, duty, tick, prune(shared)).await,
        Duty::Compact => by_one(shared, duty, tick, compact(shared)).await,
        // A round gives its claim up itself when the agent stops.
        Duty::Defragment => round::tick(shared, schedule, tick).await,
    }
}

/// Whoever has the tick's claim does the work; the work reports its result itself.
async fn by_one(
    shared: &Arc<Shared>,
    duty: Duty,
    tick: DateTime<Utc>,
    work: impl Future<Output = ()>,
) -> Result<bool, Error> {
    let settings = shared.settings();
    let terms = monitor::terms(shared, &settings).await;
    let repository = settings.open().await?;
    let slot = claims::duty(&settings.config.cluster, duty.name(), tick);
    let contest =
        claims::contend(&repository, slot, &shared.identity, terms, &*shared.clock, |_| {});
    let ClaimResult::Held(held, _) = contest.await? else { return Ok(true) };
    tokio::select! {
        () = work => held.done(Vec::new()).await?,
        () = held.keep() => return Err(held.lost()),
    }
    Ok(true)
}

async fn prune(shared: &Shared) {
    let settings = shared.settings();
    let Config { cluster, retention, prune, .. } = &settings.config;
    let pruned = async {
        let repository = settings.open().await.map_err(|error| error.to_string())?;
        let now = (shared.clock)();
        let how = prune::Mode::Execute { by: Some(&shared.identity.agent) };
        let run = prune::run(&repository, cluster, retention, prune.grace, now, how);
        run.await.map_err(|error| error.to_string())
    };
    match pruned.await {
        Ok(report) => {
            for warning in &report.warnings {
                tracing::warn!(warning, "about the retention");
            }
            shared.emit(&Event::Pruned(PruneSeen::from(&report)));
            shared.stored.notify_one();
        }
        Err(error) => shared.emit(&Event::PruneFailed { error }),
    }
}

async fn compact(shared: &Shared) {
    let settings = shared.settings();
    let Some(config) = &settings.config.maintenance.compact else { return };
    let asked = async {
        let client = Client::connect(&settings.own_member()?).await?;
        Ok::<_, Error>(maintenance::compact(&client, config).await)
    };
    match asked.await {
        Ok(Some(event)) => shared.emit(&event),
        Ok(None) => {}
        Err(error) => shared.emit(&Event::Compacted { result: Err(error.to_string()) }),
    }
}
