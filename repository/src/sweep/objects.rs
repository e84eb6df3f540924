//! Deletes one snapshot or one object. That the store keeps it is an outcome and no error.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::report::PruneOutcome;
use etcdr_schemas::{ClusterName, SnapshotId};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::ledger::RecordedDeletions;
use crate::repository::Repository;
use crate::sign::MAX_TEXT;
use crate::store::objects::read_small;
use crate::store::retry::retried;

impl Repository {
    /// Makes a snapshot not exist any more: notes its manifest (and signature) under `deleted/`,
    /// then deletes the manifest, then the signature. Its image stays until [`Repository::sweep`]
    /// finds it old enough.
    ///
    /// A snapshot that is held by now stays, unless `held_too`. One whose manifest the store keeps,
    /// of which nothing can be noted, or whose end is not `recorded`
    /// ([`Repository::record_pruned`]), is withheld.
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails: the snapshot is whole, or is not listed any more.
    /// [`Error::Damaged`] for a manifest that is too large to be noted.
    pub async fn delete_snapshot(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
        recorded: &RecordedDeletions,
        now: DateTime<Utc>,
        held_too: bool,
    ) -> Result<PruneOutcome> {
        let hold = self.hold_of(cluster, id, now).await?;
        if !held_too && hold.as_ref().is_some_and(|hold| hold.holding().is_some()) {
            return Ok(PruneOutcome::Held);
        }
        let bytes = match self.manifest_bytes(cluster, id).await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => {
                return Ok(PruneOutcome::Gone);
            }
            other => other?,
        };
        if !recorded.has(id, &bytes) || !self.note_deletion(cluster, id, bytes).await? {
            return Ok(PruneOutcome::Withheld);
        }
        if self.erase(&layout::manifest(cluster, id)).await? == PruneOutcome::Withheld {
            // The snapshot still exists, so it must not have a tombstone.
            self.erase(&layout::tombstone_signature(cluster, id)).await?;
            self.erase(&layout::tombstone(cluster, id)).await?;
            return Ok(PruneOutcome::Withheld);
        }
        self.erase(&layout::signature(cluster, id)).await?;
        if hold.is_some() {
            self.erase(&layout::hold(cluster, id)).await?;
        }
        Ok(PruneOutcome::Deleted)
    }

    /// Notes manifest and signature; `false` where that is not allowed.
    async fn note_deletion(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
        manifest: Bytes,
    ) -> Result<bool> {
        let key = layout::signature(cluster, id);
        let read = retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_TEXT)).await;
        let signature = match read {
            Ok(signature) => Some(signature),
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => None,
            // Too large for a signature: nobody can use it.
            Err(Error::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        // The manifest last: its time is that of the deletion, and a signature alone means nothing.
        if let Some(signature) = signature
            && !self.overwrite(&layout::tombstone_signature(cluster, id), signature).await?
        {
            return Ok(false);
        }
        self.overwrite(&layout::tombstone(cluster, id), manifest).await
    }

    /// Writes an object in the place of an earlier one, so that its time is new; `false` where that
    /// is not allowed.
    async fn overwrite(&self, key: &Path, bytes: Bytes) -> Result<bool> {
        let put = retried(self.pause, || async {
            let put = self.store.put(key, PutPayload::from(bytes.clone())).await;
            put.map_err(|source| Error::store("write", key, source))
        });
        match put.await {
            Ok(_) => Ok(true),
            Err(error) if kept(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes one object.
    ///
    /// # Errors
    /// [`Error::Store`] when the store fails. That it keeps the object is no error.
    pub(super) async fn erase(&self, key: &Path) -> Result<PruneOutcome> {
        let erased = retried(self.pause, || async {
            self.store.delete(key).await.map_err(|source| Error::store("delete", key, source))
        });
        outcome(erased.await)
    }
}

/// What became of something that was to go. That the store keeps it is no error.
pub(super) fn outcome(erased: Result<()>) -> Result<PruneOutcome> {
    match erased {
        Ok(()) => Ok(PruneOutcome::Deleted),
        Err(error) if error.store_fault() == Some(StoreFault::Missing) => Ok(PruneOutcome::Gone),
        Err(error) if kept(&error) => {
            tracing::debug!(%error, "withheld");
            Ok(PruneOutcome::Withheld)
        }
        Err(error) => Err(error),
    }
}

/// Whether the store does not let an object go: no right, a lock, or a policy (which some answer
/// with a conflict).
fn kept(error: &Error) -> bool {
    matches!(error.store_fault(), Some(StoreFault::Denied | StoreFault::Exists))
}
