//! `etcdr agent`: runs the agent, or asks a running one to pause, resume or defragment.

use std::path::Path;
use std::sync::Arc;

use clap::ArgMatches;
use clap::parser::ValueSource;
use etcdr_agent::{Notice, Outside, configuration};
use etcdr_operations::settings::Settings;
use etcdr_operations::stop::StopFlag;
use etcdr_schemas::ExitCode;
use sd_notify::NotifyState;

use crate::commands::status::AgentFiles;
use crate::context;
use crate::exit::CliError;
use crate::options::{Global, LogFormat};
use crate::{config, output};

/// Run beside an etcd member: take snapshots on schedule, for years
///
/// One agent runs beside each member; they share the work through the repository, and nothing is
/// written into etcd. Everything is in the configuration (`--config`). SIGHUP, and a change of the
/// file, read it again; SIGTERM finishes or gives up what is under way within `agent.grace`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::commands) struct Args {
    #[command(subcommand)]
    request: Option<Request>,
}

/// What a running agent can be asked to do.
#[derive(Debug, clap::Subcommand)]
enum Request {
    /// Let schedules rest: one, or all
    Pause(ScheduleArgs),
    /// Let schedules go on; a tick that was missed is caught up
    Resume(ScheduleArgs),
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
struct ScheduleArgs {
    /// Name of the schedule [default: all]
    schedule: Option<String>,

    #[command(flatten)]
    agent: AgentAddress,
}

/// Which agent.
#[derive(Debug, clap::Args)]
struct AgentAddress {
    /// Address of the agent: unix:///path/to/agent.sock, or https://HOST:PORT [default:
    /// unix:///run/etcdr/agent.sock]
    #[arg(long, value_name = "URL", env = "ETCDR_AGENT")]
    agent: Option<String>,

    #[command(flatten)]
    files: AgentFiles,
}

impl Request {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let mut complete = true;
        let (done, nothing) = match self {
            Self::Pause(ScheduleArgs { schedule, agent }) => {
                let client = agent.files.connect(agent.agent.as_deref()).await?;
                (client.pause(schedule).await?, "no schedule that runs has that name")
            }
            Self::Resume(ScheduleArgs { schedule, agent }) => {
                let client = agent.files.connect(agent.agent.as_deref()).await?;
                (client.resume(schedule).await?, "no schedule that rests has that name")
            }
            Self::Defragment { force, agent } => {
                let client = agent.files.connect(agent.agent.as_deref()).await?;
                let lines;
                (lines, complete) = client.defragment(force).await?;
                (lines, "there was nothing to do")
            }
        };
        match done.as_slice() {
            [] => output::say(nothing),
            done => output::line(&done.join("\n"))?,
        }
        Ok(if complete { ExitCode::Done } else { ExitCode::Failed })
    }
}

/// The priority that the configuration asks for; 0 when it cannot be read, which is reported later.
pub(in crate::commands) fn nice(global: &Global) -> u8 {
    let path = global.config_path();
    path.and_then(|path| config::parse(&path).ok()).map_or(0, |config| config.capture.nice.min(19))
}

/// Flags that commands take and an agent does not, by clap's name, with the key of the
/// configuration that stands for each. A value that came by a flag would not follow a reload of the
/// file, and the other agents would not know of it.
const IN_THE_FILE: [(&str, &str, &str); 5] = [
    ("repository", "--repository", "repository.url"),
    ("named_cluster", "--cluster", "cluster"),
    ("identity", "--identity", "restore.identities"),
    ("public_key", "--public-key", "repository.public_key"),
    ("store_cacert", "--store-cacert", "repository.cacert"),
];

/// Refuses what was typed for an agent and only its file can say. Environment variables are for the
/// commands of the machine, and are ignored.
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
        self.request.is_none()
    }

    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        if let Some(request) = self.request {
            return request.run().await;
        }
        let path = global.config_path().ok_or_else(config::missing)?;
        let settings = load(&path).map_err(|problems| config::invalid(&path, &problems))?;
        let agent = &settings.config.agent;
        let format = match agent.log_format.is_json() || global.log_format == LogFormat::Json {
            true => LogFormat::Json,
            false => LogFormat::Text,
        };
        crate::start_logging(format, &directives(&agent.log_level), true);
        let name = agent.name.clone().unwrap_or_else(machine_name);
        let (config, version) = (path.display(), context::VERSION);
        tracing::info!(agent = name, %config, version, "starting");
        let outside = Outside {
            load: Box::new(move || load(&path)),
            name,
            instance: context::random_hex::<8>()?,
            tool_version: context::VERSION.to_owned(),
            clock: Arc::new(context::now),
            random: Box::new(|| context::random().map_or(0, u32::from_le_bytes)),
            notify: Box::new(notify),
            watchdog: sd_notify::watchdog_enabled(),
        };
        etcdr_agent::serve(settings, outside, &stop).await?;
        tracing::info!("stopped");
        Ok(ExitCode::Done)
    }
}

/// Reports to systemd, where that waits for it.
fn notify(notice: Notice) {
    let state = match notice {
        Notice::Ready => NotifyState::Ready,
        Notice::Alive => NotifyState::Watchdog,
        Notice::Stopping => NotifyState::Stopping,
    };
    let _ = sd_notify::notify(&[state]);
}

fn load(path: &Path) -> Result<Settings, Vec<etcdr_schemas::config::Problem>> {
    configuration::check(config::parse(path)?, context::store_variables())
}

/// What is logged at a level. The store's library logs each of its retries at `info`: a store that
/// is gone for hours would fill the log with them, and the agent itself reports what became of
/// them.
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
