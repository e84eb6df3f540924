//! Audits over every kind of store, in process: whole repositories and failing ones, budgets,
//! resuming, bounds.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test, its helpers too")]

#[path = "../../repository/tests/support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use chrono::{DateTime, Duration, Utc};
use etcdr_operations::audit::{
    self, AuditRequest, Audited, Budget, Destination, Limits, Selection, Stop, kinds,
};
use etcdr_repository::{
    Identities, Location, PublicKey, ReportName, Repository, SigningKey, StoreOptions, layout, sign,
};
use etcdr_schemas::manifest::{Codec, Image, Manifest};
use etcdr_schemas::report::{
    AuditOrder, AuditOutcome, AuditReport, AuditSample, AuditState, AuditVerdict, Level,
};
use etcdr_schemas::{AuditId, ClusterName, Hidden, Progress, Sha256Digest, SnapshotId};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use support::fault::{Fault, FaultStore, How};
use support::s3::S3Server;
use support::{Keys, info, manifest, options, save, text, time};
use tokio::sync::watch;

/// Two audits that begin in the same second need different names.
static NONCE: AtomicU32 = AtomicU32::new(1);

fn request(selection: Selection) -> AuditRequest {
    AuditRequest {
        cluster: ClusterName::default(),
        selection,
        resume: false,
        limits: Limits::default(),
        identities: Identities::none(),
        destination: Destination::Repository(None),
        checkpoint: Duration::zero(),
        nonce: NONCE.fetch_add(1, Ordering::SeqCst),
        seed: 9,
        tool_version: "test".to_owned(),
    }
}

/// Time that goes on by a second with each look.
struct Ticks(AtomicI64);

impl Ticks {
    fn from(hour: u32) -> Self {
        Self(AtomicI64::new(time(hour).timestamp()))
    }

    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.fetch_add(1, Ordering::SeqCst), 0).unwrap()
    }
}

async fn audit(repository: &Repository, request: &AuditRequest, budget: &mut Budget) -> Audited {
    let ticks = Ticks::from(100);
    let (_keep, receiver) = watch::channel(false);
    let progress: Arc<dyn Progress> = Arc::new(Hidden);
    let clock = move || ticks.now();
    audit::run(repository, request, budget, &clock, &mut Stop::new(receiver), &progress)
        .await
        .unwrap()
}

async fn simple(repository: &Repository, level: Level) -> AuditReport {
    let wanted = Selection { level: Some(level), ..Selection::default() };
    audit(repository, &request(wanted), &mut Budget::default()).await.report
}

fn codes(report: &AuditReport) -> Vec<&str> {
    report.counts.keys().map(String::as_str).collect()
}

