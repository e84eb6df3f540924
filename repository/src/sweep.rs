//! Carries a decision out: manifests first, and what nobody names any more after a grace age.
//!
//! A snapshot is deleted by deleting its manifest; the image stays until the grace has passed, for a restore that
//! reads it and for somebody who wants it back. Before that, the ledger is told. A copy of the manifest under
//! `deleted/` says since when, and is what brings the snapshot back. Killed at any moment, this leaves snapshots that
//! are whole and images that nobody lists.
//!
//! Uploads whose process was killed are ended as well, where the store tells of them.

mod claims;
mod objects;
mod orphans;
mod pages;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use etcdr_schemas::report::{PruneOutcome, SweptKind, SweptObject, Unusable};
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};
use futures_util::{StreamExt, stream};
use object_store::path::Path;

use crate::error::Result;
use crate::layout;
use crate::repository::Repository;
use crate::retention::{Candidate, Proof};
use crate::survey::Survey;

use orphans::Orphan;

/// Manifests that are read, or objects that are deleted, at once.
const AT_ONCE: usize = 8;

/// Most objects that are told one by one.
pub const MAX_TOLD: usize = 1_000;

/// Everything under a cluster's prefix, and what its manifests say: some 300 bytes a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Stock {
    /// What the listing has.
    pub survey: Survey,
    /// Manifests that can be read, with what they name.
    pub known: BTreeMap<SnapshotId, Known>,
    /// Manifests that cannot be used, with the reason.
    pub unusable: Vec<Unusable>,
    /// Whether some manifest could not be read: it may name any image, so none is an orphan.
    pub blind: bool,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Key of its image.
    pub image: Box<str>,
    /// Bytes of its image as stored.
    pub stored_size: u64,
    /// Whether it lists reasons not to trust it.
    pub suspect: bool,
    /// SHA-256 of its bytes.
    pub sha256: Sha256Digest,
    /// SHA-256 of the manifest that it follows.
    pub previous: Option<Sha256Digest>,
    /// Whether it may be believed: with a public key, whether it is signed. One that may not protects its image
    /// all the same.
    pub believed: bool,
}

/// What was swept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects that are gone, or would be, or were to be and are withheld: the first [`MAX_TOLD`].
    pub objects: Vec<SweptObject>,
    /// Number and bytes of all that are gone, or would be.
    pub gone: (u64, u64),
    /// Number and bytes of images that wait for the grace to pass.
    pub waiting: (u64, u64),
    /// Number and bytes of images that may belong to a manifest that cannot be read, and stay.
    pub unsure: (u64, u64),
    /// Objects that the store does not let go.
    pub withheld: u64,
    /// Manifests that were written meanwhile and cannot be used.
    pub unusable: Vec<Unusable>,
}

impl Swept {
    /// Counts one object and tells of it. What was gone or held is neither.
    fn count(&mut self, object: SweptObject) {
        match object.outcome {
            None | Some(PruneOutcome::Deleted) => {
                self.gone.0 = self.gone.0.saturating_add(1);
                self.gone.1 = self.gone.1.saturating_add(object.size);
            }
            Some(PruneOutcome::Withheld) => self.withheld = self.withheld.saturating_add(1),
            Some(PruneOutcome::Gone | PruneOutcome::Held) => return,
        }
        if self.objects.len() < MAX_TOLD {
            self.objects.push(object);
        }
    }
}

/// When something is old enough, and whether anything is deleted.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// The time, by the clock of whoever sweeps.
    pub now: DateTime<Utc>,
    /// Age from which on an object without a manifest is deleted.
    pub age: Duration,
    /// Deletes nothing.
    pub dry_run: bool,
}

impl Grace {
    /// Whether an object of this age goes. Ages are counted up to our time or that of the newest object in the
    /// listing, whichever is earlier: a clock of ours that jumped ahead makes nothing old.
    fn passed(&self, survey: &Survey, modified: DateTime<Utc>) -> bool {
        let newest = survey.newest.unwrap_or(self.now).min(self.now);
        // What was written after we looked at our clock is of now.
        newest.signed_duration_since(modified).max(Duration::zero()) >= self.age
    }
}

impl Stock {
    /// What the retention decides about, newest first.
    #[must_use]
    pub fn candidates(&self, proofs: &BTreeMap<SnapshotId, Proof>) -> Vec<Candidate> {
        let believed = self.known.iter().rev().filter(|(_, known)| known.believed);
        believed
            .map(|(id, known)| {
                let own = if known.suspect { Proof::Suspect } else { Proof::ReadBack };
                let image = self.survey.images.get(&known.image).map(|image| image.size);
                let proof = match proofs.get(id).copied() {
                    Some(Proof::Damaged) => Proof::Damaged,
                    // Gone, or another one: nothing can be restored from it.
                    _ if image != Some(known.stored_size) => Proof::Damaged,
                    // Its bytes are as they were stored, and may be wrong all the same.
                    Some(Proof::Audited) if !known.suspect => Proof::Audited,
                    _ => own,
                };
                Candidate { id: *id, stored_size: known.stored_size, proof }
            })
            .collect()
    }
}

impl Repository {
    /// Lists everything of a cluster and reads all its manifests.
    ///
    /// # Errors
    /// [`crate::Error::Store`] and [`crate::Error::TooManySnapshots`]. A manifest that cannot be used is no error.
    pub async fn stock(&self, cluster: &ClusterName) -> Result<Stock> {
        let survey = self.survey(cluster).await?;
        let mut stock = Stock { survey, ..Stock::default() };
        let ids = stock.survey.ids.clone();
        self.read_into(cluster, &mut stock, &ids).await;
        Ok(stock)
    }

