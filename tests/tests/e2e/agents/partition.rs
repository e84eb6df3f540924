//! Networks that are cut and healed, each agent by itself: every agent reaches the store, or its
//! member, through a proxy of its own.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, beside_each, by_tick, until};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::s3::S3;
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;

/// Bytes a second of one connection to the store: a capture takes seconds, and can be cut in the
/// middle.
const SLOW: Fault = Fault::Slow(3 << 20);
/// Bytes of an image after which it is cut.
const MIDDLE: u64 = 4 << 20;

fn all_said(agents: &[Agent]) -> String {
    agents.iter().map(|agent| format!("== {}\n{}", agent.name, agent.said())).collect()
}

#[test]
fn an_agent_that_loses_the_store_in_the_middle_of_a_capture_is_replaced_and_writes_no_second() {
    let s3 = S3::start();
    let mut place = Backup::at(&s3.url(), &s3.env(&s3.address));
    let cluster = Cluster::new(versions::newest(), 3, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 71, 20);
    // One tick, long ago: no other tick becomes due during the test.
    let mut agents = beside_each(&place, &cluster, "@yearly");
    let proxies: Vec<_> = agents.iter().map(|_| Proxy::start(&s3.address, SLOW)).collect();
    for (agent, proxy) in agents.iter_mut().zip(&proxies) {
        agent.config["repository"]["retries"] = 0.into();
        agent.write();
        place.set("AWS_ENDPOINT_URL", &format!("http://{}", proxy.address));
        agent.start(&place);
    }
    place.set("AWS_ENDPOINT_URL", &format!("http://{}", s3.address));
    let working = |agents: &[Agent]| {
        agents.iter().position(|agent| agent.said().contains("taking a snapshot"))
    };
    until("one works", || working(&agents).is_some(), || all_said(&agents));
    let worker = working(&agents).unwrap();
    let moved = proxies[worker].moved();
    until("it is in the middle", || proxies[worker].moved() > moved + MIDDLE, || all_said(&agents));
    proxies[worker].cut();
    assert_eq!(place.ids().len(), 0, "cut too late\n{}", all_said(&agents));

    until("another has taken it over", || !place.ids().is_empty(), || all_said(&agents));
    let others = || agents.iter().enumerate().filter(|(at, _)| *at != worker).map(|(_, one)| one);
    let took = others().filter(|one| one.said().contains("this agent takes the tick over"));
    assert_eq!(took.count(), 1, "{}", all_said(&agents));
    assert!(!agents[worker].said().contains("a snapshot exists"), "{}", agents[worker].said());
    until(
        "it says it is not ready",
        || agents[worker].get("/readyz").0 == 503,
        || all_said(&agents),
    );
    assert_eq!(agents[worker].get("/livez").0, 200);

    let holder = "another agent took the tick";
    proxies[worker].heal();
    agents[worker].says(holder);
    until("it is ready again", || agents[worker].get("/readyz").0 == 200, || all_said(&agents));
    let ids = place.ids();
    assert_eq!(ids.len(), 1, "{}", all_said(&agents));
    assert_eq!(by_tick(&place).len(), 1);
    place.run(&["verify", &ids[0], "--level", "content"]).ok();
    assert!(!agents[worker].said().contains("a snapshot exists"), "{}", agents[worker].said());
    for agent in &mut agents {
        assert!(agent.process().alive(), "{}", agent.said());
    }
}

/// The member that the newest snapshot was taken from.
fn source(place: &Backup) -> String {
    let shown = place.json(&["snapshot", "show", "latest"]);
    shown["manifest"]["source"]["member_id"].as_str().expect("a member").to_owned()
}

#[test]
fn an_agent_that_loses_only_its_member_comes_last_and_saves_from_another() {
    let place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 3, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    let mut agents = beside_each(&place, &cluster, "@every 2s");
    let proxy = Proxy::start(cluster.endpoints[0].trim_start_matches("http://"), Fault::None);
    agents[0].config["etcd"]["endpoint"] = format!("http://{}", proxy.address).into();
    agents[0].write();
    agents.iter_mut().for_each(|agent| agent.start(&place));
    until("it is ready", || agents[0].get("/readyz").0 == 200, || all_said(&agents));
    until("a snapshot", || !place.ids().is_empty(), || all_said(&agents));

    proxy.cut();
    let not_ready = || {
        let (code, text) = agents[0].get("/readyz");
        code == 503 && text.contains("its etcd member does not answer")
    };
    until("it says so", not_ready, || all_said(&agents));
    assert_eq!(agents[0].get("/livez").0, 200);
    let before = place.ids().len();
    until("ticks go on", || place.ids().len() > before + 1, || all_said(&agents));
    assert!(by_tick(&place).values().all(|ids| ids.len() == 1), "{:?}", by_tick(&place));
    let own = agents[0].said().matches("a snapshot exists").count();

    // An agent without its member still saves when it is the only one left.
    agents.drain(1..).for_each(drop);
    let taken = || agents[0].said().matches("a snapshot exists").count();
    until("it saves from another member", || taken() > own + 1, || agents[0].said());
    let status = cluster.ask(&["endpoint", "status"]);
    let cut_off = format!("{:x}", status[0]["Status"]["header"]["member_id"].as_u64().unwrap());
    assert_ne!(source(&place), cut_off);
    assert!(by_tick(&place).values().all(|ids| ids.len() == 1), "{:?}", by_tick(&place));

    proxy.heal();
    until("it is ready again", || agents[0].get("/readyz").0 == 200, || agents[0].said());
    until("it saves from its own", || source(&place) == cut_off, || agents[0].said());
}
