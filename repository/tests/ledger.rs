//! Goal: what was deleted on purpose is distinguished from what was lost, and nothing else passes
//! for it. Method: snapshots are pruned, taken away by hand, exchanged, brought back and forged,
//! and each link of the chain is asked after each.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::SweepOptions;
use etcdr_repository::inventory::ManifestEntry;
use etcdr_repository::{
    Chain, Inventory, Location, RecordedDeletions, Repository, StoreOptions, layout,
};
use etcdr_schemas::ledger::{LedgerEntry, LedgerPage, MAX_PAGE_BYTES};
use etcdr_schemas::report::{PruneOutcome, SweptKind};
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};
use object_store::path::Path;
use support::{Keys, id, info, options, save, text, time};

/// A repository on disk with a snapshot for each of some hours.
struct Bench {
    repository: Repository,
    root: PathBuf,
    runs: AtomicI64,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new(hours: Range<u32>) -> Self {
        let (keys, dir) = (Keys::new(), tempfile::tempdir().unwrap());
        let root = dir.path().join("repository");
        let location = Location::directory(root.clone());
        let made = Repository::init(&location, &StoreOptions::default(), info(&keys)).await;
        let repository = made.unwrap();
        for hour in hours {
            save(&repository, hour, &text(5_000), options(&keys), None).await.unwrap();
        }
        Self { repository, root, runs: AtomicI64::new(0), _dir: dir }
    }

    fn at(&self, key: &Path) -> PathBuf {
        self.root.join(key.as_ref())
    }

    fn get(&self, key: &Path) -> Vec<u8> {
        std::fs::read(self.at(key)).unwrap()
    }

    fn put(&self, key: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(self.at(key).parent().unwrap()).unwrap();
        std::fs::write(self.at(key), bytes).unwrap();
    }

    fn remove(&self, key: &Path) {
        std::fs::remove_file(self.at(key)).unwrap();
    }

    /// Takes a manifest away as no prune does.
    fn lose(&self, hour: u32) {
        self.remove(&layout::manifest(&cluster(), &id(hour)));
    }

    /// A second later each time, as runs are.
    async fn record(
        &self,
        inventory: &Inventory,
        deletions: Vec<(SnapshotId, String)>,
    ) -> RecordedDeletions {
        let now = far() + Duration::seconds(self.runs.fetch_add(1, Ordering::Relaxed));
        self.repository.record_pruned(&cluster(), inventory, deletions, None, now).await.unwrap()
    }

    async fn delete(&self, hour: u32, recorded: &RecordedDeletions) -> PruneOutcome {
        let (cluster, id) = (cluster(), id(hour));
        self.repository.delete_snapshot(&cluster, &id, recorded, far(), true).await.unwrap()
    }

    /// One run of a prune, without its sweep.
    async fn prune(&self, hours: &[u32]) {
        let inventory = self.repository.inventory(&cluster()).await.unwrap();
        let deletions = hours.iter().map(|hour| (id(*hour), "unneeded".to_owned())).collect();
        let recorded = self.record(&inventory, deletions).await;
        for hour in hours {
            assert_eq!(self.delete(*hour, &recorded).await, PruneOutcome::Deleted);
        }
    }

    async fn chain(&self, hour: u32) -> Chain {
        let loaded = self.repository.manifest(&cluster(), &id(hour)).await.unwrap();
        self.repository.chain(&loaded).await.unwrap()
    }

    #[track_caller]
    fn broken(chain: &Chain) -> usize {
        match chain {
            Chain::Broken { unusable_pages } => unusable_pages.len(),
            other => panic!("not broken: {other:?}"),
        }
    }

    async fn sweep(&self, age: Duration) -> usize {
        let inventory = self.repository.inventory(&cluster()).await.unwrap();
        let grace = SweepOptions { now: far(), age, dry_run: false };
        let swept = self.repository.sweep(&cluster(), &inventory, grace).await.unwrap();
        swept.objects.iter().filter(|object| object.kind == SweptKind::Ledger).count()
    }

    fn pages(&self) -> Vec<PathBuf> {
        let dir = std::fs::read_dir(self.at(&layout::ledger(&cluster()))).unwrap();
        dir.map(|entry| entry.unwrap().path()).collect()
    }

    /// Makes all pages three days old.
    fn age(&self) {
        for page in self.pages() {
            let file = std::fs::File::options().append(true).open(page).unwrap();
            let written = file.metadata().unwrap().modified().unwrap();
            file.set_modified(written - std::time::Duration::from_secs(3 * 86_400)).unwrap();
        }
    }

    /// Writes a page that no prune wrote.
    fn forge(&self, nonce: u32, snapshots: Vec<LedgerEntry>) {
        let page = LedgerPage {
            format: 1,
            cluster: cluster(),
            written_at: time(9),
            snapshots,
            extra: serde_json::Map::new(),
        };
        self.put(&layout::ledger_page(&cluster(), time(9), nonce), &page.to_json().unwrap());
    }

    fn digest(&self, hour: u32) -> Sha256Digest {
        Sha256Digest::of(&self.get(&layout::manifest(&cluster(), &id(hour))))
    }
}

