//! `etcdr agent`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::ArgMatches;
use clap::parser::ValueSource;
use etcdr_agent::admin::{self, Admin, AnyFailure, Listener, Shelf};
use etcdr_agent::command::Command;
use etcdr_agent::configuration;
use etcdr_agent::event::Event;
use etcdr_agent::log;
use etcdr_agent::metrics::Metrics;
use etcdr_agent::pages::{self, Pages};
use etcdr_agent::run::{self, Start};
use etcdr_agent::status::{About, AgentStatus, Limits};
use etcdr_operations::prune::{self, How};
use etcdr_operations::settings::Settings;
use etcdr_operations::stop::StopFlag;
use etcdr_schemas::config::Config;
use etcdr_schemas::report::Named as _;
use etcdr_schemas::{Diagnose, ExitCode, SnapshotId};
use futures_util::future::{BoxFuture, JoinAll, join_all};
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::commands::status::AgentFiles;
use crate::context;
use crate::exit::CliError;
use crate::options::{Global, LogFormat};
use crate::{config, output};

/// Run beside an etcd member: take snapshots on schedule, for years
///
/// One agent runs beside each member; they share the work through the repository, and nothing is written into etcd.
/// Everything is in the configuration (`--config`). SIGHUP, and a change of the file, read it again; SIGTERM finishes
/// or gives up what is under way within `agent.grace`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::commands) struct Args {
    #[command(subcommand)]
    ask: Option<Ask>,
}

/// What a running agent can be asked to do.
#[derive(Debug, clap::Subcommand)]
enum Ask {
    /// Let schedules rest: one, or all
    Pause(Asked),
    /// Let schedules go on; a tick that was missed is caught up
    Resume(Asked),
    /// Defragment the members now, one after the other, the leader last
    Defragment {
        /// Also members below the configured bounds
        #[arg(long)]
        force: bool,

        #[command(flatten)]
        agent: AgentAddress,
    },
}

#[derive(Debug, clap::Args)]
struct Asked {
    /// Name of the schedule [default: all]
    schedule: Option<String>,

    #[command(flatten)]
    agent: AgentAddress,
}

/// Which agent.
#[derive(Debug, clap::Args)]
struct AgentAddress {
    /// Address of the agent: unix:///path/to/agent.sock, or https://HOST:PORT [default: unix:///run/etcdr/agent.sock]
    #[arg(long, value_name = "URL", env = "ETCDR_AGENT")]
    agent: Option<String>,

    #[command(flatten)]
    files: AgentFiles,
}

impl Ask {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut complete = true;
        let (done, nothing) = match self {
            Self::Pause(Asked { schedule, agent }) => {
                let client = agent.files.connect(agent.agent.as_deref()).await?;
                (client.pause(schedule).await?, "no schedule that runs has that name")
            }
            Self::Resume(Asked { schedule, agent }) => {
                let client = agent.files.connect(agent.agent.as_deref()).await?;
                (client.resume(schedule).await?, "no schedule that rests has that name")
            }
            Self::Defragment { force, agent } => {
                let client = agent.files.connect(agent.agent.as_deref()).await?;
                let told;
                (told, complete) = client.defragment(force).await?;
                (told, "there was nothing to do")
            }
        };
        match done.as_slice() {
            [] => output::say(nothing),
            done => output::line(&done.join("\n"))?,
        }
        Ok(if complete { ExitCode::Done } else { ExitCode::Failed })
    }
}

/// Requests that wait for the agent's loop.
const QUEUE: usize = 16;

/// The priority that the configuration asks for; 0 when it cannot be read, which is told later.
pub(in crate::commands) fn nice(global: &Global) -> u8 {
    let path = global.config_path();
    path.and_then(|path| config::parse(&path).ok()).map_or(0, |config| config.capture.nice.min(19))
}

