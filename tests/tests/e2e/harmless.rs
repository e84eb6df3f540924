//! What a capture may not do to etcd: take more than it may, hold its read transaction for
//! longer than it may, or wait for a slow store with it open. And what may happen meanwhile without
//! harm to the snapshot.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use chrono::Utc;
use etcdr_agent::event::Event;
use etcdr_agent::maintenance::{self, Members, Situation};
use etcdr_node::ConnectOptions;
use etcdr_operations::capture::Pace;
use etcdr_operations::capture::{self, Always, SaveRequest, Saved};
use etcdr_repository::{Repository, SealOptions, Spool, StoreOptions};
use etcdr_schemas::config::{BackOff, CaptureConfig, DefragmentConfig};
use etcdr_schemas::units::{Size, Span};
use etcdr_schemas::{ClusterName, Diagnose as _, Hidden, Progress};
use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::s3::S3;
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;
use hyper::{Method, StatusCode};
use tokio::runtime::Runtime;

/// A member with so many mebibytes that do not compress.
fn bulky(place: &mut Backup, mebibytes: usize) -> Cluster {
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 77, mebibytes);
    place.watch(&cluster);
    cluster
}

#[expect(clippy::disallowed_methods, reason = "a test is at the edge, as cli is")]
async fn save(
    place: &Backup,
    store: StoreOptions,
    cluster: &Cluster,
    pace: &Arc<Pace>,
    spool: Option<Spool>,
) -> Result<Saved, etcdr_operations::Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let location = place.repository.parse().unwrap();
    let repository = Repository::open(&location, &store).await.unwrap();
    let recipients = repository.default_recipients().unwrap();
    let request = SaveRequest {
        cluster: ClusterName::default(),
        endpoints: vec![ConnectOptions::new(cluster.endpoint())],
        stall_timeout: Duration::from_secs(30),
        seal: SealOptions { workers: 1, spool, ..SealOptions::new(recipients) },
        signing_key: None,
        nonce: NEXT.fetch_add(1, Ordering::Relaxed),
        tool_version: "test".to_owned(),
        trigger: None,
        pace: Some(Arc::clone(pace)),
    };
    let progress: Arc<dyn Progress> = Arc::new(Hidden);
    let saved = capture::save(&repository, request, &Utc::now, &progress, &Always).await?;
    Ok(saved.into_iter().next().unwrap())
}

fn config() -> CaptureConfig {
    let back_off = BackOff { enabled: false, ..BackOff::default() };
    CaptureConfig { back_off, ..CaptureConfig::default() }
}

#[test]
fn a_rate_limit_is_kept_and_reached() {
    let mut place = Backup::new();
    let _cluster = bulky(&mut place, 16);
    let began = Instant::now();
    place.run(&["snapshot", "save", "--rate-limit", "8MiB"]).ok();
    let took = began.elapsed().as_secs_f64();
    // What is on its way in buffers, at most 8 MiB, need not be waited for by etcd; all of it
    // passes the limit.
    assert!((1.9..6.0).contains(&took), "{took}");
    place.run(&["verify", "latest", "--level", "content"]).ok();
    place.run(&["snapshot", "save", "--rate-limit", "0"]).ends_with(2);
    place.run(&["snapshot", "save", "--rate-limit", "fast"]).ends_with(2);
}

#[test]
fn a_read_transaction_that_is_open_too_long_is_given_up_with_nothing_recorded() {
    let mut place = Backup::new();
    let cluster = bulky(&mut place, 16);
    let slow =
        CaptureConfig { rate_limit: Some(Size::mib(4)), max_hold: Span::seconds(1), ..config() };
    let pace = Pace::new(&slow, None);
    let began = Instant::now();
    let runtime = Runtime::new().unwrap();
    let error = runtime
        .block_on(save(&place, StoreOptions::default(), &cluster, &pace, None))
        .expect_err("it is too slow");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(!error.is_permanent() && error.diagnosis().next.contains("spool"), "{error}");
    assert_eq!(place.ids(), Vec::<String>::new());
    let left: Vec<_> = place.objects().into_iter().filter(|key| key.contains("image")).collect();
    assert_eq!(left, Vec::<String>::new());
    // A pace that suits it.
    let pace = Pace::new(&config(), None);
    runtime.block_on(save(&place, StoreOptions::default(), &cluster, &pace, None)).unwrap();
    assert_eq!(place.ids().len(), 1);
    assert!(pace.held() > Duration::ZERO && pace.held() < Duration::from_secs(30));
}

/// Each part takes the store 0.35 s.
fn slow_store() -> S3 {
    let slow = |method: &Method, path: &str| -> Option<StatusCode> {
        if *method == Method::PUT && path.contains("/images/") {
            std::thread::sleep(Duration::from_millis(350));
        }
        None
    };
    S3::start_with(Arc::new(slow), None)
}

