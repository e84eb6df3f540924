//! One manifest as it is stored, and what an inventory takes from it.

use etcdr_schemas::manifest::{Manifest, ManifestError};
use etcdr_schemas::report::{SignatureState, Unusable};
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};

use crate::error::{Error, Result, StoreFault};
use crate::layout;
use crate::repository::Repository;

/// A manifest as it is stored, usable or not.
#[derive(Debug)]
pub struct ExaminedManifest {
    /// SHA-256 of the stored bytes: what the manifest after it refers to.
    pub sha256: Sha256Digest,
    /// What is known of its signature; [`Error::Unsigned`] and [`Error::BadSignature`] where a
    /// public key is configured.
    pub signature: Result<SignatureState>,
    /// What it says. Not to be trusted where the signature is an error.
    pub manifest: Result<Manifest, ManifestError>,
}

/// What a manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestEntry {
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
    /// Whether it may be trusted: with a public key, whether it is signed. One that may not
    /// protects its image all the same.
    pub trusted: bool,
}

/// What an inventory takes from one manifest.
#[derive(Debug, Default)]
pub(super) struct ManifestSummary {
    /// What it says, where it can be understood.
    pub(super) entry: Option<ManifestEntry>,
    /// Why it cannot be used.
    pub(super) unusable: Option<Unusable>,
    /// Whether nobody knows which image it names.
    pub(super) incomplete: bool,
    /// Whether that is because the store did not give it.
    pub(super) unread: bool,
}

/// Summarises one manifest.
pub(super) fn summarise(
    cluster: &ClusterName,
    id: &SnapshotId,
    examined: &Result<ExaminedManifest>,
) -> ManifestSummary {
    let unusable =
        |reason: String| Some(Unusable { key: layout::manifest(cluster, id).to_string(), reason });
    let lost = |reason: String| ManifestSummary {
        unusable: unusable(reason),
        incomplete: true,
        ..ManifestSummary::default()
    };
    let examined = match examined {
        Ok(examined) => examined,
        Err(error) => {
            // One that is too large was read, and is no manifest.
            let unread = !matches!(error, Error::Damaged { .. });
            return ManifestSummary { unread, ..lost(error.to_string()) };
        }
    };
    let manifest = match &examined.manifest {
        Ok(manifest) => manifest,
        Err(error) => return lost(error.to_string()),
    };
    if manifest.id != *id || manifest.cluster != *cluster {
        let (other, of) = (manifest.id, &manifest.cluster);
        return lost(format!("it is the manifest of {other} of cluster {of}"));
    }
    if layout::parse_image(cluster, &manifest.image.key).is_none() {
        return lost("its image lies outside the cluster's images".to_owned());
    }
    let entry = ManifestEntry {
        image: manifest.image.key.as_str().into(),
        stored_size: manifest.image.stored_size,
        suspect: !manifest.suspect.is_empty(),
        sha256: examined.sha256,
        previous: manifest.previous_manifest_sha256,
        trusted: examined.signature.is_ok(),
    };
    let unusable = examined.signature.as_ref().err().and_then(|error| unusable(error.to_string()));
    ManifestSummary { entry: Some(entry), unusable, ..ManifestSummary::default() }
}

impl Repository {
    /// Reads one manifest, usable or not; `None` when it is not there any more. `signed` says
    /// whether the listing has a signature of it.
    ///
    /// # Errors
    /// [`Error::Store`], and [`Error::Damaged`] for an object that is too large for a manifest.
    pub async fn examine(
        &self,
        cluster: &ClusterName,
        id: &SnapshotId,
        signed: bool,
    ) -> Result<Option<ExaminedManifest>> {
        let bytes = match self.manifest_bytes(cluster, id).await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => return Ok(None),
            other => other?,
        };
        let signature = match (&self.public_key, signed) {
            (None, true) => Ok(SignatureState::NotChecked),
            (None, false) => Ok(SignatureState::Unsigned),
            (Some(_), _) => match self.signature(cluster, id, &bytes).await {
                Err(error) if error.store_fault().is_some() => return Err(error),
                other => other,
            },
        };
        let (sha256, manifest) = (Sha256Digest::of(&bytes), Manifest::from_json(&bytes));
        Ok(Some(ExaminedManifest { sha256, signature, manifest }))
    }
}
