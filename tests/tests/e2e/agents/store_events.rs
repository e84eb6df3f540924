//! The store fails and comes back.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, by_tick, until};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::s3::{Rule, S3};
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;
use hyper::{Method, StatusCode};

fn agent_of(place: &Backup, cluster: &Cluster, cron: &str) -> Agent {
    let mut agent = Agent::new(place, "one", cluster.endpoint(), cron);
    agent.config["repository"]["retries"] = 0.into();
    agent.config["repository"]["request_timeout"] = "20s".into();
    agent.write();
    agent
}

#[test]
fn a_store_that_refuses_for_a_while_costs_ticks_and_nothing_else() {
    // What the server answers to writes; 0: nothing is refused.
    let answer = Arc::new(AtomicU16::new(0));
    let rule: Rule = {
        let answer = Arc::clone(&answer);
        Arc::new(move |_: &Method, path: &str| {
            let code = answer.load(Ordering::Relaxed);
            (code > 0 && path.contains("etcd")).then(|| StatusCode::from_u16(code).unwrap())
        })
    };
    let s3 = S3::start_with(rule, None);
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 51, 8);
    let mut agent = agent_of(&place, &cluster, "@every 2s");
    agent.start(&place);
    for code in [403, 429, 500] {
        let before = place.ids().len();
        until("a snapshot", || place.ids().len() > before, || agent.said());
        answer.store(code, Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(5));
        answer.store(0, Ordering::Relaxed);
        assert!(agent.process().alive(), "{}", agent.said());
    }
    let before = place.ids().len();
    until("it continues", || place.ids().len() > before + 1, || agent.said());
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), 0, "{}", agent.said());
    assert!(agent.said().contains("the repository cannot be used"), "{}", agent.said());
    for (tick, ids) in by_tick(&place) {
        assert_eq!(ids.len(), 1, "{tick}");
        place.run(&["verify", &ids[0], "--level", "content"]).ok();
    }
    assert_no_parts(&s3);
}

/// Waits until no upload is left unfinished: an agent that gives one up reports that first and
/// aborts the upload then.
#[track_caller]
fn assert_no_parts(s3: &S3) {
    until(
        "nothing is left of uploads",
        || s3.unfinished().is_empty(),
        || format!("left: {:?}", s3.unfinished()),
    );
}

#[test]
fn parts_of_an_upload_that_fails_are_taken_away() {
    // Parts of images that are still taken; then the next ones are refused.
    let room = Arc::new(AtomicU16::new(1));
    let rule: Rule = {
        let room = Arc::clone(&room);
        Arc::new(move |method: &Method, path: &str| {
            let part = *method == Method::PUT && path.contains("/images/");
            let take = |left: u16| left.checked_sub(1);
            let full =
                part && room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err();
            full.then_some(StatusCode::FORBIDDEN)
        })
    };
    let s3 = S3::start_with(rule, None);
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 54, 16);
    let mut agent = agent_of(&place, &cluster, "@every 2s");
    agent.config["capture"]["retries"] = 0.into();
    agent.write();
    agent.start(&place);
    agent.says("no snapshot was taken");
    assert_eq!(room.load(Ordering::Relaxed), 0, "a part was taken before one was refused");
    assert_eq!(place.ids().len(), 0);
    // No save may run during the check.
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), 0, "{}", agent.said());
    assert_eq!(s3.unfinished(), Vec::<String>::new(), "{}", agent.said());
    room.store(1000, Ordering::Relaxed);
    agent.start(&place);
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    place.run(&["verify", "latest", "--level", "content"]).ok();
}

#[test]
fn a_store_that_is_gone_and_comes_back_gets_one_snapshot_for_all_ticks_missed() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    let mut agent = agent_of(&place, &cluster, "@every 3s");
    // A proxy that does not exist stands for a store that is down.
    let address = format!("127.0.0.1:{}", etcdr_tests::etcd::free_port());
    place.set("AWS_ENDPOINT_URL", &format!("http://{address}"));
    agent.start(&place);
    agent.says("the repository cannot be used");
    std::thread::sleep(Duration::from_secs(8));
    assert!(agent.process().alive());
    let listener = std::net::TcpListener::bind(&address).unwrap();
    let back = now();
    std::thread::spawn({
        let upstream = s3.address.clone();
        move || {
            for mut client in listener.incoming().flatten() {
                let Ok(mut server) = std::net::TcpStream::connect(&upstream) else { return };
                let (mut back, mut forth) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || std::io::copy(&mut client, &mut server));
                std::thread::spawn(move || std::io::copy(&mut back, &mut forth));
            }
        }
    });
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", s3.address));
    until("it continues", || place.ids().len() >= 2, || agent.said());
    let ticks = by_tick(&place);
    assert!(ticks.values().all(|ids| ids.len() == 1));
    // Only the last of the missed ticks may get a snapshot.
    let first: DateTime<Utc> = ticks.keys().next().unwrap().parse().unwrap();
    assert!(first > back - chrono::Duration::seconds(6), "{ticks:?}, back at {back}");
}

#[expect(clippy::disallowed_methods, reason = "a test is at the edge, as cli is")]
fn now() -> DateTime<Utc> {
    Utc::now()
}

#[test]
fn a_store_that_takes_a_megabyte_a_second_is_good_enough() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    // More than the buffers hold: etcd has to wait for the store.
    write_bulk(&cluster, 52, 28);
    let proxy = Proxy::start(&s3.address, Fault::Slow(1 << 20));
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", proxy.address));
    let mut agent = agent_of(&place, &cluster, "@every 1h");
    agent.start(&place);
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", s3.address));
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    place.run(&["verify", "latest", "--level", "content"]).ok();
}

#[test]
fn a_store_that_stops_answering_is_given_up_in_time_and_nothing_is_recorded() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 53, 8);
    let proxy = Proxy::start(&s3.address, Fault::StallAfter(400_000));
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", proxy.address));
    let mut agent = agent_of(&place, &cluster, "@every 1h");
    agent.config["repository"]["request_timeout"] = "2s".into();
    agent.config["capture"]["retries"] = 0.into();
    // The limit of one request ends it, not the loss of the claim.
    agent.config["agent"]["takeover"] = "2m".into();
    agent.write();
    agent.start(&place);
    agent.says("taking a snapshot");
    let began = std::time::Instant::now();
    agent.says("no snapshot was taken");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}\n{}", began.elapsed(), agent.said());
    assert!(agent.process().alive());
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", s3.address));
    assert_eq!(place.ids().len(), 0);
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), 0, "{}", agent.said());
}
