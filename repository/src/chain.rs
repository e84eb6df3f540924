//! Whether a manifest follows the one that it says it follows, or one that was deleted on purpose.

use etcdr_schemas::report::Unusable;
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};

use crate::catalog::LoadedManifest;
use crate::error::{Error, Result, StoreFault};
use crate::repository::Repository;

/// How many manifests on each side are compared: pruned neighbours and concurrent saves make gaps,
/// but not long ones. Without a limit, one broken link would read all manifests.
const CHAIN_REACH: usize = 32;

/// Whether a manifest's link to the one before it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chain {
    /// It claims to be the first.
    First,
    /// It follows this snapshot.
    Follows(SnapshotId),
    /// It follows this snapshot, which was deleted on purpose, as the ledger says.
    Pruned(SnapshotId),
    /// The manifest that it follows is not there any more, or was changed.
    Broken {
        /// Pages of the ledger that cannot be read: they may say more.
        unusable_pages: Vec<Unusable>,
    },
}

impl Repository {
    /// Whether a manifest's link to the one before it holds.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn chain(&self, loaded: &LoadedManifest) -> Result<Chain> {
        let Some(expected) = loaded.manifest.previous_manifest_sha256 else {
            return Ok(Chain::First);
        };
        let (cluster, id) = (&loaded.manifest.cluster, loaded.manifest.id);
        let ids = self.list(cluster).await?.ids;
        if let Some(other) = self.near(cluster, &ids, &id, expected).await? {
            return Ok(Chain::Follows(other));
        }
        let ledger = self.ledger(cluster).await?;
        // Listed again after the ledger was read: a snapshot that was deleted since the first
        // listing must not count as existing.
        let ids = self.list(cluster).await?.ids;
        let chains =
            ledger.deleted_chains(&|id| ids.binary_search_by(|other| id.cmp(other)).is_ok());
        let oldest = ids.last().map(SnapshotId::time);
        let explained = match chains.get(&expected).map(|chain| (chain.last, chain.follows)) {
            Some((last, Some(digest))) => {
                chains.explains(&expected, |_| false, oldest)
                    || self.near(cluster, &ids, &last, digest).await?.is_some()
            }
            Some((_, None)) => true,
            None => false,
        };
        match ledger.snapshot(&expected).filter(|_| explained) {
            Some(pruned) => Ok(Chain::Pruned(pruned)),
            None => Ok(Chain::Broken { unusable_pages: ledger.unusable_pages }),
        }
    }

    /// The snapshot whose manifest has this digest, among those around `id`.
    async fn near(
        &self,
        cluster: &ClusterName,
        ids: &[SnapshotId],
        id: &SnapshotId,
        expected: Sha256Digest,
    ) -> Result<Option<SnapshotId>> {
        // A saver that began earlier may have been committed later, so neighbours on both sides
        // count.
        let at = ids.partition_point(|other| other > id);
        let near = ids.iter().skip(at.saturating_sub(CHAIN_REACH)).take(2 * CHAIN_REACH);
        for other in near.filter(|other| *other != id) {
            match self.manifest_bytes(cluster, other).await {
                Ok(bytes) if Sha256Digest::of(&bytes) == expected => return Ok(Some(*other)),
                // A neighbour that was pruned meanwhile, or is no manifest, is not the one.
                Ok(_) | Err(Error::Damaged { .. }) => {}
                Err(error) if error.store_fault() == Some(StoreFault::Missing) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}
