//! Carries the retention out: reads what the repository holds, decides once, then deletes manifests
//! and afterwards the objects that no manifest names.
//!
//! ```text
//! inventory (list, manifests) ─▶ holds, audits ─▶ decide (pure)
//!     ─▶ ledger ─▶ delete manifests, oldest first ─▶ sweep images
//! ```
//! Nothing here needs a key, and nothing but deleting needs a right to delete: an agent that may
//! only write can still save, and another identity prunes.

mod error;

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::retention::{self, Policy, Proof, Verdict};
use etcdr_repository::sweep::{MAX_LISTED, SweepOptions};
use etcdr_repository::{HoldState, Inventory, RecordedDeletions, Repository, Swept};
use etcdr_schemas::config::Retention;
use etcdr_schemas::report::{
    DeleteReport, PruneAction, PruneOutcome, PruneReason, PruneReport, PruneRule, PruneTotals,
    PrunedSnapshot,
};
use etcdr_schemas::units::Span;
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};

pub use error::Error;

use crate::audit;

/// Manifests that are deleted at the same time.
const CONCURRENCY: usize = 4;

/// The reason of a deletion that somebody asked for by name.
const ASKED: &str = "it was asked for by name";

/// Whether a decision is carried out.
#[derive(Debug, Clone, Copy)]
pub enum Mode<'a> {
    /// It is shown, and nothing is deleted.
    DryRun,
    /// It is carried out.
    Execute {
        /// Name of the agent; none for a command.
        by: Option<&'a str>,
    },
}

/// Decides which snapshots stay, and deletes the others when `mode` is [`Mode::Execute`]. `grace`
/// is the age that an object without a manifest must have before it is deleted.
///
/// # Errors
/// [`Error::NoRule`] when the policy keeps everything; [`Error::Repository`] when the store fails:
/// what was deleted until then was decided, and the next run goes on.
pub async fn run(
    repository: &Repository,
    cluster: &ClusterName,
    policy: &Retention,
    grace: Span,
    now: DateTime<Utc>,
    mode: Mode<'_>,
) -> Result<PruneReport, Error> {
    let parsed = Policy::new(policy)?;
    if !parsed.has_rules() {
        return Err(Error::NoRule);
    }
    let PruneInput { inventory, holds, proofs, mut warnings } =
        read_input(repository, cluster, now).await?;
    let candidates = inventory.candidates(&proofs);
    let verdicts = retention::decide(&parsed, now, &candidates, &holds);
    let mut snapshots: Vec<_> = verdicts.iter().map(row).collect();
    let dry_run = matches!(mode, Mode::DryRun);
    if let Mode::Execute { by } = mode {
        let deletions = snapshots.iter().filter(|row| row.action == PruneAction::Delete);
        let deletions = deletions.map(|row| (row.id, why(&row.reasons))).collect();
        // The ledger is written first: to an audit, a gap in the chain of manifests that no ledger
        // explains is a broken chain. An entry whose manifest still exists, after a kill, harms
        // nothing.
        let recorded = repository.record_pruned(cluster, &inventory, deletions, by, now).await?;
        carry_out(repository, cluster, &mut snapshots, &recorded, now).await?;
    }
    let age = Duration::from_std(grace.0).unwrap_or(Duration::MAX);
    // Images go last, and only when they are old: a manifest without its image would be a damaged
    // snapshot, and a young image may belong to a save that has not committed yet.
    let swept = repository.sweep(cluster, &inventory, SweepOptions { now, age, dry_run }).await?;
    warnings.extend(unsure(&swept));
    let totals = totals(&snapshots, &swept);
    if !dry_run && totals.withheld > 0 && totals.deleted == 0 && totals.swept == 0 {
        warnings.push(format!(
            "the store let nothing be deleted: {} objects are locked, or these credentials may \
             not delete, or may not write under pruned/ and deleted/",
            totals.withheld
        ));
    }
    let unusable = inventory.unusable.into_iter().chain(swept.unusable).collect();
    Ok(PruneReport {
        cluster: cluster.clone(),
        dry_run,
        decided_at: now,
        policy: policy.clone(),
        grace,
        snapshots,
        unusable,
        swept: swept.objects,
        totals,
        warnings,
    })
}

