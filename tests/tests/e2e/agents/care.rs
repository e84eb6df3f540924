//! What agents do besides snapshots, and how they are watched and asked.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use etcdr_node::{Client, ConnectOptions};
use etcdr_tests::backup::{Backup, assert_valid};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::process::Running;
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;
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
    // The snapshots that remain are complete.
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

/// Two agents beside two members with some mebibytes; neither takes a snapshot unless it is asked,
/// and none is started.
fn two(place: &mut Backup, mebibytes: usize) -> (Cluster, [Agent; 2]) {
    let cluster = Cluster::new(versions::newest(), 2, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 61, mebibytes);
    place.watch(&cluster);
    let agents = [0, 1].map(|n| {
        let mut agent = Agent::new(place, &format!("a{n}"), &cluster.endpoints[n], "@yearly");
        agent.config["schedules"][0]["on_start"] = "wait".into();
        agent
    });
    (cluster, agents)
}

fn socket(agent: &Agent) -> String {
    agent.config["agent"]["admin"]["listen"].as_str().unwrap().to_owned()
}

/// Starts it and waits until it can be asked.
fn start(agent: &mut Agent, place: &Backup) {
    agent.write();
    agent.start(place);
    let ask = ["status", "--agent", &socket(agent)];
    until("it answers", || place.run(&ask).code != 1, || agent.said());
}

/// Starts a command; its output is written to a file of that name.
fn begin(place: &Backup, name: &str, args: &[&str]) -> Running {
    Running::start(&mut place.command(args), &PathBuf::from(place.path(name)))
}

/// Asks for a round, which ends with this code.
fn defragment(place: &Backup, agent: &Agent, code: i32) -> String {
    let args = ["agent", "defragment", "--force", "--agent", &socket(agent)];
    place.run(&args).ends_with(code).stdout_text()
}

#[test]
fn no_agent_defragments_while_another_takes_a_snapshot_unless_that_one_is_dead() {
    let mut place = Backup::new();
    let (_cluster, [mut first, mut second]) = two(&mut place, 24);
    first.config["schedules"][0]["on_start"] = "overdue".into();
    first.config["capture"]["rate_limit"] = "1MiB".into();
    start(&mut first, &place);
    first.says("taking a snapshot");
    start(&mut second, &place);
    let said = defragment(&place, &second, 1);
    assert!(said.contains("is being taken by agent a0 (schedule often)"), "{said}");
    assert!(!second.said().contains("was defragmented"), "{}", second.said());
    assert!(!first.said().contains("a snapshot exists"), "too fast to be a test");
    first.kill();
    // Nobody says that the claim is given up. It counts for one more `takeover`.
    let began = Instant::now();
    let said = defragment(&place, &second, 0);
    assert_eq!(said.matches("bytes before").count(), 2, "{said}");
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_round_on_schedule_gives_way_to_another_agents_snapshot_and_comes_later() {
    let mut place = Backup::new();
    let (_cluster, [mut first, mut second]) = two(&mut place, 16);
    first.config["schedules"][0]["on_start"] = "overdue".into();
    first.config["capture"]["rate_limit"] = "1MiB".into();
    second.config["maintenance"]["defragment"] = json!({
        "cron": "@every 10s", "min_size": "1MiB", "min_fragmentation": 0.0, "pause": "0s",
    });
    start(&mut first, &place);
    first.says("taking a snapshot");
    start(&mut second, &place);
    second.says("is being taken by agent a0 (schedule often)");
    let in_order = || {
        let defragmented = second.said().contains("a member was defragmented");
        // Read later, so that it contains what ended before.
        let taken = first.said().contains("a snapshot exists");
        assert!(taken || !defragmented, "{}\n{}", first.said(), second.said());
        defragmented
    };
    until("it is defragmented", in_order, || second.said());
}

#[test]
fn a_member_that_streams_a_snapshot_to_anybody_is_not_defragmented_on_any_version() {
    for version in versions::versions() {
        let mut place = Backup::new();
        let cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        write_bulk(&cluster, 62, 24);
        place.watch(&cluster);
        let mut agent = Agent::new(&place, "a0", cluster.endpoint(), "@yearly");
        agent.config["schedules"][0]["on_start"] = "wait".into();
        start(&mut agent, &place);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        // A client that begins to read the response and then stops.
        let stream = runtime.block_on(async {
            let client = Client::connect(&ConnectOptions::new(cluster.endpoint())).await.unwrap();
            (client.snapshot(Duration::from_secs(60)).await.unwrap(), client)
        });
        let said = defragment(&place, &agent, 1);
        assert!(said.contains("is being taken from member"), "{} {said}", version.text());
        assert!(!agent.said().contains("was defragmented"), "{}", agent.said());
        drop(stream);
        drop(runtime);
        let said = defragment(&place, &agent, 0);
        assert!(said.contains("bytes before"), "{} {said}", version.text());
    }
}

#[test]
fn a_snapshot_waits_for_another_agents_round_and_an_agent_that_waits_can_be_stopped() {
    let mut place = Backup::new();
    let (_cluster, [mut first, mut second]) = two(&mut place, 2);
    second.config["maintenance"]["defragment"] = json!({"cron": "@yearly", "pause": "6s"});
    start(&mut first, &place);
    start(&mut second, &place);
    let round = ["agent", "defragment", "--force", "--agent", &socket(&second)];
    let save = ["snapshot", "save", "--agent", &socket(&first)];
    let defragmented = |agent: &Agent, count: usize| {
        let so = || agent.said().matches("a member was defragmented").count() == count;
        until("a member is defragmented", so, || agent.said());
    };
    let mut under_way = begin(&place, "round", &round);
    defragmented(&second, 1);
    let mut saving = begin(&place, "save", &save);
    first.says("a snapshot waits for a round of defragmentation");
    defragmented(&second, 2);
    // The pause after the last member is still the round's.
    assert!(!first.said().contains("taking a snapshot"), "{}", first.said());
    assert_eq!((under_way.wait(), saving.wait()), (0, 0), "{} {}", under_way.log(), saving.log());
    assert!(saving.log().contains("waiting for defragmentation"), "{}", saving.log());
    assert_eq!(place.ids().len(), 1);

    let mut under_way = begin(&place, "round", &round);
    defragmented(&second, 3);
    let _given_up = begin(&place, "given-up", &save);
    let waits = || first.said().matches("a snapshot waits for a round").count() == 2;
    until("it waits", waits, || first.said());
    first.process().signal("TERM");
    let began = Instant::now();
    assert_eq!(first.process().wait(), 0, "{}", first.said());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(under_way.alive(), "{}", under_way.log());
    assert_eq!(place.ids().len(), 1);
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
    until("it is notified", || asked.load(Ordering::Relaxed) >= 2, || agent.said());
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

/// The messages for systemd, received on a socket in place of systemd's own.
#[test]
fn systemd_hears_that_the_agent_is_up_alive_and_going() {
    let mut place = Backup::new();
    let cluster = one(&mut place);
    let path = place.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
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
