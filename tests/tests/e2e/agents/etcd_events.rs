//! etcd restarts, changes its leader, loses and gets members, while agents work.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::{Cluster, Extra, MemberAt, free_port, initial_cluster};
use etcdr_tests::fleet::{Agent, beside_each, by_tick, until};
use etcdr_tests::process::{self, Running};
use etcdr_tests::versions;
use etcdr_tests::workload::write_bulk;

#[test]
fn a_member_that_restarts_costs_no_tick_for_good() {
    let place = Backup::new();
    let dir = PathBuf::from(place.path("live"));
    let mut cluster = Cluster::new(versions::newest(), 1, &dir);
    cluster.ctl(&["put", "/a", "1"]);
    let mut agent = Agent::new(&place, "one", cluster.endpoint(), "@every 2s");
    agent.start(&place);
    until("a snapshot", || !place.ids().is_empty(), || agent.said());
    cluster.kill();
    agent.says("no snapshot was taken");
    let before = place.ids().len();
    let members = cluster.members.clone();
    drop(cluster);
    let cluster = Cluster::boot(versions::newest(), members, Extra::default());
    agent.config["etcd"]["endpoint"] = cluster.endpoint().into();
    agent.write();
    until("it continues", || place.ids().len() > before + 1, || agent.said());
    assert!(agent.process().alive());
}

#[test]
fn the_leader_moves_and_the_order_follows() {
    let mut place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 3, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 61, 2);
    place.watch(&cluster);
    let mut agents = beside_each(&place, &cluster, "@every 2s");
    agents.iter_mut().for_each(|agent| agent.start(&place));
    for _ in 0..3 {
        let before = place.ids().len();
        until("a snapshot", || place.ids().len() > before, || agents[0].said());
        let leader = leader(&cluster);
        let heir = cluster.endpoints.iter().find(|endpoint| **endpoint != leader).unwrap();
        let status = cluster.ask_at(heir, &["endpoint", "status"]);
        let heir = format!("{:x}", status[0]["Status"]["header"]["member_id"].as_u64().unwrap());
        cluster.ctl_at(&leader, &["move-leader", &heir]).ok();
        // A tick may be under way; from the next one on its agent waits for the others.
        let before = place.ids().len();
        until("four more", || place.ids().len() >= before + 4, || agents[0].said());
        assert!(spared(&place, &heir), "{}", agents[0].said());
        let leads = cluster.ask_at(cluster.endpoint(), &["endpoint", "status"]);
        assert_eq!(format!("{:x}", leads[0]["Status"]["leader"].as_u64().unwrap()), heir);
    }
    assert!(by_tick(&place).values().all(|ids| ids.len() == 1), "{:?}", by_tick(&place));
}

/// Whether the newest three snapshots were taken from other members.
fn spared(place: &Backup, member: &str) -> bool {
    place.ids().iter().take(3).all(|id| {
        let shown = place.json(&["snapshot", "show", id]);
        shown["manifest"]["source"]["member_id"] != member
    })
}

fn leader(cluster: &Cluster) -> String {
    let is_leader = |endpoint: &&String| {
        let status = cluster.ask_at(endpoint, &["endpoint", "status"]);
        let status = &status[0]["Status"];
        status["leader"] == status["header"]["member_id"]
    };
    cluster.endpoints.iter().find(is_leader).expect("a leader").clone()
}

#[test]
fn a_member_is_removed_and_replaced_and_the_agents_go_on() {
    let mut place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 3, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    place.watch(&cluster);
    let mut agents = beside_each(&place, &cluster, "@every 2s");
    agents.iter_mut().for_each(|agent| agent.start(&place));
    until("a snapshot", || !place.ids().is_empty(), || agents[0].said());
    let gone = cluster.endpoints[2].clone();
    let status = cluster.ask_at(&gone, &["endpoint", "status"]);
    let id = format!("{:x}", status[0]["Status"]["header"]["member_id"].as_u64().unwrap());
    // etcd refuses while members have not been connected for some seconds.
    let remove = || cluster.ctl_at(cluster.endpoint(), &["member", "remove", &id]).code == 0;
    until("the member is removed", remove, String::new);
    let before = place.ids().len();
    until("it continues", || place.ids().len() > before + 2, || agents[0].said());
    assert_eq!(members_of(&place), 2);

    let client = format!("http://127.0.0.1:{}", free_port());
    let new = MemberAt::new("m9", PathBuf::from(place.path("live/m9.etcd")));
    let add = ["member", "add", "m9", "--peer-urls", &new.peer];
    until("a member is added", || cluster.ctl_at(cluster.endpoint(), &add).code == 0, String::new);
    let initial = [&cluster.members[..2], std::slice::from_ref(&new)].concat();
    let mut etcd = process::command(cluster.version.tool("etcd"));
    let dir = new.data_dir.display().to_string();
    etcd.args(["--name", "m9", "--data-dir", &dir, "--initial-cluster-state", "existing"]);
    etcd.args(["--listen-peer-urls", &new.peer, "--initial-advertise-peer-urls", &new.peer]);
    etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    etcd.args(["--initial-cluster", &initial_cluster(&initial)]);
    let _etcd = Running::start(&mut etcd, &place.dir().join("m9.log"));
    let mut newcomer = Agent::new(&place, "a9", &client, "@every 2s");
    newcomer.start(&place);
    until("three members are saved", || members_of(&place) == 3, || newcomer.said());
    newcomer.says("another agent took the tick");
    assert!(by_tick(&place).values().all(|ids| ids.len() == 1));
    for agent in agents.iter_mut().chain([&mut newcomer]) {
        assert!(agent.process().alive(), "{}", agent.said());
    }
}

fn members_of(place: &Backup) -> usize {
    let shown = place.json(&["snapshot", "show", "latest"]);
    let members = shown["manifest"]["members"].as_array().unwrap();
    // One that was added and has not started yet has no name.
    members.iter().filter(|member| member["name"] != "").count()
}
