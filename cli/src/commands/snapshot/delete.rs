//! `etcdr snapshot delete`: deletes snapshots by name, after it was confirmed by a flag.

use etcdr_operations::prune;
use etcdr_repository::SnapshotName;
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::{DeleteReport, PruneOutcome};

use crate::commands::prune::verdict;
use crate::context;
use crate::exit::CliError;
use crate::options::Global;
use crate::output;

/// Delete snapshots by name
///
/// The manifest goes now, so that the snapshot is not listed any more; its image goes with a
/// `prune` after the grace. Until then the manifest is under `deleted/` in the repository. Held
/// snapshots, and the newest that is known to be restorable, are refused unless --force is said.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    #[arg(required = true, value_name = "NAME")]
    names: Vec<SnapshotName>,

    /// Delete; without it, what would be deleted is only said
    #[arg(long)]
    yes: bool,

    /// Also what is held, what a restore would be made of, and what cannot be read
    #[arg(long)]
    force: bool,
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let repository = global.open().await?;
        let mut ids = Vec::new();
        for name in &self.names {
            let id = repository.resolve(&global.cluster, name).await?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        if !self.yes {
            let list: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let what = format!("deleting needs --yes; this would delete {}", list.join(", "));
            return Err(CliError::usage(what, "Say --yes if that is what you mean.").into());
        }
        let (cluster, now) = (&global.cluster, context::now());
        let report = prune::delete(&repository, cluster, &ids, self.force, now).await?;
        for warning in &report.warnings {
            output::say(format!("warning: {warning}"));
        }
        let deleted = |outcome: Option<PruneOutcome>| outcome == Some(PruneOutcome::Deleted);
        if report.snapshots.iter().any(|row| deleted(row.outcome)) && !global.quiet {
            output::say(format!(
                "{} snapshots of cluster {cluster} are left; images of deleted ones go with \
                 `etcdr prune`, after its --grace",
                report.left
            ));
        }
        let code = if report.warnings.is_empty() { ExitCode::Done } else { ExitCode::Warnings };
        output::print(global.output, report, human)?;
        Ok(code)
    }
}

fn human(report: &DeleteReport) -> String {
    let rows = report.snapshots.iter();
    let lines = rows.map(|row| format!("{} {}", row.id, verdict(row)));
    lines.collect::<Vec<_>>().join("\n")
}