/// A repository of `count` snapshots with images of real bytes.
async fn filled(repository: &Repository, keys: &Keys, count: u32) {
    for hour in 0..count {
        let body = text(30_000 + hour as usize);
        let data = [body.clone(), Sha256Digest::of(&body).as_bytes().to_vec()].concat();
        save(repository, hour, &data, options(keys), None).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_repository_is_good_on_every_store() {
    let keys = Keys::new();
    let dir = tempfile::tempdir().unwrap();
    let server = S3Server::start().await;
    let disk = Location::directory(dir.path().join("repository"));
    let bucket = "s3://bucket/some/prefix".parse().unwrap();
    let memory = support::init(Arc::new(InMemory::new()), &keys).await;
    let disk = Repository::init(&disk, &StoreOptions::default(), info(&keys)).await.unwrap();
    let s3 = Repository::init(&bucket, &server.options(), info(&keys)).await.unwrap();
    for repository in [memory, disk, s3] {
        filled(&repository, &keys, 4).await;
        let report = simple(&repository, Level::Object).await;
        assert_eq!(report.verdict, AuditVerdict::Good, "{report:#?}");
        assert_eq!(report.state, AuditState::Complete);
        assert_eq!((report.totals.good, report.totals.chosen), (4, 4));
        assert_eq!(codes(&report), Vec::<&str>::new());
        assert_eq!(report.inventory.snapshots, 4);
        assert_eq!(report.inventory.newest, Some(support::id(3)));
        assert_eq!(report.inventory.newest_verified, Some(support::id(3)));
        let (last, key) = audit::last(&repository, &ClusterName::default()).await.unwrap();
        assert_eq!(last, report);
        assert!(
            key.ends_with(&format!("reports/audits/{}-{:04}.json", report.audit, report.sequence))
        );
        // The reports themselves are known to the next audit.
        let again = simple(&repository, Level::Manifest).await;
        assert_eq!(codes(&again), Vec::<&str>::new());
        assert_eq!(again.inventory.never_verified, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_without_report_writes_nothing_and_a_denied_one_says_so() {
    let keys = Keys::new();
    let store = Arc::new(InMemory::new());
    let repository = support::init(store.clone(), &keys).await;
    filled(&repository, &keys, 2).await;
    let before = support::keys_in(store.as_ref()).await;
    let quiet = AuditRequest { destination: Destination::Nowhere, ..request(Selection::default()) };
    let audited = audit(&repository, &quiet, &mut Budget::default()).await;
    assert_eq!(audited.key, None);
    assert_eq!(audited.report.verdict, AuditVerdict::Good);
    assert_eq!(support::keys_in(store.as_ref()).await, before);

    // Reads are allowed, writes are not: S3 with an audit role that may not write.
    let server = S3Server::start().await;
    let bucket = "s3://bucket/prefix".parse().unwrap();
    let repository = Repository::init(&bucket, &server.options(), info(&keys)).await.unwrap();
    filled(&repository, &keys, 2).await;
    server.refusals.refuse("PutObject", "AccessDenied", usize::MAX);
    let audited = audit(&repository, &request(Selection::default()), &mut Budget::default()).await;
    let report = audited.report;
    assert_eq!(audited.key, None);
    assert_eq!(codes(&report), [kinds::REPORT_UNWRITTEN.code]);
    assert_eq!((report.verdict, report.totals.good), (AuditVerdict::Warnings, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_kept_and_resuming_covers_everything_once() {
    let keys = Keys::new();
    let repository = support::init(Arc::new(InMemory::new()), &keys).await;
    filled(&repository, &keys, 9).await;
    let sizes: Vec<u64> = {
        let listing = repository.list(&ClusterName::default()).await.unwrap();
        let (loaded, _) = repository.manifests(&ClusterName::default(), &listing.ids).await;
        loaded.iter().map(|loaded| loaded.manifest.image.stored_size).collect()
    };
    let limit = sizes.iter().max().unwrap() * 2 + 1;
    let wanted = Selection { order: Some(AuditOrder::OldestVerified), ..Selection::default() };
    let mut covered = Vec::new();
    let mut audit_id = None;
    for run in 0.. {
        assert!(run < 9, "it does not come to an end");
        let request = AuditRequest { resume: true, ..request(wanted) };
        let mut budget = Budget { bytes: Some(limit), ..Budget::default() };
        let audited = audit(&repository, &request, &mut budget).await;
        assert!(budget.used <= limit && budget.used > 0);
        assert_eq!(audited.resumed, run > 0);
        let report = audited.report;
        assert_eq!(*audit_id.get_or_insert(report.audit), report.audit);
        covered = report.results.iter().map(|result| result.id).collect();
        if report.state == AuditState::Complete {
            assert_eq!(report.totals.bytes_read, sizes.iter().sum::<u64>());
            break;
        }
        assert_eq!(report.state, AuditState::OutOfBudget);
        assert_eq!(report.results.len() + report.pending.len(), 9);
    }
    let ids: Vec<SnapshotId> = (0..9).rev().map(support::id).collect();
    assert_eq!(covered, ids, "each once, in order");
    // Finished: the next one begins anew, and those verified longest ago come first.
    let request = AuditRequest { resume: true, ..request(wanted) };
    let next = audit(&repository, &request, &mut Budget::default()).await;
    assert!(!next.resumed);
    assert_eq!(next.report.results.first().unwrap().id, ids[0]);

    let mut nothing = Budget { bytes: Some(1), ..Budget::default() };
    let report =
        audit(&repository, &self::request(Selection::default()), &mut nothing).await.report;
    assert_eq!((report.state, report.totals.bytes_read), (AuditState::OutOfBudget, 0));
    assert!(codes(&report).contains(&kinds::BUDGET.code));
    let mut late = Budget { until: Some(time(0)), ..Budget::default() };
    let report = audit(&repository, &self::request(Selection::default()), &mut late).await.report;
    assert_eq!((report.state, report.pending.len()), (AuditState::OutOfBudget, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_vanishes_goes_on_from_its_last_report() {
    let keys = Keys::new();
    let store = FaultStore::new(Arc::new(InMemory::new()));
    let repository = support::init(Arc::new(store.clone()), &keys).await;
    filled(&repository, &keys, 6).await;
    // Dropped at many places, as a kill does it: no code of ours runs any more.
    let whole = {
        store.set(None);
        let quiet =
            AuditRequest { destination: Destination::Nowhere, ..request(Selection::default()) };
        audit(&repository, &quiet, &mut Budget::default()).await;
        store.operations()
    };
    let mut resumed = 0;
    for at in (0..whole).step_by(3) {
        let wanted = Selection { seed: Some(at), ..Selection::default() };
        let request = request(wanted);
        store.set(Some(Fault { from: at, to: u64::MAX, how: How::Slow }));
        let mut budget = Budget::default();
        let run = audit(&repository, &request, &mut budget);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(60), run).await;
        store.set(None);
        let request = AuditRequest { resume: true, ..request };
        let second = audit(&repository, &request, &mut Budget::default()).await;
        resumed += u32::from(second.resumed);
        let report = second.report;
        assert_eq!(report.state, AuditState::Complete);
        let covered: BTreeSet<_> = report.results.iter().map(|result| result.id).collect();
        assert_eq!((covered.len(), report.results.len()), (6, 6), "cut at {at}");
        assert!(report.results.iter().all(|result| result.outcome == AuditOutcome::Good));
    }
    assert!(resumed > 0, "no audit was cut after its first report");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_goes_away_ends_the_audit_and_what_is_left_is_tried_again() {
    let keys = Keys::new();
    let server = S3Server::start().await;
    let bucket = "s3://bucket/prefix".parse().unwrap();
    let options = StoreOptions { retries: 0, ..server.options() };
    let repository = Repository::init(&bucket, &options, info(&keys)).await.unwrap();
    filled(&repository, &keys, 6).await;
    // Images cannot be read any more; everything else can.
    server.refusals.refuse("HeadObject", "InternalError", usize::MAX);
    let report = simple(&repository, Level::Object).await;
    assert_eq!(report.state, AuditState::Interrupted);
    assert_eq!((report.results.len(), report.pending.len()), (0, 6));
    assert!(codes(&report).contains(&kinds::UNCHECKED.code), "{:?}", codes(&report));
    server.refusals.clear();
    let request = AuditRequest { resume: true, ..request(Selection::default()) };
    let report = audit(&repository, &request, &mut Budget::default()).await.report;
    assert_eq!((report.state, report.totals.good), (AuditState::Complete, 6));
    // One that is refused for good is passed by.
    server.refusals.refuse("HeadObject", "AccessDenied", 1);
    let report = simple(&repository, Level::Object).await;
    assert_eq!(
        (report.state, report.totals.good, report.totals.unchecked),
        (AuditState::Complete, 5, 1)
    );
    assert_eq!(report.verdict, AuditVerdict::Warnings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_audit_writes_down_what_is_left() {
    let keys = Keys::new();
    let repository = support::init(Arc::new(InMemory::new()), &keys).await;
    filled(&repository, &keys, 3).await;
    let (stop, receiver) = watch::channel(true);
    let progress: Arc<dyn Progress> = Arc::new(Hidden);
    let clock = || time(100);
    let (request, mut budget) = (request(Selection::default()), Budget::default());
    let mut raised = Stop::new(receiver.clone());
    let early = audit::run(&repository, &request, &mut budget, &clock, &mut raised, &progress);
    assert!(matches!(early.await, Err(audit::Error::Interrupted)));
    // Stopped when it begins to walk: the clock is asked for the first snapshot's budget then.
    stop.send_replace(false);
    let asked = AtomicI64::new(0);
    let clock = move || {
        if asked.fetch_add(1, Ordering::SeqCst) == 1 {
            stop.send_replace(true);
        }
        time(100)
    };
    let audited =
        audit::run(&repository, &request, &mut budget, &clock, &mut Stop::new(receiver), &progress)
            .await
            .unwrap();
    assert_eq!(audited.report.state, AuditState::Interrupted);
    assert_eq!(audited.report.pending.len(), 3);
    let (last, _) = audit::last(&repository, &ClusterName::default()).await.unwrap();
    assert_eq!(last, audited.report);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_are_believed_only_as_far_as_their_signature_goes() {
    let keys = Keys::new();
    let store = Arc::new(InMemory::new());
    let plain = support::init(store.clone(), &keys).await;
    let pair = sign::generate().unwrap();
    let signer = || SigningKey::parse(&pair.secret_file, "s").unwrap();
    for hour in 0..3 {
        let data = text(30_000);
        save(&plain, hour, &data, options(&keys), Some(&signer())).await.unwrap();
    }
    let strict = plain.clone().with_public_key(PublicKey::parse(&pair.public_file, "p").unwrap());
    // Not signed: an audit with a public key neither goes on from it nor takes its word.
    let mut small = Budget { bytes: Some(1), ..Budget::default() };
    let first = audit(&strict, &request(Selection::default()), &mut small).await.report;
    assert_eq!(first.state, AuditState::OutOfBudget);
    let resume = |key: bool| AuditRequest {
        resume: true,
        destination: Destination::Repository(key.then(signer)),
        ..request(Selection::default())
    };
    let mut small = Budget { bytes: Some(1), ..Budget::default() };
    let second = audit(&strict, &resume(true), &mut small).await;
    assert!(!second.resumed);
    assert!(codes(&second.report).contains(&kinds::REPORT_UNSIGNED.code));
    // Signed: it goes on.
    let third = audit(&strict, &resume(true), &mut Budget::default()).await;
    assert!(third.resumed && third.report.state == AuditState::Complete);
    // One byte of it changed, or another report in its place: it is damage, and not believed.
    let cluster = ClusterName::default();
    let name = ReportName { audit: third.report.audit, sequence: third.report.sequence };
    let key = layout::audit_report(&cluster, name);
    let bytes = store.get(&key).await.unwrap().bytes().await.unwrap().to_vec();
    let mut forged = bytes.clone();
    let at = forged.windows(6).position(|window| window == b"\"good\"").unwrap();
    forged[at + 1] ^= 0x20;
    store.put(&key, PutPayload::from(forged)).await.unwrap();
    let report = audit(&strict, &resume(true), &mut Budget::default()).await.report;
    assert_eq!(report.verdict, AuditVerdict::Damaged);
    assert_eq!(report.counts[kinds::REPORT_SIGNATURE.code], 1);
    store.put(&key, PutPayload::from(bytes.clone())).await.unwrap();
    let other = ReportName { audit: AuditId::new(time(1_000), 1), sequence: 1 };
    let good = [layout::audit_report(&cluster, name), layout::audit_signature(&cluster, name)];
    let copies = [layout::audit_report(&cluster, other), layout::audit_signature(&cluster, other)];
    for (from, to) in good.iter().zip(&copies) {
        store.copy(from, to).await.unwrap();
    }
    let report = audit(&strict, &resume(true), &mut Budget::default()).await.report;
    assert_eq!(report.counts[kinds::REPORT_DAMAGED.code], 1, "{:?}", report.counts);
    assert!(audit::last(&strict, &cluster).await.is_err());
    assert!(audit::last(&plain, &cluster).await.is_err(), "it is not the one its name says");
}

/// 10,000 manifests without images: all are counted, and not all listed; the whole of it
/// stays small.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_manifests_are_audited_within_a_bound() {
    const COUNT: u32 = 10_000;
    let keys = Keys::new();
    let store = Arc::new(InMemory::new());
    let repository = support::init(store.clone(), &keys).await;
    let cluster = ClusterName::default();
    let mut previous = None;
    for n in 0..COUNT {
        let id = support::id(n);
        let codec = Codec::default();
        let image = Image {
            key: layout::image(&cluster, &id, &codec).to_string(),
            plain_size: 4_128,
            plain_sha256: Sha256Digest::of(b"x"),
            stored_size: 4_128,
            stored_sha256: Sha256Digest::of(b"x"),
            codec,
        };
        let manifest =
            Manifest { previous_manifest_sha256: previous, ..manifest(&id, &[0; 4_128], image) };
        let json = manifest.to_json().unwrap();
        previous = Some(Sha256Digest::of(&json));
        store.put(&layout::manifest(&cluster, &id), PutPayload::from(json)).await.unwrap();
    }
    let strange = (0..3_000).map(|n| Path::from(format!("default/else/{n}")));
    for key in strange {
        store.put(&key, PutPayload::from("x")).await.unwrap();
    }
    let wanted = Selection { sample: Some(AuditSample::PerMille(100)), ..Selection::default() };
    let mut request = request(wanted);
    request.checkpoint = Duration::hours(1);
    let ticks = Ticks::from(100_000);
    let clock = move || ticks.now();
    let (_keep, receiver) = watch::channel(false);
    let progress: Arc<dyn Progress> = Arc::new(Hidden);
    let (mut budget, mut stop) = (Budget::default(), Stop::new(receiver));
    let audited =
        audit::run(&repository, &request, &mut budget, &clock, &mut stop, &progress).await.unwrap();
    let report = audited.report;
    assert_eq!(report.inventory.snapshots, u64::from(COUNT));
    assert_eq!(report.counts["image.missing"], u64::from(COUNT));
    assert_eq!(report.counts["image.plain"], u64::from(COUNT));
    assert_eq!(report.counts["object.unknown"], 3_000);
    assert_eq!(report.counts.keys().filter(|code| code.contains("chain")).count(), 0);
    assert_eq!((report.totals.chosen, report.totals.damaged), (1_000, 1_000));
    assert_eq!(report.totals.bytes_read, 0);
    assert!(report.findings.len() <= 3_000, "{}", report.findings.len());
    let stored = store.head(&Path::from(audited.key.unwrap())).await.unwrap();
    assert!(stored.size < 2 << 20, "the report has {} bytes", stored.size);
}
