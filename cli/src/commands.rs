//! The commands, one file each.

mod audit;
mod completions;
mod demo;
mod init;
mod inspect;
mod keygen;
mod restore;
mod snapshot;
mod status;
mod verify;

use clap::{Parser, Subcommand};
use etcdr_schemas::ExitCode;

use crate::context::StopFlag;
use crate::options::Global;

/// Backup, restore and disaster recovery for etcd.
#[derive(Debug, Parser)]
#[command(name = "etcdr", version, propagate_version = true, disable_help_subcommand = true)]
#[command(
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 finished with warnings, 10 repository missing, \
11 claimed by another, 12 key wrong or missing, 20 data damaged, 21 target not covered, 64 config invalid, \
130 interrupted."
)]
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
    /// Save, list, show, export and import snapshots
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Check a snapshot, as deep as the level says
    Verify(verify::Args),
    /// Look into a database, a snapshot or a data directory, damaged ones too
    Inspect(inspect::Args),
    // Its own text is longer; one here would take its place.
    Audit(audit::Args),
    /// Rebuild data directories of a new cluster from a snapshot
    Restore(restore::Args),
    /// Show how a running agent and its cluster are
    Status(status::Args),
    /// Show the whole way on this machine: save, verify, lose everything, restore, compare
    Demo(demo::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
}

impl Cli {
    /// Runs the command that was typed.
    pub(crate) async fn run(self, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let global = self.global;
        match self.command {
            Command::Init(args) => args.run(&global).await,
            Command::Keygen(args) => args.run(&global),
            Command::Snapshot(command) => command.run(&global, stop).await,
            Command::Verify(args) => args.run(&global, stop).await,
            Command::Inspect(args) => args.run(&global).await,
            Command::Audit(args) => args.run(&global, stop).await,
            Command::Restore(args) => args.run(&global, stop).await,
            Command::Status(args) => args.run(&global, stop).await,
            Command::Demo(args) => args.run(&global).await,
            Command::Completions(args) => args.run(),
        }
    }
}
