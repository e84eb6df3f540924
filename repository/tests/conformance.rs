//! One suite over memory, local disk and an S3 server: what works on one works on all.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::Arc;

use etcdr_repository::{
    Chain, Error, Identities, Location, PublicKey, Repository, SealOptions, SigningKey,
    SnapshotName, StoreOptions, SweepOptions, Swept, keys, sign,
};
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{PruneOutcome, SignatureState, SweptKind};
use etcdr_schemas::{ClusterName, Diagnose, ExitCode, Hidden, ReadAt, Sha256Digest};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use proptest::prelude::*;
use support::s3::S3Server;
use support::{Keys, drain, id, info, noise, options, save, text};

/// A place for repositories, with whatever must live as long.
struct TestStore {
    location: Location,
    options: StoreOptions,
    server: Option<S3Server>,
    dir: Option<tempfile::TempDir>,
}

impl TestStore {
    fn disk() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::directory(dir.path().join("repository"));
        Self { location, options: StoreOptions::default(), server: None, dir: Some(dir) }
    }

    async fn s3() -> Self {
        let server = S3Server::start().await;
        let location = "s3://bucket/some/prefix".parse().unwrap();
        Self { location, options: server.options(), server: Some(server), dir: None }
    }

    /// Parts that the store keeps of uploads that are over.
    fn leftovers(&self) -> usize {
        let folders = ["default", "other"].map(|cluster| format!("repository/{cluster}/images"));
        let folders = folders.into_iter().filter_map(|folder| {
            self.dir.as_ref().and_then(|dir| std::fs::read_dir(dir.path().join(folder)).ok())
        });
        let names = folders.flatten().map(|entry| entry.unwrap().file_name());
        let on_disk = names
            .filter(|name| {
                name.to_string_lossy().contains(".part") || name.to_string_lossy().contains('#')
            })
            .count();
        on_disk + self.server.as_ref().map_or(0, |server| server.leftovers().len())
    }
}

/// A repository on each kind of store.
async fn everywhere(keys: &Keys) -> Vec<(Repository, Option<TestStore>)> {
    let memory = support::init(Arc::new(InMemory::new()), keys).await;
    let mut all = vec![(memory, None)];
    for place in [TestStore::disk(), TestStore::s3().await] {
        let made = Repository::init(&place.location, &place.options, info(keys)).await.unwrap();
        assert_eq!(made.info(), &info(keys));
        let opened = Repository::open(&place.location, &place.options).await.unwrap();
        assert_eq!(opened.info(), &info(keys));
        all.push((opened, Some(place)));
    }
    all
}