/// Flags that commands take and an agent does not, by clap's name, with the key of the configuration that stands for each.
/// A value that came by a flag would not follow a reload of the file, and the other agents would not know of it.
const IN_THE_FILE: [(&str, &str, &str); 5] = [
    ("repository", "--repository", "repository.url"),
    ("named_cluster", "--cluster", "cluster"),
    ("identity", "--identity", "restore.identities"),
    ("public_key", "--public-key", "repository.public_key"),
    ("store_cacert", "--store-cacert", "repository.cacert"),
];

/// Refuses what was typed for an agent and only its file can say. Environment variables are for the commands of the
/// machine, and not looked at.
pub(in crate::commands) fn refuse_ignored(typed: &ArgMatches) -> Result<(), CliError> {
    let by_hand = |id: &str| typed.value_source(id) == Some(ValueSource::CommandLine);
    let Some((_, flag, key)) = IN_THE_FILE.into_iter().find(|(id, ..)| by_hand(id)) else {
        return Ok(());
    };
    Err(CliError {
        what: format!("an agent takes no {flag}: only its configuration counts"),
        safe: "Nothing was started.".into(),
        next: format!("Leave the flag out, and set `{key}` in the file of --config.").into(),
        code: ExitCode::Config,
    })
}

impl Args {
    /// Whether this process is the agent, and not one that asks it.
    pub(super) const fn runs(&self) -> bool {
        self.ask.is_none()
    }

    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        if let Some(ask) = self.ask {
            return ask.run().await;
        }
        let path = global.config_path().ok_or_else(config::missing)?;
        let settings = load(&path).map_err(|problems| config::invalid(&path, &problems))?;
        let agent = settings.config.agent.clone();
        let format = match agent.log_format.is_json() || global.log_format == LogFormat::Json {
            true => LogFormat::Json,
            false => LogFormat::Text,
        };
        crate::start_logging(format, &directives(&agent.log_level), true);
        let name = agent.name.clone().unwrap_or_else(machine_name);
        let status = Arc::new(AgentStatus::new(about(&settings, &name), limits(&settings.config)));
        let metrics = Arc::new(Metrics::new());
        let (orders, commands) = mpsc::channel(QUEUE);
        let stopping = stop.wind_up(agent.grace.0 + Duration::from_secs(2));
        hang_ups(&stop, orders.clone());
        notify(&status);
        tracing::info!(agent = name, config = %path.display(), version = context::VERSION, "starting");
        let (told, turning, limited) =
            (Arc::clone(&status), Arc::clone(&status), Arc::clone(&status));
        let counted = Arc::clone(&metrics);
        let start = Start {
            load: Box::new(move || load(&path)),
            name,
            instance: context::random_hex::<8>()?,
            tool_version: context::VERSION.to_owned(),
            clock: Arc::new(context::now),
            random: Box::new(|| context::random().map_or(0, u32::from_le_bytes)),
            tell: Arc::new(move |event: &Event| {
                log::line(event);
                counted.apply(event);
                told.apply(event, context::now());
            }),
            turned: Arc::new(move || turning.tick()),
            configured: Box::new(move |config| limited.set_limits(limits(config))),
            settings,
        };
        let (end, ended) = watch::channel(false);
        let serving = serve(&start.settings, &orders, &status, &metrics, &ended).await?;
        let result = run::run(start, commands, stopping).await;
        // Status is served until the last capture is over.
        end.send_replace(true);
        let _ = tokio::time::timeout(Duration::from_secs(4), serving).await;
        let _ = sd_notify::notify(&[NotifyState::Stopping]);
        drop(orders);
        result?;
        tracing::info!("stopped");
        Ok(ExitCode::Done)
    }
}

