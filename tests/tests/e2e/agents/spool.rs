//! The disk of the spool fills up, on a small file system of the agent's own.
//!
//! As in `full_disk`, it is mounted in a user and mount namespace; here the agent becomes the
//! process in it. The test reaches the file system through `/proc`.

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
            std::thread::sleep(Duration::from_millis(500));
        }
        None
    };
    S3::start_with(Arc::new(slow), None)
}

/// Starts the agent with 64 MiB mounted at `small/`, of which a mebibyte is free. `false`:
/// namespaces are refused here.
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
    let mut agent = Agent::new(&place, "spooled", cluster.endpoint(), "@every 2s");
    let small = place.path("small");
    agent.config["capture"] = json!({
        "retries": 0, "max_hold": "90s", "back_off": {"enabled": false},
        "spool": {"directory": small, "max_size": "60MiB"},
    });
    // The store is slow for claims too.
    agent.config["agent"]["takeover"] = "20s".into();
    agent.write();
    if !start(&mut agent, &place) {
        return;
    }
    let times = |agent: &Agent, what: &str| agent.said().matches(what).count();

    // Full, and etcd may wait: the snapshot is taken all the same, and is whole.
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    agent.says("the spool takes no more: etcd has to wait for the store");
    assert!(agent.said().contains("No space left on device"), "{}", agent.said());
    let first = place.ids().pop().unwrap();
    place.run(&["verify", &first, "--level", "content"]).ok();

    // Full, and etcd may not wait for so long: nothing is recorded.
    agent.config["capture"]["max_hold"] = "2s".into();
    agent.write();
    agent.process().signal("HUP");
    let given_up = |agent: &Agent| times(agent, "the longest that it may be");
    until("it is given up", || given_up(&agent) > 0, || agent.said());
    let recorded = place.ids();
    until("and again", || given_up(&agent) > 1, || agent.said());
    assert_eq!(place.ids(), recorded, "{}", agent.said());
    let manifests = s3.objects().into_iter().filter(|key| key.contains("/manifests/"));
    assert_eq!(manifests.count(), recorded.len());
    assert_eq!(agent.get("/livez").0, 200, "{}", agent.said());

    // Room is made: the spool is used, and the same limit is enough.
    let filler = format!("/proc/{}/root{small}/filler", agent.process().id());
    assert!(!Path::new(&small).join("filler").exists(), "it is the agent's own file system");
    std::fs::remove_file(filler).unwrap();
    until("a snapshot", || place.ids().len() > recorded.len(), || agent.said());
    place.run(&["verify", "latest", "--level", "content"]).ok();
    // The abandoned upload has left nothing in the store.
    agent.config["schedules"] = json!([]);
    agent.write();
    until("nothing is left of uploads", || s3.unfinished().is_empty(), || agent.said());
    assert!(agent.process().alive(), "{}", agent.said());
}
