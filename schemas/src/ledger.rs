//! The ledger of deleted snapshots: what was deleted on purpose, so that a gap in the chain of
//! manifests is distinguished from a loss.
//!
//! A page of it is written before the manifests that it lists are deleted. Whoever reads it trusts
//! it as far as it can: an entry explains a gap only when its digest is exactly the one that is
//! missed.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::digest::Sha256Digest;
use crate::ids::{ClusterName, SnapshotId};

/// The format of a page that this version writes and the only one that it reads.
pub const FORMAT: u32 = 1;

/// Most entries of one page; a run that deletes more writes several.
pub const MAX_ENTRIES: usize = 1_000;

/// Most characters of a reason that are kept.
pub const MAX_REASON: usize = 200;

/// Upper bound of a page's size in bytes; a larger object is not read.
pub const MAX_PAGE_BYTES: u64 = 4 << 20;

/// `<cluster>/pruned/<time>-<nonce>.json`: snapshots that one run is about to delete. Unknown
/// fields are kept in `extra`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerPage {
    /// Always 1.
    pub format: u32,
    /// Cluster name in the repository: that of its key, or the page is not believed.
    pub cluster: ClusterName,
    /// When the page was written, by the clock of whoever deletes. Many small pages become few
    /// large ones in time.
    pub written_at: DateTime<Utc>,
    /// The snapshots, at most 1,000.
    pub snapshots: Vec<LedgerEntry>,
    /// Fields of later versions, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// One snapshot that is deleted on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LedgerEntry {
    /// The snapshot.
    pub id: SnapshotId,
    /// SHA-256 of its manifest: what the manifest after it refers to.
    pub manifest_sha256: Sha256Digest,
    /// What its manifest said of the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_manifest_sha256: Option<Sha256Digest>,
    /// When its end was noted, by the clock of whoever deletes.
    pub noted_at: DateTime<Utc>,
    /// Name of the agent that deletes; absent for a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Why it is deleted, for people.
    pub reason: String,
    /// Fields of later versions, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A page that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A later format.
    #[error("it has format {0}, and this version of etcdr reads format {FORMAT}")]
    UnknownFormat(u64),
    /// Not a page, or not one of this cluster.
    #[error("it is no page of the ledger: {0}")]
    Malformed(String),
}

impl LedgerPage {
    /// The JSON that is stored, ending with a newline.
    ///
    /// # Errors
    /// Never for a page that was built or parsed here; the error of serde_json otherwise.
    pub fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut json = serde_json::to_vec(self)?;
        json.push(b'\n');
        Ok(json)
    }

    /// Parses stored bytes of a page of `cluster`. The format number is read first, so that a
    /// page of a later version is called that and not malformed.
    ///
    /// # Errors
    /// [`LedgerError`] for a later format, for another cluster's page, and for what is none.
    pub fn from_json(cluster: &ClusterName, bytes: &[u8]) -> Result<Self, LedgerError> {
        #[derive(Deserialize)]
        struct Probe {
            format: u64,
        }
        let malformed = |error: serde_json::Error| LedgerError::Malformed(error.to_string());
        let probe: Probe = serde_json::from_slice(bytes).map_err(malformed)?;
        if probe.format != u64::from(FORMAT) {
            return Err(LedgerError::UnknownFormat(probe.format));
        }
        let page: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        if page.cluster != *cluster {
            return Err(LedgerError::Malformed(format!("it is of cluster {}", page.cluster)));
        }
        if page.snapshots.len() > MAX_ENTRIES {
            let text = format!("it lists more than {MAX_ENTRIES} snapshots");
            return Err(LedgerError::Malformed(text));
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use crate::revision::Revision;

    use super::*;

    fn page(count: u32) -> LedgerPage {
        let time = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let entry = |n: u32| LedgerEntry {
            id: SnapshotId::new(time, Revision(n.into()), n),
            manifest_sha256: Sha256Digest::of(&n.to_le_bytes()),
            previous_manifest_sha256: Some(Sha256Digest::of(b"before")),
            noted_at: time,
            by: Some("a1".to_owned()),
            reason: "\u{1}".repeat(MAX_REASON),
            extra: Map::new(),
        };
        LedgerPage {
            format: FORMAT,
            cluster: ClusterName::default(),
            written_at: time,
            snapshots: (0..count).map(entry).collect(),
            extra: Map::new(),
        }
    }

    #[test]
    fn a_full_page_is_read_again_and_a_stranger_is_not() {
        let (cluster, full) = (ClusterName::default(), page(1_000));
        let json = full.to_json().unwrap();
        assert!((json.len() as u64) < MAX_PAGE_BYTES, "{}", json.len());
        assert_eq!(LedgerPage::from_json(&cluster, &json).unwrap(), full);
        let other: ClusterName = "other".parse().unwrap();
        let later = String::from_utf8(page(1).to_json().unwrap()).unwrap();
        let later = later.replacen("\"format\":1", "\"format\":2", 1);
        let too_many = page(1_001).to_json().unwrap();
        for (cluster, bytes, expected) in [
            (&other, json.as_slice(), "of cluster default"),
            (&cluster, later.as_bytes(), "format 2"),
            (&cluster, too_many.as_slice(), "more than 1000"),
            (&cluster, b"{", "no page"),
            (&cluster, b"[]", "no page"),
        ] {
            let error = LedgerPage::from_json(cluster, bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn fields_of_later_versions_are_kept() {
        let (cluster, mut page) = (ClusterName::default(), page(1));
        page.extra.insert("note".to_owned(), Value::from("x"));
        page.snapshots[0].extra.insert("note".to_owned(), Value::from("y"));
        assert_eq!(LedgerPage::from_json(&cluster, &page.to_json().unwrap()).unwrap(), page);
    }
}
