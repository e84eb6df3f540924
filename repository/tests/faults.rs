//! Promise 1, attacked: whatever fails, wherever it fails, there is no snapshot that is not whole.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use etcdr_repository::{BoxError, Error, Identities, Repository, SealOptions, Tap, layout};
use etcdr_schemas::manifest::{Codec, Compression, Image, Manifest};
use etcdr_schemas::{ClusterName, Diagnose, ExitCode, Hidden, ReadAt, Sha256Digest};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use support::fault::{Fault, FaultStore, How};
use support::{Keys, drain, id, init, keys_in, manifest, noise, options, save, text};

struct Bench {
    inner: Arc<InMemory>,
    store: FaultStore,
    repository: Repository,
    keys: Keys,
}

impl Bench {
    async fn new() -> Self {
        let (inner, keys) = (Arc::new(InMemory::new()), Keys::new());
        let store = FaultStore::new(inner.clone());
        let repository = init(Arc::new(store.clone()), &keys).await;
        Self { inner, store, repository, keys }
    }

    /// What promise 1 says, after a save that returned `outcome`.
    async fn check(&self, hour: u32, outcome: &Result<Manifest, Error>, context: &str) {
        self.store.set(None);
        let ids = self.repository.list(&ClusterName::default()).await.unwrap().ids;
        assert_eq!(ids.contains(&id(hour)), outcome.is_ok(), "{context}: {outcome:?}");
        if let Ok(manifest) = outcome {
            self.repository.verify_object(&manifest.image, &Hidden).await.unwrap();
        }
        assert_eq!(self.store.open_uploads().await, 0, "{context}");
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.inner.put(&Path::from(key), bytes.into()).await.unwrap();
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        let got = self.inner.get(&Path::from(key)).await.unwrap();
        got.bytes().await.unwrap().to_vec()
    }

