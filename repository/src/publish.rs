//! From bytes to a snapshot that exists: upload, rename, read back, sign, commit.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::manifest::{Image, MAX_MANIFEST_BYTES, Manifest};
use etcdr_schemas::{ClusterName, Hidden, Progress, Sha256Digest, SnapshotId};
use futures_util::StreamExt as _;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::bridge;
use crate::error::{Error, Result, StoreFault};
use crate::image::seal::Tap;
use crate::image::sealed_image::SealedImage;
use crate::image::{Described, ImageUpload, ProvenImage, SealOptions, StagedImage, StoredImage};
use crate::keys::Identities;
use crate::layout;
use crate::repository::Repository;
use crate::sign::SigningKey;
use crate::store::fetch::Object;
use crate::store::objects::create;
use crate::store::sizes::{PartSize, RangeSize};

/// Key of an image that is given up.
pub struct Discard(Path);

impl From<StagedImage> for Discard {
    fn from(image: StagedImage) -> Self {
        Self(image.0.key)
    }
}

impl From<StoredImage> for Discard {
    fn from(image: StoredImage) -> Self {
        Self(image.0.key)
    }
}

impl From<ProvenImage> for Discard {
    fn from(image: ProvenImage) -> Self {
        Self(image.0.key)
    }
}

impl Repository {
    /// Begins to write an image. `started_at` and the random `nonce` name it while it is in flight;
    /// the same nonce belongs into its id. `tap` sees the plain bytes.
    ///
    /// # Errors
    /// [`Error::Encrypt`] when the recipients cannot be used.
    pub async fn begin_image<T: Tap>(
        &self,
        cluster: &ClusterName,
        options: SealOptions,
        started_at: DateTime<Utc>,
        nonce: u32,
        tap: T,
    ) -> Result<ImageUpload<T>> {
        let key = layout::staging(cluster, started_at, nonce);
        let size = PartSize::of(&self.location);
        ImageUpload::begin(self.store.clone(), cluster.clone(), key, options, tap, size).await
    }

    /// Gives an image its final key. A store that refuses the copy (S3 does above 5 GiB) keeps it
    /// under its staging key, which then goes into the manifest; one that refuses the delete keeps
    /// both.
    ///
    /// # Errors
    /// [`Error::Claimed`] when there is an image of that id.
    pub async fn publish_image(&self, image: StagedImage, id: &SnapshotId) -> Result<StoredImage> {
        let described = image.0;
        let target = layout::image(&described.cluster, id, &described.codec);
        let from = &described.key;
        // Object stores have no rename, so it is a copy and a delete. Where the store has no
        // conditional copy either, the random part of the id keeps two writers apart.
        let copied = match self.store.copy_if_not_exists(from, &target).await {
            Err(error) if StoreFault::of(&error) == StoreFault::Unsupported => {
                self.store.copy(from, &target).await
            }
            other => other,
        };
        match copied {
            Err(error) if StoreFault::of(&error) == StoreFault::Exists => {
                Err(Error::Claimed { key: target.to_string() })
            }
            Err(error) => {
                tracing::warn!(%error, key = %from, "the image keeps its staging key");
                Ok(StoredImage(described))
            }
            Ok(()) => {
                if let Err(error) = self.store.delete(from).await {
                    tracing::warn!(%error, key = %from, "cannot delete the staging copy");
                }
                Ok(StoredImage(Described { key: target, ..described }))
            }
        }
    }

    /// Reads all stored bytes of an image back and compares size and SHA-256 with what was written.
    /// A store can acknowledge an upload and still have lost or changed a part of it; only bytes
    /// that were read again prove that a restore can get them.
    ///
    /// # Errors
    /// [`Error::ImageMissing`], [`Error::SizeMismatch`], [`Error::DigestMismatch`],
    /// [`Error::Store`].
    pub async fn read_back(&self, image: &StoredImage) -> Result<ProvenImage> {
        let described = &image.0;
        let sealed = described.sealed;
        let (size, sha256) = (sealed.stored_size, sealed.stored_sha256);
        self.compare(&described.key, size, sha256, &Hidden).await?;
        Ok(ProvenImage(described.clone()))
    }

    /// Reads all stored bytes of a manifest's image and compares size and SHA-256 with the
    /// manifest: verification level `object`. Needs no key.
    ///
    /// # Errors
    /// As [`Repository::read_back`].
    pub async fn verify_object(&self, image: &Image, progress: &dyn Progress) -> Result<()> {
        let (size, sha256) = (image.stored_size, image.stored_sha256);
        self.compare(&image_path(image)?, size, sha256, progress).await
    }

