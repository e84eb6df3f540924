//! Since when images have no manifest any more, because it was deleted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use etcdr_schemas::manifest::{MAX_MANIFEST_BYTES, Manifest};
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::{StreamExt, stream};

use super::Inventory;
use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::repository::Repository;
use crate::store::objects::read_small;
use crate::store::retry::retried;

/// Tombstones that are read at once.
const AT_ONCE: usize = 8;

/// Of an image, by its key: the snapshot that it belonged to, and when that was deleted by the
/// store's clock.
pub(crate) type Deletions = BTreeMap<Box<str>, (SnapshotId, DateTime<Utc>)>;

impl Inventory {
    /// The deletions that the names of the images tell. Most images are named after their snapshot;
    /// one that kept its first key is not.
    pub(crate) fn deletions_by_name(&self) -> Deletions {
        let deletion = |key: &str| {
            let id = layout::image_of(key)?;
            let stored = self.objects.tombstones.get(&id)?;
            Some((key.into(), (id, stored.modified)))
        };
        self.objects.images.keys().filter_map(|key| deletion(key)).collect()
    }
}

impl Repository {
    /// All deletions: where an image kept its first key, what is noted of deleted snapshots is
    /// read.
    pub(crate) async fn deletions(
        &self,
        cluster: &ClusterName,
        inventory: &Inventory,
    ) -> Result<Deletions> {
        let (images, tombstones) = (&inventory.objects.images, &inventory.objects.tombstones);
        let mut deletions = inventory.deletions_by_name();
        if !images.keys().any(|key| layout::is_staging(key)) {
            return Ok(deletions);
        }
        let found: BTreeSet<SnapshotId> = deletions.values().map(|(id, _)| *id).collect();
        let unread = tombstones.iter().filter(|(id, _)| !found.contains(id));
        let unread: Vec<_> = unread.map(|(id, stored)| (*id, stored.modified)).collect();
        let mut read = stream::iter(unread)
            .map(|(id, modified)| async move {
                let key = self.noted_image(cluster, &id).await?;
                Ok::<_, Error>(key.map(|key| (key, (id, modified))))
            })
            .buffer_unordered(AT_ONCE);
        while let Some(result) = read.next().await {
            deletions.extend(result?.filter(|(key, _)| images.contains_key(key)));
        }
        Ok(deletions)
    }

    /// Key of the image of a snapshot that was deleted; `None` where that cannot be read.
    async fn noted_image(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
    ) -> Result<Option<Box<str>>> {
        let key = layout::tombstone(cluster, id);
        let read =
            retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_MANIFEST_BYTES));
        match read.await {
            Ok(bytes) => {
                Ok(Manifest::from_json(&bytes).ok().map(|manifest| manifest.image.key.into()))
            }
            Err(error @ Error::Store { fault: StoreFault::Unavailable, .. }) => Err(error),
            Err(_) => Ok(None),
        }
    }
}
