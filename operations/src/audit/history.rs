//! Reads what earlier audits found: when each snapshot was last found good, and which audit was not
//! finished.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use etcdr_repository::retention::Proof;
use etcdr_repository::{Error as RepositoryError, ReportName, Repository, StoredReport, layout};
use etcdr_schemas::report::{
    AuditOutcome, AuditReport, AuditResult, AuditState, Finding, Level, Named as _, SignatureState,
};
use etcdr_schemas::{AuditId, ClusterName, SnapshotId};
use serde::Deserialize;

use super::choose::Selection;
use super::kinds;

/// Most reports that are read, newest first: what is older counts as never verified.
const MAX_READ: usize = 200;

/// Audits that are read even when every snapshot was met already: one that began earlier may have
/// ended later.
const MIN_READ: usize = 8;

/// What earlier audits found.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When each snapshot was last found good at level `object` or deeper.
    pub(super) verified: BTreeMap<SnapshotId, DateTime<Utc>>,
    /// When each snapshot was last found damaged.
    damaged: BTreeMap<SnapshotId, DateTime<Utc>>,
    /// The newest audit of the kind that was asked for, if it was not finished.
    pub(super) unfinished: Option<AuditReport>,
    /// Reports that are not what they should be.
    pub(super) findings: Vec<Finding>,
}

/// Reads the newest report of each audit; it holds what those before it held. A report that is not
/// to be believed gives way to the one before it.
///
/// # Errors
/// What the store says. A denied read is no error: then there is no history.
pub(super) async fn read(
    repository: &Repository,
    cluster: &ClusterName,
    names: impl Iterator<Item = ReportName>,
    search: Search<'_>,
) -> Result<History, RepositoryError> {
    let mut history = History::default();
    let mut settled = search.wanted.is_none();
    let mut done: Option<AuditId> = None;
    let mut left = MAX_READ;
    for name in names {
        let enough = settled && left <= MAX_READ - MIN_READ;
        if left == 0 || (enough && search.ids.iter().all(|id| history.verified.contains_key(id))) {
            break;
        }
        if done == Some(name.audit) {
            continue;
        }
        left = left.saturating_sub(1);
        let stored = repository.report(cluster, name).await;
        let key = layout::audit_report(cluster, name).to_string();
        let report = match believed(repository, cluster, name, stored) {
            Ok(Some(report)) => report,
            Ok(None) => continue,
            Err(Doubt::Store(error)) => return Err(error),
            Err(Doubt::Finding(kind, message)) => {
                history.findings.push(kind.at(key, message));
                continue;
            }
        };
        done = Some(name.audit);
        note(&mut history.verified, &report, search.now, is_good);
        note(&mut history.damaged, &report, search.now, is_damaged);
        if !settled && search.wanted.is_some_and(|wanted| wanted.fits(&report.settings)) {
            settled = true;
            history.unfinished = (report.state != AuditState::Complete).then_some(report);
        }
    }
    Ok(history)
}

/// What the history is read for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Search<'a> {
    /// Snapshots whose last verification is wanted.
    pub(super) ids: &'a [SnapshotId],
    /// What an audit must be like to be resumed; `None` when none is to be.
    pub(super) wanted: Option<&'a Selection>,
    /// Results from the future are those of now.
    pub(super) now: DateTime<Utc>,
}

impl History {
    /// What the last audit that checked each snapshot says of it.
    pub(super) fn proofs(&self) -> BTreeMap<SnapshotId, Proof> {
        let good = self.verified.keys().map(|id| (*id, Proof::Audited));
        let damaged = self.damaged.iter().filter(|(id, at)| {
            // In doubt it is damaged.
            self.verified.get(id).is_none_or(|good| good <= *at)
        });
        good.chain(damaged.map(|(id, _)| (*id, Proof::Damaged))).collect()
    }
}

/// Adds the results of a report that fit. The latest time counts.
fn note(
    noted: &mut BTreeMap<SnapshotId, DateTime<Utc>>,
    report: &AuditReport,
    now: DateTime<Utc>,
    fits: fn(&AuditResult) -> bool,
) {
    for result in report.results.iter().filter(|result| fits(result)) {
        let at = result.at.min(now);
        let entry = noted.entry(result.id).or_insert(at);
        *entry = (*entry).max(at);
    }
}

fn is_good(result: &AuditResult) -> bool {
    result.outcome == AuditOutcome::Good
        && result.passed.is_some_and(|level| level >= Level::Object)
}

fn is_damaged(result: &AuditResult) -> bool {
    result.outcome == AuditOutcome::Damaged
}

/// Why a report is not believed.
pub(super) enum Doubt {
    /// It is not what it should be.
    Finding(etcdr_schemas::report::FindingKind, String),
    /// It could not be read at all.
    Store(RepositoryError),
}

/// A stored report, if it is to be believed: signed where a public key is configured, and the one
/// that its name says. `None` when it is gone.
pub(super) fn believed(
    repository: &Repository,
    cluster: &ClusterName,
    name: ReportName,
    stored: Result<Option<StoredReport>, RepositoryError>,
) -> Result<Option<AuditReport>, Doubt> {
    let stored = match stored {
        Ok(Some(stored)) => stored,
        Ok(None) => return Ok(None),
        Err(RepositoryError::BadReportSignature { reason, .. }) => {
            return Err(Doubt::Finding(kinds::REPORT_SIGNATURE, reason));
        }
        Err(error @ RepositoryError::Damaged { .. }) => {
            return Err(Doubt::Finding(kinds::REPORT_DAMAGED, error.to_string()));
        }
        Err(error) => return Err(Doubt::Store(error)),
    };
    if repository.checks_signatures() && stored.signature != SignatureState::Verified {
        let message = "it is not signed, and a public key is configured".to_owned();
        return Err(Doubt::Finding(kinds::REPORT_UNSIGNED, message));
    }
    let damaged = |message: String| Doubt::Finding(kinds::REPORT_DAMAGED, message);
    let report = parse(&stored.bytes).map_err(damaged)?;
    let id = &repository.info().repository_id;
    let own = report.audit == name.audit
        && report.sequence == name.sequence
        && report.cluster == *cluster
        && report.repository_id == *id;
    match own {
        true => Ok(Some(report)),
        false => Err(damaged(format!(
            "it is report {} of audit {} of cluster {} in repository {:.40}",
            report.sequence, report.audit, report.cluster, report.repository_id
        ))),
    }
}

/// Schema first: a later version's report is called that, and not malformed.
fn parse(bytes: &[u8]) -> Result<AuditReport, String> {
    #[derive(Deserialize)]
    struct Probe {
        schema: String,
    }
    let malformed = |error: serde_json::Error| format!("not a report: {error}");
    let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
    let expected = format!("etcdr/{}/v1", AuditReport::THING);
    if probe.schema != expected {
        return Err(format!("its schema is {:.60}, and {expected} is read", probe.schema));
    }
    serde_json::from_slice(bytes).map_err(malformed)
}
