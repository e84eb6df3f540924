//! Bytes as manifests, as pages of the ledger, as a repository's description, and as ids.

use etcdr_schemas::ledger::LedgerPage;
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::repository::RepositoryInfo;
use etcdr_schemas::version::EtcdVersion;
use etcdr_schemas::{ClusterId, ClusterName, MemberId, Revision, Sha256Digest, SnapshotId};

/// An accepted value is written in a form that parses to an equal value.
pub(crate) fn run(data: &[u8]) {
    let cluster = ClusterName::default();
    if let Ok(page) = LedgerPage::from_json(&cluster, data) {
        let json = page.to_json().expect("a page is JSON");
        assert_eq!(LedgerPage::from_json(&cluster, &json).ok().as_ref(), Some(&page));
    }
    if let Ok(manifest) = Manifest::from_json(data) {
        let json = manifest.to_json().expect("a manifest is JSON");
        assert_eq!(Manifest::from_json(&json).ok().as_ref(), Some(&manifest));
    }
    if let Ok(info) = serde_json::from_slice::<RepositoryInfo>(data) {
        let json = serde_json::to_vec(&info).expect("it is JSON");
        assert!(serde_json::from_slice::<RepositoryInfo>(&json).is_ok());
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    macro_rules! same {
        ($($type:ty),*) => { $(
            if let Ok(id) = text.parse::<$type>() {
                assert_eq!(id.to_string().parse::<$type>().ok(), Some(id));
            }
        )* };
    }
    same!(SnapshotId, ClusterName, MemberId, ClusterId, Revision, Sha256Digest, EtcdVersion);
}
