//! Agents contend for ticks: exactly one of them saves.

use std::path::PathBuf;
use std::time::Duration;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::Cluster;
use etcdr_tests::fleet::{Agent, beside_each, by_tick, until};
use etcdr_tests::proxy::{Fault, Proxy};
use etcdr_tests::workload::{Rng, write_bulk};
use etcdr_tests::{rounds, versions};

fn three(place: &mut Backup) -> Cluster {
    let cluster = Cluster::new(versions::newest(), 3, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/registry/a", "1"]);
    place.watch(&cluster);
    cluster
}

/// Fails unless each tick that has a snapshot has exactly one, and all of them verify.
#[track_caller]
fn assert_one_each(place: &Backup, agents: &[Agent]) -> usize {
    let ticks = by_tick(place);
    for (tick, ids) in &ticks {
        let said: String = agents.iter().map(Agent::said).collect();
        assert_eq!(ids.len(), 1, "tick {tick}\n{said}");
        place.run(&["verify", &ids[0], "--level", "object"]).ok();
    }
    ticks.len()
}

#[test]
fn three_agents_take_each_tick_once_and_not_from_the_leader() {
    let mut place = Backup::new();
    let cluster = three(&mut place);
    let mut agents = beside_each(&place, &cluster, "@every 2s");
    agents.iter_mut().for_each(|agent| agent.start(&place));
    until("five snapshots", || place.ids().len() >= 5, || agents[0].said());
    assert!(assert_one_each(&place, &agents) >= 5);
    let shown = place.json(&["snapshot", "show", "latest"]);
    let source = shown["manifest"]["source"]["endpoint"].as_str().unwrap();
    let status = cluster.ask_at(source, &["endpoint", "status"]);
    let status = &status[0]["Status"];
    assert_ne!(status["leader"], status["header"]["member_id"], "{status}");
    assert_eq!(shown["manifest"]["hash_kv"]["agreed"].as_array().unwrap().len(), 3, "{shown}");
}

/// Goal: with agents killed at any moment, each tick still has one snapshot, and only whole ones.
/// Method: kill -9 of a random agent at a random moment of a two-second schedule, started again a
/// moment later. `ETCDR_TEST_ROUNDS=200` for the full number.
#[test]
fn agents_that_are_killed_at_random_leave_one_snapshot_a_tick() {
    let mut place = Backup::new();
    let cluster = three(&mut place);
    write_bulk(&cluster, 41, 6);
    let mut agents = beside_each(&place, &cluster, "@every 2s");
    agents.iter_mut().for_each(|agent| agent.start(&place));
    let mut rng = Rng(42);
    for _ in 0..rounds(12) {
        let (victim, wait) = (rng.below(3), rng.below(1500));
        std::thread::sleep(Duration::from_millis(u64::try_from(wait).unwrap()));
        agents[victim].kill();
        std::thread::sleep(Duration::from_millis(100));
        agents[victim].start(&place);
    }
    let before = by_tick(&place).len();
    until("ticks go on", || by_tick(&place).len() > before + 2, || agents[0].said());
    assert_one_each(&place, &agents);
    for agent in &agents {
        assert!(!agent.said().contains("panicked"), "{}", agent.said());
    }
    let id = &place.ids()[0];
    place.run(&["verify", id, "--level", "structure"]).ok();
}

/// Proxies in front of the members, so slow that a capture of a few mebibytes takes seconds: a
/// test can interrupt it.
fn slowed(agents: &mut [Agent], cluster: &Cluster) -> Vec<Proxy> {
    let slow = |endpoint: &String| {
        Proxy::start(endpoint.trim_start_matches("http://"), Fault::Slow(2 << 20))
    };
    let proxies: Vec<_> = cluster.endpoints.iter().map(slow).collect();
    for (agent, proxy) in agents.iter_mut().zip(&proxies) {
        agent.config["etcd"]["endpoint"] = format!("http://{}", proxy.address).into();
        agent.write();
    }
    proxies
}

/// The agent that saves is stopped in the middle (SIGSTOP) but not dead: another takes over after
/// the grace, and the first writes nothing when it continues.
#[test]
fn an_agent_that_is_stopped_in_the_middle_is_replaced_and_writes_no_second_snapshot() {
    let mut place = Backup::new();
    let cluster = three(&mut place);
    write_bulk(&cluster, 43, 8);
    // One tick, long ago: no other tick becomes due during the test.
    let mut agents = beside_each(&place, &cluster, "@yearly");
    let _proxies = slowed(&mut agents, &cluster);
    agents.iter_mut().for_each(|agent| agent.start(&place));
    let all = |agents: &[Agent]| agents.iter().map(Agent::said).collect::<String>();
    let working = |agents: &[Agent]| {
        agents.iter().position(|agent| agent.said().contains("taking a snapshot"))
    };
    until("one works", || working(&agents).is_some(), || all(&agents));
    let holder = working(&agents).unwrap();
    agents[holder].process().signal("STOP");
    assert_eq!(place.ids().len(), 0, "stopped too late\n{}", all(&agents));
    until("another has done it", || !place.ids().is_empty(), || all(&agents));
    assert!(all(&agents).contains("this agent takes the tick over"), "{}", all(&agents));
    agents[holder].process().signal("CONT");
    agents[holder].says("the tick is no longer this agent's");
    agents[holder].says("another agent took the tick");
    assert!(!agents[holder].said().contains("a snapshot exists"), "{}", agents[holder].said());
    assert_eq!(assert_one_each(&place, &agents), 1);
}

#[test]
fn two_agents_of_one_name_share_the_work_and_say_so() {
    let mut place = Backup::new();
    let cluster = three(&mut place);
    write_bulk(&cluster, 45, 4);
    let mut agents = beside_each(&place, &cluster, "@every 5s");
    // Claims are seen while they are open.
    let _proxies = slowed(&mut agents, &cluster);
    for agent in &mut agents {
        agent.config["agent"]["name"] = "twin".into();
        agent.write();
        agent.start(&place);
    }
    until("three snapshots", || place.ids().len() >= 3, || agents[0].said());
    assert_one_each(&place, &agents);
    let refused = |agent: &Agent| agent.said().contains("another agent of the same name is alive");
    until("one says so", || agents.iter().any(refused), || agents[0].said());
}

#[test]
fn a_member_that_is_down_is_saved_from_elsewhere_and_a_single_agent_goes_on_alone() {
    let mut place = Backup::new();
    let mut cluster = three(&mut place);
    let mut agents = beside_each(&place, &cluster, "@every 2s");
    // Only the agent of the last in the order runs: it waits for two graces, then takes over for
    // good.
    let mut alone = agents.pop().unwrap();
    alone.config["agent"]["takeover"] = "1s".into();
    alone.write();
    alone.start(&place);
    until("two snapshots", || place.ids().len() >= 2, || alone.said());
    let status = cluster.ask_at(&cluster.endpoints[2], &["endpoint", "status"]);
    let own = format!("{:x}", status[0]["Status"]["header"]["member_id"].as_u64().unwrap());
    cluster.kill_member(2);
    let elsewhere = || {
        let shown = place.json(&["snapshot", "show", "latest"]);
        shown["manifest"]["source"]["member_id"] != own.as_str()
    };
    let before = place.ids().len();
    until("it continues", || place.ids().len() > before + 1 && elsewhere(), || alone.said());
}

#[test]
fn sigterm_during_an_upload_ends_within_the_grace_and_leaves_nothing_half_made() {
    let place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    write_bulk(&cluster, 44, 24);
    let proxy =
        Proxy::start(cluster.endpoint().trim_start_matches("http://"), Fault::Slow(1 << 20));
    let mut agent = Agent::new(&place, "slow", &format!("http://{}", proxy.address), "@every 1h");
    agent.config["agent"]["grace"] = "7s".into();
    agent.write();
    agent.start(&place);
    agent.says("taking a snapshot");
    std::thread::sleep(Duration::from_secs(1));
    agent.process().signal("TERM");
    let began = std::time::Instant::now();
    let code = agent.process().wait();
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}\n{}", began.elapsed(), agent.said());
    assert_eq!(code, 0, "{}", agent.said());
    let images = place.objects().into_iter().filter(|key| key.contains("/images/"));
    assert_eq!(images.count(), place.ids().len(), "{}", agent.said());
}

#[test]
fn a_last_snapshot_is_taken_on_sigterm_where_that_is_asked_for() {
    let mut place = Backup::new();
    let cluster = Cluster::new(versions::newest(), 1, &PathBuf::from(place.path("live")));
    cluster.ctl(&["put", "/a", "1"]);
    place.watch(&cluster);
    let mut agent = Agent::new(&place, "last", cluster.endpoint(), "@yearly");
    agent.config["schedules"][0]["on_start"] = "wait".into();
    agent.config["schedules"][0]["on_shutdown"] = true.into();
    agent.write();
    agent.start(&place);
    agent.says("starting");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(place.ids().len(), 0);
    agent.process().signal("TERM");
    assert_eq!(agent.process().wait(), 0, "{}", agent.said());
    assert_eq!(place.ids().len(), 1, "{}", agent.said());
}
