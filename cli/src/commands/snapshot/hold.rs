//! `etcdr snapshot hold`: holds a snapshot, or releases it.

use chrono::Duration;
use etcdr_repository::SnapshotName;
use etcdr_schemas::report::HoldReport;
use etcdr_schemas::units::Span;
use etcdr_schemas::{ExitCode, Hold};

use crate::context;
use crate::exit::CliError;
use crate::options::Global;
use crate::output;

/// Keep a snapshot from being pruned, or let it go again
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    name: SnapshotName,

    /// Why; shown by prune, list and show
    #[arg(long, value_name = "TEXT", required_unless_present = "release")]
    reason: Option<String>,

    /// Who holds it
    #[arg(long, value_name = "TEXT")]
    by: Option<String>,

    /// End by itself after this time
    #[arg(long, value_name = "TIME")]
    expires: Option<Span>,

    /// End the hold
    #[arg(long, conflicts_with_all = ["reason", "by", "expires"])]
    release: bool,
}

/// Longest reason, in characters: it is a line in a table.
const MAX_REASON: usize = 1_000;

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let repository = global.open().await?;
        let cluster = &global.cluster;
        let id = repository.resolve(cluster, &self.name).await?;
        let hold = if self.release {
            if !repository.release(cluster, &id).await? && !global.quiet {
                output::say(format!("{id} was not held"));
            }
            None
        } else {
            let now = context::now();
            let reason = self.reason.unwrap_or_default();
            if reason.trim().is_empty() || reason.chars().count() > MAX_REASON {
                let what = format!("a reason has 1 to {MAX_REASON} characters");
                return Err(CliError::usage(what, "Say why with --reason TEXT.").into());
            }
            let end = self.expires.map(|span| {
                let span = Duration::from_std(span.0).ok();
                span.and_then(|span| now.checked_add_signed(span)).ok_or_else(|| {
                    CliError::usage(
                        "that time is too long",
                        "Leave --expires away to hold for ever.",
                    )
                })
            });
            let expires_at = end.transpose()?;
            let extra = serde_json::Map::new();
            let hold =
                Hold { snapshot: id, reason, by: self.by, created_at: now, expires_at, extra };
            repository.hold(cluster, &hold).await?;
            Some(hold)
        };
        let report = HoldReport { cluster: cluster.clone(), id, held: hold.is_some(), hold };
        output::print(global.output, report, human)?;
        Ok(ExitCode::Done)
    }
}

fn human(report: &HoldReport) -> String {
    let Some(hold) = &report.hold else { return format!("{} is not held", report.id) };
    match hold.expires_at {
        Some(end) => format!("{} is held until {}", report.id, end.format("%Y-%m-%d %H:%M:%S UTC")),
        None => format!("{} is held", report.id),
    }
}