fn cluster() -> ClusterName {
    ClusterName::default()
}

/// After everything that these tests write, whatever the day.
fn far() -> DateTime<Utc> {
    time(0) + Duration::days(365_000)
}

fn entry(id: SnapshotId, digest: Sha256Digest, previous: Option<Sha256Digest>) -> LedgerEntry {
    LedgerEntry {
        id,
        manifest_sha256: digest,
        previous_manifest_sha256: previous,
        noted_at: time(9),
        by: None,
        reason: "forged".to_owned(),
        extra: serde_json::Map::new(),
    }
}

#[tokio::test]
async fn what_was_pruned_is_no_gap_and_what_was_lost_is_one() {
    let bench = Bench::new(0..8).await;
    bench.prune(&[1, 2]).await;
    bench.prune(&[3, 6]).await;
    assert_eq!(bench.pages().len(), 2);
    // Through three in a row, of two runs, to one that is there.
    assert_eq!(bench.chain(4).await, Chain::Pruned(id(3)));
    assert_eq!(bench.chain(7).await, Chain::Pruned(id(6)));
    assert_eq!(bench.chain(5).await, Chain::Follows(id(4)));
    // Lost behind a pruned one, and lost in plain sight.
    bench.lose(5);
    assert_eq!(Bench::broken(&bench.chain(7).await), 0);
    bench.lose(0);
    assert_eq!(bench.chain(4).await, Chain::Pruned(id(3)), "the oldest may stand alone");
    let bench = Bench::new(0..3).await;
    bench.lose(1);
    Bench::broken(&bench.chain(2).await);
}

#[tokio::test]
async fn the_oldest_may_follow_a_pruned_one() {
    let bench = Bench::new(0..3).await;
    bench.prune(&[0, 1]).await;
    assert_eq!(bench.chain(2).await, Chain::Pruned(id(1)));
}

#[tokio::test]
async fn only_the_exact_digest_of_one_that_is_gone_explains_a_gap() {
    let bench = Bench::new(0..4).await;
    let (before, right) = (bench.digest(0), bench.digest(1));
    let key = layout::manifest(&cluster(), &id(1));
    let manifest = bench.get(&key);
    // Noted and not deleted: a run that was killed.
    bench.forge(1, vec![entry(id(1), right, Some(before))]);
    assert_eq!(bench.chain(2).await, Chain::Follows(id(1)));
    // Exchanged: it is there, so it was not pruned.
    bench.put(&key, &[manifest.as_slice(), b"\n"].concat());
    Bench::broken(&bench.chain(2).await);
    bench.put(&key, &manifest);
    bench.remove(&layout::ledger_page(&cluster(), time(9), 1));
    bench.lose(1);
    Bench::broken(&bench.chain(2).await);
    bench.forge(2, vec![entry(id(1), Sha256Digest::of(b"wrong"), Some(before))]);
    Bench::broken(&bench.chain(2).await);
    // With the right digest, and what it followed never there.
    bench.forge(3, vec![entry(id(1), right, Some(Sha256Digest::of(b"nowhere")))]);
    Bench::broken(&bench.chain(2).await);
    bench.remove(&layout::ledger_page(&cluster(), time(9), 3));
    bench.forge(4, vec![entry(id(1), right, Some(before))]);
    assert_eq!(bench.chain(2).await, Chain::Pruned(id(1)));
}

#[tokio::test]
async fn hostile_pages_are_reported_and_not_used() {
    let bench = Bench::new(0..4).await;
    let (one, zero) = (bench.digest(1), bench.digest(0));
    bench.lose(1);
    // A circle, and one that follows itself.
    let (a, b) = (Sha256Digest::of(b"a"), Sha256Digest::of(b"b"));
    let circle = [(id(1), one, a), (id(5), a, b), (id(6), b, a), (id(7), zero, zero)];
    let circle = circle.map(|(id, digest, previous)| entry(id, digest, Some(previous)));
    bench.forge(1, circle.to_vec());
    assert_eq!(Bench::broken(&bench.chain(2).await), 0);
    bench.remove(&layout::ledger_page(&cluster(), time(9), 1));
    let page = |nonce| layout::ledger_page(&cluster(), time(9), nonce);
    bench.put(&page(2), b"{");
    bench.put(&page(3), br#"{"format":7}"#);
    let large = vec![b' '; usize::try_from(MAX_PAGE_BYTES).unwrap() + 1];
    bench.put(&page(4), &large);
    bench.put(&Path::from("default/pruned/README"), b"x");
    let Chain::Broken { unusable_pages } = bench.chain(2).await else { panic!("not broken") };
    let reasons: Vec<_> = unusable_pages.iter().map(|page| page.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("format 7")), "{reasons:?}");
    // What can be read beside them still counts.
    bench.forge(5, vec![entry(id(1), one, Some(zero))]);
    assert_eq!(bench.chain(2).await, Chain::Pruned(id(1)));
    // Nobody's pages are deleted.
    assert_eq!(bench.sweep(Duration::zero()).await, 0);
}

