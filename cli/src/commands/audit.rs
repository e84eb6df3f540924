//! `etcdr audit`: from the flags to an audit of one cluster or all, and its exit code.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use etcdr_operations::audit::{
    self, AuditRequest, Audited, Budget, Destination, Error, Limits, Selection, Stop, kinds,
};
use etcdr_operations::stop::{Interrupted, StopFlag};
use etcdr_repository::{Identities, Repository, SigningKey};
use etcdr_schemas::report::{AuditOrder, AuditReport, AuditSample, AuditSet, Level};
use etcdr_schemas::{ClusterName, ExitCode, Progress};

use super::verify::LevelArg;
use crate::GRACE;
use crate::context;
use crate::options::{Global, duration};
use crate::{output, progress};

mod show;
mod sizes;

/// Look at everything a repository holds of a cluster, and write a report
///
/// Every manifest is read and compared with what is there, in every run: missing images, orphans, a
/// broken chain, wrong signatures, stale or suspect snapshots. Then the chosen snapshots are looked
/// at as deep as the level says; levels from content on need an identity. A bad snapshot does not
/// end the audit, nor does one that cannot be checked.
///
/// The report goes under <cluster>/reports/audits in the repository; nothing else is written. Exit
/// code 20: something is damaged. 3: something needs a look. 12: no snapshot could be checked, for
/// want of a key.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How deep to look at each chosen snapshot [default: object]
    #[arg(long, value_enum)]
    level: Option<LevelArg>,

    /// Audit every cluster of the repository, one after the other
    #[arg(long)]
    all_clusters: bool,

    /// Which snapshots to look at first [default: newest]
    #[arg(long, value_enum)]
    order: Option<OrderArg>,

    /// Look at a random part only: 10%, or a number of snapshots [default: all]
    #[arg(long, value_name = "PART", value_parser = sizes::sample)]
    sample: Option<AuditSample>,

    /// Choose the sample of the report that names this seed again
    #[arg(long, value_name = "HEX", value_parser = sizes::seed)]
    seed: Option<u64>,

    /// Read at most so much of the store, e.g. 50GiB; --resume goes on
    #[arg(long, value_name = "SIZE", value_parser = sizes::bytes)]
    max_bytes: Option<u64>,

    /// Begin no snapshot after this time, e.g. 2h; --resume goes on
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_time: Option<Duration>,

    /// Go on with the last audit if it was not finished; otherwise begin a new one
    #[arg(long)]
    resume: bool,

    /// Warn when the newest snapshot is older
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_age: Option<Duration>,

    /// Warn when the newest snapshot that an audit found good is older
    #[arg(long, value_name = "TIME", value_parser = duration)]
    max_verified_age: Option<Duration>,

    /// What is younger may belong to a save that still runs, and is no orphan
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "24h")]
    grace: Duration,

    /// minisign secret key (without password) that signs the report
    #[arg(long, value_name = "FILE", env = "ETCDR_SIGNING_KEY")]
    signing_key: Option<PathBuf>,

    /// Write no report: the repository is only read
    #[arg(long)]
    no_report: bool,

    /// Least time between two reports on the way, which a killed audit goes on from
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    checkpoint: Duration,

    /// Look at nothing: print the newest report, and check its signature with --public-key
    #[arg(long, conflicts_with_all = ["resume", "no_report", "all_clusters"])]
    last: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OrderArg {
    /// The newest snapshots
    Newest,
    /// Those never verified, then those whose verification is longest ago
    OldestVerified,
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let repository = global.open().await?;
        if self.last {
            let (report, key) = audit::last(&repository, &global.cluster).await?;
            output::say(format!("{key}:"));
            let code = code_of(&report, false);
            output::print(global.output, report, show::one)?;
            return Ok(code);
        }
        let tools = Tools {
            stop: Stop::new(stop.wind_up(GRACE)),
            flag: stop,
            progress: progress::for_stderr(global.quiet),
            quiet: global.quiet,
        };
        let mut budget = self.budget();
        if self.all_clusters {
            return self.all(global, &repository, &mut budget, tools).await;
        }
        let request = self.request(global, global.cluster.clone())?;
        let report = tools.audit(&repository, &request, &mut budget).await?;
        let code = code_of(&report, tools.flag.is_raised());
        output::print(global.output, report, show::one)?;
        Ok(code)
    }

    /// One cluster after the other; one that cannot be audited does not stop the others.
    async fn all(
        &self,
        global: &Global,
        repository: &Repository,
        budget: &mut Budget,
        tools: Tools,
    ) -> anyhow::Result<ExitCode> {
        let unknown_keys = repository.unknown_root_keys().await?;
        let unknown = |key: String| kinds::OBJECT_UNKNOWN.at(key, "no part of a repository");
        let mut findings: Vec<_> = unknown_keys.into_iter().map(unknown).collect();
        let mut audits = Vec::new();
        for cluster in repository.clusters().await? {
            let request = self.request(global, cluster.clone())?;
            match tools.audit(repository, &request, budget).await {
                Ok(report) => audits.push(report),
                Err(Error::Interrupted) => return Err(Interrupted.into()),
                Err(error) => findings
                    .push(kinds::CLUSTER_UNCHECKED.at(cluster.to_string(), error.to_string())),
            }
            if tools.flag.is_raised() {
                break;
            }
        }
        let stopped = tools.flag.is_raised();
        let codes: Vec<_> = audits.iter().map(|report| code_of(report, stopped)).collect();
        for finding in &findings {
            output::say(format!("{}: {}: {}", finding.code, finding.place, finding.message));
        }
        let code = together(&codes, !findings.is_empty());
        output::print(global.output, AuditSet { audits, findings }, show::all)?;
        Ok(code)
    }

    fn budget(&self) -> Budget {
        let span = self.max_time.and_then(|time| chrono::Duration::from_std(time).ok());
        let until = span.and_then(|span| context::now().checked_add_signed(span));
        Budget { bytes: self.max_bytes, until, ..Budget::default() }
    }

    fn request(&self, global: &Global, cluster: ClusterName) -> anyhow::Result<AuditRequest> {
        let level = self.level.map(Level::from);
        // Levels that need no key must not ask for the file that holds one. A resumed audit may be
        // deeper.
        let identities = match level {
            Some(Level::Manifest | Level::Object) => Identities::none(),
            None if !self.resume => Identities::none(),
            _ => global.identities()?,
        };
        let destination = match self.no_report {
            true => Destination::Nowhere,
            false => Destination::Repository(
                self.signing_key.as_deref().map(SigningKey::read).transpose()?,
            ),
        };
        let order = self.order.map(|order| match order {
            OrderArg::Newest => AuditOrder::Newest,
            OrderArg::OldestVerified => AuditOrder::OldestVerified,
        });
        let span =
            |time: Duration| chrono::Duration::from_std(time).unwrap_or(chrono::Duration::MAX);
        Ok(AuditRequest {
            cluster,
            selection: Selection { level, order, sample: self.sample, seed: self.seed },
            resume: self.resume,
            limits: Limits {
                max_age: self.max_age.map(span),
                max_verified_age: self.max_verified_age.map(span),
                grace: span(self.grace),
            },
            identities,
            destination,
            checkpoint: span(self.checkpoint),
            nonce: u32::from_le_bytes(context::random()?),
            seed: u64::from_le_bytes(context::random()?),
            tool_version: context::VERSION.to_owned(),
        })
    }
}

