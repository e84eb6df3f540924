//! Audits: everything a repository holds of a cluster, looked at in the background of daily life.
//!
//! ```text
//! survey (one listing) ─▶ every manifest ─▶ what they say against what is there, and against one another
//!        ─▶ the chosen snapshots, one after the other, as deep as asked ─▶ report
//! ```
//! The first line is done for all snapshots in every run: it reads no image. Decisions are functions over plain
//! data (`choose`, `facts`, `compare`, `timeline`); this module and `walk` carry them out.
//!
//! Nothing ends an audit but a signal, the budget, or a store that no longer answers; then its report says what
//! is still to do. Reports are written on the way and each stands alone, so that an audit that was killed goes
//! on from the last one: progress lives where the snapshots are, and needs no disk of the auditor's.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::{Identities, ReportName, Repository, Survey, layout};
use etcdr_schemas::report::{
    AuditInventory, AuditOutcome, AuditReport, AuditSettings, AuditState, AuditTotals,
    AuditVerdict, Level, Severity,
};
use etcdr_schemas::{AuditId, ClusterName, Progress, SnapshotId};
use futures_util::{StreamExt, stream};
use tokio::sync::watch;

pub use choose::{Budget, Wanted};
pub use error::Error;
pub use journal::Destination;
pub use timeline::Limits;

use facts::Facts;
use findings::Findings;
use history::History;
use journal::Journal;
use walk::{Steps, Walk};

use crate::capture::Clock;

mod choose;
mod compare;
mod error;
mod facts;
mod findings;
mod history;
mod journal;
pub mod kinds;
mod timeline;
mod walk;

/// Manifests that are read, or objects that are looked at again, at once.
const AT_ONCE: usize = 16;

/// What to audit, and how.
#[derive(Debug)]
pub struct AuditRequest {
    /// Name of the cluster in the repository.
    pub cluster: ClusterName,
    /// Level, order, sample.
    pub wanted: Wanted,
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

/// Tells a running audit to end.
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
/// When the cluster cannot be listed, and [`Error::Interrupted`] when stopped before the first snapshot was looked
/// at. What is found is in the report.
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
        prepared = prepare(repository, request, began) => prepared?,
    };
    let Prepared { scene, mut steps } = prepared;
    let walk = Walk {
        repository,
        cluster: &request.cluster,
        level: scene.settings.level,
        identities: &request.identities,
        facts: &scene.facts,
        clock,
        progress,
    };
    let (destination, interval) = (&request.destination, request.checkpoint);
    let mut journal = Journal::new(repository, destination, interval, began, scene.sequence);
    let total = steps.pending.iter().map(|id| walk.cost(id)).fold(0, u64::saturating_add);
    progress.begin("auditing", Some(total));
    let state = walk
        .run(&mut steps, budget, stop, async |steps, now| {
            if journal.is_due(now) {
                journal.checkpoint(scene.report(steps, AuditState::Running, now), now).await;
            }
        })
        .await;
    progress.end();
    let mut report = scene.report(&steps, state, clock());
    if state == AuditState::OutOfBudget && !budget.was_used() {
        let message = "it does not reach for a single snapshot";
        amend(&mut report, kinds::BUDGET.at(request.cluster.to_string(), message));
    }
    let mut key = None;
    match journal.write(report.clone()).await {
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
    Ok(Audited { report, resumed: scene.sequence > 0, key })
}

/// The newest report of a cluster's audits that is to be believed, and its key.
///
/// # Errors
/// [`Error::NoReport`] when there is none, [`Error::Report`] when the newest one is not what it should be.
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

/// Adds a finding to a report that is built already.
fn amend(report: &mut AuditReport, finding: etcdr_schemas::report::Finding) {
    let count = report.counts.entry(finding.code.clone()).or_default();
    *count = count.saturating_add(1);
    if report.verdict == AuditVerdict::Good {
        report.verdict = AuditVerdict::Warnings;
    }
    report.findings.push(finding);
}

