//! The clock of the machine jumps. The agent runs in this process, on a clock that the test sets.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use chrono::Utc;
use etcdr_agent::run::{self, Start};
use etcdr_operations::settings::Settings;
use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{by_tick, until};
use etcdr_tests::versions;
use serde_json::json;
use tokio::sync::{mpsc, watch};

const HOUR: i64 = 3600;

#[expect(clippy::disallowed_methods, reason = "a test is at the edge, as cli is")]
fn start(settings: Settings, offset: &Arc<AtomicI64>) -> Start {
    let (offset, random) = (Arc::clone(offset), AtomicU32::new(1));
    let again = settings.clone();
    Start {
        settings,
        load: Box::new(move || Ok(again.clone())),
        name: "jumper".to_owned(),
        instance: "0123456789abcdef".to_owned(),
        tool_version: "test".to_owned(),
        clock: Arc::new(move || {
            Utc::now() + chrono::Duration::seconds(offset.load(Ordering::Relaxed))
        }),
        random: Box::new(move || random.fetch_add(1, Ordering::Relaxed)),
        observer: Arc::new(|_| {}),
        turned: Arc::new(|| {}),
        configured: Box::new(|_| {}),
    }
}

#[test]
fn a_clock_that_jumps_an_hour_either_way_repeats_nothing_and_loses_nothing() {
    let place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    let config = etcdr_schemas::config::parse(json!({
        "etcd": {"endpoint": cluster.endpoint()},
        "repository": {"url": place.repository},
        "agent": {"takeover": "3s", "grace": "6s"},
    }));
    let settings = Settings::new(config.unwrap(), Default::default()).ok().unwrap();
    let offset = Arc::new(AtomicI64::new(0));
    let (stop, stopped) = watch::channel(false);
    let start = start(settings, &offset);
    let agent = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (_orders, commands) = mpsc::channel(1);
        runtime.block_on(run::run(start, commands, stopped))
    });
    let wait = || std::thread::sleep(Duration::from_secs(4));
    until("the tick that was due is taken", || place.ids().len() == 1, String::new);
    offset.store(HOUR, Ordering::Relaxed);
    until("the hour that is ahead is taken", || place.ids().len() == 2, String::new);
    for back in [0, -HOUR, 0] {
        offset.store(back, Ordering::Relaxed);
        wait();
        assert_eq!(place.ids().len(), 2, "at {back} s");
    }
    // Two hours ahead is a tick that nobody has taken.
    offset.store(2 * HOUR, Ordering::Relaxed);
    until("it continues", || place.ids().len() == 3, String::new);
    assert!(by_tick(&place).values().all(|ids| ids.len() == 1));
    stop.send_replace(true);
    agent.join().unwrap().unwrap();
    for id in place.ids() {
        place.run(&["verify", &id, "--level", "content"]).ok();
    }
}