/// Pages and admin interface, served until `ended`. What cannot be bound ends the agent at once: it would be blind.
async fn serve(
    settings: &Settings,
    orders: &mpsc::Sender<Command>,
    status: &Arc<AgentStatus>,
    metrics: &Arc<Metrics>,
    ended: &watch::Receiver<bool>,
) -> anyhow::Result<JoinAll<JoinHandle<()>>> {
    let config = &settings.config.agent;
    let over = |mut ended: watch::Receiver<bool>| async move {
        let _ = ended.wait_for(|ended| *ended).await;
    };
    let mut tasks = Vec::new();
    if !config.http.is_empty() {
        let listener = TcpListener::bind(&config.http).await.map_err(|source| {
            etcdr_operations::Error::Local {
                what: format!("cannot listen on {}", config.http),
                source,
            }
        })?;
        let (status, metrics) = (Arc::clone(status), Arc::clone(metrics));
        let pages = Pages { status, metrics, clock: Arc::new(context::now) };
        tasks.push(tokio::spawn(pages::serve(listener, pages, over(ended.clone()))));
    }
    if let Some(listener) = Listener::bind(&config.admin)? {
        let admin = Admin {
            commands: orders.clone(),
            status: Arc::clone(status),
            clock: Arc::new(context::now),
            shelf: Arc::new(Shelved(settings.clone())),
            signs: settings.config.repository.signing_key.is_some(),
        };
        let over = over(ended.clone());
        tasks.push(tokio::spawn(async move {
            if let Err(error) = admin::serve(listener, admin, over).await {
                tracing::error!(%error, "the admin interface is gone");
            }
        }));
    }
    Ok(join_all(tasks))
}

/// The repository, as the admin interface asks it.
struct Shelved(Settings);

impl Shelf for Shelved {
    fn list(&self) -> BoxFuture<'_, Result<Vec<SnapshotId>, AnyFailure>> {
        Box::pin(async {
            let repository = self.0.open().await.map_err(failure)?;
            let listing = repository.list(&self.0.config.cluster).await.map_err(failure)?;
            Ok(listing.ids)
        })
    }

    fn plan_prune(&self) -> BoxFuture<'_, Result<String, AnyFailure>> {
        Box::pin(async {
            let config = &self.0.config;
            let repository = self.0.open().await.map_err(failure)?;
            let (now, grace) = (context::now(), config.prune.grace);
            let plan =
                prune::run(&repository, &config.cluster, &config.retention, grace, now, How::Shown);
            let report = plan.await.map_err(failure)?;
            Ok(serde_json::to_string(&report.report()).unwrap_or_default())
        })
    }
}

fn failure<E: Diagnose + Send + Sync + 'static>(error: E) -> AnyFailure {
    Box::new(error)
}

fn load(path: &Path) -> Result<Settings, Vec<etcdr_schemas::config::Problem>> {
    configuration::check(config::parse(path)?, context::store_variables())
}

fn about(settings: &Settings, name: &str) -> About {
    About {
        name: name.to_owned(),
        cluster: settings.config.cluster.clone(),
        version: context::VERSION.to_owned(),
        started_at: context::now(),
    }
}

fn limits(config: &Config) -> Limits {
    // Twice what the watch takes, and a little more.
    let member_patience = config.maintenance.every.0 * 2 + Duration::from_secs(10);
    Limits {
        target_age: config.watch.target_age.0,
        quota_warning: config.maintenance.quota_warning.0,
        member_patience,
        store_patience: Duration::from_secs(660),
    }
}

/// What is logged at a level. The store's library tells each of its retries at `info`: a store that is gone for hours
/// would fill the log with them, and what became of them is told by the agent.
fn directives(level: &str) -> String {
    match level {
        "info" => "info,object_store=warn".to_owned(),
        other => other.to_owned(),
    }
}

/// What the machine is called.
fn machine_name() -> String {
    let uname = rustix::system::uname();
    uname.nodename().to_string_lossy().into_owned()
}

/// SIGHUP reads the configuration again.
fn hang_ups(stop: &StopFlag, orders: mpsc::Sender<Command>) {
    let mut hangups = stop.hangups();
    tokio::spawn(async move {
        while hangups.changed().await.is_ok() {
            if orders.send(Command::Reload).await.is_err() {
                return;
            }
        }
    });
}

/// Tells systemd that the agent is up, and at every half of its watchdog's time that the loop turns.
fn notify(status: &Arc<AgentStatus>) {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    let status = Arc::clone(status);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(limit / 2).await;
            if status.is_alive() {
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        }
    });
}