/// Everything that is known before the first image is read.
struct Scene {
    base: AuditReport,
    settings: AuditSettings,
    facts: Facts,
    findings: Findings,
    /// When each snapshot was last found good, by earlier audits.
    verified: BTreeMap<SnapshotId, DateTime<Utc>>,
    limits: Limits,
    /// Number of the last report of the audit that is continued; 0 for a new one.
    sequence: u32,
}

struct Prepared {
    scene: Scene,
    steps: Steps,
}

async fn prepare(
    repository: &Repository,
    request: &AuditRequest,
    now: DateTime<Utc>,
) -> Result<Prepared, Error> {
    let cluster = &request.cluster;
    let survey = repository.survey(cluster).await?;
    let (facts, mut findings) = surface(repository, request, &survey, now).await?;
    let ids = facts.ids();
    let wanted = request.resume.then_some(&request.wanted);
    let search = history::Search { ids: &ids, wanted, now };
    let names = survey.reports.iter().rev().copied();
    let History { verified, unfinished, findings: doubts } =
        history::read(repository, cluster, names, search).await?;
    findings.extend(doubts);
    let sequence = unfinished.as_ref().map_or(0, |report| report.sequence);
    let (base, steps) = match unfinished {
        Some(mut report) => {
            let steps = Steps {
                results: std::mem::take(&mut report.results),
                pending: std::mem::take(&mut report.pending).into(),
                bytes_read: report.totals.bytes_read,
                ..Steps::default()
            };
            (report, steps)
        }
        None => {
            let settings = request.wanted.settings(request.seed);
            let pending = choose::choose(&ids, &settings, &verified).into();
            let base = begin(repository, request, settings, now);
            (base, Steps { pending, ..Steps::default() })
        }
    };
    let base = AuditReport {
        inventory: AuditInventory {
            snapshots: ids.len() as u64,
            objects: survey.objects,
            bytes: survey.bytes,
            ..AuditInventory::default()
        },
        tool_version: request.tool_version.clone(),
        ..base
    };
    let (settings, limits) = (base.settings.clone(), request.limits);
    let scene = Scene { base, settings, facts, findings, verified, limits, sequence };
    Ok(Prepared { scene, steps })
}

/// A report of a new audit, with nothing in it yet.
fn begin(
    repository: &Repository,
    request: &AuditRequest,
    settings: AuditSettings,
    now: DateTime<Utc>,
) -> AuditReport {
    AuditReport {
        audit: AuditId::new(now, request.nonce),
        sequence: 0,
        repository_id: repository.info().repository_id.clone(),
        cluster: request.cluster.clone(),
        state: AuditState::Running,
        verdict: AuditVerdict::Good,
        settings,
        started_at: now,
        written_at: now,
        tool_version: String::new(),
        inventory: AuditInventory::default(),
        totals: AuditTotals::default(),
        findings: Vec::new(),
        counts: BTreeMap::new(),
        results: Vec::new(),
        pending: Vec::new(),
    }
}

/// What can be told without reading an image: manifests, and the listing.
async fn surface(
    repository: &Repository,
    request: &AuditRequest,
    survey: &Survey,
    now: DateTime<Utc>,
) -> Result<(Facts, Findings), Error> {
    let cluster = &request.cluster;
    let (mut facts, mut findings) = (Facts::default(), Findings::default());
    let mut examined = stream::iter(survey.ids.iter().copied())
        .map(|id| {
            let signed = survey.signatures.contains_key(&id);
            async move { (id, repository.examine(cluster, &id, signed).await) }
        })
        .buffered(AT_ONCE);
    while let Some((id, examined)) = examined.next().await {
        // One that was pruned since the listing is no snapshot any more.
        let Some(examined) = examined.transpose() else { continue };
        let (fact, found) = facts::weigh(cluster, id, examined, repository.info());
        facts.list.push(fact);
        findings.extend(found);
    }
    drop(examined);
    confirm_images(repository, cluster, survey, &mut facts, &mut findings).await?;
    let grace = request.limits.grace;
    let orphans = compare::orphans(survey, &facts, now, grace);
    let mut orphans = stream::iter(orphans)
        .map(|orphan| async move {
            let named = match &orphan.id {
                Some(id) => repository.has_manifest(cluster, id).await?,
                None => false,
            };
            // The save that it belonged to may have been committed, or it was pruned.
            let there = repository.stored_image(cluster, &orphan.image).await?.is_some();
            Ok::<_, Error>((there && !named).then(|| orphan.finding()))
        })
        .buffered(AT_ONCE);
    while let Some(finding) = orphans.next().await {
        findings.extend(finding?);
    }
    let signature = |id: &SnapshotId| layout::signature(cluster, id).to_string();
    findings.extend(compare::leftovers(survey, &signature, now, grace));
    findings.count_more(kinds::OBJECT_UNKNOWN.code, compare::more_strangers(survey));
    findings.extend(timeline::findings(cluster, &facts.list, now));
    Ok((facts, findings))
}

