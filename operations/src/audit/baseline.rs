//! Reads all that an audit knows before the first image, and makes its reports.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use etcdr_repository::{ClusterObjects, Grace, Inventory, Repository, layout};
use etcdr_schemas::report::{
    AuditInventory, AuditOutcome, AuditReport, AuditSettings, AuditState, AuditTotals,
    AuditVerdict, Level, Severity,
};
use etcdr_schemas::{AuditId, ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};

use super::findings::Findings;
use super::history::{self, History};
use super::manifest_facts::{self, ClusterFacts};
use super::walk::{self, Steps};
use super::{AuditRequest, Error, Limits, choose, compare, kinds, timeline};
use crate::verify;

/// Second checks of objects that run at the same time.
const CONCURRENCY: usize = 16;

/// Everything that is known before the first image is read.
pub(super) struct Baseline {
    base: AuditReport,
    pub(super) settings: AuditSettings,
    pub(super) facts: ClusterFacts,
    findings: Findings,
    /// When each snapshot was last found good, by earlier audits.
    verified: BTreeMap<SnapshotId, DateTime<Utc>>,
    limits: Limits,
    /// Number of the last report of the audit that is continued; 0 for a new one.
    pub(super) sequence: u32,
}

pub(super) struct Prepared {
    pub(super) baseline: Baseline,
    pub(super) steps: Steps,
}

/// Lists, reads manifests and earlier reports, and chooses: the beginning of a run.
pub(super) async fn prepare(
    repository: &Repository,
    request: &AuditRequest,
    now: DateTime<Utc>,
) -> Result<Prepared, Error> {
    let cluster = &request.cluster;
    let (objects, facts, mut findings) = surface(repository, request, now).await?;
    let ids = facts.ids();
    let wanted = request.resume.then_some(&request.selection);
    let search = history::Search { ids: &ids, wanted, now };
    let names = objects.reports.iter().rev().copied();
    let History { verified, unfinished, findings: doubts, .. } =
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
            let settings = request.selection.settings(request.seed);
            let pending = choose::choose(&ids, &settings, &verified).into();
            let base = begin(repository, request, settings, now);
            (base, Steps { pending, ..Steps::default() })
        }
    };
    let base = AuditReport {
        inventory: AuditInventory {
            snapshots: ids.len() as u64,
            objects: objects.count,
            bytes: objects.bytes,
            pruned: facts.pruned,
            ..AuditInventory::default()
        },
        tool_version: request.tool_version.clone(),
        ..base
    };
    let (settings, limits) = (base.settings.clone(), request.limits);
    let baseline = Baseline { base, settings, facts, findings, verified, limits, sequence };
    Ok(Prepared { baseline, steps })
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

/// What is known without reading an image: from the listing and the manifests.
async fn surface(
    repository: &Repository,
    request: &AuditRequest,
    now: DateTime<Utc>,
) -> Result<(ClusterObjects, ClusterFacts, Findings), Error> {
    let cluster = &request.cluster;
    let (mut facts, mut findings) = (ClusterFacts::default(), Findings::default());
    let inventory = Inventory::read(repository, cluster, |id, examined| {
        let (fact, found) = manifest_facts::weigh(cluster, *id, examined, repository.info());
        facts.list.push(fact);
        findings.extend(found);
    });
    let inventory = inventory.await?;
    confirm_images(repository, cluster, &inventory.objects, &mut facts, &mut findings).await?;
    let grace = Grace { now, age: request.limits.grace };
    let mut orphans = stream::iter(compare::orphans(&inventory, grace))
        .map(|orphan| async move {
            let named = match &orphan.snapshot {
                Some(id) => repository.has_manifest(cluster, id).await?,
                None => false,
            };
            // The save that it belonged to may have been committed, or it was pruned.
            let there = repository.stored_image(cluster, &orphan.key).await?.is_some();
            Ok::<_, Error>((there && !named).then(|| compare::orphan_finding(&orphan)))
        })
        .buffered(CONCURRENCY);
    while let Some(finding) = orphans.next().await {
        findings.extend(finding?);
    }
    let signature = |id: &SnapshotId| layout::signature(cluster, id).to_string();
    findings.extend(compare::leftovers(&inventory, &signature, grace));
    findings.count_more(kinds::OBJECT_UNKNOWN.code, compare::more_unknown_keys(&inventory.objects));
    // Read after the manifests: what was deleted since the listing is in it.
    let ledger = match repository.ledger(cluster).await {
        Ok(ledger) => Some(ledger),
        Err(error) => {
            let place = layout::ledger(cluster).to_string();
            findings.add(kinds::UNCHECKED.at(place, error.to_string()));
            None
        }
    };
    findings.extend(timeline::findings(cluster, &facts.list, ledger.as_ref(), now));
    if let Some(ledger) = ledger {
        facts.pruned = timeline::deleted_chains(&facts.list, &ledger).count();
        findings.extend(ledger.unusable_pages.into_iter().map(verify::unreadable));
    }
    Ok((inventory.objects, facts, findings))
}

/// Checks again the images that the listing lacks or has with another size: a save or a prune may
/// have run between the listing and the manifests.
async fn confirm_images(
    repository: &Repository,
    cluster: &ClusterName,
    objects: &ClusterObjects,
    facts: &mut ClusterFacts,
    findings: &mut Findings,
) -> Result<(), Error> {
    let mut checked = stream::iter(compare::suspects(objects, facts))
        .map(|suspect| async move {
            let object = repository.stored_image(cluster, &suspect.image).await?;
            let manifest = repository.has_manifest(cluster, &suspect.id).await?;
            Ok::<_, Error>((suspect.id, compare::confirm(&suspect, object, manifest)))
        })
        .buffered(CONCURRENCY);
    while let Some(checked) = checked.next().await {
        if let (id, Some(finding)) = checked? {
            facts.broken.insert(id);
            findings.add(finding);
        }
    }
    Ok(())
}

impl Baseline {
    /// The report as of now.
    pub(super) fn report(
        &self,
        steps: &Steps,
        state: AuditState,
        now: DateTime<Utc>,
    ) -> AuditReport {
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
