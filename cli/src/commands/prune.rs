//! `etcdr prune`: the policy from flags or configuration, and the decisions as a table.

use std::fmt::Write as _;

use etcdr_operations::prune::{self, Mode};
use etcdr_schemas::ExitCode;
use etcdr_schemas::config::{PruneConfig, Retention};
use etcdr_schemas::report::{
    PruneAction, PruneOutcome, PruneReport, PruneRule, PruneTotals, PrunedSnapshot,
};
use etcdr_schemas::units::{Size, Span};

use crate::context;
use crate::options::Global;
use crate::output;

/// Delete the snapshots that no rule keeps, and sweep what belongs to none
///
/// A snapshot stays when any rule keeps it. Held ones and the newest that is known to be restorable
/// always stay. Manifests are deleted first; an image goes when its manifest has been gone for the
/// grace. Needs no key. What the store does not let go (locks, missing rights) is skipped and
/// counted.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    rules: RetentionFlags,

    /// Age that an object without a manifest must have before it is deleted [default: that of the
    /// configuration, else 1d]
    #[arg(long, value_name = "TIME")]
    grace: Option<Span>,
}

/// Which snapshots are kept.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Rules")]
pub(in crate::commands) struct RetentionFlags {
    /// Keep so many of the newest
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,

    /// Keep the newest of each of the last so many hours that have one
    #[arg(long, value_name = "N")]
    keep_hourly: Option<u32>,

    /// The same for days
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,

    /// The same for ISO weeks
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,

    /// The same for months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,

    /// The same for years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,

    /// Keep all that are not older than this, counted back from the newest
    #[arg(long, value_name = "TIME")]
    keep_within: Option<Span>,

    /// Then let the oldest go until all images together are no larger, also ones that a rule keeps
    #[arg(long, value_name = "SIZE")]
    max_total_size: Option<Size>,

    /// IANA time zone in which hours, days, weeks, months and years begin [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
}

impl From<RetentionFlags> for Retention {
    fn from(flags: RetentionFlags) -> Self {
        Self {
            keep_last: flags.keep_last,
            keep_hourly: flags.keep_hourly,
            keep_daily: flags.keep_daily,
            keep_weekly: flags.keep_weekly,
            keep_monthly: flags.keep_monthly,
            keep_yearly: flags.keep_yearly,
            keep_within: flags.keep_within,
            max_total_size: flags.max_total_size,
            time_zone: flags.time_zone,
        }
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let typed = Retention::from(self.rules);
        let file = global.file.as_deref();
        // One typed rule replaces all rules of the file: a mix of both would keep something that
        // nobody asked for.
        let policy = match file {
            Some(file) if typed == Retention::default() => file.retention.clone(),
            _ => typed,
        };
        let configured = || file.map_or(PruneConfig::default().grace, |file| file.prune.grace);
        prune(global, &policy, self.grace.unwrap_or_else(configured), self.dry_run).await
    }
}

/// Prunes by a policy and prints the report.
async fn prune(
    global: &Global,
    policy: &Retention,
    grace: Span,
    dry_run: bool,
) -> anyhow::Result<ExitCode> {
    let repository = global.open().await?;
    let now = context::now();
    let mode = if dry_run { Mode::DryRun } else { Mode::Execute { by: None } };
    let report = prune::run(&repository, &global.cluster, policy, grace, now, mode).await?;
    for unusable in &report.unusable {
        output::say(format!("warning: {}: {}", unusable.key, unusable.reason));
    }
    for warning in &report.warnings {
        output::say(format!("warning: {warning}"));
    }
    let good = report.unusable.is_empty() && report.warnings.is_empty();
    output::print(global.output, report, human)?;
    Ok(if good { ExitCode::Done } else { ExitCode::Warnings })
}

fn human(report: &PruneReport) -> String {
    let rows = report.snapshots.iter().map(|row| {
        let reasons: Vec<&str> = row.reasons.iter().map(|reason| reason.detail.as_str()).collect();
        let size = output::bytes(row.stored_size);
        [row.id.to_string(), size, verdict(row).to_owned(), reasons.join("; ")]
    });
    let mut text = match report.snapshots.is_empty() {
        true => format!("no snapshots of cluster {}", report.cluster),
        false => output::table(["ID", "STORED", "VERDICT", "WHY"], rows.collect()),
    };
    text.push_str("\n\n");
    text.push_str(&sums(&report.totals, report.dry_run, report.grace));
    text
}

/// What is decided, or what came of it.
pub(super) fn verdict(row: &PrunedSnapshot) -> &'static str {
    let held = row.reasons.iter().any(|reason| reason.rule == PruneRule::Held);
    match (row.action, row.outcome) {
        (PruneAction::Keep, _) if held => "keep (held)",
        (PruneAction::Keep, _) => "keep",
        (PruneAction::Delete, None) => "delete",
        (PruneAction::Delete, Some(PruneOutcome::Deleted)) => "deleted",
        (PruneAction::Delete, Some(PruneOutcome::Withheld)) => "withheld",
        (PruneAction::Delete, Some(PruneOutcome::Held)) => "held meanwhile",
        (PruneAction::Delete, Some(PruneOutcome::Gone)) => "gone already",
    }
}

fn sums(totals: &PruneTotals, dry_run: bool, grace: Span) -> String {
    let would = if dry_run { "would be " } else { "" };
    let mut text = format!(
        "{} kept ({}), {} {would}deleted ({})",
        totals.kept,
        output::bytes(totals.kept_bytes),
        totals.deleted,
        output::bytes(totals.deleted_bytes),
    );
    // Writing to a String cannot fail.
    if totals.deleted > 0 {
        let _ = write!(text, "; images go after {grace}");
    }
    if totals.swept > 0 {
        let (count, size) = (totals.swept, output::bytes(totals.swept_bytes));
        let _ = write!(text, "\n{count} objects without a manifest {would}swept ({size})");
    }
    if totals.waiting > 0 {
        let (count, size) = (totals.waiting, output::bytes(totals.waiting_bytes));
        let _ = write!(text, "\n{count} images without a manifest wait for the grace ({size})");
    }
    if totals.withheld > 0 {
        let _ = write!(text, "\n{} objects are withheld by the store", totals.withheld);
    }
    text
}
