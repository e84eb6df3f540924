//! Checks the chosen snapshots one after the other at the level asked for; whatever one gives, the
//! next one follows.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use etcdr_repository::{Identities, Repository};
use etcdr_schemas::report::{AuditOutcome, AuditResult, AuditState, Finding, Level, Severity};
use etcdr_schemas::{ClusterName, Diagnose, ExitCode, Hidden, Progress, SnapshotId};

use super::Stop;
use super::choose::{self, Budget};
use super::kinds;
use super::manifest_facts::{ClusterFacts, Usability};
use crate::{Clock, verify};

/// Most findings that are kept of one snapshot.
const MAX_FINDINGS: usize = 20;

/// Snapshots in a row that may fail because the store does not answer, before the walk gives up.
const MAX_SILENT: u32 = 3;

/// What a walk needs.
pub(super) struct Walk<'a> {
    pub(super) repository: &'a Repository,
    pub(super) cluster: &'a ClusterName,
    pub(super) level: Level,
    pub(super) identities: &'a Identities,
    pub(super) facts: &'a ClusterFacts,
    pub(super) clock: &'a Clock,
    pub(super) progress: &'a Arc<dyn Progress>,
}

/// How far a walk came.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) results: Vec<AuditResult>,
    pub(super) pending: VecDeque<SnapshotId>,
    pub(super) bytes_read: u64,
    /// Why it ended before its time, when the store went away.
    pub(super) note: Option<Finding>,
}

impl Walk<'_> {
    /// Goes on until everything is checked, the budget is used up, or it is stopped. `after` is
    /// called after each snapshot.
    pub(super) async fn run(
        &self,
        steps: &mut Steps,
        budget: &mut Budget,
        stop: &mut Stop,
        mut after: impl AsyncFnMut(&Steps, DateTime<Utc>),
    ) -> AuditState {
        let mut silent = 0;
        while let Some(&id) = steps.pending.front() {
            let cost = self.cost(&id);
            if !budget.allows(cost, (self.clock)()) {
                return AuditState::OutOfBudget;
            }
            let examined = tokio::select! {
                biased;
                () = stop.raised() => return AuditState::Interrupted,
                examined = self.examine(&id) => examined,
            };
            steps.pending.pop_front();
            // A snapshot that was pruned meanwhile is no result.
            if let Some(Examination { result, unreachable }) = examined {
                silent = if unreachable { silent + 1 } else { 0 };
                budget.spend(result.bytes);
                steps.bytes_read = steps.bytes_read.saturating_add(result.bytes);
                self.progress.advance(result.bytes);
                steps.results.push(result);
            }
            after(steps, (self.clock)()).await;
            if silent >= MAX_SILENT {
                let message = format!("the store gave no answer for {silent} snapshots in a row");
                steps.note = Some(kinds::UNCHECKED.at(self.cluster.to_string(), message));
                put_back(steps, silent);
                return AuditState::Interrupted;
            }
        }
        AuditState::Complete
    }

    /// Stored bytes that the check of a snapshot will read.
    pub(super) fn cost(&self, id: &SnapshotId) -> u64 {
        let whole = self.facts.get(id).filter(|fact| !self.facts.broken.contains(&fact.id));
        let details = whole.and_then(|fact| fact.details());
        details.map_or(0, |details| choose::cost(self.level, details.stored_size))
    }

    async fn examine(&self, id: &SnapshotId) -> Option<Examination> {
        let fact = self.facts.get(id)?;
        let known = |outcome, passed| Some(Examination::plain(self.result(id, outcome, passed)));
        match &fact.usability {
            Usability::Damaged => return known(AuditOutcome::Damaged, None),
            Usability::Refused | Usability::Unread => return known(AuditOutcome::Unchecked, None),
            Usability::Usable(_) if self.facts.broken.contains(id) => {
                return known(AuditOutcome::Damaged, Some(Level::Manifest));
            }
            Usability::Usable(_) if self.level == Level::Manifest => {
                return known(AuditOutcome::Good, Some(Level::Manifest));
            }
            Usability::Usable(_) => {}
        }
        // Read again: what is kept of it is not enough, and it may have changed.
        let loaded = match self.repository.manifest(self.cluster, id).await {
            Ok(loaded) => loaded,
            Err(error) => return Some(self.failed(id, None, &error)),
        };
        let hidden: Arc<dyn Progress> = Arc::new(Hidden);
        let manifest = &loaded.manifest;
        let (report, outcome) =
            verify::image(self.repository, manifest, self.level, self.identities, &hidden).await;
        let passed = report.passed.last().copied();
        let mut examined = match outcome {
            Ok(()) => {
                let good = if report.ok { AuditOutcome::Good } else { AuditOutcome::Damaged };
                Examination::plain(self.result(id, good, passed))
            }
            Err(error) => self.failed(id, passed, &error),
        };
        let result = &mut examined.result;
        // A level that failed has read the image to its end or near it; one that could not be made
        // has not.
        let read = match result.outcome {
            AuditOutcome::Good | AuditOutcome::Unchecked => passed.unwrap_or(Level::Manifest),
            AuditOutcome::Damaged => next(passed.unwrap_or(Level::Manifest)).min(self.level),
        };
        result.bytes = choose::cost(read, manifest.image.stored_size);
        let mut findings = report.findings;
        // The worst ones are kept.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        findings.truncate(MAX_FINDINGS);
        result.findings.extend(findings);
        Some(examined)
    }

    /// The check could not be made, or says that the manifest itself is damaged now.
    fn failed(
        &self,
        id: &SnapshotId,
        passed: Option<Level>,
        error: &(impl Diagnose + ?Sized),
    ) -> Examination {
        let text: String = error.to_string().chars().take(600).collect();
        let place = id.to_string();
        let (outcome, finding): (_, Finding) = match error.exit_code() {
            ExitCode::Damaged => {
                (AuditOutcome::Damaged, kinds::MANIFEST_UNREADABLE.at(place, text))
            }
            ExitCode::Key => (AuditOutcome::Unchecked, kinds::KEY.at(place, text)),
            _ => (AuditOutcome::Unchecked, kinds::UNCHECKED.at(place, text)),
        };
        let mut result = self.result(id, outcome, passed);
        result.findings.push(finding);
        Examination { result, unreachable: !error.is_permanent() }
    }

    fn result(&self, id: &SnapshotId, outcome: AuditOutcome, passed: Option<Level>) -> AuditResult {
        let at = (self.clock)();
        AuditResult { id: *id, outcome, passed, at, bytes: 0, findings: Vec::new() }
    }
}

struct Examination {
    result: AuditResult,
    /// The store did not answer; it may when asked again.
    unreachable: bool,
}

impl Examination {
    const fn plain(result: AuditResult) -> Self {
        Self { result, unreachable: false }
    }
}

fn next(level: Level) -> Level {
    Level::ALL.into_iter().find(|other| *other > level).unwrap_or(level)
}

/// Those that the store did not give are still to be checked: `--resume` tries them again.
fn put_back(steps: &mut Steps, count: u32) {
    let keep = steps.results.len().saturating_sub(count as usize);
    for result in steps.results.split_off(keep).into_iter().rev() {
        steps.pending.push_front(result.id);
    }
}

/// Worst severity among the findings of results.
pub(super) fn worst(results: &[AuditResult]) -> Option<Severity> {
    results.iter().flat_map(|result| &result.findings).map(|finding| finding.severity).max()
}
