//! What an audit needs to know of a manifest, and what is wrong with the manifest by itself. Pure.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use etcdr_repository::{Error as RepositoryError, ExaminedManifest, layout};
use etcdr_schemas::manifest::{Encryption, ImageKind, Manifest, ManifestError};
use etcdr_schemas::report::Finding;
use etcdr_schemas::repository::RepositoryInfo;
use etcdr_schemas::{ClusterId, ClusterName, Revision, Sha256Digest, SnapshotId};

use super::kinds;

/// What is kept of a manifest while the others are read: some 300 bytes.
#[derive(Debug, Clone)]
pub(super) struct ManifestFacts {
    pub(super) id: SnapshotId,
    pub(super) usability: Usability,
    /// Of the stored bytes; absent when they could not be read.
    pub(super) sha256: Option<Sha256Digest>,
}

/// What can be done with a manifest.
#[derive(Debug, Clone)]
pub(super) enum Usability {
    /// Believed.
    Usable(Details),
    /// Damaged, or not the one its name says.
    Damaged,
    /// May be sound, but not for this version or this public key.
    Refused,
    /// The store did not give it.
    Unread,
}

/// What a usable manifest says.
#[derive(Debug, Clone)]
pub(super) struct Details {
    pub(super) image: Box<str>,
    pub(super) stored_size: u64,
    pub(super) previous: Option<Sha256Digest>,
    pub(super) captured: bool,
    pub(super) revision: Revision,
    pub(super) cluster_id: Option<ClusterId>,
}

impl ManifestFacts {
    pub(super) const fn details(&self) -> Option<&Details> {
        match &self.usability {
            Usability::Usable(details) => Some(details),
            Usability::Damaged | Usability::Refused | Usability::Unread => None,
        }
    }
}

/// Weighs one manifest.
pub(super) fn weigh(
    cluster: &ClusterName,
    id: SnapshotId,
    examined: &Result<ExaminedManifest, RepositoryError>,
    info: &RepositoryInfo,
) -> (ManifestFacts, Vec<Finding>) {
    let key = layout::manifest(cluster, &id).to_string();
    let fact = |usability, sha256| ManifestFacts { id, usability, sha256 };
    let examined = match examined {
        Ok(examined) => examined,
        Err(error @ RepositoryError::Damaged { .. }) => {
            let finding = kinds::MANIFEST_UNREADABLE.at(key, error.to_string());
            return (fact(Usability::Damaged, None), vec![finding]);
        }
        Err(error) => {
            let finding = kinds::UNCHECKED.at(key, error.to_string());
            return (fact(Usability::Unread, None), vec![finding]);
        }
    };
    let sha256 = Some(examined.sha256);
    // The contents of a manifest without a valid signature are not read.
    if let Err(error) = &examined.signature {
        let (kind, usability) = match error {
            RepositoryError::Unsigned { .. } => (kinds::SIGNATURE_MISSING, Usability::Refused),
            _ => (kinds::SIGNATURE_WRONG, Usability::Damaged),
        };
        return (fact(usability, sha256), vec![kind.at(key, error.to_string())]);
    }
    match &examined.manifest {
        Ok(manifest) => {
            let mut findings = names(cluster, id, manifest, &key);
            if !findings.is_empty() {
                return (fact(Usability::Damaged, sha256), findings);
            }
            findings.extend(remarks(manifest, &key));
            findings.extend(readers(manifest, info));
            (fact(Usability::Usable(details(manifest)), sha256), findings)
        }
        Err(error @ ManifestError::UnknownFormat(_)) => {
            let finding = kinds::MANIFEST_FORMAT.at(key, error.to_string());
            (fact(Usability::Refused, sha256), vec![finding])
        }
        Err(error) => {
            let finding = kinds::MANIFEST_UNREADABLE.at(key, error.to_string());
            (fact(Usability::Damaged, sha256), vec![finding])
        }
    }
}

fn details(manifest: &Manifest) -> Details {
    Details {
        image: manifest.image.key.as_str().into(),
        stored_size: manifest.image.stored_size,
        previous: manifest.previous_manifest_sha256,
        captured: manifest.kind == ImageKind::Full,
        revision: manifest.revision,
        cluster_id: manifest.cluster_id,
    }
}

