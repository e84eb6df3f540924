//! Every key of a repository is built and parsed here, and nowhere else.
//!
//! Keys are relative to the repository's root. A cluster's name is one harmless path segment and an id
//! is fixed text, so that no key can leave the root.

use chrono::{DateTime, Utc};
use etcdr_schemas::manifest::Codec;
use etcdr_schemas::{ClusterName, SnapshotId};
use object_store::path::Path;

/// The object that makes a prefix a repository.
pub const REPOSITORY: &str = "etcdr.json";

/// Key of a snapshot's manifest: the commit point.
#[must_use]
pub fn manifest(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/manifests/{id}.json"))
}

/// Key of the signature of a snapshot's manifest.
#[must_use]
pub fn signature(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/manifests/{id}.json.minisig"))
}

/// Prefix under which all manifests of a cluster are.
#[must_use]
pub fn manifests(cluster: &ClusterName) -> Path {
    Path::from(format!("{cluster}/manifests"))
}

/// Key of an image that is complete; its suffixes say how it is packed.
#[must_use]
pub fn image(cluster: &ClusterName, id: &SnapshotId, codec: &Codec) -> Path {
    Path::from(format!("{cluster}/images/{id}{}", suffix(codec)))
}

/// Key of an image in flight: its revision, and so its id, is known when its last byte is.
#[must_use]
pub fn staging(cluster: &ClusterName, started_at: DateTime<Utc>, nonce: u32) -> Path {
    let time = started_at.format("%Y%m%dT%H%M%SZ");
    Path::from(format!("{cluster}/images/{time}-{nonce:08x}.part"))
}

fn suffix(codec: &Codec) -> &'static str {
    match (codec.compression.is_some(), codec.encryption.is_some()) {
        (false, false) => ".db",
        (true, false) => ".db.zst",
        (false, true) => ".db.age",
        (true, true) => ".db.zst.age",
    }
}

/// The id in a manifest's key; `None` for signatures and for whatever else lies there.
#[must_use]
pub fn parse_manifest(cluster: &ClusterName, key: &Path) -> Option<SnapshotId> {
    let rest = key.as_ref().strip_prefix(cluster.as_str())?;
    rest.strip_prefix("/manifests/")?.strip_suffix(".json")?.parse().ok()
}

/// The id in the key of a manifest's signature.
#[must_use]
pub fn parse_signature(cluster: &ClusterName, key: &Path) -> Option<SnapshotId> {
    let rest = key.as_ref().strip_prefix(cluster.as_str())?;
    rest.strip_prefix("/manifests/")?.strip_suffix(".json.minisig")?.parse().ok()
}

/// The key that a manifest names, refused unless it is one of this cluster's images: a manifest must
/// not make a reader or a deleter touch anything else.
#[must_use]
pub fn parse_image(cluster: &ClusterName, key: &str) -> Option<Path> {
    let rest = key.strip_prefix(cluster.as_str())?.strip_prefix("/images/")?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = !rest.is_empty() && rest.len() <= 200 && rest.chars().all(harmless);
    (plain && rest != "." && rest != "..").then(|| Path::from(key))
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::Revision;
    use etcdr_schemas::manifest::{Compression, Encryption};

    use super::*;

    fn id() -> SnapshotId {
        "20261122T070000Z-r00000000000000012345-1a2b3c4d".parse().unwrap()
    }

    #[test]
    fn keys_are_those_of_the_design() {
        let cluster = ClusterName::default();
        let codec = Codec {
            compression: Some(Compression::Zstd { level: 3, frame_size: 4 << 20 }),
            encryption: Some(Encryption::Age { recipients: vec![] }),
        };
        let id = id();
        assert_eq!(
            image(&cluster, &id, &codec).as_ref(),
            "default/images/20261122T070000Z-r00000000000000012345-1a2b3c4d.db.zst.age"
        );
        assert_eq!(
            signature(&cluster, &id).as_ref(),
            "default/manifests/20261122T070000Z-r00000000000000012345-1a2b3c4d.json.minisig"
        );
        assert_eq!(
            staging(&cluster, id.time(), 7).as_ref(),
            "default/images/20261122T070000Z-00000007.part"
        );
    }

    #[test]
    fn manifests_round_trip_and_strangers_do_not_parse() {
        let cluster: ClusterName = "prod-eu".parse().unwrap();
        let id = SnapshotId::new(id().time(), Revision(9), 1);
        assert_eq!(parse_manifest(&cluster, &manifest(&cluster, &id)), Some(id));
        assert_eq!(parse_manifest(&cluster, &signature(&cluster, &id)), None);
        assert_eq!(parse_manifest(&ClusterName::default(), &manifest(&cluster, &id)), None);
        assert_eq!(parse_manifest(&cluster, &Path::from("prod-eu/manifests/x.json")), None);
    }

    #[test]
    fn an_image_key_cannot_leave_its_cluster() {
        let cluster = ClusterName::default();
        assert!(parse_image(&cluster, "default/images/a.db.zst").is_some());
        let hostile = [
            "default/images/",
            "default/images/..",
            "default/images/../manifests/x",
            "default/manifests/x.json",
            "other/images/a.db",
            "/etc/passwd",
            "default/images/a%2Fb",
        ];
        for key in hostile {
            assert!(parse_image(&cluster, key).is_none(), "{key}");
        }
    }
}