struct Tools {
    stop: Stop,
    flag: StopFlag,
    progress: Arc<dyn Progress>,
    quiet: bool,
}

impl Tools {
    /// Audits one cluster and prints on stderr what was found.
    async fn audit(
        &self,
        repository: &Repository,
        request: &AuditRequest,
        budget: &mut Budget,
    ) -> Result<AuditReport, Error> {
        let (mut stop, progress) = (self.stop.clone(), &self.progress);
        let audited =
            audit::run(repository, request, budget, &context::now, &mut stop, progress).await?;
        let Audited { report, resumed, key } = audited;
        if resumed && !self.quiet {
            output::say(format!("went on with audit {} of {}", report.audit, report.started_at));
        }
        show::findings(&report);
        if let Some(key) = key.filter(|_| !self.quiet) {
            output::say(format!("report: {key}"));
        }
        Ok(report)
    }
}

/// Damage counts before everything; an audit that had no key at all has failed, and does not only
/// warn.
fn code_of(report: &AuditReport, stopped: bool) -> ExitCode {
    use etcdr_schemas::report::AuditVerdict;
    let totals = &report.totals;
    let keyless = report.counts.contains_key(kinds::KEY.code);
    match report.verdict {
        AuditVerdict::Damaged => ExitCode::Damaged,
        _ if stopped => ExitCode::Interrupted,
        AuditVerdict::Warnings if keyless && totals.good == 0 => ExitCode::Key,
        AuditVerdict::Warnings => ExitCode::Warnings,
        AuditVerdict::Good => ExitCode::Done,
    }
}

/// The code of several audits: the gravest one.
fn together(codes: &[ExitCode], findings: bool) -> ExitCode {
    let any = |code| codes.contains(&code);
    if any(ExitCode::Damaged) {
        ExitCode::Damaged
    } else if any(ExitCode::Interrupted) {
        ExitCode::Interrupted
    } else if !findings && !codes.is_empty() && codes.iter().all(|code| *code == ExitCode::Key) {
        ExitCode::Key
    } else if findings || codes.iter().any(|code| *code != ExitCode::Done) {
        ExitCode::Warnings
    } else {
        ExitCode::Done
    }
}
