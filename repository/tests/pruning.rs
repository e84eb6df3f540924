//! Goal: deleting and sweeping never take what a snapshot needs, whatever fails and whenever; and
//! take all else. Method: the same script over memory, disk and an S3 server, then over a store
//! that dies at every operation.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::SweepOptions;
use etcdr_repository::retention::Proof;
use etcdr_repository::{
    Chain, HoldState, Location, Repository, SigningKey, StoreOptions, layout, sign,
};
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{PruneOutcome, SweptKind};
use etcdr_schemas::{ClusterName, Hidden, Hold, Sha256Digest, SnapshotId};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use support::fault::{Fault, FaultStore, How};
use support::s3::S3Server;
use support::{Keys, id, info, init, keys_in, manifest, options, save, text, time};

/// What lies under a repository, seen past it.
enum Ground {
    Memory(Arc<InMemory>),
    /// A directory: of a local repository, or of the S3 server's bucket.
    Directory(PathBuf),
}

impl Ground {
    async fn keys(&self) -> Vec<String> {
        let root = match self {
            Self::Memory(store) => return keys_in(store.as_ref()).await,
            Self::Directory(root) => root,
        };
        let (mut open, mut found) = (vec![root.clone()], Vec::new());
        while let Some(dir) = open.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                match path.is_dir() {
                    true => open.push(path),
                    // The S3 server's own notes begin with a dot.
                    false if name.rsplit('/').next().unwrap().starts_with('.') => {}
                    false => found.push(name),
                }
            }
        }
        found.sort();
        found
    }

    async fn put(&self, key: &str, bytes: &[u8]) {
        match self {
            Self::Memory(store) => {
                drop(store.put(&Path::from(key), bytes.to_vec().into()).await.unwrap());
            }
            Self::Directory(root) => {
                let path = root.join(key);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
        }
    }

    /// Makes an object three days old, where that can be done.
    fn age(&self, key: &str) {
        let Self::Directory(root) = self else { return };
        let file = std::fs::File::options().append(true).open(root.join(key)).unwrap();
        let written = file.metadata().unwrap().modified().unwrap();
        file.set_modified(written - std::time::Duration::from_secs(3 * 86_400)).unwrap();
    }

    async fn get(&self, key: &str) -> Vec<u8> {
        match self {
            Self::Memory(store) => {
                store.get(&Path::from(key)).await.unwrap().bytes().await.unwrap().to_vec()
            }
            Self::Directory(root) => std::fs::read(root.join(key)).unwrap(),
        }
    }
}

struct TestStore {
    repository: Repository,
    ground: Ground,
    server: Option<S3Server>,
    _dir: Option<tempfile::TempDir>,
}

async fn memory(keys: &Keys) -> TestStore {
    let store = Arc::new(InMemory::new());
    let repository = init(store.clone(), keys).await;
    TestStore { repository, ground: Ground::Memory(store), server: None, _dir: None }
}

async fn everywhere(keys: &Keys) -> Vec<TestStore> {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("repository");
    let location = Location::directory(root.clone());
    let made = Repository::init(&location, &StoreOptions::default(), info(keys)).await;
    let ground = Ground::Directory(root);
    let disk = TestStore { repository: made.unwrap(), ground, server: None, _dir: Some(dir) };
    let server = S3Server::start().await;
    let location: Location = "s3://bucket/some/prefix".parse().unwrap();
    let made = Repository::init(&location, &server.options(), info(keys)).await;
    let ground = Ground::Directory(server.bucket().join("some/prefix"));
    let s3 = TestStore { repository: made.unwrap(), ground, server: Some(server), _dir: None };
    vec![memory(keys).await, disk, s3]
}

fn cluster() -> ClusterName {
    ClusterName::default()
}

fn grace(age: Duration) -> SweepOptions {
    SweepOptions { now: far(), age, dry_run: false }
}

const NONE: Duration = Duration::zero();

/// After everything that these tests write, whatever the day.
fn far() -> DateTime<Utc> {
    time(0) + Duration::days(365_000)
}

/// Keys that a snapshot needs.
fn of(id: &SnapshotId, signed: bool) -> Vec<String> {
    let mut keys = vec![
        format!("default/images/{id}.db.zst.age"),
        layout::manifest(&cluster(), id).to_string(),
    ];
    keys.extend(signed.then(|| layout::signature(&cluster(), id).to_string()));
    keys
}