/// Looks again at images that the listing does not have as it should.
async fn confirm_images(
    repository: &Repository,
    cluster: &ClusterName,
    survey: &Survey,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Result<(), Error> {
    let mut looked = stream::iter(compare::suspects(survey, facts))
        .map(|suspect| async move {
            let object = repository.stored_image(cluster, &suspect.image).await?;
            let manifest = repository.has_manifest(cluster, &suspect.id).await?;
            Ok::<_, Error>((suspect.id, compare::judge(&suspect, object, manifest)))
        })
        .buffered(AT_ONCE);
    while let Some(looked) = looked.next().await {
        if let (id, Some(finding)) = looked? {
            facts.broken.insert(id);
            findings.add(finding);
        }
    }
    Ok(())
}

impl Scene {
    /// The report as of now.
    fn report(&self, steps: &Steps, state: AuditState, now: DateTime<Utc>) -> AuditReport {
        let (results, pending) = (steps.results.clone(), steps.pending.iter().copied().collect());
        let mut verified = self.verified.clone();
        for result in &results {
            let deep = result.passed.is_some_and(|level| level >= Level::Object);
            if result.outcome == AuditOutcome::Good && deep {
                verified.insert(result.id, result.at);
            }
        }
        let mut findings = self.findings.clone();
        let (facts, cluster) = (&self.facts, &self.base.cluster);
        findings.extend(timeline::staleness(cluster, facts, &verified, &self.limits, now));
        let never = facts.sound().filter(|fact| !verified.contains_key(&fact.id)).count() as u64;
        if never > 0 {
            let message =
                format!("{never} snapshots were never found good at level object or deeper");
            findings.add(kinds::UNVERIFIED.at(cluster.to_string(), message));
        }
        findings.extend(steps.note.clone());
        let totals = totals(steps);
        let worst = findings.worst().max(walk::worst(&results));
        let verdict = match worst {
            _ if totals.damaged > 0 => AuditVerdict::Damaged,
            Some(Severity::Damage) => AuditVerdict::Damaged,
            Some(Severity::Warning) => AuditVerdict::Warnings,
            _ if totals.unchecked > 0 => AuditVerdict::Warnings,
            _ => AuditVerdict::Good,
        };
        let mut counts = findings.counts().clone();
        for finding in results.iter().flat_map(|result| &result.findings) {
            let count = counts.entry(finding.code.clone()).or_default();
            *count = count.saturating_add(1);
        }
        let inventory = AuditInventory {
            newest: facts.newest(now.checked_add_signed(timeline::SKEW).unwrap_or(now)),
            newest_verified: timeline::newest_verified(facts, &verified),
            never_verified: never,
            ..self.base.inventory.clone()
        };
        let findings = findings.list().to_vec();
        let base = self.base.clone();
        let report = AuditReport { state, verdict, written_at: now, inventory, ..base };
        AuditReport { totals, findings, counts, results, pending, ..report }
    }
}

fn totals(steps: &Steps) -> AuditTotals {
    let count =
        |outcome| steps.results.iter().filter(|result| result.outcome == outcome).count() as u64;
    AuditTotals {
        chosen: (steps.results.len() as u64).saturating_add(steps.pending.len() as u64),
        good: count(AuditOutcome::Good),
        damaged: count(AuditOutcome::Damaged),
        unchecked: count(AuditOutcome::Unchecked),
        bytes_read: steps.bytes_read,
    }
}
