//! Deletions, written down before they are carried out.

use std::collections::BTreeMap;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::ledger::{FORMAT, LedgerEntry, LedgerPage, MAX_ENTRIES, MAX_REASON};
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};
use object_store::path::Path;

use super::Deleted;
use crate::error::{Error, Result, StoreFault};
use crate::inventory::Inventory;
use crate::layout;
use crate::repository::Repository;
use crate::store::objects::create;

/// Manifests whose deletion is written down: only these are deleted, and only while they have this
/// digest.
#[derive(Debug, Clone, Default)]
pub struct RecordedDeletions(BTreeMap<SnapshotId, Sha256Digest>);

impl RecordedDeletions {
    /// Whether the deletion of exactly this manifest is written down.
    pub(crate) fn has(&self, id: &SnapshotId, manifest: &[u8]) -> bool {
        self.0.get(id) == Some(&Sha256Digest::of(manifest))
    }
}

impl Repository {
    /// Writes down that these snapshots are about to be deleted, each for a reason, and `by` which
    /// agent; what the ledger has already is not written again. Where that is not allowed, what
    /// comes back does not have them, and they are not deleted.
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails, and [`Error::Damaged`] for a manifest that is too
    /// large to be read.
    pub async fn record_pruned(
        &self,
        cluster: &ClusterName,
        inventory: &Inventory,
        deletions: Vec<(SnapshotId, String)>,
        by: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<RecordedDeletions> {
        let mut recorded = RecordedDeletions::default();
        if deletions.is_empty() {
            return Ok(recorded);
        }
        let ledger = self.ledger(cluster).await?;
        let mut new = Vec::new();
        for (id, reason) in deletions {
            let Some((manifest_sha256, previous)) = self.digests(cluster, inventory, id).await?
            else {
                continue;
            };
            if ledger.entries.get(&manifest_sha256) == Some(&Deleted { id, previous }) {
                recorded.0.insert(id, manifest_sha256);
                continue;
            }
            new.push(LedgerEntry {
                id,
                manifest_sha256,
                previous_manifest_sha256: previous,
                noted_at: now,
                by: by.map(str::to_owned),
                reason: reason.chars().take(MAX_REASON).collect(),
                extra: serde_json::Map::new(),
            });
        }
        // Before any manifest is deleted: a run that is killed in between leaves entries of
        // manifests that exist, which explain nothing, and never a gap that nobody explains.
        for entries in new.chunks(MAX_ENTRIES) {
            if self.write_page(cluster, entries, now).await?.is_some() {
                recorded.0.extend(entries.iter().map(|entry| (entry.id, entry.manifest_sha256)));
            }
        }
        Ok(recorded)
    }

    /// Digest of a manifest, and of the one that it follows; `None` when it is not there any more.
    async fn digests(
        &self,
        cluster: &ClusterName,
        inventory: &Inventory,
        id: SnapshotId,
    ) -> Result<Option<(Sha256Digest, Option<Sha256Digest>)>> {
        if let Some(entry) = inventory.entries.get(&id) {
            return Ok(Some((entry.sha256, entry.previous)));
        }
        // Somebody insists on deleting one that cannot be used.
        match self.manifest_bytes(cluster, &id).await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => Ok(None),
            bytes => {
                let bytes = bytes?;
                let said = Manifest::from_json(&bytes).ok();
                let previous = said.and_then(|said| said.previous_manifest_sha256);
                Ok(Some((Sha256Digest::of(&bytes), previous)))
            }
        }
    }

    /// Creates a page and returns its key; `None` where that is not allowed. The page's digest is
    /// part of the key: different pages of the same second get different keys, and an identical
    /// page is the same page.
    pub(crate) async fn write_page(
        &self,
        cluster: &ClusterName,
        snapshots: &[LedgerEntry],
        now: DateTime<Utc>,
    ) -> Result<Option<Path>> {
        let page = LedgerPage {
            format: FORMAT,
            cluster: cluster.clone(),
            written_at: now,
            snapshots: snapshots.to_vec(),
            extra: serde_json::Map::new(),
        };
        let json = page.to_json();
        let json = json.map_err(|error| Error::Worker(format!("cannot write JSON: {error}")))?;
        let [a, b, c, d, ..] = *Sha256Digest::of(&json).as_bytes();
        let key = layout::ledger_page(cluster, now, u32::from_be_bytes([a, b, c, d]));
        match create(self.store.as_ref(), &key, &Bytes::from(json), self.pause).await {
            Ok(()) => Ok(Some(key)),
            // Some stores answer with a conflict where a policy refuses.
            Err(Error::Claimed { .. }) => Ok(None),
            Err(error) if error.store_fault() == Some(StoreFault::Denied) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
