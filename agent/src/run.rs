//! The loop of the agent: runs a task for each schedule and duty, carries requests out, and ends
//! all of them within the grace.
//!
//! Each schedule has a task that waits for its ticks ([`scheduled`]) and contends for them with the
//! agents beside the other members ([`crate::claims`]). One capture runs at a time. The monitor
//! asks members, alarms and store how they are ([`monitor`]). What happens is emitted as [`Event`]s
//! to an observer; requests come as [`Command`]s.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use etcdr_schemas::config::{Config, Problem};
use tokio::sync::{mpsc, watch as channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::Error;
use crate::claims::Identity;
use crate::command::Command;
use crate::event::{Event, MemberSeen};
use crate::interlock::Liveness;
use etcdr_operations::Clock;
use etcdr_operations::settings::Settings;

mod capturing;
mod duties;
mod monitor;
mod peer_silence;
mod requests;
mod round;
mod scheduled;
mod ticks;
mod unscheduled;

/// What the agent needs from outside.
pub struct Start {
    /// The configuration to begin with.
    pub settings: Settings,
    /// Reads the configuration again.
    pub load: Box<Load>,
    /// Name of this agent.
    pub name: String,
    /// Random text of this run.
    pub instance: String,
    /// Version recorded in manifests.
    pub tool_version: String,
    /// Asks for the time.
    pub clock: Arc<Clock>,
    /// Random numbers for the ids of snapshots.
    pub random: Box<dyn Fn() -> u32 + Send + Sync>,
    /// Hears everything that happens.
    pub observer: Arc<dyn Fn(&Event) + Send + Sync>,
    /// Hears that the loop turns.
    pub turned: Arc<dyn Fn() + Send + Sync>,
    /// Hears which configuration is in use from now on.
    pub configured: Box<dyn Fn(&Config) + Send + Sync>,
}

/// Reads the configuration again.
pub type Load = dyn Fn() -> Result<Settings, Vec<Problem>> + Send + Sync;

/// How often the configuration file is read again.
const RELOAD_EVERY: Duration = Duration::from_secs(5);
/// Part of the grace that is kept for cleaning up.
const CLEAN_UP_TIME: Duration = Duration::from_secs(4);

/// What all tasks share.
struct Shared {
    settings: channel::Sender<Arc<Settings>>,
    identity: Identity,
    tool_version: String,
    clock: Arc<Clock>,
    random: Box<dyn Fn() -> u32 + Send + Sync>,
    observer: Arc<dyn Fn(&Event) + Send + Sync>,
    /// Held during a capture of this agent, and during a round of defragmentation, beside which it
    /// must not capture.
    busy: tokio::sync::Mutex<()>,
    /// Rounds of defragmentation that captures have waited for.
    rounds: Mutex<Liveness>,
    /// Names of schedules that rest.
    paused: Mutex<BTreeSet<String>>,
    /// The members, as they were last seen.
    members: channel::Sender<Vec<MemberSeen>>,
    /// Raised when the repository has changed.
    stored: tokio::sync::Notify,
    /// Who comes before this agent, and since when none of them has been heard of.
    silence: Mutex<peer_silence::PeerSilence>,
    /// How far the end is.
    shutdown: channel::Sender<Shutdown>,
}

/// How far the end of the agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shutdown {
    /// It goes on.
    No,
    /// Nothing new is begun.
    Soon,
    /// What is under way is given up.
    Now,
}

impl Shared {
    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    fn emit(&self, event: &Event) {
        (self.observer)(event);
    }

    fn silent_since(&self, rank: usize) -> Instant {
        self.silence.lock().map_or_else(|_| Instant::now(), |mut silence| silence.since(rank))
    }

    /// Returns when the agent's end is as far as `at`.
    async fn ends(&self, at: Shutdown) {
        let mut shutdown = self.shutdown.subscribe();
        // The sender is here.
        let _ = shutdown.wait_for(|shutdown| *shutdown >= at).await;
    }

    fn heard_others(&self) {
        if let Ok(mut silence) = self.silence.lock() {
            silence.heard();
        }
    }

    fn is_paused(&self, schedule: &str) -> bool {
        self.paused.lock().is_ok_and(|paused| paused.contains(schedule))
    }
}

