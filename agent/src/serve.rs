//! Wires the agent: its loop, the pages and the admin interface.

use std::sync::Arc;
use std::time::Duration;

use etcdr_operations::prune::{self, Mode};
use etcdr_operations::settings::Settings;
use etcdr_operations::stop::StopFlag;
use etcdr_operations::{Clock, Error as OperationError};
use etcdr_schemas::report::Named as _;
use etcdr_schemas::{Diagnose, SnapshotId};
use futures_util::future::{BoxFuture, JoinAll, join_all};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::Error;
use crate::admin::{self, Admin, AnyFailure, Listener, RepositoryAccess};
use crate::command::Command;
use crate::event::Event;
use crate::log;
use crate::metrics::Metrics;
use crate::pages::{self, Pages};
use crate::run::{self, Load, Start};
use crate::status::{About, AgentStatus, Limits};

/// What only the program around an agent may ask for or do.
pub struct Outside {
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
    /// Reports to whoever started the process how it is.
    pub notify: Box<dyn Fn(Notice) + Send + Sync>,
    /// Time within which [`Notice::Alive`] must come again and again; `None` when nobody waits for
    /// it.
    pub watchdog: Option<Duration>,
}

/// What is reported to whoever started the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The agent is up.
    Ready,
    /// Its loop turns.
    Alive,
    /// It stops.
    Stopping,
}

/// Requests that wait for the agent's loop.
const QUEUE: usize = 16;
/// Time beyond the grace of the configuration after which an agent that was asked to end is
/// dropped.
const STOP_MARGIN: Duration = Duration::from_secs(2);
/// Time that pages and admin interface have to end after the loop.
const DRAIN_TIME: Duration = Duration::from_secs(4);

/// Runs an agent until `stop` is raised, then finishes or gives up what is under way within the
/// grace of the configuration. A hang-up reads the configuration again.
///
/// # Errors
/// [`Error`]: what makes the agent useless from the start, above all an address that cannot be
/// listened on.
pub async fn serve(settings: Settings, outside: Outside, stop: &StopFlag) -> Result<(), Error> {
    let Outside { name, tool_version, clock, notify, .. } = outside;
    let notify: Arc<dyn Fn(Notice) + Send + Sync> = Arc::from(notify);
    let about = About {
        name: name.clone(),
        cluster: settings.config.cluster.clone(),
        version: tool_version.clone(),
        started_at: clock(),
    };
    let status = Arc::new(AgentStatus::new(about, Limits::of(&settings.config)));
    let metrics = Arc::new(Metrics::new());
    let (commands, received) = mpsc::channel(QUEUE);
    let stopping = stop.wind_up(settings.config.agent.grace.0 + STOP_MARGIN);
    hang_ups(stop, commands.clone());
    notify(Notice::Ready);
    if let Some(limit) = outside.watchdog {
        keep_awake(limit, Arc::clone(&status), Arc::clone(&notify));
    }
    let (end, ended) = watch::channel(false);
    let served = Served {
        settings: &settings,
        commands: &commands,
        status: &status,
        metrics: &metrics,
        clock: &clock,
    };
    let serving = served.serve(&ended).await?;
    let (turning, limited) = (Arc::clone(&status), Arc::clone(&status));
    let start = Start {
        settings,
        load: outside.load,
        name,
        instance: outside.instance,
        tool_version,
        observer: observer(status, metrics, Arc::clone(&clock)),
        clock,
        random: outside.random,
        turned: Arc::new(move || turning.tick()),
        configured: Box::new(move |config| limited.set_limits(Limits::of(config))),
    };
    let result = run::run(start, received, stopping).await;
    // Status is served until the last capture is over.
    end.send_replace(true);
    let _ = tokio::time::timeout(DRAIN_TIME, serving).await;
    notify(Notice::Stopping);
    drop(commands);
    result
}

/// Hears everything that happens: log, metrics and status are made of it.
fn observer(
    status: Arc<AgentStatus>,
    metrics: Arc<Metrics>,
    clock: Arc<Clock>,
) -> Arc<dyn Fn(&Event) + Send + Sync> {
    Arc::new(move |event| {
        log::line(event);
        metrics.apply(event);
        status.apply(event, clock());
    })
}

