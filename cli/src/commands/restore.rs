//! `etcdr restore`: from the flags to a plan, and from the plan to data directories.

mod content;
mod render;
mod targets;

use std::path::PathBuf;
use std::sync::Arc;

use clap::ArgGroup;
use etcdr_operations::restore::{self, Opened, Raise, RestoreOptions};
use etcdr_operations::stop::StopFlag;
use etcdr_repository::SnapshotName;
use etcdr_schemas::{ExitCode, TargetVersion};

use crate::context;
use crate::exit::CliError;
use crate::options::Global;
use crate::{output, progress};
use content::ContentFlags;
use targets::TargetFlags;

/// Rebuild data directories of a new cluster from a snapshot
///
/// Writes one member (--data-dir and --name, with the flags of `etcdutl snapshot restore`) or all
/// members of one new cluster (--all-members). Everything is written beside the target, checked,
/// and renamed last; what was there is refused, or moved aside with --replace. Receipts beside the
/// data directories tell what was done and how to start.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("where").args(["data_dir", "all_members"]).required(true))]
#[command(group = ArgGroup::new("what").args(["snapshot", "file"]).required(true))]
pub(super) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    #[arg(value_name = "NAME")]
    snapshot: Option<SnapshotName>,

    /// Restore a snapshot file or a copy of member/snap/db instead; plain or .gz, .zst, .zip, .tar,
    /// .tar.gz
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    targets: TargetFlags,

    #[command(flatten)]
    content: ContentFlags,

    /// Do not compare the snapshot with the digest at its end
    #[arg(long)]
    skip_hash_check: bool,

    /// Raise the revision: `auto` puts it above all that the repository has seen of the cluster; a
    /// number adds that much and needs --mark-compacted; 0 leaves it
    #[arg(long, value_name = "auto|N|0", default_value = "auto", value_parser = bump)]
    bump_revision: Raise,

    /// Mark everything before the raised revision as compacted (always so with `auto`)
    #[arg(long)]
    mark_compacted: bool,

    /// etcd minor that will start the members [default: one that suits all of 3.4 to 3.7]
    #[arg(long, value_name = "3.x")]
    target_version: Option<TargetVersion>,

    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Move an existing data directory aside instead of refusing it
    #[arg(long)]
    replace: bool,
}

fn bump(text: &str) -> Result<Raise, String> {
    match text {
        "auto" => Ok(Raise::Auto),
        number => match number.parse() {
            Ok(by) if by >= 0 => Ok(Raise::By(by)),
            _ => Err("say auto, 0, or a positive number".to_owned()),
        },
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let progress = progress::for_stderr(global.quiet);
        let opened = self.open(global).await?;
        let planned = opened.plan(self.wanted()?)?;
        let report = planned.report();
        for warning in &report.warnings {
            output::say(format!("warning: {warning}"));
        }
        if !global.quiet {
            report.notes.iter().for_each(|note| output::say(format!("note: {note}")));
        }
        if self.dry_run {
            let preflight = planned.preflight();
            output::print(global.output, planned.into_report(), render::plan)?;
            // A plan that would be refused is still shown, and the command fails.
            preflight?;
            return Ok(ExitCode::Done);
        }
        let printed = report.warnings.len();
        let receipt = planned.carry_out(Arc::new(context::now), progress, &stop).await?;
        let warned = !receipt.plan.warnings.is_empty();
        for warning in receipt.plan.warnings.iter().skip(printed) {
            output::say(format!("warning: {warning}"));
        }
        output::print(global.output, receipt, render::receipt)?;
        Ok(if warned { ExitCode::Warnings } else { ExitCode::Done })
    }

    async fn open(&self, global: &Global) -> anyhow::Result<Opened> {
        match (&self.snapshot, &self.file) {
            (Some(name), None) => {
                let repository = global.open().await?;
                let identities = global.identities()?;
                Ok(restore::open_snapshot(&repository, &global.cluster, name, &identities).await?)
            }
            (None, Some(file)) => Ok(restore::open_file(file.clone()).await?),
            _ => {
                Err(CliError::usage("nothing to restore", "name a snapshot, or a file with --file")
                    .into())
            }
        }
    }

    fn wanted(&self) -> anyhow::Result<RestoreOptions> {
        let (initial_cluster, targets) = self.targets.resolve()?;
        Ok(RestoreOptions {
            initial_cluster,
            token: self.targets.token()?,
            targets,
            target_version: self.target_version,
            raise: self.bump_revision,
            mark_compacted: self.mark_compacted,
            replace: self.replace,
            skip_hash_check: self.skip_hash_check,
            keep_alarms: self.content.keep_alarms,
            selection: self.content.selection(),
            now: context::now(),
        })
    }
}