/// Runs until `stop` becomes true, then finishes or gives up what is under way within the grace.
///
/// # Errors
/// Only what makes the agent useless from the start. What may pass is an event.
pub async fn run(
    start: Start,
    mut commands: mpsc::Receiver<Command>,
    mut stop: channel::Receiver<bool>,
) -> Result<(), Error> {
    let resting = start.settings.config.schedules.iter().filter(|schedule| schedule.paused);
    let resting = resting.map(|schedule| schedule.name.clone()).collect();
    let shared = Arc::new(Shared {
        settings: channel::Sender::new(Arc::new(start.settings)),
        identity: Identity { instance: start.instance, agent: start.name },
        tool_version: start.tool_version,
        clock: start.clock,
        random: start.random,
        observer: start.observer,
        busy: tokio::sync::Mutex::default(),
        rounds: Mutex::default(),
        paused: Mutex::new(resting),
        members: channel::Sender::new(Vec::new()),
        stored: tokio::sync::Notify::new(),
        silence: Mutex::default(),
        shutdown: channel::Sender::new(Shutdown::No),
    });
    let mut tasks = Tasks::default();
    tasks.spawn(&shared, &stop);
    let mut requests = JoinSet::new();
    let mut checked = Instant::now();
    let mut reloading =
        Reloading { load: start.load, configured: start.configured, refused: Vec::new() };
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    while !*stop.borrow() {
        tokio::select! {
            _ = stop.changed() => {}
            command = commands.recv() => match command {
                Some(Command::Reload) => reload(&shared, &mut reloading, true),
                Some(command) => requests::spawn(&mut requests, &shared, command),
                // The admin interface is gone; schedules go on.
                None => sleep(Duration::from_secs(1)).await,
            },
            _ = beat.tick() => {
                (start.turned)();
                if checked.elapsed() >= RELOAD_EVERY {
                    checked = Instant::now();
                    reload(&shared, &mut reloading, false);
                }
                tasks.spawn(&shared, &stop);
            }
            Some(_) = requests.join_next() => {}
        }
    }
    shared.shutdown.send_replace(Shutdown::Soon);
    shared.emit(&Event::Stopping);
    finish(&shared, tasks, requests).await;
    Ok(())
}

/// The tasks that run as long as the agent: one a schedule and one a duty, by name.
#[derive(Default)]
struct Tasks {
    set: JoinSet<()>,
    running: std::collections::BTreeMap<String, tokio::task::AbortHandle>,
}

impl Tasks {
    /// Starts what the configuration asks for and does not run yet. What it does not ask for any
    /// more ends itself.
    fn spawn(&mut self, shared: &Arc<Shared>, stop: &channel::Receiver<bool>) {
        while self.set.try_join_next().is_some() {}
        self.running.retain(|_, task| !task.is_finished());
        for schedule in &shared.settings().config.schedules {
            let (name, stop) = (schedule.name.clone(), stop.clone());
            if !self.running.contains_key(&name) {
                let task = scheduled::follow(Arc::clone(shared), name.clone(), stop);
                self.running.insert(name, self.set.spawn(task));
            }
        }
        for duty in duties::Duty::ALL {
            let name = format!("_{}", duty.name());
            if duty.cron(&shared.settings().config).is_some() && !self.running.contains_key(&name) {
                let task = duties::follow(Arc::clone(shared), duty, stop.clone());
                self.running.insert(name, self.set.spawn(task));
            }
        }
        if !self.running.contains_key("_watch") {
            let task = monitor::follow(Arc::clone(shared), stop.clone());
            self.running.insert("_watch".to_owned(), self.set.spawn(task));
        }
    }
}

/// What reading the configuration again needs, and what was wrong with it the last time.
struct Reloading {
    load: Box<Load>,
    configured: Box<dyn Fn(&Config) + Send + Sync>,
    refused: Vec<Problem>,
}

/// Reads the configuration again; a bad one is reported once, and the old one stays. Unasked, only
/// a change counts.
fn reload(shared: &Shared, Reloading { load, configured, refused }: &mut Reloading, asked: bool) {
    match load() {
        Ok(new) => {
            let same = new.config == shared.settings().config && refused.is_empty();
            refused.clear();
            if asked || !same {
                warn_about_fixed_keys(&shared.settings().config, &new.config);
                configured(&new.config);
                shared.settings.send_replace(Arc::new(new));
                shared.emit(&Event::Reloaded);
            }
        }
        Err(problems) if !asked && problems == *refused => {}
        Err(problems) => {
            refused.clone_from(&problems);
            shared.emit(&Event::ReloadRefused { problems });
        }
    }
}

fn warn_about_fixed_keys(old: &Config, new: &Config) {
    let fixed = [
        ("agent.http", old.agent.http != new.agent.http),
        ("agent.admin", old.agent.admin != new.agent.admin),
        ("agent.name", old.agent.name != new.agent.name),
        ("agent.log_format", old.agent.log_format != new.agent.log_format),
        ("agent.log_level", old.agent.log_level != new.agent.log_level),
        ("capture.nice", old.capture.nice != new.capture.nice),
        ("cluster", old.cluster != new.cluster),
    ];
    for (key, _) in fixed.into_iter().filter(|(_, changed)| *changed) {
        tracing::warn!(key, "this key has changed and takes effect when the agent is restarted");
    }
}

/// A capture that is under way gets the grace, and then one last snapshot is taken where that is
/// asked for. What is left after the grace is given up: its upload is aborted, and its tick is left
/// to others.
async fn finish(shared: &Arc<Shared>, mut tasks: Tasks, mut requests: JoinSet<()>) {
    let grace = shared.settings().config.agent.grace.0.saturating_sub(CLEAN_UP_TIME);
    let end = Instant::now() + grace;
    let all_done = async {
        while tasks.set.join_next().await.is_some() {}
        while requests.join_next().await.is_some() {}
        unscheduled::last(shared).await;
    };
    if timeout_at(end, all_done).await.is_err() {
        tracing::warn!("the grace is over: what is under way is given up");
        shared.shutdown.send_replace(Shutdown::Now);
    }
    let rest = async {
        while tasks.set.join_next().await.is_some() {}
        while requests.join_next().await.is_some() {}
    };
    if timeout(CLEAN_UP_TIME / 2, rest).await.is_err() {
        // Dropped tasks end at their next await.
        tasks.set.abort_all();
        requests.abort_all();
    }
}
