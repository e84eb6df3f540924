//! Bytes as a stored image: age, seek table, frames.
//!
//! The first bytes say what the manifest would: whether it is encrypted (1), the plain size (8),
//! the frame size (4), the plain SHA-256 (32). The rest is the object.

use std::sync::Arc;

use etcdr_repository::{Identities, Location, Repository};
use etcdr_schemas::manifest::{Codec, Compression, Encryption, Image};
use etcdr_schemas::repository::RepositoryInfo;
use etcdr_schemas::{ReadAt, Sha256Digest};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

const HEAD: usize = 45;
const KEY: &str = "default/images/x.db.zst";

/// A key for tests only: the corpus is encrypted to it.
pub(crate) const IDENTITY: &str =
    "AGE-SECRET-KEY-1Y50J5TV6W48PF9NLLR6HPR6KHU2Y8Z7HG0H0L9NE946D4S36WR0S69AENH";

/// Its public half.
#[allow(dead_code, reason = "the corpus is made with it")]
pub(crate) const RECIPIENT: &str = "age1a05wnh9e34jhjsy6u6m28aghndyzl5h8czvy6d4mm4pnlc9283ts346phd";

/// The whole image is read and has the digest of the manifest, or there is an error.
pub(crate) fn run(data: &[u8]) {
    let _ = read(data);
}

/// Bytes of the image, if it was read to its end.
pub(crate) fn read(data: &[u8]) -> Option<usize> {
    let (head, object) = data.split_at_checked(HEAD)?;
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().expect("a runtime");
    let image = described(head, object);
    let size = runtime.block_on(async {
        let store = Arc::new(InMemory::new());
        store.put(&Path::from(KEY), object.to_vec().into()).await.expect("memory takes it");
        let repository = repository(store).await;
        let identities = Identities::parse(IDENTITY, "fuzz").expect("an identity");
        let opened = repository.open_image(&image, &identities).await.ok()?;
        let (chunks, random) = (opened.chunks(), opened.random());
        let work = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            for chunk in chunks {
                all.extend_from_slice(&chunk.ok()?);
                assert!(all.len() as u64 <= image.plain_size, "more than the manifest says");
            }
            assert_eq!(Sha256Digest::of(&all), image.plain_sha256, "other bytes than promised");
            let mut half = vec![0; all.len() / 2];
            let at = all.len() - half.len();
            random.read_exact_at(&mut half, at as u64).expect("what streams can be read at random");
            assert_eq!(half, all[at..]);
            Some(all.len())
        });
        work.await.expect("no panic")
    });
    runtime.shutdown_background();
    size
}

/// An input for an object: the fields of its manifest come first.
#[allow(dead_code, reason = "the corpus is made with it")]
pub(crate) fn input(image: &Image, object: &[u8]) -> Vec<u8> {
    let Some(Compression::Zstd { frame_size, .. }) = image.codec.compression else {
        return Vec::new();
    };
    let mut data = vec![u8::from(image.codec.encryption.is_some())];
    data.extend_from_slice(&image.plain_size.to_le_bytes());
    data.extend_from_slice(&frame_size.to_le_bytes());
    data.extend_from_slice(image.plain_sha256.as_bytes());
    data.extend_from_slice(object);
    data
}

fn described(head: &[u8], object: &[u8]) -> Image {
    let number = |from: usize, to: usize| {
        head[from..to].iter().rev().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
    };
    let digest: [u8; 32] = head[13..45].try_into().expect("32 bytes");
    let frame_size = u32::try_from(number(9, 13)).expect("4 bytes");
    let age = Encryption::Age { recipients: Vec::new() };
    Image {
        key: KEY.to_owned(),
        plain_size: number(1, 9),
        plain_sha256: Sha256Digest::from_bytes(digest),
        stored_size: object.len() as u64,
        stored_sha256: Sha256Digest::of(object),
        codec: Codec {
            compression: Some(Compression::Zstd { level: 3, frame_size }),
            encryption: (head[0] & 1 == 1).then_some(age),
        },
    }
}

async fn repository(store: Arc<dyn ObjectStore>) -> Repository {
    let info = RepositoryInfo {
        format: 1,
        repository_id: "0".repeat(32),
        created_at: chrono::DateTime::UNIX_EPOCH,
        recipients: Vec::new(),
        unencrypted: true,
        extra: serde_json::Map::new(),
    };
    let pause = std::time::Duration::ZERO;
    Repository::init_on(store, &Location::memory(), pause, info).await.expect("an empty store")
}

/// Sets the manifest's size to that of the seek table.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn fix(data: &mut Vec<u8>) {
    let Some(end) = data.len().checked_sub(9) else { return };
    let count =
        data.get(end..end + 4).and_then(|raw| raw.try_into().ok()).map_or(0, u32::from_le_bytes);
    let Some(start) = end.checked_sub((count as usize).saturating_mul(8)) else { return };
    if start < HEAD {
        return;
    }
    let plain =
        |entry: &[u8]| u64::from(u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]));
    let size: u64 = data[start..end].chunks_exact(8).map(plain).sum();
    data[1..9].copy_from_slice(&size.to_le_bytes());
}
