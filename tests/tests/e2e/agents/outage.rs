//! The store is down for a long time.
//!
//! Goal: an outage of any length costs the ticks in it and nothing else: the agent lives, says that
//! it is not ready and why, neither floods its log nor grows, and takes one snapshot soon after the
//! end. Method: the S3 server is stopped and started again at its address. `ETCDR_TEST_OUTAGE=3600`
//! for an hour of it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, by_tick, until};
use etcdr_tests::s3::S3;
use etcdr_tests::versions;

/// The longest pause between two tries of a tick, and what a snapshot takes.
const BACK_WITHIN: Duration = Duration::from_secs(75);
/// Time in which a store that is gone must be noticed: as the agent is by itself, and where it asks
/// only twice.
const NOTICED_WITHIN: (Duration, Duration) = (Duration::from_secs(45), Duration::from_secs(15));
/// An outage for which the agent's own patience with the store is too long to be seen.
const SHORT: Duration = Duration::from_secs(120);
/// Most lines of log in the second half of the outage, when tries are rare: a fixed number, and a
/// number for each minute.
const LINES: (f64, f64) = (4.0, 15.0);
/// Bytes of memory that may come on top of what is in use early in the outage.
const GROWTH: u64 = 12 << 20;

fn length() -> Duration {
    let given = std::env::var("ETCDR_TEST_OUTAGE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(given.unwrap_or(30)).max(NOTICED_WITHIN.1 + Duration::from_secs(4))
}

fn noticed_within(length: Duration) -> Duration {
    if length < SHORT { NOTICED_WITHIN.1 } else { NOTICED_WITHIN.0 }
}

/// Bytes of memory in use.
fn memory(agent: &mut Agent) -> u64 {
    let file = format!("/proc/{}/status", agent.process().id());
    let text = std::fs::read_to_string(file).expect("the agent lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes << 10
}

/// Checks the agent while the store is down: always alive, soon not ready, and with the reason.
#[track_caller]
fn watch(agent: &mut Agent, length: Duration) {
    let (began, mut early, mut half) = (Instant::now(), None, None);
    while began.elapsed() < length {
        assert_eq!(agent.get("/livez").0, 200, "{}", agent.said());
        let (code, text) = agent.get("/readyz");
        if began.elapsed() > noticed_within(length) {
            assert!(code == 503 && text.contains("the store failed"), "{text}\n{}", agent.said());
            early.get_or_insert_with(|| memory(agent));
        }
        if began.elapsed() > length / 2 {
            half.get_or_insert_with(|| agent.said().lines().count());
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    let (early, late) = (early.expect("it was long enough"), memory(agent));
    eprintln!("memory in bytes: {early} early in the outage, {late} at its end");
    assert!(late < early + GROWTH, "{early} bytes have become {late}");
    let lines = agent.said().lines().count() - half.expect("it was long enough");
    eprintln!("lines of log: {lines} in the second half of {length:?}");
    let most = LINES.0 + LINES.1 * length.as_secs_f64() / 120.0;
    assert!((lines as f64) < most, "{lines} lines in half of {length:?}\n{}", agent.said());
}

#[test]
fn a_store_that_is_gone_for_long_costs_the_ticks_of_that_time_and_nothing_else() {
    let length = length();
    let every = (length.as_secs() / 60).clamp(3, 60);
    let mut s3 = S3::start();
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    let mut agent = Agent::new(&place, "one", cluster.endpoint(), &format!("@every {every}s"));
    if length < SHORT {
        agent.config["repository"]["retries"] = 1.into();
        agent.write();
    }
    agent.start(&place);
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    until("it is ready", || agent.get("/readyz").0 == 200, || agent.said());

    let cut = now();
    s3.stop();
    watch(&mut agent, length);

    s3.start_again();
    let (back, before) = (Instant::now(), place.ids());
    until("it continues", || place.ids().len() > before.len(), || agent.said());
    eprintln!("the first snapshot was there {:?} after the store", back.elapsed());
    assert!(back.elapsed() < BACK_WITHIN, "{:?}\n{}", back.elapsed(), agent.said());
    let seen = place.ids().len();
    until("it is ready again", || agent.get("/readyz").0 == 200, || agent.said());
    until("ticks go on", || place.ids().len() > seen, || agent.said());
    assert_caught_up_once(&place, cut, Duration::from_secs(every));
    assert!(agent.process().alive(), "{}", agent.said());
}

/// Of all ticks that were missed at most the latest has a snapshot, and each tick has one only.
#[track_caller]
fn assert_caught_up_once(place: &Backup, cut: DateTime<Utc>, every: Duration) {
    let ticks = by_tick(place);
    assert!(ticks.values().all(|ids| ids.len() == 1), "{ticks:?}");
    let times = ticks.keys().map(|tick| tick.parse::<DateTime<Utc>>().expect("a time"));
    let after: Vec<_> = times.filter(|tick| *tick > cut).collect();
    let [first, next, ..] = after[..] else { panic!("too few after {cut}: {ticks:?}") };
    let missed = (first - cut).to_std().expect("it is later");
    assert!(missed > every * 2, "nothing was missed: {ticks:?}");
    assert!((next - first).to_std().expect("it is later") <= every * 2, "{ticks:?}");
}

#[expect(clippy::disallowed_methods, reason = "a test is at the edge, as cli is")]
fn now() -> DateTime<Utc> {
    Utc::now()
}
