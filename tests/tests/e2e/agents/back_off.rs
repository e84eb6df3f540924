//! etcd is overloaded in the middle of a capture, and the capture pauses.

use std::path::PathBuf;
use std::time::Duration;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::{Cluster, free_port};
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;
use serde_json::json;

const TOLD: &str = "the capture gives way to etcd";

/// Goal: the stream pauses while the cluster cannot answer reads, and the snapshot is finished when
/// it can. Method: the two members that the agent is not beside are stopped while its own one
/// streams; without them no linearizable read is answered. The metrics cannot be read, so that such
/// reads are what counts.
#[test]
fn a_capture_gives_way_while_etcd_does_not_answer_and_is_finished_afterwards() {
    let place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 3, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 91, 12);
    let proxy = Proxy::start(cluster.endpoint().trim_start_matches("http://"), Fault::None);
    let mut agent = Agent::new(&place, "polite", &format!("http://{}", proxy.address), "@yearly");
    agent.config["etcd"]["metrics_url"] = format!("http://127.0.0.1:{}", free_port()).into();
    agent.config["capture"] = json!({
        "rate_limit": "2MiB",
        "back_off": {"latency": "500ms", "every": "200ms", "max_pause": "3s"},
    });
    agent.write();
    agent.start(&place);
    agent.says("taking a snapshot");
    let begun = proxy.moved();
    until("the stream flows", || proxy.moved() > begun + (3 << 20), || agent.said());
    assert!(!agent.said().contains(TOLD), "without a reason: {}", agent.said());

    for member in [1, 2] {
        cluster.signal_member(member, "STOP");
    }
    agent.says(TOLD);
    let moved = proxy.moved();
    std::thread::sleep(Duration::from_secs(1));
    let meanwhile = proxy.moved() - moved;
    for member in [1, 2] {
        cluster.signal_member(member, "CONT");
    }
    assert!(meanwhile < 512 << 10, "{meanwhile} bytes were taken in a second of a pause");
    assert_eq!(place.ids().len(), 0, "{}", agent.said());
    until("it is finished", || !place.ids().is_empty(), || agent.said());
    assert!(!agent.said().contains("no snapshot was taken"), "{}", agent.said());
    place.run(&["verify", "latest", "--level", "content"]).ok();
}
