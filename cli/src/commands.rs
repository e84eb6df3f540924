//! The commands, one file each.

mod agent;
mod audit;
mod completions;
mod config;
mod demo;
mod init;
mod inspect;
mod keygen;
mod prune;
mod restore;
mod snapshot;
mod status;
mod verify;

use clap::{ArgMatches, Parser, Subcommand};
use etcdr_operations::stop::StopFlag;
use etcdr_schemas::ExitCode;
use etcdr_schemas::config::CaptureConfig;

use crate::exit::CliError;
use crate::options::Global;

/// Backup, restore and disaster recovery for etcd.
#[derive(Debug, Parser)]
#[command(name = "etcdr", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 finished with warnings, \
                  10 repository missing, 11 claimed by another, 12 key wrong or missing, \
                  20 data damaged, 21 target not covered, 64 config invalid, 130 interrupted.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a repository
    Init(init::Args),
    /// Make an age identity and a minisign key pair
    Keygen(keygen::Args),
    /// Save, list, show, export, import, hold and delete snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Check a snapshot, as deep as the level says
    Verify(verify::Args),
    /// Look into a database, a snapshot or a data directory, damaged ones too
    Inspect(inspect::Args),
    // Its own text is longer; one here would take its place.
    Audit(audit::Args),
    // Its own text is longer, too.
    Prune(prune::Args),
    /// Rebuild data directories of a new cluster from a snapshot
    Restore(restore::Args),
    // Its own text is longer.
    Agent(agent::Args),
    /// Check the configuration, or show what it may hold
    #[command(subcommand)]
    Config(config::Command),
    /// Show how a running agent and its cluster are
    Status(status::Args),
    /// Show the whole way on this machine: save, verify, lose everything, restore, compare
    Demo(demo::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

impl Command {
    /// Whether the configuration file fills in what was not typed.
    const fn needs_configuration(&self) -> bool {
        !matches!(
            self,
            Self::Keygen(_)
                | Self::Demo(_)
                | Self::Completions(_)
                | Self::Config(_)
                | Self::Agent(_)
        )
    }
}

impl Cli {
    /// The priority of this process: 0 is as others, 19 the lowest. Whoever takes a snapshot gives
    /// way to etcd.
    pub(crate) fn nice(&self) -> u8 {
        match &self.command {
            Command::Agent(args) if args.runs() => agent::nice(&self.global),
            Command::Snapshot(snapshot::Command::Save(_)) => CaptureConfig::default().nice,
            _ => 0,
        }
    }

    /// How many threads drive connections, where it is not left to the number of cores. A save has
    /// one stream, and with a second thread each chunk of it may wake the other; what computes has
    /// threads of its own.
    pub(crate) const fn network_threads(&self) -> Option<usize> {
        match &self.command {
            Command::Snapshot(snapshot::Command::Save(_)) => Some(1),
            _ => None,
        }
    }

    /// Whether the command sets its log up itself, by its configuration.
    pub(crate) fn logs_itself(&self) -> bool {
        matches!(&self.command, Command::Agent(args) if args.runs())
    }

    /// Refuses flags that the command would ignore: whoever typed them believes that they count.
    pub(crate) fn refuse_ignored(&self, typed: &ArgMatches) -> Result<(), CliError> {
        match &self.command {
            Command::Agent(args) if args.runs() => agent::refuse_ignored(typed),
            _ => Ok(()),
        }
    }

    /// Runs the command that was typed.
    pub(crate) async fn run(self, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let global = match self.command.needs_configuration() {
            true => self.global.settle()?,
            false => self.global,
        };
        match self.command {
            Command::Agent(args) => args.run(&global, stop).await,
            Command::Config(command) => command.run(&global).await,
            Command::Init(args) => args.run(&global).await,
            Command::Keygen(args) => args.run(&global),
            Command::Snapshot(command) => command.run(&global, stop).await,
            Command::Verify(args) => args.run(&global, stop).await,
            Command::Inspect(args) => args.run(&global).await,
            Command::Audit(args) => args.run(&global, stop).await,
            Command::Prune(args) => args.run(&global).await,
            Command::Restore(args) => args.run(&global, stop).await,
            Command::Status(args) => args.run(&global, stop).await,
            Command::Demo(args) => args.run(&global).await,
            Command::Completions(args) => args.run(),
        }
    }
}