#[tokio::test]
async fn a_page_is_swept_when_no_manifest_leads_to_it() {
    const NONE: Duration = Duration::zero();
    const LONG: Duration = Duration::days(2);
    let bench = Bench::new(0..7).await;
    bench.prune(&[1]).await;
    bench.prune(&[2]).await;
    assert_eq!(bench.sweep(NONE).await, 0, "3 leads to both");
    assert_eq!(bench.chain(3).await, Chain::Pruned(id(2)));
    bench.prune(&[0]).await;
    bench.age();
    assert_eq!(bench.sweep(LONG).await, 0, "0 can be brought back, and 3 is to lead there");
    let key = layout::manifest(&cluster(), &id(4));
    let manifest = bench.get(&key);
    bench.put(&key, b"{");
    assert_eq!(bench.sweep(NONE).await, 0, "one that cannot be read may follow any");
    bench.put(&key, &manifest);
    assert_eq!((bench.sweep(NONE).await, bench.pages().len()), (2, 1));
    assert_eq!(bench.chain(3).await, Chain::Pruned(id(2)));
    bench.age();
    bench.prune(&[3]).await;
    assert_eq!(bench.sweep(LONG).await, 0, "3 can be brought back, and follows 2");
    assert_eq!((bench.sweep(NONE).await, bench.pages().len()), (1, 1));
    assert_eq!(bench.chain(4).await, Chain::Pruned(id(3)));
    bench.prune(&[4]).await;
    std::fs::remove_dir_all(bench.root.join("default/deleted")).unwrap();
    assert_eq!(bench.sweep(LONG).await, 0, "young");
    assert_eq!((bench.sweep(NONE).await, bench.pages().len()), (1, 1));
    assert_eq!(bench.chain(5).await, Chain::Pruned(id(4)));
}

#[tokio::test]
async fn many_are_noted_in_bounded_pages_and_only_once() {
    let bench = Bench::new(0..1).await;
    let entries = (0..2_500u32).map(|hour| {
        let entry = ManifestEntry {
            image: "x".into(),
            stored_size: 1,
            suspect: false,
            sha256: Sha256Digest::of(&hour.to_le_bytes()),
            previous: None,
            trusted: true,
        };
        (id(hour), entry)
    });
    let inventory =
        Inventory { entries: entries.collect::<BTreeMap<_, _>>(), ..Inventory::default() };
    for times in 0..2 {
        let deletions = inventory.entries.keys().map(|id| (*id, "x".repeat(1_000))).collect();
        bench.record(&inventory, deletions).await;
        assert_eq!(bench.pages().len(), 3, "after {times} more");
    }
}

#[tokio::test]
async fn many_small_pages_become_one_and_explain_as_much() {
    const LONG: Duration = Duration::days(2);
    let bench = Bench::new(0..36).await;
    for hour in 1..33 {
        bench.prune(&[hour]).await;
    }
    assert_eq!(bench.sweep(LONG).await, 0, "young");
    // One that is of no use, and must not be carried along.
    bench.forge(7, vec![entry(id(99), Sha256Digest::of(b"x"), None)]);
    bench.age();
    let read = |page: PathBuf| (page.clone(), std::fs::read(page).unwrap());
    let before: Vec<_> = bench.pages().into_iter().map(read).collect();
    assert_eq!((bench.sweep(LONG).await, bench.pages().len()), (33, 1));
    assert_eq!(bench.chain(33).await, Chain::Pruned(id(32)));
    let merged = LedgerPage::from_json(&cluster(), &std::fs::read(&bench.pages()[0]).unwrap());
    let merged = merged.unwrap();
    let ids: Vec<_> = merged.snapshots.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, (1..33).map(id).collect::<Vec<_>>());
    assert!(merged.snapshots.iter().all(|entry| entry.reason == "unneeded"));
    // Killed between writing the one and deleting the others: said twice, and then once.
    for (path, bytes) in before {
        std::fs::write(path, bytes).unwrap();
    }
    assert_eq!(bench.chain(33).await, Chain::Pruned(id(32)));
    bench.age();
    // The clock stands still here: the page that says it all is there already, and stays.
    assert_eq!((bench.sweep(LONG).await, bench.pages().len()), (33, 1));
    assert_eq!(bench.chain(33).await, Chain::Pruned(id(32)));
}

#[tokio::test]
async fn nothing_is_deleted_that_is_not_noted() {
    let bench = Bench::new(0..3).await;
    assert_eq!(bench.delete(1, &RecordedDeletions::default()).await, PruneOutcome::Withheld);
    // Nor one that was exchanged since.
    let inventory = bench.repository.inventory(&cluster()).await.unwrap();
    let recorded = bench.record(&inventory, vec![(id(1), String::new())]).await;
    let key = layout::manifest(&cluster(), &id(1));
    let manifest = bench.get(&key);
    bench.put(&key, &[manifest.as_slice(), b"\n"].concat());
    assert_eq!(bench.delete(1, &recorded).await, PruneOutcome::Withheld);
    assert_eq!(bench.repository.list(&cluster()).await.unwrap().ids.len(), 3);
    bench.put(&key, &manifest);
    assert_eq!(bench.delete(1, &recorded).await, PruneOutcome::Deleted);
}
