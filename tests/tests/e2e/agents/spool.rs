//! The disk of the spool fills up, on a small file system of the agent's own.
//!
//! As in `full_disk`, it is mounted in a user and mount namespace; here the agent becomes the process in it. The test
//! reaches the file system through `/proc`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::s3::S3;
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;
use hyper::{Method, StatusCode};
use serde_json::json;

/// Each part takes the store longer than etcd may wait for all of them.
fn slow_store() -> S3 {
    let slow = |method: &Method, path: &str| -> Option<StatusCode> {
        if *method == Method::PUT && path.contains("/images/") {
            std::thread::sleep(Duration::from_millis(700));
        }
        None
    };
    S3::start_with(Arc::new(slow), None)
}

/// Starts the agent with 64 MiB mounted at `small/`, of which a mebibyte is free. `false`: namespaces are refused here.
fn start(agent: &mut Agent, place: &Backup) -> bool {
    std::fs::create_dir(place.path("small")).unwrap();
    let script = "mount -t tmpfs -o size=64m none small || exit 99
        head -c 63m /dev/zero > small/filler || exit 99
        exec \"$@\"";
    agent.start_by(place, &["unshare", "-Urm", "/bin/sh", "-uc", script, "sh"]);
    let mut refused = false;
    until(
        "it starts",
        || {
            refused = agent.said().contains("unshare") || agent.said().contains("mount");
            refused || agent.said().contains("starting")
        },
        || agent.said(),
    );
    let known = std::env::var("ETCDR_TEST_NO_NAMESPACES").as_deref() == Ok("1");
    assert!(!refused || known, "a full disk cannot be tested here: {}", agent.said());
    !refused
}

#[test]
fn a_spool_on_a_full_disk_costs_no_snapshot_that_could_be_had_and_records_no_broken_one() {
    let s3 = slow_store();
    let place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 81, 48);
    let mut agent = Agent::new(&place, "spooled", cluster.endpoint(), "@every 3s");
    let small = place.path("small");
    agent.config["capture"] = json!({
        "retries": 0, "max_hold": "3s", "back_off": {"enabled": false},
        "spool": {"directory": small, "max_size": "60MiB"},
    });
    agent.write();
    if !start(&mut agent, &place) {
        return;
    }
    let full = "the spool takes no more: etcd has to wait for the store";
    let times = |agent: &Agent, what: &str| agent.said().matches(what).count();

    // Full, and etcd may not wait for so long: nothing is recorded, nothing is left.
    agent.says(full);
    assert!(agent.said().contains("No space left on device"), "{}", agent.said());
    until("it is given up", || times(&agent, "no snapshot was taken") >= 1, || agent.said());
    assert!(agent.said().contains("the longest that it may be"), "{}", agent.said());
    assert_eq!(place.ids(), Vec::<String>::new());
    assert!(!s3.objects().iter().any(|key| key.contains("/manifests/")), "{:?}", s3.objects());
    assert_eq!(agent.get("/livez").0, 200, "{}", agent.said());

    // Room is made: the same limit is enough, and the spool is used.
    let filler = format!("/proc/{}/root{small}/filler", agent.process().id());
    assert!(!Path::new(&small).join("filler").exists(), "it is the agent's own file system");
    std::fs::remove_file(filler).unwrap();
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    let before = times(&agent, full);
    let seen = place.ids().len();
    until("and another", || place.ids().len() > seen, || agent.said());
    assert_eq!(times(&agent, full), before, "{}", agent.said());

    // Full again, and etcd may wait: the snapshot is taken all the same, and is whole.
    let filler = format!("/proc/{}/root{small}/filler", agent.process().id());
    std::fs::write(filler, vec![0; 63 << 20]).unwrap();
    agent.config["capture"]["max_hold"] = "90s".into();
    agent.write();
    agent.says("the configuration was read again");
    let (spilled, seen) = (times(&agent, full), place.ids().len());
    until(
        "snapshots by way of a full spool",
        || times(&agent, full) > spilled + 1 && place.ids().len() > seen + 1,
        || agent.said(),
    );
    for id in place.ids() {
        place.run(&["verify", &id, "--level", "content"]).ok();
    }
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), 0, "{}", agent.said());
    assert_eq!(s3.unfinished(), Vec::<String>::new(), "{}", agent.said());
}