#[test]
fn a_spool_ends_etcds_read_transaction_before_a_slow_store_is_done() {
    let s3 = slow_store();
    let env = s3.env(&s3.address);
    let mut place = Backup::at(&s3.url(), &env);
    let cluster = bulky(&mut place, 56);
    let store = || {
        let pairs = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        StoreOptions::from_variables(pairs)
    };
    let runtime = Runtime::new().unwrap();
    let directory = PathBuf::from(place.path("spool"));
    std::fs::create_dir(&directory).unwrap();
    let held = |spool: Option<u64>| {
        let spool = spool.map(|max_size| Spool { directory: directory.clone(), max_size });
        let pace = Pace::new(&config(), None);
        runtime.block_on(save(&place, store(), &cluster, &pace, spool)).unwrap();
        pace.held()
    };
    let straight = held(None);
    let spooled = held(Some(256 << 20));
    place.run(&["verify", "latest", "--level", "content"]).ok();
    assert!(spooled * 2 < straight, "{spooled:?} with a spool, {straight:?} without");
    // Far too small: it waits for the store, and what is stored is whole.
    let tiny = held(Some(1 << 20));
    assert!(tiny * 2 > straight, "{tiny:?} with a tiny spool, {straight:?} without");
    assert_eq!(place.ids().len(), 3);
    assert_eq!(directory.read_dir().unwrap().count(), 0);
}

#[test]
fn compaction_and_defragmentation_during_the_stream_leave_a_sound_snapshot() {
    let mut place = Backup::new();
    let cluster = bulky(&mut place, 12);
    let mut saving = place.spawn(&["snapshot", "save", "--rate-limit", "4MiB"]);
    std::thread::sleep(Duration::from_millis(800));
    let revision = cluster.revision().to_string();
    assert!(saving.alive(), "{}", saving.log());
    cluster.ctl(&["compact", &revision]);
    assert!(saving.alive(), "{}", saving.log());
    cluster.ctl(&["--command-timeout", "60s", "defrag"]);
    let code = saving.wait();
    assert!(matches!(code, 0 | 3), "{}", saving.log());
    place.run(&["verify", "latest", "--level", "structure"]).ok();
}

fn defragment(members: &Members, situation: Situation) -> (Vec<String>, Vec<Event>) {
    let config = DefragmentConfig { pause: Span::seconds(0), ..DefragmentConfig::default() };
    let mut events = Vec::new();
    let round = Runtime::new().unwrap().block_on(maintenance::defragment(
        members,
        &config,
        &move || situation,
        &mut |event| events.push(event),
    ));
    (round.sentences, events)
}

#[test]
fn members_are_defragmented_one_by_one_the_leader_last_and_not_when_one_is_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(versions::newest(), 3, dir.path());
    write_bulk(&cluster, 5, 12);
    cluster.ctl(&["del", "--prefix", "/registry/bulk/"]);
    cluster.ctl(&["compact", "--physical", &cluster.revision().to_string()]);
    let members = Members::through(ConnectOptions::new(cluster.endpoint()));
    let forced = Situation { is_mine: true, capturing: false, force: true };
    let (told, events) = defragment(&members, Situation { force: false, ..forced });
    assert!(events.is_empty() && told == ["no member is worth it"], "{told:?} {events:?}");
    let (told, events) = defragment(&members, forced);
    let (seen, _) = Runtime::new().unwrap().block_on(members.probe()).unwrap();
    let leader = seen.iter().find(|one| one.state.as_ref().is_ok_and(|state| state.leader));
    let mut ids = Vec::new();
    for event in &events {
        let Event::Defragmented { member, result: Ok((before, after)), .. } = event else {
            panic!("{told:?} {events:?}");
        };
        assert!(*before > 10 << 20 && *after < 4 << 20, "{before} {after}");
        ids.push(*member);
    }
    assert_eq!(ids.len(), 3, "{told:?}");
    assert_eq!(ids.last().copied(), leader.map(|one| one.id));
    cluster.kill_member(2);
    let (told, events) = defragment(&members, forced);
    assert!(matches!(events[..], [Event::DefragmentSkipped { .. }]), "{told:?} {events:?}");
    // The third: it led, and there is no new leader yet.
    let reasons = ["does not answer", "reports", "cannot be asked"];
    assert!(reasons.iter().any(|reason| told[0].contains(reason)), "{told:?}");
}

#[test]
fn a_path_that_cannot_be_a_spool_does_not_cost_the_snapshot() {
    let mut place = Backup::new();
    let cluster = bulky(&mut place, 2);
    let pace = Pace::new(&config(), None);
    let spool = Spool { directory: Path::new("/proc/none").to_owned(), max_size: 1 << 20 };
    let runtime = Runtime::new().unwrap();
    runtime.block_on(save(&place, StoreOptions::default(), &cluster, &pace, Some(spool))).unwrap();
    assert_eq!(place.ids().len(), 1);
}