/// SIGHUP reads the configuration again.
fn hang_ups(stop: &StopFlag, commands: mpsc::Sender<Command>) {
    let mut hangups = stop.hangups();
    tokio::spawn(async move {
        while hangups.changed().await.is_ok() {
            if commands.send(Command::Reload).await.is_err() {
                return;
            }
        }
    });
}

/// Gives a sign of life at every half of `limit`, as long as the loop turns.
fn keep_awake(
    limit: Duration,
    status: Arc<AgentStatus>,
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
) {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(limit / 2).await;
            if status.is_alive() {
                notify(Notice::Alive);
            }
        }
    });
}

/// What pages and admin interface answer with.
struct Served<'a> {
    settings: &'a Settings,
    commands: &'a mpsc::Sender<Command>,
    status: &'a Arc<AgentStatus>,
    metrics: &'a Arc<Metrics>,
    clock: &'a Arc<Clock>,
}

impl Served<'_> {
    /// Pages and admin interface, served until `ended`. An address that cannot be bound ends the
    /// agent at once: nobody could see how it does.
    async fn serve(&self, ended: &watch::Receiver<bool>) -> Result<JoinAll<JoinHandle<()>>, Error> {
        let over = || {
            let mut ended = ended.clone();
            async move {
                let _ = ended.wait_for(|ended| *ended).await;
            }
        };
        let config = &self.settings.config.agent;
        let mut tasks = Vec::new();
        if !config.http.is_empty() {
            let listener = listen(&config.http).await?;
            tasks.push(tokio::spawn(pages::serve(listener, self.pages(), over())));
        }
        if let Some(listener) = Listener::bind(&config.admin)? {
            let (admin, over) = (self.admin(), over());
            tasks.push(tokio::spawn(async move {
                if let Err(error) = admin::serve(listener, admin, over).await {
                    tracing::error!(%error, "the admin interface is gone");
                }
            }));
        }
        Ok(join_all(tasks))
    }

    fn pages(&self) -> Pages {
        Pages {
            status: Arc::clone(self.status),
            metrics: Arc::clone(self.metrics),
            clock: Arc::clone(self.clock),
        }
    }

    fn admin(&self) -> Admin {
        let (settings, clock) = (self.settings.clone(), Arc::clone(self.clock));
        Admin {
            commands: self.commands.clone(),
            status: Arc::clone(self.status),
            clock: Arc::clone(self.clock),
            repository: Arc::new(ConfiguredRepository { settings, clock }),
            signs: self.settings.config.repository.signing_key.is_some(),
        }
    }
}

async fn listen(address: &str) -> Result<TcpListener, Error> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| {
        OperationError::Local { what: format!("cannot listen on {address}"), source }.into()
    })
}

/// The repository, as the admin interface asks it.
struct ConfiguredRepository {
    settings: Settings,
    clock: Arc<Clock>,
}

impl RepositoryAccess for ConfiguredRepository {
    fn list(&self) -> BoxFuture<'_, Result<Vec<SnapshotId>, AnyFailure>> {
        Box::pin(async {
            let repository = self.settings.open().await.map_err(failure)?;
            let listing = repository.list(&self.settings.config.cluster).await.map_err(failure)?;
            Ok(listing.ids)
        })
    }

    fn plan_prune(&self) -> BoxFuture<'_, Result<String, AnyFailure>> {
        Box::pin(async {
            let config = &self.settings.config;
            let repository = self.settings.open().await.map_err(failure)?;
            let (now, grace) = ((self.clock)(), config.prune.grace);
            let plan = prune::run(
                &repository,
                &config.cluster,
                &config.retention,
                grace,
                now,
                Mode::DryRun,
            );
            let report = plan.await.map_err(failure)?;
            Ok(serde_json::to_string(&report.report()).unwrap_or_default())
        })
    }
}

fn failure<E: Diagnose + Send + Sync + 'static>(error: E) -> AnyFailure {
    Box::new(error)
}
