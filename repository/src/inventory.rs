//! Everything that lies under a cluster's prefix, and what its manifests say: audits, retentions
//! and sweeps decide on it.
//!
//! Unlike [`crate::catalog`], which finds snapshots to use, nothing is left out here and nothing is
//! refused: what cannot be used is what an audit wants to hear of, and what a sweep has to leave
//! alone.

pub(crate) mod deletions;
mod grace;
mod listing;
mod manifests;
mod orphans;

use std::collections::{BTreeMap, BTreeSet};

use etcdr_schemas::report::Unusable;
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};

use crate::error::Result;
use crate::repository::Repository;
use crate::retention::{Candidate, Proof};

pub use grace::Grace;
pub use listing::{ClusterObjects, MAX_OBJECTS, MAX_UNKNOWN_KEYS, StoredObject};
pub use manifests::{ExaminedManifest, ManifestEntry};
pub use orphans::{Certainty, OrphanImage, Orphans};

/// Manifests that are read at once.
const AT_ONCE: usize = 16;

/// Everything under a cluster's prefix, and what its manifests say: some 300 bytes a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// What the listing has.
    pub objects: ClusterObjects,
    /// Manifests that can be read, with what they name.
    pub entries: BTreeMap<SnapshotId, ManifestEntry>,
    /// Manifests that cannot be used, with the reason.
    pub unusable: Vec<Unusable>,
    /// Whether some manifest could not be read: it may name any image, so none is an orphan.
    pub incomplete: bool,
    /// Whether that is because the store did not give it.
    pub unread: bool,
}

impl Inventory {
    /// Lists everything of a cluster and reads all its manifests. `each` sees every manifest as it
    /// is, newest first, or why it cannot be read; one that is gone by the time that it is read is
    /// none.
    ///
    /// # Errors
    /// [`crate::Error::Store`] and [`crate::Error::TooManySnapshots`] of the listing. A manifest
    /// that cannot be used is no error.
    pub async fn read(
        repository: &Repository,
        cluster: &ClusterName,
        each: impl FnMut(&SnapshotId, &Result<ExaminedManifest>),
    ) -> Result<Self> {
        let objects = repository.list_objects(cluster).await?;
        let ids = objects.ids.clone();
        let mut inventory = Self { objects, ..Self::default() };
        inventory.read_manifests(repository, cluster, &ids, each).await;
        Ok(inventory)
    }

    /// The inventory as it is now. Manifests that were read before and are still there are not read
    /// again: they never change.
    ///
    /// # Errors
    /// As [`Inventory::read`].
    pub(crate) async fn read_again(
        &self,
        repository: &Repository,
        cluster: &ClusterName,
    ) -> Result<Self> {
        let objects = repository.list_objects(cluster).await?;
        let there: BTreeSet<_> = objects.ids.iter().copied().collect();
        let before: BTreeSet<_> = self.objects.ids.iter().copied().collect();
        let new: Vec<_> = there.difference(&before).copied().collect();
        let entries = self.entries.iter().filter(|(id, _)| there.contains(id));
        let mut fresh = Self {
            objects,
            entries: entries.map(|(id, entry)| (*id, entry.clone())).collect(),
            unusable: self.unusable.clone(),
            incomplete: self.incomplete,
            unread: self.unread,
        };
        fresh.read_manifests(repository, cluster, &new, |_, _| ()).await;
        Ok(fresh)
    }

    async fn read_manifests(
        &mut self,
        repository: &Repository,
        cluster: &ClusterName,
        ids: &[SnapshotId],
        mut each: impl FnMut(&SnapshotId, &Result<ExaminedManifest>),
    ) {
        let signed: BTreeSet<_> = self.objects.signatures.keys().copied().collect();
        let mut examined = stream::iter(ids.iter().copied())
            .map(|id| {
                let signed = signed.contains(&id);
                async move { (id, repository.examine(cluster, &id, signed).await) }
            })
            .buffered(AT_ONCE);
        while let Some((id, examined)) = examined.next().await {
            let Some(examined) = examined.transpose() else { continue };
            each(&id, &examined);
            let summary = manifests::summarise(cluster, &id, &examined);
            self.incomplete |= summary.incomplete;
            self.unread |= summary.unread;
            self.entries.extend(summary.entry.map(|entry| (id, entry)));
            self.unusable.extend(summary.unusable);
        }
    }

    /// What the retention decides about, newest first.
    #[must_use]
    pub fn candidates(&self, proofs: &BTreeMap<SnapshotId, Proof>) -> Vec<Candidate> {
        let trusted = self.entries.iter().rev().filter(|(_, entry)| entry.trusted);
        trusted
            .map(|(id, entry)| {
                let own = if entry.suspect { Proof::Suspect } else { Proof::ReadBack };
                let image = self.objects.images.get(&entry.image).map(|image| image.size);
                let proof = match proofs.get(id).copied() {
                    Some(Proof::Damaged) => Proof::Damaged,
                    // The image is gone or has another size: nothing can be restored from it.
                    _ if image != Some(entry.stored_size) => Proof::Damaged,
                    // An audit proves that the bytes are those that were stored. Where the manifest
                    // is suspect, these may have been wrong from the beginning.
                    Some(Proof::Audited) if !entry.suspect => Proof::Audited,
                    _ => own,
                };
                Candidate { id: *id, stored_size: entry.stored_size, proof }
            })
            .collect()
    }
}

impl Repository {
    /// The inventory of a cluster.
    ///
    /// # Errors
    /// As [`Inventory::read`].
    pub async fn inventory(&self, cluster: &ClusterName) -> Result<Inventory> {
        Inventory::read(self, cluster, |_, _| ()).await
    }
}