/// Deletes these snapshots by name. Their images stay until a prune finds them old enough. Without
/// `force`, nothing is deleted when one of them is held, is what a restore would be made of, or has
/// a manifest that cannot be used.
///
/// # Errors
/// [`Error::Held`], [`Error::Newest`], [`Error::Unusable`]; [`Error::Repository`] when the store
/// fails.
pub async fn delete(
    repository: &Repository,
    cluster: &ClusterName,
    ids: &[SnapshotId],
    force: bool,
    now: DateTime<Utc>,
) -> Result<DeleteReport, Error> {
    let PruneInput { inventory, holds, proofs, mut warnings } =
        read_input(repository, cluster, now).await?;
    let candidates = inventory.candidates(&proofs);
    if !force {
        let corners = retention::newest_restorable(now, &candidates);
        for id in ids {
            if let Some(why) = holds.get(id).and_then(HoldState::holding) {
                return Err(Error::Held { id: *id, why });
            }
            if let Some((_, why)) = corners.iter().find(|(corner, _)| corner == id) {
                return Err(Error::Newest { id: *id, why });
            }
            if candidates.iter().all(|candidate| candidate.id != *id) {
                return Err(Error::Unusable { id: *id });
            }
        }
    }
    let deletions = ids.iter().map(|id| (*id, ASKED.to_owned())).collect();
    let recorded = repository.record_pruned(cluster, &inventory, deletions, None, now).await?;
    let mut snapshots = Vec::new();
    for id in ids {
        let outcome = repository.delete_snapshot(cluster, id, &recorded, now, force).await?;
        if matches!(outcome, PruneOutcome::Withheld | PruneOutcome::Held) {
            let why = match outcome {
                PruneOutcome::Held => "it was held meanwhile",
                _ => {
                    "the store does not let it go: it is locked, or these credentials may not \
                     delete, or may not write under pruned/ and deleted/"
                }
            };
            warnings.push(format!("{id} stays: {why}"));
        }
        let detail = ASKED.to_owned();
        snapshots.push(PrunedSnapshot {
            id: *id,
            stored_size: inventory.entries.get(id).map_or(0, |known| known.stored_size),
            action: PruneAction::Delete,
            reasons: vec![PruneReason { rule: PruneRule::Asked, detail }],
            outcome: Some(outcome),
        });
    }
    let left = repository.list(cluster).await?.ids.len() as u64;
    Ok(DeleteReport { cluster: cluster.clone(), snapshots, left, warnings })
}

/// What is known before the decision.
struct PruneInput {
    inventory: Inventory,
    holds: BTreeMap<SnapshotId, HoldState>,
    proofs: BTreeMap<SnapshotId, Proof>,
    warnings: Vec<String>,
}

async fn read_input(
    repository: &Repository,
    cluster: &ClusterName,
    now: DateTime<Utc>,
) -> Result<PruneInput, Error> {
    let inventory = repository.inventory(cluster).await?;
    let holds = repository.holds(cluster, now).await?;
    let mut warnings = Vec::new();
    for (id, hold) in &holds {
        if let HoldState::Unreadable(why) = hold {
            warnings.push(format!("the hold of {id} cannot be read, and holds: {why}"));
        }
    }
    let proofs = audit::proofs(repository, cluster, &inventory.objects, now).await?;
    Ok(PruneInput { inventory, holds, proofs, warnings })
}

fn row(verdict: &Verdict) -> PrunedSnapshot {
    PrunedSnapshot {
        id: verdict.candidate.id,
        stored_size: verdict.candidate.stored_size,
        action: verdict.action,
        reasons: verdict.reasons.clone(),
        outcome: None,
    }
}

/// The reasons of a decision in one line.
fn why(reasons: &[PruneReason]) -> String {
    let details: Vec<&str> = reasons.iter().map(|reason| reason.detail.as_str()).collect();
    details.join("; ")
}

/// Deletes what was decided, oldest first: a run that is killed leaves the newest.
async fn carry_out(
    repository: &Repository,
    cluster: &ClusterName,
    snapshots: &mut [PrunedSnapshot],
    recorded: &RecordedDeletions,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let rows = snapshots.iter().enumerate().rev();
    let deletions = rows.filter(|(_, row)| row.action == PruneAction::Delete);
    // Owned, so that the future can be sent between threads.
    let deletions: Vec<_> = deletions.map(|(at, row)| (at, row.id)).collect();
    let mut deleted = stream::iter(deletions)
        .map(|(at, id)| async move {
            let outcome = repository.delete_snapshot(cluster, &id, recorded, now, false).await?;
            Ok::<_, Error>((at, outcome))
        })
        .buffered(CONCURRENCY);
    while let Some(done) = deleted.next().await {
        let (at, outcome) = done?;
        if let Some(row) = snapshots.get_mut(at) {
            row.outcome = Some(outcome);
        }
    }
    Ok(())
}

fn unsure(swept: &Swept) -> Option<String> {
    let (count, bytes) = swept.unsure;
    (count > 0).then(|| {
        format!(
            "{count} images ({bytes} bytes) that no readable manifest names stay: a manifest that \
             cannot be read may name them"
        )
    })
}

fn totals(snapshots: &[PrunedSnapshot], swept: &Swept) -> PruneTotals {
    let mut totals = PruneTotals {
        swept: swept.gone.0,
        swept_bytes: swept.gone.1,
        waiting: swept.waiting.0,
        waiting_bytes: swept.waiting.1,
        withheld: swept.withheld,
        ..PruneTotals::default()
    };
    for row in snapshots {
        let goes = row.action == PruneAction::Delete
            && !matches!(row.outcome, Some(PruneOutcome::Withheld | PruneOutcome::Held));
        let (count, bytes) = match goes {
            true => (&mut totals.deleted, &mut totals.deleted_bytes),
            false => (&mut totals.kept, &mut totals.kept_bytes),
        };
        *count = count.saturating_add(1);
        *bytes = bytes.saturating_add(row.stored_size);
        if row.outcome == Some(PruneOutcome::Withheld) {
            totals.withheld = totals.withheld.saturating_add(1);
        }
    }
    totals
}

/// Objects that a report lists one by one; all are counted.
pub const MAX_SWEPT: usize = MAX_LISTED;