    /// The outcome of reading a whole image; never wrong bytes, and never all of them with an
    /// error.
    async fn read(
        &self,
        image: &Image,
        identities: &Identities,
        want: &[u8],
    ) -> Result<(), String> {
        let opened = self.repository.open_image(image, identities).await;
        let opened = opened.map_err(|error| error.to_string())?;
        let (found, error) = drain(&opened).await;
        match error {
            None => {
                assert!(found == want, "wrong bytes passed for right ones");
                Ok(())
            }
            Some(error) => {
                assert!(found.len() < want.len(), "the last chunk came out: {error}");
                Err(error)
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_at_any_operation_leaves_no_false_snapshot() {
    let bench = Bench::new().await;
    let mut hour = 0;
    // One part, and three parts.
    for data in [text(300_000), noise(18 << 20, 1)] {
        hour += 1;
        bench.store.set(None);
        save(&bench.repository, hour, &data, options(&bench.keys), None).await.unwrap();
        let operations = bench.store.operations();
        assert!(operations >= 6, "{operations}");
        for how in How::ALL {
            for k in 0..operations {
                hour += 1;
                bench.store.set(Some(Fault { from: k, to: k + 1, how }));
                let outcome =
                    save(&bench.repository, hour, &data, options(&bench.keys), None).await;
                bench.check(hour, &outcome, &format!("{how:?} at operation {k}")).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_for_good_is_named_and_leaves_nothing() {
    let bench = Bench::new().await;
    let data = noise(18 << 20, 2);
    for (hour, how) in (1..).zip([How::Denied, How::Full, How::Broken]) {
        for from in 0..5 {
            bench.store.set(Some(Fault { from, to: u64::MAX, how }));
            let error = save(&bench.repository, hour, &data, options(&bench.keys), None).await;
            let error = error.unwrap_err();
            let Error::Store { fault, .. } = &error else { panic!("{error}") };
            let named = fault.to_string();
            match how {
                How::Denied => assert_eq!(named, "permission denied"),
                How::Full => assert_eq!(named, "no space left"),
                _ => assert!(!error.is_permanent()),
            }
            assert_eq!(error.exit_code(), ExitCode::Failed);
            bench.check(hour, &Err(error), "for good").await;
        }
    }
    let manifests = keys_in(bench.inner.as_ref()).await;
    assert!(!manifests.iter().any(|key| key.contains("/manifests/")), "{manifests:?}");
}

/// Fails at a byte or at the end.
struct Critic {
    left: u64,
    at_end: bool,
}

impl Tap for Critic {
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        let left = self.left.checked_sub(bytes.len() as u64).ok_or("too many bytes")?;
        self.left = left;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        if self.at_end { Err("the digest does not match".into()) } else { Ok(()) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_ends_at_any_byte_leaves_nothing() {
    let bench = Bench::new().await;
    let data = noise(220_000, 3);
    let cluster = ClusterName::default();
    let before = keys_in(bench.inner.as_ref()).await;
    for k in (0..data.len()).step_by(1_000) {
        let tap = Critic { left: u64::MAX, at_end: false };
        let options = options(&bench.keys);
        let begun = bench.repository.begin_image(&cluster, options, id(1).time(), 1, tap).await;
        let mut upload = begun.unwrap();
        for piece in data[..k].chunks(7_000) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        upload.abort().await;
    }
    assert_eq!(keys_in(bench.inner.as_ref()).await, before);
    assert_eq!(bench.store.open_uploads().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_objects_at_any_byte_or_at_the_end_leaves_nothing() {
    let bench = Bench::new().await;
    let data = noise(220_000, 4);
    let cluster = ClusterName::default();
    let before = keys_in(bench.inner.as_ref()).await;
    let cuts = (0..data.len() as u64).step_by(1_000).map(|left| Critic { left, at_end: false });
    for tap in cuts.chain([Critic { left: u64::MAX, at_end: true }]) {
        let options = options(&bench.keys);
        let begun = bench.repository.begin_image(&cluster, options, id(1).time(), 1, tap).await;
        let mut upload = begun.unwrap();
        let mut outcome = Ok(());
        for piece in data.chunks(7_000) {
            outcome = upload.write(Bytes::copy_from_slice(piece)).await;
            if outcome.is_err() {
                break;
            }
        }
        let error = match outcome {
            Err(error) => error,
            Ok(()) => upload.finish().await.err().unwrap(),
        };
        assert!(matches!(&error, Error::Tap(_)), "{error}");
    }
    assert_eq!(keys_in(bench.inner.as_ref()).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_back_that_differs_at_any_byte_is_no_snapshot() {
    let bench = Bench::new().await;
    let data = noise(200_000, 5);
    // Without age, whose header varies in length, every stored byte is known.
    let plain = || SealOptions { level: 1, ..SealOptions::new(None) };
    let whole = save(&bench.repository, 0, &data, plain(), None).await.unwrap();
    let size = whole.image.stored_size;
    let steps = (0..size).step_by(usize::try_from(size / 210).unwrap()).chain([size - 1]);
    for (hour, at) in (1..).zip(steps) {
        bench.store.flip(Some(at));
        let outcome = save(&bench.repository, hour, &data, plain(), None).await;
        bench.store.flip(None);
        assert!(matches!(outcome, Err(Error::DigestMismatch { .. })), "byte {at}: {outcome:?}");
        bench.check(hour, &outcome, "flipped").await;
    }
    // Nothing was left of any of them.
    let images = keys_in(bench.inner.as_ref()).await;
    assert_eq!(images.iter().filter(|key| key.contains("/images/")).count(), 1, "{images:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_bit_of_an_image_is_found() {
    let bench = Bench::new().await;
    let data = text(4_300_000);
    for (hour, recipients) in (0..).zip([Some(bench.keys.recipients.clone()), None]) {
        let seal = SealOptions { level: 1, ..SealOptions::new(recipients) };
        let saved = save(&bench.repository, hour, &data, seal, None).await.unwrap();
        let good = bench.get(&saved.image.key).await;
        let ids = &bench.keys.identities;
        bench.read(&saved.image, ids, &data).await.unwrap();
        // The whole of the seek table, and a sample of the rest.
        let tail = good.len() - 50..good.len();
        for at in (0..good.len()).step_by(good.len() / 60).chain(tail) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            // A liar may also write the digest of the bad bytes into an unsigned manifest.
            let mut lying = saved.image.clone();
            lying.stored_sha256 = Sha256Digest::of(&bad);
            bench.put(&saved.image.key, bad).await;
            bench.read(&saved.image, ids, &data).await.unwrap_err();
            bench.read(&lying, ids, &data).await.unwrap_err();
            let error = bench.repository.verify_object(&saved.image, &Hidden).await.unwrap_err();
            assert_eq!(error.exit_code(), ExitCode::Damaged);
        }
        for cut in [0, 1, good.len() / 2, good.len() - 1] {
            bench.put(&saved.image.key, good[..cut].to_vec()).await;
            bench.read(&saved.image, ids, &data).await.unwrap_err();
            let mut lying = saved.image.clone();
            lying.stored_size = cut as u64;
            bench.read(&lying, ids, &data).await.unwrap_err();
        }
        bench.put(&saved.image.key, good).await;
        bench.read(&saved.image, ids, &data).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_lie_in_the_image_part_of_a_manifest_is_found() {
    let bench = Bench::new().await;
    let data = text(9_000_000);
    let image = save(&bench.repository, 0, &data, options(&bench.keys), None).await.unwrap().image;
    let lie = |change: fn(&mut Image)| {
        let mut lying = image.clone();
        change(&mut lying);
        lying
    };
    let zstd = |frame_size| Some(Compression::Zstd { level: 3, frame_size });
    let framed = |frame_size| {
        let mut lying = image.clone();
        lying.codec.compression = zstd(frame_size);
        lying
    };
    let lies = [
        lie(|image| image.plain_size += 1),
        lie(|image| image.plain_size = u64::MAX),
        lie(|image| image.plain_size = 33),
        lie(|image| image.stored_size += 1),
        lie(|image| image.stored_size = u64::MAX),
        lie(|image| image.plain_sha256 = Sha256Digest::of(b"")),
        lie(|image| image.stored_sha256 = Sha256Digest::of(b"")),
        lie(|image| image.codec = Codec::default()),
        lie(|image| image.codec.encryption = None),
        lie(|image| image.key = "default/manifests/../../etc/passwd".to_owned()),
        framed(0),
        framed(1),
        framed(u32::MAX),
        framed(8 << 20),
    ];
    for lying in lies {
        let error = bench.read(&lying, &bench.keys.identities, &data).await.unwrap_err();
        assert!(!error.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_unpacks_to_no_more_than_its_manifest_says() {
    let bench = Bench::new().await;
    let frame = 4usize << 20;
    let bomb = zstd::bulk::compress(&vec![0; 256 << 20], 3).unwrap();
    let honest = zstd::bulk::compress(&vec![0; frame], 3).unwrap();
    let table = |frames: &[(usize, usize)]| {
        let mut bytes = Vec::new();
        let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
        bytes.extend(0x184D_2A5Eu32.to_le_bytes());
        bytes.extend(number(frames.len() * 8 + 9));
        for (packed, plain) in frames {
            bytes.extend(number(*packed));
            bytes.extend(number(*plain));
        }
        bytes.extend(number(frames.len()));
        bytes.push(0);
        bytes.extend(0x8F92_EAB1u32.to_le_bytes());
        bytes
    };
    let cases = [
        // The table says how large it really is; the manifest does not.
        ([bomb.clone(), table(&[(bomb.len(), 256 << 20)])].concat(), frame),
        // The table lies as the manifest does.
        ([bomb.clone(), table(&[(bomb.len(), frame)])].concat(), frame),
        // Many frames in the place of one.
        ([honest.repeat(50), table(&[(honest.len() * 50, frame)])].concat(), frame),
        // More frames than anyone has.
        ([vec![], table(&[(1, 1); 3])].concat(), usize::MAX >> 1),
    ];
    for (stored, plain_size) in cases {
        let image = Image {
            key: "default/images/bomb.db.zst".to_owned(),
            plain_size: plain_size as u64,
            plain_sha256: Sha256Digest::of(&vec![0; frame]),
            stored_size: stored.len() as u64,
            stored_sha256: Sha256Digest::of(&stored),
            codec: Codec {
                compression: Some(Compression::Zstd { level: 3, frame_size: 4 << 20 }),
                encryption: None,
            },
        };
        bench.put(&image.key, stored).await;
        let most = vec![0; frame];
        bench.read(&image, &Identities::none(), &most).await.unwrap_err();
        let opened = bench.repository.open_image(&image, &Identities::none()).await;
        if let Ok(opened) = opened {
            let random = opened.random();
            let read = move || random.read_exact_at(&mut [0; 100], 0);
            assert!(tokio::task::spawn_blocking(read).await.unwrap().is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wrong_identity_learns_who_can_open_it_and_gets_nothing() {
    let bench = Bench::new().await;
    let data = text(100_000);
    let image = save(&bench.repository, 0, &data, options(&bench.keys), None).await.unwrap().image;
    for identities in [Keys::new().identities, Identities::none()] {
        let error = bench.repository.open_image(&image, &identities).await.err().unwrap();
        assert_eq!(error.exit_code(), ExitCode::Key);
        assert!(error.to_string().contains(&bench.keys.recipients.texts()[0]), "{error}");
    }
    bench.repository.verify_object(&image, &Hidden).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_manifests_are_reported_and_keep_no_others_away() {
    let bench = Bench::new().await;
    let cluster = ClusterName::default();
    let data = text(50_000);
    for hour in 0..4 {
        save(&bench.repository, hour, &data, options(&bench.keys), None).await.unwrap();
    }
    let key = |hour| layout::manifest(&cluster, &id(hour)).to_string();
    let good = bench.get(&key(1)).await;
    bench.put(&key(0), b"{".to_vec()).await;
    let later =
        String::from_utf8(good.clone()).unwrap().replacen("\"format\": 1", "\"format\": 2", 1);
    bench.put(&key(2), later.into_bytes()).await;
    bench.put(&key(3), good.clone()).await;
    bench.put("default/manifests/notes.json", b"x".to_vec()).await;
    let listing = bench.repository.list(&cluster).await.unwrap();
    assert_eq!(listing.ids.len(), 4);
    assert_eq!(listing.unknown_keys, ["default/manifests/notes.json"]);
    let (usable, unusable) = bench.repository.manifests(&cluster, &listing.ids).await;
    assert_eq!((usable.len(), unusable.len()), (1, 3));
    assert!(unusable.iter().any(|one| one.reason.contains("format 2")), "{unusable:?}");
    // A manifest of gigabytes is refused unread.
    bench.put(&key(1), vec![b' '; 5 << 20]).await;
    let error = bench.repository.manifest(&cluster, &id(1)).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    // Flipped bits are seen by the parser or by the digests that they change.
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bench.put(&key(1), bad).await;
        if let Ok(loaded) = bench.repository.manifest(&cluster, &id(1)).await {
            let whole = loaded.sha256 == Sha256Digest::of(&good);
            assert!(!whole, "byte {at}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_manifest_breaks_the_chain() {
    let bench = Bench::new().await;
    let cluster = ClusterName::default();
    let data = text(50_000);
    for hour in 0..3 {
        save(&bench.repository, hour, &data, options(&bench.keys), None).await.unwrap();
    }
    let key = layout::manifest(&cluster, &id(1));
    let mut bytes = bench.get(key.as_ref()).await;
    bytes.push(b'\n');
    bench.put(key.as_ref(), bytes).await;
    let last = bench.repository.manifest(&cluster, &id(2)).await.unwrap();
    let chain = bench.repository.chain(&last).await.unwrap();
    assert!(matches!(chain, etcdr_repository::Chain::Broken { .. }), "{chain:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_cannot_name_an_image_elsewhere() {
    let bench = Bench::new().await;
    let data = text(50_000);
    let mut image =
        save(&bench.repository, 0, &data, options(&bench.keys), None).await.unwrap().image;
    image.key = "other/images/x.db.zst.age".to_owned();
    let error = bench.repository.commit(manifest(&id(1), &data, image), None).await.unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert_eq!(bench.store.open_uploads().await, 0);
}