    async fn read_into(&self, cluster: &ClusterName, stock: &mut Stock, ids: &[SnapshotId]) {
        let signed = &stock.survey.signatures;
        let examined: Vec<_> = stream::iter(ids.iter().copied())
            .map(|id| {
                let signed = signed.contains_key(&id);
                async move {
                    (id, orphans::weigh(cluster, &id, self.examine(cluster, &id, signed).await))
                }
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        for (id, weighed) in examined {
            let orphans::Weighed { known, unusable, blind } = weighed;
            stock.blind |= blind;
            stock.known.extend(known.map(|known| (id, known)));
            stock.unusable.extend(unusable);
        }
    }

    /// Deletes what nobody names any more and is older than the grace: images, signatures, claims, pages of the ledger,
    /// what was noted of snapshots that are gone, and uploads that never ended. Everything is listed again first, so that what a manifest written meanwhile
    /// names is safe. An object that the store keeps is counted and skipped.
    ///
    /// # Errors
    /// [`crate::Error::Store`] when the store fails; what was deleted until then was not needed.
    pub async fn sweep(&self, cluster: &ClusterName, stock: &Stock, grace: Grace) -> Result<Swept> {
        let fresh = self.fresh(cluster, stock, grace).await?;
        let mut swept = Swept {
            unusable: fresh.unusable.iter().skip(stock.unusable.len()).cloned().collect(),
            ..Swept::default()
        };
        let buried = self.buried(cluster, &fresh).await?;
        let plan = orphans::plan(cluster, &fresh, &buried, grace);
        (swept.waiting, swept.unsure) = (plan.waiting, plan.unsure);
        let kept = self.erase_all(cluster, plan.images, grace, &mut swept).await?;
        let kept: BTreeSet<&str> = kept.iter().map(Path::as_ref).collect();
        let rest = orphans::tombstones(cluster, &fresh, &buried, &kept, grace);
        self.erase_all(cluster, plan.signatures, grace, &mut swept).await?;
        let noted: BTreeSet<Path> = rest.iter().map(|orphan| orphan.key.clone()).collect();
        let kept = self.erase_all(cluster, rest, grace, &mut swept).await?;
        let undone = |id: &SnapshotId| {
            let key = layout::tombstone(cluster, id);
            !noted.contains(&key) || kept.contains(&key)
        };
        let claims = self.old_claims(cluster, &fresh.survey, grace).await?;
        self.erase_all(cluster, claims, grace, &mut swept).await?;
        self.sweep_ledger(cluster, &fresh, undone, grace, &mut swept).await?;
        self.sweep_uploads(cluster, &fresh.survey, grace, &mut swept).await?;
        Ok(swept)
    }

    /// The same as `stock`, as of now. What is known of manifests that are still there is not read again: they
    /// never change.
    async fn fresh(&self, cluster: &ClusterName, stock: &Stock, grace: Grace) -> Result<Stock> {
        if grace.dry_run {
            return Ok(stock.clone());
        }
        let survey = self.survey(cluster).await?;
        let there: BTreeSet<_> = survey.ids.iter().copied().collect();
        let known = stock.known.iter().filter(|(id, _)| there.contains(id));
        let known: BTreeMap<_, _> = known.map(|(id, known)| (*id, known.clone())).collect();
        let before: BTreeSet<_> = stock.survey.ids.iter().copied().collect();
        let new: Vec<_> = there.difference(&before).copied().collect();
        let (unusable, blind) = (stock.unusable.clone(), stock.blind);
        let mut fresh = Stock { survey, known, unusable, blind };
        self.read_into(cluster, &mut fresh, &new).await;
        Ok(fresh)
    }

    /// Deletes these and tells what became of them; keys of images that are still there are given back.
    async fn erase_all(
        &self,
        cluster: &ClusterName,
        orphans: Vec<Orphan>,
        grace: Grace,
        swept: &mut Swept,
    ) -> Result<Vec<Path>> {
        let mut kept = Vec::new();
        let mut erased = stream::iter(orphans)
            .map(|orphan| async move {
                let outcome = match grace.dry_run {
                    true => None,
                    false => Some(self.erase_orphan(cluster, &orphan).await?),
                };
                Ok::<_, crate::Error>((orphan, outcome))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(result) = erased.next().await {
            let (orphan, outcome) = result?;
            let (key, kind, size) = (orphan.key.to_string(), orphan.kind, orphan.size);
            swept.count(SweptObject { key, kind, size, outcome });
            if matches!(outcome, Some(PruneOutcome::Withheld | PruneOutcome::Held)) {
                kept.push(orphan.key);
            }
        }
        Ok(kept)
    }

    /// Deletes one. An image whose manifest has come since the listing stays.
    async fn erase_orphan(&self, cluster: &ClusterName, orphan: &Orphan) -> Result<PruneOutcome> {
        let of = match orphan.kind {
            SweptKind::Image => layout::image_of(orphan.key.as_ref()),
            _ => None,
        };
        match of {
            Some(id) if self.has_manifest(cluster, &id).await? => Ok(PruneOutcome::Held),
            _ => self.erase(&orphan.key).await,
        }
    }
}
