//! `etcdr snapshot …`: the commands about single snapshots, one file each.

mod delete;
mod export;
mod hold;
mod import;
mod list;
mod save;
mod show;

use clap::Subcommand;
use etcdr_operations::stop::StopFlag;
use etcdr_schemas::ExitCode;

use crate::options::Global;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Take a snapshot of a live cluster and store it
    Save(Box<save::Args>),
    /// List the snapshots of the cluster, newest first
    List(list::Args),
    /// Show all that is recorded of one snapshot
    Show(show::Args),
    /// Write a snapshot as the plain file that `etcdctl snapshot save` writes
    Export(export::Args),
    /// Store a snapshot file, or a copy of member/snap/db
    Import(import::Args),
    /// Keep a snapshot from being pruned, or let it go again
    Hold(hold::Args),
    // Its own text is longer; one here would take its place.
    Delete(delete::Args),
}

impl Command {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        match self {
            Self::Save(args) => args.run(global).await,
            Self::List(args) => args.run(global).await,
            Self::Show(args) => args.run(global).await,
            Self::Export(args) => args.run(global, stop).await,
            Self::Import(args) => args.run(global, stop).await,
            Self::Hold(args) => args.run(global).await,
            Self::Delete(args) => args.run(global).await,
        }
    }
}