async fn check_content(
    repository: &Repository,
    manifest: &Manifest,
    ids: &Identities,
    want: &[u8],
) {
    let image = repository.open_image(&manifest.image, ids).await.unwrap();
    let (found, error) = drain(&image).await;
    assert_eq!(error, None);
    assert!(found == want);
    let (random, want) = (image.random(), want.to_vec());
    let work = move || {
        assert_eq!(random.size(), want.len() as u64);
        for offset in [0, 1, want.len() / 2, want.len() - 1] {
            let len = (want.len() - offset).min(5_000_000);
            let mut buf = vec![0; len];
            random.read_exact_at(&mut buf, offset as u64).unwrap();
            assert!(buf == want[offset..offset + len]);
        }
        // Several threads at once, forwards and backwards, with frames in common.
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (random, want) = (&random, &want);
                scope.spawn(move || {
                    for step in 0..8 {
                        let step = if thread % 2 == 0 { step } else { 7 - step };
                        let offset = want.len() / 8 * step;
                        let mut buf = vec![0; (want.len() - offset).min(70_000)];
                        random.read_exact_at(&mut buf, offset as u64).unwrap();
                        assert!(buf == want[offset..offset + buf.len()]);
                    }
                });
            }
        });
        let mut beyond = [0; 2];
        assert!(random.read_exact_at(&mut beyond, want.len() as u64 - 1).is_err());
    };
    tokio::task::spawn_blocking(work).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_saved_is_found_and_read() {
    let keys = Keys::new();
    // One frame, exactly one, one byte more, and several parts.
    let sizes = [33, 4 << 20, (4 << 20) + 1, 20 << 20];
    for (repository, place) in everywhere(&keys).await {
        let cluster = ClusterName::default();
        for (hour, size) in (0..).zip(sizes) {
            let data = noise(size, hour);
            let manifest = save(&repository, hour, &data, options(&keys), None).await.unwrap();
            assert!(manifest.image.key.ends_with(".db.zst.age"), "{}", manifest.image.key);
            repository.verify_object(&manifest.image, &Hidden).await.unwrap();
            let loaded = repository.manifest(&cluster, &id(hour)).await.unwrap();
            assert_eq!(loaded.manifest, manifest);
            assert_eq!(loaded.signature, SignatureState::Unsigned);
            check_content(&repository, &manifest, &keys.identities, &data).await;
        }
        let listing = repository.list(&cluster).await.unwrap();
        assert_eq!(listing.ids, [id(3), id(2), id(1), id(0)]);
        assert_eq!(repository.clusters().await.unwrap(), std::slice::from_ref(&cluster));
        let name: SnapshotName = "@r1001".parse().unwrap();
        assert_eq!(repository.resolve(&cluster, &name).await.unwrap(), id(1));
        let (good, unusable) = repository.manifests(&cluster, &listing.ids).await;
        assert_eq!((good.len(), unusable.len()), (4, 0));
        assert_eq!(repository.chain(&good[3]).await.unwrap(), Chain::First);
        assert_eq!(repository.chain(&good[0]).await.unwrap(), Chain::Follows(id(2)));
        assert_eq!(place.map_or(0, |place| place.leftovers()), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_claimed_once() {
    let keys = Keys::new();
    for (repository, _place) in everywhere(&keys).await {
        let data = text(100_000);
        let first = save(&repository, 1, &data, options(&keys), None).await.unwrap();
        let error = save(&repository, 1, &data, options(&keys), None).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::Claimed, "{error}");
        let mut other = first.clone();
        other.tool_version = "other".to_owned();
        let error = repository.commit(other, None).await.unwrap_err();
        assert!(matches!(error, Error::Claimed { .. }), "{error}");
        let loaded = repository.manifest(&ClusterName::default(), &id(1)).await.unwrap();
        assert_eq!(loaded.manifest, first);
        // An identical manifest that exists is a write whose answer was lost, not a conflict.
        repository.commit(first, None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_made_once_and_missing_ones_are_named() {
    let keys = Keys::new();
    for (repository, place) in everywhere(&keys).await {
        let Some(place) = place else { continue };
        let mut other = info(&keys);
        other.repository_id = "f".repeat(32);
        let error = Repository::init(&place.location, &place.options, other).await.unwrap_err();
        assert!(matches!(&error, Error::AlreadyRepository { .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Failed);
        let again = Repository::open(&place.location, &place.options).await.unwrap();
        assert_eq!(again.info(), repository.info());
    }
    let place = TestStore::s3().await;
    for location in ["s3://bucket/elsewhere", "s3://no-such-bucket/x", "/no/such/directory"] {
        let location: Location = location.parse().unwrap();
        let error = Repository::open(&location, &place.options).await.unwrap_err();
        assert_eq!(error.exit_code(), ExitCode::RepositoryMissing, "{error}");
    }
    let parentless: Location = "/no/such/directory".parse().unwrap();
    let made = Repository::init(&parentless, &place.options, info(&keys)).await;
    assert!(matches!(made, Err(Error::ParentMissing { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_wants_recipients_or_a_word() {
    let place = TestStore::disk();
    let mut info = info(&Keys::new());
    info.recipients.clear();
    let refused = Repository::init(&place.location, &place.options, info.clone()).await;
    assert!(matches!(refused, Err(Error::NoRecipients)));
    assert!(Repository::open(&place.location, &place.options).await.is_err());
    info.unencrypted = true;
    let made = Repository::init(&place.location, &place.options, info).await.unwrap();
    assert!(made.default_recipients().unwrap().is_none());
    let data = text(9_000_000);
    let plain = SealOptions::new(made.default_recipients().unwrap());
    let manifest = save(&made, 0, &data, plain, None).await.unwrap();
    assert!(manifest.image.key.ends_with(".db.zst"), "{}", manifest.image.key);
    check_content(&made, &manifest, &Identities::none(), &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stock_formats_unpack_an_image() {
    let keys = Keys::new();
    let store = Arc::new(InMemory::new());
    let repository = support::init(store.clone(), &keys).await;
    let pair = keys::generate();
    let recipients = etcdr_repository::Recipients::parse(&[&pair.recipient]).unwrap();
    let data = text(9_000_000);
    let seal = SealOptions::new(Some(recipients));
    let manifest = save(&repository, 0, &data, seal, None).await.unwrap();
    let stored = store.get(&Path::from(manifest.image.key.as_str())).await.unwrap();
    let stored = stored.bytes().await.unwrap();
    // age, then a plain streaming zstd decoder, which knows nothing of seek tables.
    let secret = pair.identity_file.lines().last().unwrap();
    let identity: age::x25519::Identity = secret.parse().unwrap();
    let packed = age::decrypt(&identity, &stored).unwrap();
    assert!(zstd::decode_all(packed.as_slice()).unwrap() == data);
}

#[tokio::test(flavor = "multi_thread")]
async fn signatures_decide_where_a_public_key_is_configured() {
    let keys = Keys::new();
    let (mine, other) = (sign::generate().unwrap(), sign::generate().unwrap());
    let signer = SigningKey::parse(&mine.secret_file, "s").unwrap();
    let public = |pair: &sign::SigningPair| PublicKey::parse(&pair.public_file, "p").unwrap();
    let cluster = ClusterName::default();
    for (repository, _place) in everywhere(&keys).await {
        let data = text(50_000);
        save(&repository, 0, &data, options(&keys), None).await.unwrap();
        save(&repository, 1, &data, options(&keys), Some(&signer)).await.unwrap();
        let state = repository.manifest(&cluster, &id(1)).await.unwrap().signature;
        assert_eq!(state, SignatureState::NotChecked);
        let listing = repository.list(&cluster).await.unwrap();
        assert!(listing.signed.contains(&id(1)) && !listing.signed.contains(&id(0)));

        let strict = repository.clone().with_public_key(public(&mine));
        let state = strict.manifest(&cluster, &id(1)).await.unwrap().signature;
        assert_eq!(state, SignatureState::Verified);
        let unsigned = strict.manifest(&cluster, &id(0)).await.unwrap_err();
        assert!(matches!(unsigned, Error::Unsigned { .. }), "{unsigned}");
        assert_eq!(unsigned.exit_code(), ExitCode::Key);
        let stranger = repository.clone().with_public_key(public(&other));
        let wrong = stranger.manifest(&cluster, &id(1)).await.unwrap_err();
        assert!(matches!(wrong, Error::BadSignature { .. }), "{wrong}");
        let (good, unusable) = strict.manifests(&cluster, &listing.ids).await;
        assert_eq!((good.len(), unusable.len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn images_without_manifests_do_not_exist_and_manifests_without_images_are_damage() {
    let keys = Keys::new();
    for (repository, place) in everywhere(&keys).await {
        let cluster = ClusterName::default();
        let upload =
            repository.begin_image(&cluster, options(&keys), id(5).time(), 5, ()).await.unwrap();
        let mut upload = upload;
        upload.write(text(40_000).into()).await.unwrap();
        let (staged, ()) = upload.finish().await.unwrap();
        assert!(repository.list(&cluster).await.unwrap().ids.is_empty());
        let stored = repository.publish_image(staged, &id(5)).await.unwrap();
        let proven = repository.read_back(&stored).await.unwrap();
        let image = proven.describe(Sha256Digest::of(&text(40_000)));
        repository.discard(stored).await.unwrap();
        let error = repository.verify_object(&image, &Hidden).await.unwrap_err();
        assert!(matches!(error, Error::ImageMissing { .. }), "{error}");
        assert_eq!(error.exit_code(), ExitCode::Damaged);
        let error = repository.open_image(&image, &keys.identities).await.err().unwrap();
        assert!(matches!(error, Error::ImageMissing { .. }), "{error}");
        assert_eq!(place.map_or(0, |place| place.leftovers()), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_uploads_leave_nothing_in_the_store() {
    let keys = Keys::new();
    for (repository, place) in everywhere(&keys).await {
        let cluster = ClusterName::default();
        let data = noise(20 << 20, 1);
        for wait in [true, false] {
            let begun = repository.begin_image(&cluster, options(&keys), id(1).time(), 1, ()).await;
            let mut upload = begun.unwrap();
            for piece in data.chunks(1 << 20) {
                upload.write(piece.to_vec().into()).await.unwrap();
            }
            if wait {
                upload.abort().await;
                assert_eq!(place.as_ref().map_or(0, TestStore::leftovers), 0);
            }
        }
        // The second one was dropped: it is cleaned up in the background.
        for _ in 0..500 {
            if place.as_ref().map_or(0, TestStore::leftovers) == 0 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(place.as_ref().map_or(0, TestStore::leftovers), 0, "{}", repository.location());
    }
}

/// Begins an upload of a part, and is gone.
async fn kill(store: &dyn ObjectStore, key: &str) {
    let mut upload = store.put_multipart(&Path::from(key)).await.unwrap();
    upload.put_part(noise(5 << 20, 1).into()).await.unwrap();
    std::mem::forget(upload);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_whose_process_was_killed_are_ended_by_the_sweep_and_no_other() {
    let keys = Keys::new();
    let (cluster, data) = (ClusterName::default(), text(50_000));
    for place in [TestStore::disk(), TestStore::s3().await] {
        let repository = Repository::init(&place.location, &place.options, info(&keys)).await;
        let repository = repository.unwrap();
        let (raw, root): (Arc<dyn ObjectStore>, _) = match &place.dir {
            Some(dir) => (Arc::new(LocalFileSystem::new_with_prefix(dir).unwrap()), "repository"),
            None => (Arc::new(place.server.as_ref().unwrap().client()), "some/prefix"),
        };
        let kept = save(&repository, 1, &data, options(&keys), None).await.unwrap();
        for key in [
            "default/images/20261122T070000Z-00000001.part",
            "default/images/20261122T070000Z-00000002.part",
            "default/images/20261122T070000Z-r00000000000000000005-1a2b3c4d.db.zst.age",
        ] {
            kill(raw.as_ref(), &format!("{root}/{key}")).await;
        }
        // Somebody else's, and another cluster's.
        let stranger = "default/images/theirs.bin";
        for key in [stranger, "other/images/20261122T070000Z-00000003.part"] {
            kill(raw.as_ref(), &format!("{root}/{key}")).await;
        }
        let begun = place.leftovers();
        let sweep = async |age: chrono::Duration, dry_run: bool| {
            // The store's clock decides what is old.
            let now = id(1).time() + chrono::Duration::days(36_500);
            let grace = SweepOptions { now, age, dry_run };
            let inventory = repository.inventory(&cluster).await.unwrap();
            repository.sweep(&cluster, &inventory, grace).await.unwrap()
        };
        // All are younger than the grace, by the store's clock.
        assert_eq!(sweep(chrono::Duration::hours(1), false).await.gone, (0, 0));
        assert_eq!(place.leftovers(), begun);
        let summary = |swept: &Swept| {
            let mut keys: Vec<_> =
                swept.objects.iter().map(|it| (it.key.clone(), it.kind)).collect();
            keys.sort();
            keys
        };
        let planned = sweep(chrono::Duration::zero(), true).await;
        assert_eq!(planned.gone.0, 3, "{planned:?}");
        assert_eq!(place.leftovers(), begun);
        let swept = sweep(chrono::Duration::zero(), false).await;
        assert_eq!(summary(&swept), summary(&planned));
        assert!(swept.objects.iter().all(|it| it.outcome == Some(PruneOutcome::Deleted)));
        assert!(swept.objects.iter().all(|it| it.kind == SweptKind::Part));
        assert_eq!(place.leftovers(), begun / 5 * 2);
        assert_eq!(sweep(chrono::Duration::zero(), false).await.gone, (0, 0));
        check_content(&repository, &kept, &keys.identities, &data).await;
        // A server that cannot list uploads is left alone, and one that fails is asked again.
        let Some(server) = &place.server else { continue };
        kill(raw.as_ref(), &format!("{root}/default/images/20261122T070000Z-00000004.part")).await;
        for refusal in ["AccessDenied", "NotImplemented"] {
            server.refusals.refuse("ListMultipartUploads", refusal, 1);
            assert_eq!(sweep(chrono::Duration::zero(), false).await.gone, (0, 0), "{refusal}");
        }
        server.refusals.refuse("ListMultipartUploads", "InternalError", 2);
        server.refusals.refuse("AbortMultipartUpload", "AccessDenied", 1);
        assert_eq!(sweep(chrono::Duration::zero(), false).await.withheld, 1);
        server.refusals.refuse("AbortMultipartUpload", "InternalError", 2);
        assert_eq!(sweep(chrono::Duration::zero(), false).await.gone.0, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_abort_is_refused_is_ended_when_the_store_is_back() {
    let keys = Keys::new();
    let place = TestStore::s3().await;
    let server = place.server.as_ref().unwrap();
    let repository = Repository::init(&place.location, &place.options, info(&keys)).await.unwrap();
    let began = std::time::Instant::now();
    server.refusals.refuse("AbortMultipartUpload", "AccessDenied", 1);
    // A refusal that comes before the part was sent breaks the connection, and is tried again.
    server.refusals.refuse("UploadPart", "AccessDenied", 100);
    let data = noise(20 << 20, 1);
    assert!(save(&repository, 1, &data, options(&keys), None).await.is_err());
    assert_eq!(place.leftovers(), 0, "after {:?}", began.elapsed());
    assert!(repository.list(&ClusterName::default()).await.unwrap().ids.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_that_stumbles_is_asked_again_and_one_that_refuses_is_named() {
    let keys = Keys::new();
    let place = TestStore::s3().await;
    let refusals = place.server.as_ref().unwrap().refusals.clone();
    let repository = Repository::init(&place.location, &place.options, info(&keys)).await.unwrap();
    let data = noise(20 << 20, 3);
    for (hour, operation) in (0..).zip([
        "CreateMultipartUpload",
        "UploadPart",
        "CompleteMultipartUpload",
        "GetObject",
        "HeadObject",
    ]) {
        refusals.refuse(operation, "InternalError", 2);
        let manifest = save(&repository, hour, &data, options(&keys), None).await.unwrap();
        refusals.refuse("GetObject", "SlowDown", 2);
        check_content(&repository, &manifest, &keys.identities, &data).await;
        refusals.clear();
    }
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "PutObject"]
    {
        refusals.refuse(operation, "AccessDenied", usize::MAX);
        let error = save(&repository, 9, &data, options(&keys), None).await.unwrap_err();
        assert!(error.is_permanent(), "{operation}: {error}");
        assert!(error.to_string().contains("permission denied"), "{operation}: {error}");
        refusals.clear();
        assert!(!repository.list(&ClusterName::default()).await.unwrap().ids.contains(&id(9)));
        assert!(place.leftovers() == 0, "{operation}");
        if operation != "PutObject" {
            continue;
        }
    }
    // A store that allows no copy and no delete keeps the image where it was uploaded.
    refusals.refuse("CopyObject", "AccessDenied", usize::MAX);
    let manifest = save(&repository, 10, &data, options(&keys), None).await.unwrap();
    assert!(manifest.image.key.ends_with(".part"), "{}", manifest.image.key);
    refusals.clear();
    refusals.refuse("DeleteObjects", "AccessDenied", usize::MAX);
    refusals.refuse("DeleteObject", "AccessDenied", usize::MAX);
    let manifest = save(&repository, 11, &data, options(&keys), None).await.unwrap();
    check_content(&repository, &manifest, &keys.identities, &data).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_there_is_unreachable_and_not_missing() {
    let place = TestStore::s3().await;
    let mut options = place.options.clone();
    options.retries = 1;
    options.variables.insert("AWS_ENDPOINT_URL".to_owned(), "http://127.0.0.1:1".to_owned());
    let error = Repository::open(&place.location, &options).await.unwrap_err();
    assert!(matches!(error, Error::Store { .. }) && !error.is_permanent(), "{error}");
    let mut options = place.options.clone();
    options.variables.insert("AWS_SECRET_ACCESS_KEY".to_owned(), "wrong".to_owned());
    let error = Repository::open(&place.location, &options).await.unwrap_err();
    assert!(error.is_permanent() && error.exit_code() == ExitCode::Failed, "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
    let mut options = place.options.clone();
    options.ca_bundle = Some(tempfile::NamedTempFile::new().unwrap().path().to_owned());
    assert!(Repository::open(&place.location, &options).await.is_err());
}

#[test]
fn random_reads_equal_the_bytes() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let keys = Keys::new();
    // Seven frames and a bit: more than are kept.
    let data = noise((28 << 20) + 12_345, 5);
    let image = runtime.block_on(async {
        let repository = support::init(Arc::new(InMemory::new()), &keys).await;
        let manifest = save(&repository, 0, &data, options(&keys), None).await.unwrap();
        repository.open_image(&manifest.image, &keys.identities).await.unwrap().random()
    });
    let ranges = (0..data.len(), 0usize..9_000_000);
    proptest!(ProptestConfig::with_cases(60), |((at, len) in ranges)| {
        let mut buf = vec![0; len];
        let outcome = image.read_exact_at(&mut buf, at as u64);
        prop_assert_eq!(outcome.is_ok(), at + len <= data.len());
        if outcome.is_ok() {
            prop_assert!(buf == data[at..at + len]);
        }
    });
}
