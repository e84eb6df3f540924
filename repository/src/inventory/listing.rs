//! The objects under a cluster's prefix, from one listing.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use etcdr_schemas::{ClusterName, SnapshotId};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::error::{Error, Result, StoreFault};
use crate::layout::{self, KeyKind, ReportName};
use crate::repository::{MAX_SNAPSHOTS, Repository};
use crate::store::retry::retried;

/// Most objects of a kind that are held: manifests, signatures, images and reports each. With some
/// 300 bytes for an object, 100,000 snapshots take less than 100 MiB.
pub const MAX_OBJECTS: usize = MAX_SNAPSHOTS;

/// Most unknown keys that are listed one by one.
pub const MAX_UNKNOWN_KEYS: usize = 1_000;

/// Size and time of an object, from a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredObject {
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub modified: DateTime<Utc>,
}

/// What lies under a cluster's prefix.
#[derive(Debug, Clone, Default)]
pub struct ClusterObjects {
    /// Snapshots with a manifest, newest first.
    pub ids: Vec<SnapshotId>,
    /// Signatures of manifests.
    pub signatures: BTreeMap<SnapshotId, StoredObject>,
    /// Images by key, staged ones included.
    pub images: BTreeMap<Box<str>, StoredObject>,
    /// What is noted of snapshots that were deleted, until their images are gone too.
    pub tombstones: BTreeMap<SnapshotId, StoredObject>,
    /// Signatures of manifests that were deleted.
    pub tombstone_signatures: BTreeMap<SnapshotId, StoredObject>,
    /// Reports of audits.
    pub reports: BTreeSet<ReportName>,
    /// Keys that are not of this format: at most [`MAX_UNKNOWN_KEYS`] of them.
    pub unknown_keys: Vec<(String, StoredObject)>,
    /// How many keys are not of this format.
    pub unknown_keys_count: u64,
    /// Objects of any kind.
    pub count: u64,
    /// Bytes of all objects.
    pub bytes: u64,
    /// When the newest object was written, by the store's clock.
    pub newest: Option<DateTime<Utc>>,
}

impl Repository {
    /// Lists everything under a cluster's prefix, entry by entry.
    ///
    /// # Errors
    /// [`Error::TooManySnapshots`] and [`Error::Store`].
    pub async fn list_objects(&self, cluster: &ClusterName) -> Result<ClusterObjects> {
        retried(self.pause, || objects(self.store.as_ref(), cluster)).await
    }

    /// Objects at the repository's root, and folders there that cannot be a cluster's: at most
    /// [`MAX_UNKNOWN_KEYS`].
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn unknown_root_keys(&self) -> Result<Vec<String>> {
        let listed = self.store.list_with_delimiter(None).await;
        let listed = listed.map_err(|source| Error::store("list", &self.location, source))?;
        let objects = listed.objects.into_iter().map(|object| object.location.to_string());
        let folders = listed.common_prefixes.into_iter().map(|prefix| prefix.to_string());
        let objects = objects.filter(|key| key != layout::REPOSITORY);
        let folders = folders.filter(|name| name.parse::<ClusterName>().is_err());
        Ok(objects.chain(folders).take(MAX_UNKNOWN_KEYS).collect())
    }

    /// Whether a snapshot's manifest is there now.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn has_manifest(&self, cluster: &ClusterName, id: &SnapshotId) -> Result<bool> {
        Ok(self.stored(&layout::manifest(cluster, id)).await?.is_some())
    }

    /// An image as it is now; `None` when there is none. The key must be one of the cluster's
    /// images.
    ///
    /// # Errors
    /// [`Error::Damaged`] for another key, and [`Error::Store`].
    pub async fn stored_image(
        &self,
        cluster: &ClusterName,
        key: &str,
    ) -> Result<Option<StoredObject>> {
        let outside = || Error::damaged(key, "not a key of this cluster's images");
        self.stored(&layout::parse_image(cluster, key).ok_or_else(outside)?).await
    }

    async fn stored(&self, key: &Path) -> Result<Option<StoredObject>> {
        let head = retried(self.pause, || async {
            self.store.head(key).await.map_err(|source| Error::store("look at", key, source))
        });
        match head.await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => Ok(None),
            other => Ok(Some(stored(&other?))),
        }
    }
}

const fn stored(meta: &ObjectMeta) -> StoredObject {
    StoredObject { size: meta.size, modified: meta.last_modified }
}

async fn objects(store: &dyn ObjectStore, cluster: &ClusterName) -> Result<ClusterObjects> {
    let prefix = layout::cluster(cluster);
    let mut entries = store.list(Some(&prefix));
    let mut objects = ClusterObjects::default();
    while let Some(entry) = entries.next().await {
        let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
        note(&mut objects, cluster, &entry);
        // Checked at every entry: a listing of any length must not fill the memory.
        let most = [
            objects.ids.len(),
            objects.signatures.len(),
            objects.images.len(),
            objects.tombstones.len(),
            objects.tombstone_signatures.len(),
        ];
        if most.iter().any(|&count| count > MAX_OBJECTS) || objects.reports.len() > MAX_OBJECTS {
            let cluster = cluster.clone();
            return Err(Error::TooManySnapshots { cluster, limit: MAX_OBJECTS });
        }
    }
    objects.ids.sort_unstable_by(|a, b| b.cmp(a));
    Ok(objects)
}

fn note(objects: &mut ClusterObjects, cluster: &ClusterName, entry: &ObjectMeta) {
    let object = stored(entry);
    objects.count = objects.count.saturating_add(1);
    objects.bytes = objects.bytes.saturating_add(object.size);
    objects.newest = objects.newest.max(Some(object.modified));
    match layout::classify(cluster, &entry.location) {
        KeyKind::Manifest(id) => objects.ids.push(id),
        KeyKind::Signature(id) => drop(objects.signatures.insert(id, object)),
        KeyKind::Image => drop(objects.images.insert(entry.location.as_ref().into(), object)),
        KeyKind::AuditReport(name) => drop(objects.reports.insert(name)),
        KeyKind::Tombstone(id) => drop(objects.tombstones.insert(id, object)),
        KeyKind::TombstoneSignature(id) => drop(objects.tombstone_signatures.insert(id, object)),
        // The ledger is listed by itself, after the manifests: a snapshot that is gone by then is
        // in it.
        KeyKind::LedgerPage
        | KeyKind::AuditSignature(_)
        | KeyKind::Hold(_)
        | KeyKind::Claim
        | KeyKind::Reserved => {}
        KeyKind::Unknown => {
            objects.unknown_keys_count = objects.unknown_keys_count.saturating_add(1);
            if objects.unknown_keys.len() < MAX_UNKNOWN_KEYS {
                objects.unknown_keys.push((entry.location.to_string(), object));
            }
        }
    }
}
