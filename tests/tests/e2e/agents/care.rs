//! What agents do besides snapshots, and how they are watched and asked.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use etcdr_tests::backup::{Backup, assert_valid};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::versions;
use serde_json::{Value, json};

fn one(place: &mut Backup) -> Cluster {
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    place.watch(&cluster);
    cluster
}

#[test]
fn the_retention_is_carried_out_on_its_schedule() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let mut agent = Agent::new(&place, "prune", cluster.endpoint(), "@every 1s");
    agent.config["retention"] = json!({"keep_last": 3});
    agent.config["prune"] = json!({"cron": "@every 2s", "grace": "1s"});
    agent.write();
    agent.start(&place);
    agent.says("the retention was carried out");
    let seen = std::cell::Cell::new(0);
    until(
        "many were taken and few stay",
        || {
            seen.set(agent.said().matches("a snapshot exists").count());
            seen.get() >= 10 && place.ids().len() <= 6
        },
        || agent.said(),
    );
    agent.process().signal("TERM");
    agent.process().wait();
    // What stays is whole.
    for id in place.ids() {
        // A pruned neighbour is worth a warning.
        let said = place.run(&["verify", &id, "--level", "content"]);
        assert!([0, 3].contains(&said.code), "{}", said.stderr);
    }
    let planned = place.json(&["prune", "--dry-run", "--keep-last", "1"]);
    assert_eq!(planned["dry_run"], true);
}

#[test]
fn history_is_compacted_on_its_schedule() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    for n in 0..40 {
        cluster.ctl(&["put", "/a", &n.to_string()]);
    }
    let mut agent = Agent::new(&place, "compact", cluster.endpoint(), "@hourly");
    agent.config["maintenance"]["compact"] = json!({"cron": "@every 1s", "keep_revisions": 10});
    agent.write();
    agent.start(&place);
    agent.says("old revisions were compacted");
    let current = cluster.revision();
    let old = format!("--rev={}", current - 20);
    let said = cluster.ctl_at(cluster.endpoint(), &["get", "/a", &old]);
    assert!(said.stderr.contains("compacted"), "{}", said.stderr);
    let kept = format!("--rev={}", current - 5);
    cluster.ctl(&["get", "/a", &kept]);
}

#[test]
fn an_agent_is_asked_through_its_socket() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let mut agent = Agent::new(&place, "asked", cluster.endpoint(), "@yearly");
    agent.config["schedules"][0]["on_start"] = "wait".into();
    agent.config["retention"] = json!({"keep_last": 1});
    agent.write();
    agent.start(&place);
    agent.says("starting");
    let socket = agent.config["agent"]["admin"]["listen"].as_str().unwrap().to_owned();
    let ask = |args: &[&str]| place.run(&[args, &["--agent", &socket]].concat());
    until("it answers", || ask(&["status"]).code != 1, || agent.said());
    let id = ask(&["snapshot", "save"]).ok().stdout_text().trim().to_owned();
    assert_eq!(place.ids(), std::slice::from_ref(&id));
    let status = ask(&["status", "--output", "json"]).ok().json();
    assert_valid(&status);
    assert_eq!(status["newest"]["id"], id, "{status}");
    assert_eq!(ask(&["agent", "pause"]).ok().stdout_text().trim(), "often");
    let status = ask(&["status", "--output", "json"]).json();
    assert_eq!(status["schedules"][0]["paused"], true, "{status}");
    assert_eq!(ask(&["agent", "resume", "often"]).ok().stdout_text().trim(), "often");
    let said = ask(&["agent", "defragment", "--force"]).ok().stdout_text();
    assert!(said.contains("bytes before"), "{said}");
    assert_eq!(agent.get("/livez").0, 200);
    until("it is ready", || agent.get("/readyz").0 == 200, || agent.get("/readyz").1);
    assert!(agent.get("/").1.contains("Newest restorable snapshot"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(socket.trim_start_matches("unix://")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    drop(cluster);
    until("it cannot save now", || agent.get("/readyz").0 == 503, || agent.said());
    assert_eq!(agent.get("/livez").0, 200, "etcd is down, the agent is not");
}

#[test]
fn the_dead_mans_switch_hears_of_good_snapshots_and_its_url_stays_secret() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let (asked, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU16::new(200)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn({
        let (asked, answer) = (Arc::clone(&asked), Arc::clone(&answer));
        move || {
            for mut client in listener.incoming().flatten() {
                let mut head = [0; 2048];
                let read = client.read(&mut head).unwrap_or(0);
                assert!(String::from_utf8_lossy(&head[..read]).starts_with("GET /ping/hunter2 "));
                asked.fetch_add(1, Ordering::Relaxed);
                let code = answer.load(Ordering::Relaxed);
                let _ = write!(
                    client,
                    "HTTP/1.1 {code} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
        }
    });
    let secret = place.path("heartbeat");
    std::fs::write(&secret, format!("http://{address}/ping/hunter2\n")).unwrap();
    let mut agent = Agent::new(&place, "beat", cluster.endpoint(), "@every 1s");
    agent.config["watch"] = json!({"heartbeat_url_file": secret});
    agent.write();
    agent.start(&place);
    until("it is told", || asked.load(Ordering::Relaxed) >= 2, || agent.said());
    answer.store(500, Ordering::Relaxed);
    agent.says("the dead man's switch was not told");
    assert!(!agent.said().contains("hunter2"), "{}", agent.said());
    let metrics = agent.get("/metrics").1;
    assert!(!metrics.contains("hunter2"));
}

#[test]
fn a_refused_reload_is_an_alert() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let mut agent = Agent::new(&place, "alert", cluster.endpoint(), "@hourly");
    agent.start(&place);
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    std::fs::write(agent.file(), "nonsense: true").unwrap();
    agent.process().signal("HUP");
    agent.says("the old one stays");
    let status: Value = {
        let text = agent.get("/status.json").1;
        serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    assert!(!status["refused_config"].as_array().unwrap().is_empty(), "{status}");
    let metrics = agent.get("/metrics").1;
    let alerts = std::fs::read_to_string(
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/prometheus/alerts.yaml"),
    )
    .unwrap();
    let line =
        metrics.lines().find(|line| line.starts_with("etcdr_config") && !line.ends_with(" 0"));
    let name = line.expect("a metric of the configuration").split([' ', '{']).next().unwrap();
    assert!(alerts.contains(name), "no alert on {name}");
}

/// What systemd is told, on a socket that stands for its own.
#[test]
fn systemd_hears_that_the_agent_is_up_alive_and_going() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let path = place.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    place.set("NOTIFY_SOCKET", &path);
    place.set("WATCHDOG_USEC", "2000000");
    let mut agent = Agent::new(&place, "unit", cluster.endpoint(), "@hourly");
    agent.start(&place);
    let hear = |wanted: &str| {
        let mut buffer = [0; 4096];
        for _ in 0..20 {
            let read =
                socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            if String::from_utf8_lossy(&buffer[..read]).contains(wanted) {
                return;
            }
        }
        panic!("no {wanted}");
    };
    hear("READY=1");
    hear("WATCHDOG=1");
    hear("WATCHDOG=1");
    agent.process().signal("TERM");
    hear("STOPPING=1");
    assert_eq!(agent.process().wait(), 0, "{}", agent.said());
}