fn with(lists: &[Vec<String>], more: &[&str]) -> Vec<String> {
    let mut all = lists.concat();
    all.extend(more.iter().map(|key| (*key).to_owned()));
    all.push(layout::REPOSITORY.to_owned());
    all.sort();
    all
}

/// Notes the end of a snapshot and deletes it, as a prune does.
async fn delete(
    repository: &Repository,
    id: SnapshotId,
    now: DateTime<Utc>,
    held_too: bool,
) -> etcdr_repository::Result<PruneOutcome> {
    let inventory = repository.inventory(&cluster()).await?;
    let deletions = vec![(id, "unneeded".to_owned())];
    let recorded =
        repository.record_pruned(&cluster(), &inventory, deletions, Some("a1"), now).await?;
    repository.delete_snapshot(&cluster(), &id, &recorded, now, held_too).await
}

/// Keys but those of the ledger, and how many pages that has.
fn apart(keys: Vec<String>) -> (Vec<String>, usize) {
    let all = keys.len();
    let rest: Vec<_> = keys.into_iter().filter(|key| !key.contains("/pruned/")).collect();
    let pages = all - rest.len();
    (rest, pages)
}

/// Whether what this snapshot follows is there, or was deleted on purpose.
async fn chain(repository: &Repository, id: SnapshotId) -> Chain {
    let loaded = repository.manifest(&cluster(), &id).await.unwrap();
    repository.chain(&loaded).await.unwrap()
}

