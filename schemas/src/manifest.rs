//! The manifest: the commit point of a snapshot, format 1.
//!
//! A snapshot exists when, and only when, its manifest exists. Everything that a restore must know
//! before it touches the image is in here, and `docs/format.md` describes it for other programs.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::claim::Trigger;
use crate::digest::Sha256Digest;
use crate::ids::{ClusterId, ClusterName, MemberId, RaftIndex, SnapshotId, Term};
use crate::revision::Revision;

/// The manifest format that this version writes and the only one that it reads.
pub const FORMAT: u32 = 1;

/// Upper bound of a manifest's size in bytes; a larger object is refused unread.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Manifest of one snapshot. Unknown fields are kept in `extra` and written back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Manifest {
    /// Always 1.
    pub format: u32,
    /// What the image is.
    pub kind: ImageKind,
    /// Name of the snapshot; its time and revision are those of this manifest.
    pub id: SnapshotId,
    /// Cluster name in the repository.
    pub cluster: ClusterName,
    /// Id that etcd gives the cluster, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<ClusterId>,
    /// Members of the cluster at the time of the capture.
    pub members: Vec<Member>,
    /// Where the bytes came from.
    pub source: Source,
    /// Current revision, read out of the image.
    pub revision: Revision,
    /// Revision up to which history is compacted, read out of the image; absent when never
    /// compacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compact_revision: Option<Revision>,
    /// Raft term, read out of the image (absent in images of etcd 3.4).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_term: Option<Term>,
    /// Raft index that the image reflects (`consistent_index`), read out of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_index: Option<RaftIndex>,
    /// Size of the database in bytes, without the digest trailer.
    pub db_size: u64,
    /// Bytes of the database that are in use, as the source reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub db_size_in_use: Option<u64>,
    /// When the capture began.
    pub started_at: DateTime<Utc>,
    /// When the stored image had been read back and matched.
    pub finished_at: DateTime<Utc>,
    /// The stored object.
    pub image: Image,
    /// HashKV of the live members, asked before the capture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_kv: Option<HashKv>,
    /// Alarms that were raised at the time.
    pub alarms: Vec<Alarm>,
    /// Reasons not to trust this snapshot; empty for a good one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspect: Vec<String>,
    /// What it was taken for; absent for one that was taken by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<Trigger>,
    /// Version of etcdr that wrote it.
    pub tool_version: String,
    /// SHA-256 of the manifest before this one of the same cluster: the chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_manifest_sha256: Option<Sha256Digest>,
    /// Fields of later versions, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Kind")]
pub enum ImageKind {
    /// Captured from a live member.
    Full,
    /// Brought in from a file with `snapshot import`.
    Imported,
}

/// One member, as the member list tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// Member id.
    pub id: MemberId,
    /// Name; empty for a member that has not started yet.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
    /// Whether it does not vote.
    #[serde(default)]
    pub learner: bool,
}

/// Where the bytes came from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// The member that streamed the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_id: Option<MemberId>,
    /// The endpoint that was asked, or the file that was imported.
    pub endpoint: String,
    /// Version of the server, e.g. `3.5.30`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_version: Option<String>,
    /// Storage version of the database (etcd 3.6 and later), read out of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_version: Option<String>,
}

/// The stored object and what it unpacks to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Image {
    /// Key under the repository's root.
    pub key: String,
    /// Bytes of the snapshot file: database and digest trailer.
    pub plain_size: u64,
    /// SHA-256 of the snapshot file.
    pub plain_sha256: Sha256Digest,
    /// Bytes of the stored object.
    pub stored_size: u64,
    /// SHA-256 of the stored object.
    pub stored_sha256: Sha256Digest,
    /// How plain bytes became stored ones.
    pub codec: Codec,
}

/// How an image is packed: compressed, then encrypted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Codec {
    /// Absent for an image that is not compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Absent for an image that is not encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// Compression of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "algorithm", rename_all = "snake_case")]
pub enum Compression {
    /// zstd seekable format.
    Zstd {
        /// Compression level.
        level: i32,
        /// Plain bytes of every frame but the last.
        frame_size: u32,
    },
}

/// Encryption of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "algorithm", rename_all = "snake_case")]
pub enum Encryption {
    /// One age file.
    Age {
        /// The recipients, each as the text that was given (public keys are public).
        recipients: Vec<String>,
    },
}

/// HashKV of the members at one common revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HashKv {
    /// Revision that was asked for.
    pub revision: Revision,
    /// Compact revision that the hash depends on; -1 when never compacted.
    pub compact_revision: i64,
    /// The value that the agreeing members gave.
    pub hash: u32,
    /// Members that gave this value.
    pub agreed: Vec<MemberId>,
    /// Members that gave another value at the same revision and compact revision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dissented: Vec<Dissent>,
    /// Members that could not be asked, or not compared, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<Unasked>,
}

/// A member whose HashKV differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dissent {
    /// The member.
    pub member_id: MemberId,
    /// Its value.
    pub hash: u32,
}

/// A member whose HashKV is not known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unasked {
    /// The member.
    pub member_id: MemberId,
    /// Why.
    pub reason: String,
}

/// An alarm of a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alarm {
    /// The member that raised it.
    pub member_id: MemberId,
    /// `NOSPACE`, `CORRUPT`, or a number for one that we do not know.
    pub kind: String,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A later format.
    #[error("the manifest has format {0}, and this version of etcdr reads format {FORMAT}")]
    UnknownFormat(u64),
    /// Not a manifest.
    #[error("not a manifest: {0}")]
    Malformed(String),
}

impl Manifest {
    /// The JSON that is stored, ending with a newline.
    ///
    /// # Errors
    /// Never for a manifest that was built or parsed here; the error of serde_json otherwise.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec_pretty(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Parses stored bytes. The format number is read first, so that a manifest of a later
    /// version is called that and not malformed.
    ///
    /// # Errors
    /// [`ManifestError`] for a later format, for JSON that is not a manifest, and for a manifest
    /// whose parts contradict one another.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        struct Probe {
            format: u64,
        }
        let malformed = |error: serde_json::Error| ManifestError::Malformed(error.to_string());
        let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
        if probe.format != u64::from(FORMAT) {
            return Err(ManifestError::UnknownFormat(probe.format));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        manifest.check_consistency()?;
        Ok(manifest)
    }

    /// Parts that must agree: hostile or damaged manifests are refused before their numbers are
    /// used.
    fn check_consistency(&self) -> Result<(), ManifestError> {
        let fail = |text: String| Err(ManifestError::Malformed(text));
        if self.id.revision() != self.revision {
            return fail(format!("id {} does not carry revision {}", self.id, self.revision));
        }
        let trailer = Sha256Digest::LEN as u64;
        if self.image.plain_size != self.db_size.saturating_add(trailer) {
            return fail(format!(
                "plain_size {} is not db_size {} and a trailer of {trailer} bytes",
                self.image.plain_size, self.db_size
            ));
        }
        Ok(())
    }
}