/// Names that do not match: a manifest under another's name, or with another's image.
fn names(cluster: &ClusterName, id: SnapshotId, manifest: &Manifest, key: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut differs = |message: String| found.push(message);
    if manifest.id != id || manifest.cluster != *cluster {
        differs(format!("it is the manifest of {} of cluster {}", manifest.id, manifest.cluster));
    }
    if manifest.started_at.timestamp() != manifest.id.time().timestamp() {
        differs(format!("its capture began at {}, and its id says otherwise", manifest.started_at));
    }
    let image = &manifest.image.key;
    let inside = layout::parse_image(cluster, image).is_some();
    let own = layout::image(cluster, &id, &manifest.image.codec);
    if !(inside && (own.as_ref() == image.as_str() || layout::is_staging(image))) {
        let image: String = image.chars().take(200).collect();
        differs(format!("its image is {image:?}, which is not one of this snapshot"));
    }
    match found.is_empty() {
        true => Vec::new(),
        false => vec![kinds::MANIFEST_NAME.at(key, found.join("; "))],
    }
}

/// What the save recorded itself.
fn remarks(manifest: &Manifest, key: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for reason in manifest.suspect.iter().take(5) {
        let reason: String = reason.chars().take(400).collect();
        found.push(kinds::SUSPECT.at(key, reason));
    }
    let dissent = manifest.hash_kv.as_ref().map_or(0, |hash| hash.dissented.len());
    if found.is_empty() && dissent > 0 {
        found.push(kinds::SUSPECT.at(key, format!("{dissent} members had another HashKV")));
    }
    if manifest.finished_at < manifest.started_at {
        let message = format!(
            "it was finished at {} and begun at {}",
            manifest.finished_at, manifest.started_at
        );
        found.push(kinds::CLOCK_ORDER.at(key, message));
    }
    found
}

/// Who can open the image, against who should.
fn readers(manifest: &Manifest, info: &RepositoryInfo) -> Vec<Finding> {
    let expected: BTreeSet<&str> = info.recipients.iter().map(String::as_str).collect();
    if expected.is_empty() {
        return Vec::new();
    }
    let place = manifest.image.key.as_str();
    let Some(Encryption::Age { recipients }) = &manifest.image.codec.encryption else {
        return vec![kinds::IMAGE_PLAIN.at(place, "it is not encrypted, and the repository is")];
    };
    let found: BTreeSet<&str> = recipients.iter().map(String::as_str).collect();
    let list = |left: &BTreeSet<&str>, right: &BTreeSet<&str>| {
        let some: Vec<&str> = left.difference(right).copied().take(5).collect();
        (!some.is_empty()).then(|| some.join(", ").chars().take(400).collect::<String>())
    };
    let missing = list(&expected, &found).map(|who| format!("it is not encrypted to {who}"));
    let more = list(&found, &expected).map(|who| format!("it is also encrypted to {who}"));
    let message: Vec<String> = missing.into_iter().chain(more).collect();
    match message.is_empty() {
        true => Vec::new(),
        false => vec![kinds::IMAGE_RECIPIENTS.at(place, message.join("; "))],
    }
}

/// Facts about all manifests of a cluster, newest first, in the shape in which the walk
/// needs them.
#[derive(Debug, Clone, Default)]
pub(super) struct ClusterFacts {
    pub(super) list: Vec<ManifestFacts>,
    /// Snapshots whose damage is known without reading their image.
    pub(super) broken: BTreeSet<SnapshotId>,
    /// How many snapshots are not there because they were deleted on purpose.
    pub(super) pruned: u64,
}

impl ClusterFacts {
    pub(super) fn get(&self, id: &SnapshotId) -> Option<&ManifestFacts> {
        let at = self.list.binary_search_by(|fact| id.cmp(&fact.id)).ok()?;
        self.list.get(at)
    }

    pub(super) fn ids(&self) -> Vec<SnapshotId> {
        self.list.iter().map(|fact| fact.id).collect()
    }

    /// Usable, with its image there and not from the future.
    pub(super) fn newest(&self, before: DateTime<Utc>) -> Option<SnapshotId> {
        self.sound().map(|fact| fact.id).find(|id| id.time() <= before)
    }

    /// Those that are usable as far as is known without reading images.
    pub(super) fn sound(&self) -> impl Iterator<Item = &ManifestFacts> {
        let usable = |fact: &&ManifestFacts| fact.details().is_some();
        self.list.iter().filter(usable).filter(|fact| !self.broken.contains(&fact.id))
    }
}