async fn some(repository: &Repository, keys: &Keys, hours: std::ops::Range<u32>) -> Vec<Manifest> {
    let mut all = Vec::new();
    for hour in hours {
        all.push(save(repository, hour, &text(20_000), options(keys), None).await.unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_snapshot_can_be_brought_back_until_the_grace_has_passed() {
    let keys = Keys::new();
    let pair = sign::generate().unwrap();
    let signer = SigningKey::parse(&pair.secret_file, "s").unwrap();
    for TestStore { repository, ground, server: _server, _dir } in everywhere(&keys).await {
        for hour in 0..4 {
            save(&repository, hour, &text(20_000), options(&keys), Some(&signer)).await.unwrap();
        }
        let whole = ground.keys().await;
        // The images are old; what counts is when the manifest went.
        for hour in [0, 1] {
            of(&id(hour), true).iter().for_each(|key| ground.age(key));
        }
        for hour in [0, 1] {
            let outcome = delete(&repository, id(hour), time(9), false).await;
            assert_eq!(outcome.unwrap(), PruneOutcome::Deleted);
        }
        let again = delete(&repository, id(0), time(9), false).await.unwrap();
        assert_eq!(again, PruneOutcome::Gone);
        assert_eq!(repository.list(&cluster()).await.unwrap().ids, [id(3), id(2)]);
        // An hour has not passed, whatever our clock says: the newest object is younger.
        let inventory = repository.inventory(&cluster()).await.unwrap();
        let swept =
            repository.sweep(&cluster(), &inventory, grace(Duration::hours(1))).await.unwrap();
        assert_eq!((swept.gone, swept.waiting.0), ((0, 0), 2));
        // A clock that is far behind makes nothing old either.
        let behind =
            SweepOptions { now: time(0) - Duration::days(9999), ..grace(Duration::hours(1)) };
        let swept = repository.sweep(&cluster(), &inventory, behind).await.unwrap();
        assert_eq!((swept.gone, swept.waiting.0), ((0, 0), 2));
        // Bringing one back is copying two objects.
        for name in [format!("{}.json", id(1)), format!("{}.json.minisig", id(1))] {
            let bytes = ground.get(&format!("default/deleted/{name}")).await;
            ground.put(&format!("default/manifests/{name}"), &bytes).await;
        }
        let public = etcdr_repository::PublicKey::parse(&pair.public_file, "p").unwrap();
        let strict = repository.clone().with_public_key(public);
        let back = strict.manifest(&cluster(), &id(1)).await.unwrap().manifest;
        strict.verify_object(&back.image, &Hidden).await.unwrap();
        // With no grace, what is deleted goes; what was brought back stays, and what was noted of
        // both is gone.
        let inventory = repository.inventory(&cluster()).await.unwrap();
        let dry = SweepOptions { dry_run: true, ..grace(NONE) };
        let planned = repository.sweep(&cluster(), &inventory, dry).await.unwrap();
        // What the ledger says of the one that was brought back goes, too.
        assert_eq!(planned.gone.0, 6, "{planned:?}");
        let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
        assert_eq!(swept.gone, planned.gone);
        let gone = of(&id(0), true);
        let left: Vec<_> = whole.into_iter().filter(|key| !gone.contains(key)).collect();
        assert_eq!(apart(ground.keys().await), (left, 1));
        assert_eq!(chain(&repository, id(1)).await, Chain::Pruned(id(0)));
        assert_eq!(chain(&repository, id(2)).await, Chain::Follows(id(1)));
        assert!(swept.objects.iter().any(|object| object.kind == SweptKind::Image));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_crashes_left_is_swept_and_nothing_else() {
    let keys = Keys::new();
    for TestStore { repository, ground, server: _server, _dir } in everywhere(&keys).await {
        some(&repository, &keys, 0..2).await;
        let tick = |hour| time(hour).format("%Y%m%dT%H%M%SZ").to_string();
        let rubbish = [
            format!("default/images/{}.db.zst.age", id(7)),
            "default/images/20261122T010000Z-00000007.part".to_owned(),
            layout::signature(&cluster(), &id(7)).to_string(),
            format!("default/claims/hourly/{}/0001.json", tick(1)),
            format!("default/claims/hourly/{}/0002.json", tick(1)),
            format!("default/claims/nightly/{}/0001.json", tick(1)),
        ];
        let kept = [
            // The newest tick of each schedule was taken, and that must be known.
            format!("default/claims/hourly/{}/0001.json", tick(2)),
            format!("default/claims/nightly/{}/0001.json", tick(3)),
            // Not ours to judge.
            "default/claims/notes.txt".to_owned(),
            format!("default/holds/{}.json", id(8)),
            "default/images/README.md".to_owned(),
            "default/pruned/20261122T070000Z-00000007.json".to_owned(),
            "default/reports/audits/20261122T070000Z-00000007-0001.json".to_owned(),
            "other/images/20261122T010000Z-00000007.part".to_owned(),
        ];
        for key in rubbish.iter().chain(&kept) {
            ground.put(key, b"x").await;
        }
        let before = ground.keys().await;
        let inventory = repository.inventory(&cluster()).await.unwrap();
        let swept =
            repository.sweep(&cluster(), &inventory, grace(Duration::hours(1))).await.unwrap();
        assert_eq!((swept.gone.0, swept.waiting.0), (0, 2));
        if let Ground::Directory(_) = ground {
            for key in rubbish.iter().chain(&kept) {
                ground.age(key);
            }
            let inventory = repository.inventory(&cluster()).await.unwrap();
            let old = SweepOptions { dry_run: true, ..grace(Duration::days(2)) };
            assert_eq!(repository.sweep(&cluster(), &inventory, old).await.unwrap().gone, (6, 6));
            let young = SweepOptions { dry_run: true, ..grace(Duration::days(4)) };
            assert_eq!(repository.sweep(&cluster(), &inventory, young).await.unwrap().gone, (0, 0));
        }
        let dry = SweepOptions { dry_run: true, ..grace(NONE) };
        assert_eq!(repository.sweep(&cluster(), &inventory, dry).await.unwrap().gone, (6, 6));
        assert_eq!(ground.keys().await, before, "a dry run changes nothing");
        let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
        assert_eq!((swept.gone, swept.withheld), ((6, 6), 0));
        let left: Vec<_> = before.into_iter().filter(|key| !rubbish.contains(key)).collect();
        assert_eq!(ground.keys().await, left);
        if let Ground::Directory(root) = &ground {
            let folder = root.join(format!("default/claims/hourly/{}", tick(1)));
            let s3 = _server.is_some();
            assert!(s3 || !folder.exists(), "empty folders stay");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_may_name_anything() {
    let keys = Keys::new();
    let later = |good: &[u8]| {
        let text = String::from_utf8(good.to_vec()).unwrap();
        text.replacen("\"format\": 1", "\"format\": 2", 1).into_bytes()
    };
    for torn in [true, false] {
        let TestStore { repository, ground, .. } = memory(&keys).await;
        some(&repository, &keys, 0..3).await;
        let orphan = format!("default/images/{}.db.zst.age", id(7));
        ground.put(&orphan, b"xx").await;
        ground.put("default/claims/a/20200101T000000Z/0001.json", b"x").await;
        ground.put("default/claims/a/20210101T000000Z/0001.json", b"x").await;
        let key = layout::manifest(&cluster(), &id(1)).to_string();
        let good = ground.get(&key).await;
        let bad = if torn { b"{".to_vec() } else { later(&good) };
        ground.put(&key, &bad).await;
        let inventory = repository.inventory(&cluster()).await.unwrap();
        assert!(inventory.incomplete && inventory.unusable.len() == 1, "{:?}", inventory.unusable);
        assert_eq!(inventory.candidates(&BTreeMap::new()).len(), 2);
        let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
        // Its own image, known by its name, and the orphan.
        assert_eq!((swept.unsure.0, swept.gone.0), (2, 1), "{swept:?}");
        ground.put(&key, &good).await;
        let inventory = repository.inventory(&cluster()).await.unwrap();
        let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
        assert_eq!((swept.unsure.0, swept.gone), (0, (1, 2)));
        repository
            .verify_object(
                &repository.manifest(&cluster(), &id(1)).await.unwrap().manifest.image,
                &Hidden,
            )
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_written_meanwhile_protects_its_image() {
    let keys = Keys::new();
    let TestStore { repository, ground, .. } = memory(&keys).await;
    some(&repository, &keys, 0..2).await;
    let data = text(20_000);
    let begun = repository.begin_image(&cluster(), options(&keys), id(5).time(), 5, ()).await;
    let mut upload = begun.unwrap();
    upload.write(data.clone().into()).await.unwrap();
    let (staged, ()) = upload.finish().await.unwrap();
    let stored = repository.publish_image(staged, &id(5)).await.unwrap();
    let proven = repository.read_back(&stored).await.unwrap();
    let inventory = repository.inventory(&cluster()).await.unwrap();
    let dry = SweepOptions { dry_run: true, ..grace(NONE) };
    assert_eq!(repository.sweep(&cluster(), &inventory, dry).await.unwrap().gone.0, 1);
    let image = proven.describe(Sha256Digest::of(&data));
    let committed = repository.commit(manifest(&id(5), &data, image), None).await.unwrap();
    let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
    assert_eq!(swept.gone.0, 0);
    repository.verify_object(&committed.image, &Hidden).await.unwrap();
    assert_eq!(
        ground.keys().await,
        with(&[of(&id(0), false), of(&id(1), false), of(&id(5), false)], &[])
    );
    // And one of a manifest that cannot be read stays as well.
    ground.put(&format!("default/images/{}.db.zst.age", id(9)), b"x").await;
    let inventory = repository.inventory(&cluster()).await.unwrap();
    ground.put(layout::manifest(&cluster(), &id(9)).as_ref(), b"{").await;
    let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
    assert_eq!((swept.gone.0, swept.unsure.0, swept.unusable.len()), (0, 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_kept_its_first_key_waits_for_the_grace_too() {
    let keys = Keys::new();
    let place = everywhere(&keys).await.pop().unwrap();
    let TestStore { repository, ground, server, _dir } = place;
    let refusals = server.as_ref().unwrap().refusals.clone();
    refusals.refuse("CopyObject", "AccessDenied", usize::MAX);
    let all = some(&repository, &keys, 0..2).await;
    assert!(all[0].image.key.ends_with(".part"), "{}", all[0].image.key);
    delete(&repository, id(0), time(9), false).await.unwrap();
    let inventory = repository.inventory(&cluster()).await.unwrap();
    let swept = repository.sweep(&cluster(), &inventory, grace(Duration::hours(1))).await.unwrap();
    assert_eq!((swept.gone.0, swept.waiting.0), (0, 1));
    // Also when our clock is behind what was written.
    let swept = SweepOptions { now: time(0) - Duration::days(9999), ..grace(NONE) };
    let swept = repository.sweep(&cluster(), &inventory, swept).await.unwrap();
    assert_eq!(swept.gone.0, 2, "{swept:?}");
    let manifest = layout::manifest(&cluster(), &id(1));
    let left = [all[1].image.key.as_str(), manifest.as_ref()];
    assert_eq!(apart(ground.keys().await), (with(&[], &left), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_lets_nothing_go_keeps_whole_snapshots_and_takes_new_ones() {
    let keys = Keys::new();
    let TestStore { repository, ground, server, _dir } = everywhere(&keys).await.pop().unwrap();
    let refusals = server.as_ref().unwrap().refusals.clone();
    some(&repository, &keys, 0..2).await;
    ground.put(&format!("default/images/{}.db.zst.age", id(7)), b"x").await;
    for operation in ["DeleteObjects", "DeleteObject"] {
        refusals.refuse(operation, "AccessDenied", usize::MAX);
    }
    let outcome = delete(&repository, id(0), time(9), false).await.unwrap();
    assert_eq!(outcome, PruneOutcome::Withheld);
    let all = some(&repository, &keys, 2..3).await;
    let inventory = repository.inventory(&cluster()).await.unwrap();
    let swept = repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
    assert_eq!(swept.gone, (0, 0));
    // The orphan, the staging copy of the new one, and what was noted twice of the deletion that
    // was not.
    assert_eq!(swept.withheld, 4, "{swept:?}");
    refusals.clear();
    for hour in 0..3 {
        let loaded = repository.manifest(&cluster(), &id(hour)).await.unwrap();
        repository.verify_object(&loaded.manifest.image, &Hidden).await.unwrap();
    }
    assert!(!all[0].image.key.ends_with(".part"));
    // A store that refuses only the manifest keeps its image, too.
    let inventory = repository.inventory(&cluster()).await.unwrap();
    repository.sweep(&cluster(), &inventory, grace(NONE)).await.unwrap();
    let snapshots = [of(&id(0), false), of(&id(1), false), of(&id(2), false)];
    assert_eq!(ground.keys().await, with(&snapshots, &[]));
    refusals.refuse("PutObject", "AccessDenied", usize::MAX);
    let outcome = delete(&repository, id(0), time(9), false).await.unwrap();
    assert_eq!(outcome, PruneOutcome::Withheld, "nothing can be noted");
    assert_eq!(ground.keys().await, with(&snapshots, &[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn holds_are_kept_released_and_seen_at_the_last_moment() {
    let keys = Keys::new();
    for TestStore { repository, ground, server: _server, _dir } in everywhere(&keys).await {
        some(&repository, &keys, 0..3).await;
        let hold = |hour, expires_at| Hold {
            snapshot: id(hour),
            reason: "ticket 42".to_owned(),
            by: Some("ops".to_owned()),
            created_at: time(9),
            expires_at,
            extra: serde_json::Map::new(),
        };
        repository.hold(&cluster(), &hold(0, None)).await.unwrap();
        repository.hold(&cluster(), &hold(1, Some(time(10)))).await.unwrap();
        ground.put(layout::hold(&cluster(), &id(2)).as_ref(), b"{").await;
        let holds = repository.holds(&cluster(), time(10)).await.unwrap();
        let held: Vec<_> = holds.values().map(|state| state.holding().is_some()).collect();
        assert_eq!(held, [true, false, true], "{holds:?}");
        assert!(matches!(holds[&id(2)], HoldState::Unreadable(_)));
        assert!(holds[&id(0)].holding().unwrap().contains("by ops: ticket 42"));
        for (hour, now, outcome) in [
            (0, 10, PruneOutcome::Held),
            (1, 9, PruneOutcome::Held),
            (2, 10, PruneOutcome::Held),
            (1, 10, PruneOutcome::Deleted),
        ] {
            let found = delete(&repository, id(hour), time(now), false).await;
            assert_eq!(found.unwrap(), outcome, "{hour} at {now}");
        }
        // The hold of another snapshot under this one's name is not believed, and holds.
        let foreign = ground.get(layout::hold(&cluster(), &id(0)).as_ref()).await;
        ground.put(layout::hold(&cluster(), &id(2)).as_ref(), &foreign).await;
        let state = repository.hold_of(&cluster(), &id(2), time(10)).await.unwrap().unwrap();
        assert!(matches!(state, HoldState::Unreadable(_)), "{state:?}");
        assert!(repository.release(&cluster(), &id(0)).await.unwrap());
        assert!(!repository.release(&cluster(), &id(0)).await.unwrap());
        // An expired hold goes with its snapshot.
        let holds = repository.holds(&cluster(), time(10)).await.unwrap();
        assert_eq!(holds.keys().copied().collect::<Vec<_>>(), [id(2)]);
        delete(&repository, id(2), time(10), true).await.unwrap();
        assert!(repository.holds(&cluster(), time(10)).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_image_is_gone_counts_as_damaged() {
    let keys = Keys::new();
    let TestStore { repository, ground, .. } = memory(&keys).await;
    let all = some(&repository, &keys, 0..3).await;
    let Ground::Memory(store) = &ground else { unreachable!() };
    store.delete(&Path::from(all[2].image.key.as_str())).await.unwrap();
    ground.put(&all[1].image.key, b"cut").await;
    let inventory = repository.inventory(&cluster()).await.unwrap();
    let audited = BTreeMap::from([(id(0), Proof::Audited), (id(1), Proof::Audited)]);
    let proofs: Vec<_> = inventory.candidates(&audited).iter().map(|c| c.proof).collect();
    assert_eq!(proofs, [Proof::Damaged, Proof::Damaged, Proof::Audited]);
}

/// Deletes two of four snapshots and sweeps, over rubbish of every kind.
async fn prune(repository: &Repository) -> etcdr_repository::Result<()> {
    let inventory = repository.inventory(&cluster()).await?;
    let deletions = [0, 2].map(|hour| (id(hour), "unneeded".to_owned())).to_vec();
    let recorded =
        repository.record_pruned(&cluster(), &inventory, deletions, None, time(9)).await?;
    for hour in [0, 2] {
        repository.delete_snapshot(&cluster(), &id(hour), &recorded, time(9), false).await?;
    }
    repository.sweep(&cluster(), &inventory, grace(NONE)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prune_that_dies_at_any_operation_leaves_whole_snapshots_and_the_next_one_ends_it() {
    let keys = Keys::new();
    let expected = with(&[of(&id(1), true), of(&id(3), true)], &[]);
    let pair = sign::generate().unwrap();
    let signer = SigningKey::parse(&pair.secret_file, "s").unwrap();
    let data = text(5_000);
    let mut operations = None;
    for how in [How::Broken, How::Lost, How::Denied] {
        for k in 0.. {
            let inner = Arc::new(InMemory::new());
            let store = FaultStore::new(inner.clone());
            let repository = init(Arc::new(store.clone()), &keys).await;
            for hour in 0..4 {
                let saved = save(&repository, hour, &data, options(&keys), Some(&signer));
                saved.await.unwrap();
            }
            let ground = Ground::Memory(inner);
            ground.put(&format!("default/images/{}.db.zst.age", id(7)), b"x").await;
            ground.put("default/images/20261122T010000Z-00000007.part", b"x").await;
            // From the operation on, nothing works any more: what a kill leaves.
            store.set(Some(Fault { from: k, to: u64::MAX, how }));
            let outcome = prune(&repository).await;
            let count = store.operations();
            store.set(None);
            let listed = repository.list(&cluster()).await.unwrap().ids;
            for kept in [id(1), id(3)] {
                assert!(listed.contains(&kept), "{how:?} at {k}: {kept} is gone");
            }
            for id in &listed {
                let loaded = repository.manifest(&cluster(), id).await.unwrap();
                repository.verify_object(&loaded.manifest.image, &Hidden).await.unwrap();
                let link = repository.chain(&loaded).await.unwrap();
                assert!(!matches!(link, Chain::Broken { .. }), "{how:?} at {k}: {id}: {link:?}");
            }
            prune(&repository).await.unwrap();
            let left = apart(ground.keys().await);
            assert_eq!(left, (expected.clone(), 1), "{how:?} at {k}: {outcome:?}");
            assert_eq!(chain(&repository, id(3)).await, Chain::Pruned(id(2)), "{how:?} at {k}");
            if outcome.is_ok() && count <= k {
                operations = operations.max(Some(k));
                break;
            }
        }
    }
    assert!(operations.unwrap() > 25, "{operations:?}");
}
