//! What the tests share: stores, a whole save in one call, a store that fails on demand.

#![allow(dead_code, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

pub(crate) mod fault;
pub(crate) mod s3;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeZone, Utc};
use etcdr_repository::{
    Identities, Location, Recipients, Repository, SealOptions, SealedImage, SigningKey, keys,
};
use etcdr_schemas::manifest::{FORMAT, ImageKind, Manifest, Source};
use etcdr_schemas::repository::RepositoryInfo;
use etcdr_schemas::{ClusterName, Revision, Sha256Digest, SnapshotId};
use object_store::ObjectStore;

pub(crate) const PAUSE: Duration = Duration::from_millis(1);

pub(crate) type Store = Arc<dyn ObjectStore>;

/// Keys of one test.
pub(crate) struct Keys {
    pub(crate) recipients: Recipients,
    pub(crate) identities: Identities,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let pair = keys::generate();
        Self {
            recipients: Recipients::parse(&[pair.recipient]).unwrap(),
            identities: Identities::parse(&pair.identity_file, "test").unwrap(),
        }
    }
}

pub(crate) fn info(keys: &Keys) -> RepositoryInfo {
    RepositoryInfo {
        format: 1,
        repository_id: "0123456789abcdef0123456789abcdef".to_owned(),
        created_at: time(0),
        recipients: keys.recipients.texts().to_vec(),
        unencrypted: false,
        extra: serde_json::Map::new(),
    }
}

pub(crate) async fn init(store: Store, keys: &Keys) -> Repository {
    Repository::init_on(store, &Location::memory(), PAUSE, info(keys)).await.unwrap()
}

pub(crate) fn time(hour: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 0, 0, 0).unwrap() + chrono::Duration::hours(hour.into())
}

pub(crate) fn id(hour: u32) -> SnapshotId {
    SnapshotId::new(time(hour), Revision(1000 + i64::from(hour)), hour)
}

/// Bytes that do not compress.
pub(crate) fn noise(size: usize, seed: u32) -> Vec<u8> {
    let mut state = u64::from(seed).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Bytes that compress.
pub(crate) fn text(size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 64);
    for n in 0u64.. {
        if bytes.len() >= size {
            break;
        }
        bytes.extend(format!("/registry/pods/default/web-{:x}\n", n * 2_654_435_761).bytes());
    }
    bytes.truncate(size);
    bytes
}

/// A whole save, as the agent does it.
pub(crate) async fn save(
    repository: &Repository,
    hour: u32,
    data: &[u8],
    options: SealOptions,
    signer: Option<&SigningKey>,
) -> etcdr_repository::Result<Manifest> {
    let (cluster, id) = (ClusterName::default(), id(hour));
    let mut upload = repository.begin_image(&cluster, options, id.time(), hour, ()).await?;
    for piece in data.chunks(64 << 10) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    let (staged, ()) = upload.finish().await?;
    let stored = repository.publish_image(staged, &id).await?;
    let proven = match repository.read_back(&stored).await {
        Ok(proven) => proven,
        Err(error) => {
            let _ = repository.discard(stored).await;
            return Err(error);
        }
    };
    let image = proven.describe(Sha256Digest::of(data));
    repository.commit(manifest(&id, data, image), signer).await
}

pub(crate) fn manifest(
    id: &SnapshotId,
    data: &[u8],
    image: etcdr_schemas::manifest::Image,
) -> Manifest {
    Manifest {
        format: FORMAT,
        kind: ImageKind::Full,
        id: *id,
        cluster: ClusterName::default(),
        cluster_id: None,
        members: Vec::new(),
        source: Source::default(),
        revision: id.revision(),
        compact_revision: None,
        raft_term: None,
        raft_index: None,
        db_size: data.len() as u64 - 32,
        db_size_in_use: None,
        started_at: id.time(),
        finished_at: id.time(),
        image,
        hash_kv: None,
        alarms: Vec::new(),
        suspect: Vec::new(),
        trigger: None,
        tool_version: "test".to_owned(),
        previous_manifest_sha256: None,
        extra: serde_json::Map::new(),
    }
}

pub(crate) fn options(keys: &Keys) -> SealOptions {
    SealOptions { level: 1, workers: 2, ..SealOptions::new(Some(keys.recipients.clone())) }
}

/// Drains an image; what came out before an error comes with it.
pub(crate) async fn drain(image: &SealedImage) -> (Vec<u8>, Option<String>) {
    let chunks = image.chunks();
    let work = move || {
        let mut all = Vec::new();
        for chunk in chunks {
            match chunk {
                Ok(chunk) => all.extend_from_slice(&chunk),
                Err(error) => return (all, Some(error.to_string())),
            }
        }
        (all, None)
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// Keys of everything in a store.
pub(crate) async fn keys_in(store: &dyn ObjectStore) -> Vec<String> {
    use futures_util::TryStreamExt;
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    let mut keys: Vec<String> = listed.iter().map(|meta| meta.location.to_string()).collect();
    keys.sort();
    keys
}