    async fn compare(
        &self,
        key: &Path,
        size: u64,
        expected: Sha256Digest,
        progress: &dyn Progress,
    ) -> Result<()> {
        let object = self.object(key.clone(), size).await?;
        let stream = object.stream(&Handle::current()).inspect(|chunk| {
            let bytes = chunk.as_ref().map_or(0, Bytes::len);
            progress.advance(bytes as u64);
        });
        let (_, found) = bridge::digest(stream).await?;
        if found == expected {
            return Ok(());
        }
        let (key, what) = (key.to_string(), "the stored bytes");
        Err(Error::DigestMismatch { key, what, expected, found })
    }

    async fn object(&self, key: Path, size: u64) -> Result<Object> {
        let step = RangeSize::of(&self.location);
        Object::open(self.store.clone(), key, size, self.pause, step).await
    }

    /// Opens an image for reading: checks its size, opens its header with the identities, and
    /// checks its seek table against the manifest.
    ///
    /// # Errors
    /// [`Error::NoIdentity`] and [`Error::WrongIdentity`] with the recipients that the manifest
    /// lists; [`Error::ImageMissing`], [`Error::SizeMismatch`], [`Error::Damaged`],
    /// [`Error::Store`].
    pub async fn open_image(&self, image: &Image, identities: &Identities) -> Result<SealedImage> {
        let (key, size) = (image_path(image)?, image.stored_size);
        let object = self.object(key, size).await?;
        SealedImage::open(object, image.clone(), identities.clone()).await
    }

    /// Makes the snapshot exist: links it to the manifest before it, writes the signature, then the
    /// manifest, each only where there is none. Returns the manifest as it was written.
    ///
    /// # Errors
    /// [`Error::Claimed`] when another process has written that manifest; [`Error::Store`]. After
    /// an error there is no snapshot.
    pub async fn commit(
        &self,
        mut manifest: Manifest,
        key: Option<&SigningKey>,
    ) -> Result<Manifest> {
        let (cluster, id) = (manifest.cluster.clone(), manifest.id);
        if layout::parse_image(&cluster, &manifest.image.key).is_none() {
            return Err(Error::damaged(&manifest.image.key, "not a key of this cluster's images"));
        }
        if manifest.previous_manifest_sha256.is_none() {
            manifest.previous_manifest_sha256 = self.newest_digest(&cluster, &id).await?;
        }
        let place = layout::manifest(&cluster, &id);
        let json = manifest.to_json();
        let json = json.map_err(|error| Error::Worker(format!("cannot write JSON: {error}")))?;
        if json.len() as u64 > MAX_MANIFEST_BYTES {
            return Err(Error::damaged(&place, "the manifest would be larger than is read"));
        }
        let signature = layout::signature(&cluster, &id);
        // The signature first: a reader with a public key refuses a manifest that has none, and the
        // snapshot must be usable from the moment that it exists.
        if let Some(key) = key {
            let text = Bytes::from(key.sign(&id, &json)?);
            create(self.store.as_ref(), &signature, &text, self.pause).await?;
        }
        // The commit point, and the last write: until here nothing lists the snapshot.
        // Create-if-absent, so that neither a second writer nor a repeated request replaces it.
        let committed = create(self.store.as_ref(), &place, &Bytes::from(json), self.pause).await;
        if committed.is_err() && key.is_some() {
            // Nobody needs a signature of nothing; without the right to delete, it does no harm.
            let _ = self.store.delete(&signature).await;
        }
        committed.map(|()| manifest)
    }

    /// Deletes an image that no manifest names.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn discard(&self, image: impl Into<Discard>) -> Result<()> {
        let Discard(key) = image.into();
        match self.store.delete(&key).await {
            Err(error) if StoreFault::of(&error) == StoreFault::Missing => Ok(()),
            other => other.map_err(|source| Error::store("delete", &key, source)),
        }
    }
}

/// The key of a manifest's image, which must be an image of some cluster.
fn image_path(image: &Image) -> Result<Path> {
    let (cluster, _) = image.key.split_once('/').unwrap_or_default();
    let cluster = cluster.parse::<ClusterName>().ok();
    cluster
        .and_then(|cluster| layout::parse_image(&cluster, &image.key))
        .ok_or_else(|| Error::damaged(&image.key, "not the key of an image"))
}
