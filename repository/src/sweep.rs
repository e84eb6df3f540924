//! Carries a decision out: manifests first, and what nobody names any more after a grace age.
//!
//! A snapshot is deleted by deleting its manifest; the image stays until the grace has passed, for
//! a restore that reads it and for somebody who wants it back. Before that, the ledger notes
//! the deletion. A copy of the manifest under `deleted/` shows since when the snapshot is gone, and
//! can bring it back.
//! Killed at any moment, this leaves snapshots that are whole and images that nobody lists.
//!
//! Uploads whose process was killed are ended as well, where the store lists them.

mod claims;
mod objects;
mod pages;
mod plan;
mod uploads;

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use etcdr_schemas::report::{PruneOutcome, SweptKind, SweptObject, Unusable};
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};
use object_store::path::Path;

use crate::error::Result;
use crate::inventory::{Grace, Inventory};
use crate::layout;
use crate::repository::Repository;

use plan::SweepItem;

/// Objects that are deleted at once.
const AT_ONCE: usize = 8;

/// Most objects that are listed one by one.
pub const MAX_LISTED: usize = 1_000;

/// What was swept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects that are gone, or would be, or were to be and are withheld: the first
    /// [`MAX_LISTED`].
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
    /// Counts and lists one object. One that was already gone, or is held, is neither counted nor
    /// listed.
    fn count(&mut self, object: SweptObject) {
        match object.outcome {
            None | Some(PruneOutcome::Deleted) => {
                self.gone.0 = self.gone.0.saturating_add(1);
                self.gone.1 = self.gone.1.saturating_add(object.size);
            }
            Some(PruneOutcome::Withheld) => self.withheld = self.withheld.saturating_add(1),
            Some(PruneOutcome::Gone | PruneOutcome::Held) => return,
        }
        if self.objects.len() < MAX_LISTED {
            self.objects.push(object);
        }
    }
}

/// When something is old enough, and whether anything is deleted.
#[derive(Debug, Clone, Copy)]
pub struct SweepOptions {
    /// The time, by the clock of whoever sweeps.
    pub now: DateTime<Utc>,
    /// Age from which on an object without a manifest is deleted.
    pub age: Duration,
    /// Deletes nothing.
    pub dry_run: bool,
}

impl SweepOptions {
    const fn grace(self) -> Grace {
        Grace { now: self.now, age: self.age }
    }
}

impl Repository {
    /// Deletes what nobody names any more and is older than the grace: images, signatures, claims,
    /// pages of the ledger, what was noted of snapshots that are gone, and uploads that never
    /// ended. Everything is listed again first, so that what a manifest written meanwhile names is
    /// safe. An object that the store keeps is counted and skipped.
    ///
    /// # Errors
    /// [`crate::Error::Store`] when the store fails; what was deleted until then was not needed.
    pub async fn sweep(
        &self,
        cluster: &ClusterName,
        inventory: &Inventory,
        options: SweepOptions,
    ) -> Result<Swept> {
        let fresh = match options.dry_run {
            true => inventory.clone(),
            false => inventory.read_again(self, cluster).await?,
        };
        let mut swept = Swept {
            unusable: fresh.unusable.iter().skip(inventory.unusable.len()).cloned().collect(),
            ..Swept::default()
        };
        let (grace, deletions) = (options.grace(), self.deletions(cluster, &fresh).await?);
        let orphans = plan::orphans(cluster, &fresh, &deletions, grace);
        (swept.waiting, swept.unsure) = (orphans.waiting, orphans.unsure);
        let kept = self.erase_all(cluster, orphans.images, options, &mut swept).await?;
        // Tombstones after their images: a tombstone shows since when its image is due.
        let kept: BTreeSet<&str> = kept.iter().map(Path::as_ref).collect();
        let rest = plan::tombstones(cluster, &fresh, &deletions, &kept, grace);
        self.erase_all(cluster, orphans.signatures, options, &mut swept).await?;
        let noted: BTreeSet<Path> = rest.iter().map(|item| item.key.clone()).collect();
        let kept = self.erase_all(cluster, rest, options, &mut swept).await?;
        let undone = |id: &SnapshotId| {
            let key = layout::tombstone(cluster, id);
            !noted.contains(&key) || kept.contains(&key)
        };
        let claims = self.old_claims(cluster, &fresh.objects, grace).await?;
        self.erase_all(cluster, claims, options, &mut swept).await?;
        self.sweep_ledger(cluster, &fresh, undone, options, &mut swept).await?;
        self.sweep_uploads(cluster, &fresh.objects, options, &mut swept).await?;
        Ok(swept)
    }

    /// Deletes these objects and records what became of each. Returns the keys of those that are
    /// still there.
    async fn erase_all(
        &self,
        cluster: &ClusterName,
        items: Vec<SweepItem>,
        options: SweepOptions,
        swept: &mut Swept,
    ) -> Result<Vec<Path>> {
        let mut kept = Vec::new();
        let mut erased = stream::iter(items)
            .map(|item| async move {
                let outcome = match options.dry_run {
                    true => None,
                    false => Some(self.erase_item(cluster, &item).await?),
                };
                Ok::<_, crate::Error>((item, outcome))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(result) = erased.next().await {
            let (item, outcome) = result?;
            let (key, kind, size) = (item.key.to_string(), item.kind, item.size);
            swept.count(SweptObject { key, kind, size, outcome });
            if matches!(outcome, Some(PruneOutcome::Withheld | PruneOutcome::Held)) {
                kept.push(item.key);
            }
        }
        Ok(kept)
    }

    /// Deletes one. An image whose manifest has come since the listing stays.
    async fn erase_item(&self, cluster: &ClusterName, item: &SweepItem) -> Result<PruneOutcome> {
        let of = match item.kind {
            SweptKind::Image => layout::image_of(item.key.as_ref()),
            _ => None,
        };
        match of {
            Some(id) if self.has_manifest(cluster, &id).await? => Ok(PruneOutcome::Held),
            _ => self.erase(&item.key).await,
        }
    }
}
