//! Which snapshots there are. A listing is enough for ids, times and revisions; manifests are read
//! when more is asked.

use std::collections::BTreeSet;

use etcdr_schemas::manifest::{MAX_MANIFEST_BYTES, Manifest};
use etcdr_schemas::report::{SignatureState, Unusable};
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::names::{self, SnapshotName};
use crate::repository::{MAX_SNAPSHOTS, Repository};
use crate::sign::MAX_TEXT;
use crate::store::objects::read_small;
use crate::store::retry::retried;

/// Manifests that are read at once.
const AT_ONCE: usize = 8;

/// What a listing of a cluster's manifests found.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Newest first.
    pub ids: Vec<SnapshotId>,
    /// Ids that have a signature.
    pub signed: BTreeSet<SnapshotId>,
    /// Keys that end in `.json` and are no id: at most 100 of them.
    pub unknown_keys: Vec<String>,
}

/// A manifest that was read, checked against its key, and verified where a public key is
/// configured.
#[derive(Debug, Clone)]
pub struct LoadedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// What is known of its signature.
    pub signature: SignatureState,
    /// SHA-256 of its bytes: what the manifest after it refers to.
    pub sha256: Sha256Digest,
}

impl Repository {
    /// Lists a cluster's snapshots, from keys alone.
    ///
    /// # Errors
    /// [`Error::TooManySnapshots`] and [`Error::Store`].
    pub async fn list(&self, cluster: &ClusterName) -> Result<Listing> {
        retried(self.pause, || list(self.store.as_ref(), cluster)).await
    }

    /// The clusters that have something in this repository.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn clusters(&self) -> Result<Vec<ClusterName>> {
        let listed = self.store.list_with_delimiter(None).await;
        let listed = listed.map_err(|source| Error::store("list", &self.location, source))?;
        let names = listed.common_prefixes.iter().filter_map(|prefix| prefix.as_ref().parse().ok());
        Ok(names.collect())
    }

    /// The snapshot that a name means.
    ///
    /// # Errors
    /// [`Error::UnknownSnapshot`] and [`Error::AmbiguousSnapshot`] list the nearest;
    /// [`Error::TooManySnapshots`] and [`Error::Store`].
    pub async fn resolve(&self, cluster: &ClusterName, name: &SnapshotName) -> Result<SnapshotId> {
        names::resolve(cluster, &self.list(cluster).await?.ids, name)
    }

    /// Reads one manifest. Where a public key is configured, the signature is verified before
    /// any field of the manifest is used.
    ///
    /// # Errors
    /// [`Error::UnknownSnapshot`] when there is none; [`Error::Unsigned`], [`Error::BadSignature`],
    /// [`Error::Manifest`], [`Error::Damaged`], [`Error::Store`].
    pub async fn manifest(&self, cluster: &ClusterName, id: &SnapshotId) -> Result<LoadedManifest> {
        let bytes = match self.manifest_bytes(cluster, id).await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => {
                let (cluster, name) = (cluster.clone(), id.to_string());
                return Err(Error::UnknownSnapshot { cluster, name, nearest: Vec::new() });
            }
            other => other?,
        };
        let signature = self.signature(cluster, id, &bytes).await?;
        let manifest = parse(cluster, id, &bytes)?;
        Ok(LoadedManifest { manifest, signature, sha256: Sha256Digest::of(&bytes) })
    }

    /// Reads the manifests of many snapshots, a few at once, in the order of `ids`. One that cannot
    /// be used is reported and does not hide the others.
    pub async fn manifests(
        &self,
        cluster: &ClusterName,
        ids: &[SnapshotId],
    ) -> (Vec<LoadedManifest>, Vec<Unusable>) {
        let mut results = stream::iter(ids.iter().copied())
            .map(|id| async move { (id, self.manifest(cluster, &id).await) })
            .buffered(AT_ONCE);
        let (mut good, mut unusable) = (Vec::new(), Vec::new());
        while let Some((id, result)) = results.next().await {
            match result {
                Ok(loaded) => good.push(loaded),
                Err(error) => unusable.push(Unusable {
                    key: layout::manifest(cluster, &id).to_string(),
                    reason: error.to_string(),
                }),
            }
        }
        (good, unusable)
    }

    /// SHA-256 of the newest manifest of a cluster other than `id`'s own.
    pub(crate) async fn newest_digest(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
    ) -> Result<Option<Sha256Digest>> {
        match self.list(cluster).await?.ids.iter().find(|other| *other != id) {
            Some(newest) => {
                Ok(Some(Sha256Digest::of(&self.manifest_bytes(cluster, newest).await?)))
            }
            None => Ok(None),
        }
    }

    pub(crate) async fn manifest_bytes(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
    ) -> Result<bytes::Bytes> {
        let key = layout::manifest(cluster, id);
        retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_MANIFEST_BYTES)).await
    }

    pub(crate) async fn signature(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
        manifest: &[u8],
    ) -> Result<SignatureState> {
        let key = layout::signature(cluster, id);
        let Some(public_key) = &self.public_key else {
            return match self.store.head(&key).await {
                Ok(_) => Ok(SignatureState::NotChecked),
                Err(error) if StoreFault::of(&error) == StoreFault::Missing => {
                    Ok(SignatureState::Unsigned)
                }
                Err(source) => Err(Error::store("look at", &key, source)),
            };
        };
        let read = retried(self.pause, || read_small(self.store.as_ref(), &key, MAX_TEXT)).await;
        let signature = match read {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => {
                return Err(Error::Unsigned { id: *id });
            }
            other => other?,
        };
        public_key.verify(id, manifest, &signature)?;
        Ok(SignatureState::Verified)
    }
}

async fn list(store: &dyn ObjectStore, cluster: &ClusterName) -> Result<Listing> {
    let prefix = layout::manifests(cluster);
    let mut entries = store.list(Some(&prefix));
    let mut listing = Listing::default();
    while let Some(entry) = entries.next().await {
        let entry = entry.map_err(|source| Error::store("list", &prefix, source))?;
        note(&mut listing, cluster, &entry.location);
        if listing.ids.len() > MAX_SNAPSHOTS {
            let cluster = cluster.clone();
            return Err(Error::TooManySnapshots { cluster, limit: MAX_SNAPSHOTS });
        }
    }
    listing.ids.sort_unstable_by(|a, b| b.cmp(a));
    Ok(listing)
}

fn note(listing: &mut Listing, cluster: &ClusterName, key: &Path) {
    if let Some(id) = layout::parse_manifest(cluster, key) {
        listing.ids.push(id);
    } else if let Some(id) = layout::parse_signature(cluster, key) {
        listing.signed.insert(id);
    } else if key.as_ref().ends_with(".json") && listing.unknown_keys.len() < 100 {
        listing.unknown_keys.push(key.to_string());
    }
}

fn parse(cluster: &ClusterName, id: &SnapshotId, bytes: &[u8]) -> Result<Manifest> {
    let key = layout::manifest(cluster, id);
    let manifest = Manifest::from_json(bytes)
        .map_err(|source| Error::Manifest { key: key.to_string(), source })?;
    if manifest.id != *id || manifest.cluster != *cluster {
        let whose =
            format!("it is the manifest of {} of cluster {}", manifest.id, manifest.cluster);
        return Err(Error::damaged(&key, whose));
    }
    if layout::parse_image(cluster, &manifest.image.key).is_none() {
        return Err(Error::damaged(&key, "its image lies outside the cluster's images"));
    }
    Ok(manifest)
}
