//! Audits: checks of everything that a repository holds of a cluster, made beside daily work.
//!
//! ```text
//! listing ─▶ every manifest ─▶ compared with the stored objects, and with one another
//!        ─▶ the chosen snapshots, one after the other, at the level asked for ─▶ report
//! ```
//! The first line is done for all snapshots in every run: it reads no image. Decisions are
//! functions over plain data (`choose`, `facts`, `compare`, `timeline`); this module and `walk`
//! carry them out.
//!
//! Nothing ends an audit but a signal, the budget, or a store that no longer answers; then its
//! report says what is still to do. Reports are written on the way and each stands alone, so that
//! an audit that was killed goes on from the last one: progress lives where the snapshots are, and
//! needs no disk of the auditor's.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::retention::Proof;
use etcdr_repository::{
    ClusterObjects, Error as RepositoryError, Identities, ReportName, Repository, StoreFault,
    layout,
};
use etcdr_schemas::report::{AuditReport, AuditState, AuditVerdict, Finding};
use etcdr_schemas::{ClusterName, Progress, SnapshotId};
use tokio::sync::watch;

pub use checkpoints::Destination;
pub use choose::{Budget, Selection};
pub use error::Error;
pub use timeline::Limits;

use baseline::Prepared;
use checkpoints::Checkpoints;
use walk::Walk;

use crate::Clock;

mod baseline;
mod checkpoints;
mod choose;
mod compare;
mod error;
mod findings;
mod history;
pub mod kinds;
mod manifest_facts;
mod timeline;
mod walk;

/// What to audit, and how.
#[derive(Debug)]
pub struct AuditRequest {
    /// Name of the cluster in the repository.
    pub cluster: ClusterName,
    /// Level, order, sample.
    pub selection: Selection,
    /// Go on with the newest audit of that kind, if it was not finished.
    pub resume: bool,
    /// How old things may be.
    pub limits: Limits,
    /// Opens images, from level `content` on.
    pub identities: Identities,
    /// Where reports go.
    pub destination: Destination,
    /// Least time between two reports on the way.
    pub checkpoint: Duration,
    /// Random part of a new audit's id.
    pub nonce: u32,
    /// Random seed of a new audit's sample, where none was asked for.
    pub seed: u64,
    /// Version recorded in reports.
    pub tool_version: String,
}

/// Asks a running audit to stop.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Stops when `true` is sent.
    #[must_use]
    pub const fn new(receiver: watch::Receiver<bool>) -> Self {
        Self(receiver)
    }

    /// Waits until it is raised: for ever when nobody can any more.
    async fn raised(&mut self) {
        if self.0.wait_for(|raised| *raised).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What an audit gave.
#[derive(Debug)]
pub struct Audited {
    /// The report, as it was written but for a finding that it could not be.
    pub report: AuditReport,
    /// Whether an earlier audit was continued.
    pub resumed: bool,
    /// Key under which it was written.
    pub key: Option<String>,
}

/// Audits one cluster.
///
/// # Errors
/// When the cluster cannot be listed, and [`Error::Interrupted`] when stopped before the first
/// snapshot was checked. What is found is in the report.
pub async fn run(
    repository: &Repository,
    request: &AuditRequest,
    budget: &mut Budget,
    clock: &Clock,
    stop: &mut Stop,
    progress: &Arc<dyn Progress>,
) -> Result<Audited, Error> {
    let began = clock();
    let prepared = tokio::select! {
        biased;
        () = stop.raised() => return Err(Error::Interrupted),
        prepared = baseline::prepare(repository, request, began) => prepared?,
    };
    let Prepared { baseline, mut steps } = prepared;
    let walk = Walk {
        repository,
        cluster: &request.cluster,
        level: baseline.settings.level,
        identities: &request.identities,
        facts: &baseline.facts,
        clock,
        progress,
    };
    let (destination, interval) = (&request.destination, request.checkpoint);
    let mut checkpoints =
        Checkpoints::new(repository, destination, interval, began, baseline.sequence);
    let total = steps.pending.iter().map(|id| walk.cost(id)).fold(0, u64::saturating_add);
    progress.begin("auditing", Some(total));
    let state = walk
        .run(&mut steps, budget, stop, async |steps, now| {
            if checkpoints.is_due(now) {
                checkpoints.add(baseline.report(steps, AuditState::Running, now), now).await;
            }
        })
        .await;
    progress.end();
    let mut report = baseline.report(&steps, state, clock());
    if state == AuditState::OutOfBudget && !budget.was_used() {
        let message = "it does not reach for a single snapshot";
        amend(&mut report, kinds::BUDGET.at(request.cluster.to_string(), message));
    }
    let mut key = None;
    match checkpoints.write(report.clone()).await {
        Ok(sequence) => {
            report.sequence = sequence;
            let name = ReportName { audit: report.audit, sequence };
            let written = matches!(request.destination, Destination::Repository(_));
            key = written.then(|| layout::audit_report(&request.cluster, name).to_string());
        }
        Err(error) => {
            let place = layout::audit_reports(&request.cluster).to_string();
            amend(&mut report, kinds::REPORT_UNWRITTEN.at(place, error.to_string()));
        }
    }
    Ok(Audited { report, resumed: baseline.sequence > 0, key })
}

/// The newest report of a cluster's audits that is to be believed, and its key.
///
/// # Errors
/// [`Error::NoReport`] when there is none, [`Error::Report`] when the newest one is not what it
/// should be.
pub async fn last(
    repository: &Repository,
    cluster: &ClusterName,
) -> Result<(AuditReport, String), Error> {
    for name in repository.report_names(cluster).await? {
        let key = layout::audit_report(cluster, name).to_string();
        let stored = repository.report(cluster, name).await;
        match history::believed(repository, cluster, name, stored) {
            Ok(Some(report)) => return Ok((report, key)),
            Ok(None) => {}
            Err(history::Doubt::Store(error)) => return Err(error.into()),
            Err(history::Doubt::Finding(kind, message)) => {
                return Err(Error::Report { key, kind, message });
            }
        }
    }
    Err(Error::NoReport { cluster: cluster.clone() })
}

/// What earlier audits say of these snapshots: good at level `object` or deeper, or damaged, by the
/// last audit that checked them. Snapshots that no longer exist are left out.
///
/// # Errors
/// When reports cannot be read now. Where they may not be read, nothing is known.
pub(crate) async fn proofs(
    repository: &Repository,
    cluster: &ClusterName,
    objects: &ClusterObjects,
    now: DateTime<Utc>,
) -> Result<BTreeMap<SnapshotId, Proof>, RepositoryError> {
    let search = history::Search { ids: &objects.ids, wanted: None, now };
    let names = objects.reports.iter().rev().copied();
    match history::read(repository, cluster, names, search).await {
        Ok(history) => Ok(history.proofs()),
        Err(error) if error.store_fault() == Some(StoreFault::Denied) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

/// Adds a finding to a report that is built already.
fn amend(report: &mut AuditReport, finding: Finding) {
    let count = report.counts.entry(finding.code.clone()).or_default();
    *count = count.saturating_add(1);
    if report.verdict == AuditVerdict::Good {
        report.verdict = AuditVerdict::Warnings;
    }
    report.findings.push(finding);
}
