//! Members must agree before a snapshot is trusted.
//!
//! Goal: a member that silently holds other data is named, and the snapshot marked. Method: three
//! members are restored to form one cluster, two from one snapshot and the third from another of
//! the same revision, which is what the worst of etcd's own bugs left behind.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::{Cluster, MemberAt, initial_cluster};
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::versions::{self, EtcdVersion};

use crate::{boot, three_members};

#[test]
fn a_member_that_holds_other_data_is_named_and_the_snapshot_is_suspect() {
    for version in [versions::oldest(), versions::newest()] {
        let mut place = Backup::new();
        let members = three_members(&place);
        let initial = initial_cluster(&members);
        let (agreeing, other) = members.split_at(2);
        let id = save_with_value(&mut place, version, "agreed");
        restore_each(&place, &id, agreeing, &initial);
        let id = save_with_value(&mut place, version, "other");
        restore_each(&place, &id, other, &initial);

        let cluster = boot(version, members);
        place.watch(&cluster);
        let said = place.run(&["snapshot", "save", "--output", "json"]).ends_with(3);
        let report = said.saying("unlike").json();
        let hash = &report["manifest"]["hash_kv"];
        assert_eq!(hash["agreed"].as_array().unwrap().len(), 2, "{report}");
        let dissented = hash["dissented"].as_array().unwrap();
        assert_eq!(dissented.len(), 1, "{report}");
        let listed = cluster.ask(&["member", "list"]);
        let third =
            listed["members"].as_array().unwrap().iter().find(|m| m["name"] == "m2").unwrap();
        let id = format!("{:x}", third["ID"].as_u64().unwrap());
        assert_eq!(dissented[0]["member_id"], id, "{report}");
        assert!(!report["manifest"]["suspect"].as_array().unwrap().is_empty(), "{report}");
        let list = place.run(&["snapshot", "list"]).ok().stdout_text();
        assert!(list.contains("SUSPECT"), "{list}");

        // Asked of the dissenter alone: the majority's data is saved all the same.
        let dissenter = &cluster.endpoints[2];
        let save = ["snapshot", "save", "--output", "json", "--endpoints", dissenter];
        let report = place.run(&save).ends_with(3).json();
        assert_ne!(report["manifest"]["source"]["member_id"], id, "{report}");
        assert_eq!(report["manifest"]["hash_kv"]["dissented"][0]["member_id"], id, "{report}");
        assert_eq!(value_in(&place, &report), "agreed");
    }
}

#[test]
fn without_a_majority_both_sides_are_kept_and_suspect() {
    let version = versions::newest();
    let mut place = Backup::new();
    let members: Vec<_> = three_members(&place).into_iter().take(2).collect();
    let initial = initial_cluster(&members);
    for (member, value) in members.iter().zip(["one", "two"]) {
        let id = save_with_value(&mut place, version, value);
        restore_each(&place, &id, std::slice::from_ref(member), &initial);
    }
    let before = place.ids();
    let cluster = boot(version, members);
    place.watch(&cluster);
    place.run(&["snapshot", "save"]).ends_with(3).saying("there is no majority");
    let mut values = Vec::new();
    // Which ones are new, not which are first: the order within one second is chance.
    let new = |known: &[String]| {
        place.ids().into_iter().filter(|id| !known.contains(id)).collect::<Vec<_>>()
    };
    let saved = new(&before);
    for id in &saved {
        let shown = place.json(&["snapshot", "show", id]);
        assert!(!shown["manifest"]["suspect"].as_array().unwrap().is_empty(), "{shown}");
        values.push(value_in(&place, &shown));
    }
    values.sort();
    assert_eq!(values, ["one", "two"]);

    // By an agent the answer is the same: one document, which names the other snapshot.
    let mut agent = Agent::new(&place, "split", cluster.endpoint(), "@yearly");
    agent.config["schedules"][0]["on_start"] = "wait".into();
    agent.write();
    agent.start(&place);
    let socket = agent.config["agent"]["admin"]["listen"].as_str().unwrap().to_owned();
    let ask = |args: &[&str]| place.run(&[args, &["--agent", &socket]].concat());
    until("it answers", || ask(&["status"]).code != 1, || agent.said());
    let said = ask(&["snapshot", "save", "--output", "json"]).ends_with(3);
    let report = said.saying("there is no majority").json();
    let id = report["manifest"]["id"].as_str().unwrap();
    let by_agent = new(&[before, saved].concat());
    assert_eq!(by_agent.len(), 2, "{report}");
    let other = by_agent.iter().find(|other| *other != id).unwrap();
    assert!(report["warnings"].to_string().contains(other.as_str()), "{report}");
}

/// The value of `/a` in the snapshot of a report: its exported file is searched for the values that
/// were written.
pub(crate) fn value_in(place: &Backup, report: &serde_json::Value) -> String {
    let id = report["manifest"]["id"].as_str().unwrap();
    let file = place.path("exported.db");
    let _ = std::fs::remove_file(&file);
    place.run(&["snapshot", "export", id, &file]).ok();
    let bytes = std::fs::read(&file).unwrap();
    let has = |value: &str| {
        // Key, then value, as a row of `mvccpb.KeyValue` has them.
        let needle = [&[0x2a, u8::try_from(value.len()).unwrap()][..], value.as_bytes()].concat();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    let found: Vec<_> =
        ["agreed", "other", "one", "two"].into_iter().filter(|value| has(value)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].to_owned()
}

/// A cluster of one lives for three writes, is saved, and ends. Gives the snapshot's id: two saves
/// within one second are both "latest".
pub(crate) fn save_with_value(place: &mut Backup, version: &EtcdVersion, value: &str) -> String {
    let cluster = Cluster::new(version, 1, &PathBuf::from(place.path(value)));
    for key in ["/a", "/b", "/c"] {
        cluster.ctl(&["put", key, value]);
    }
    place.watch(&cluster);
    place.save()
}

/// Restores members one by one, as on machines of their own: same cluster, same token, same
/// revision.
pub(crate) fn restore_each(place: &Backup, id: &str, members: &[MemberAt], initial: &str) {
    for member in members {
        let dir = member.data_dir.display().to_string();
        let one = ["restore", id, "--name", &member.name, "--data-dir", &dir];
        let same = ["--initial-cluster", initial, "--initial-cluster-token", "one-cluster"];
        let said = place.run(&[&one[..], &same, &["--bump-revision", "0"]].concat());
        // Two members are warned about.
        assert!([0, 3].contains(&said.code), "{}", said.stderr);
        said.saying("note: This run does not write");
    }
}
