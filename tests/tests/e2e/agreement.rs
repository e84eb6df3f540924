//! Members must agree before a snapshot is trusted.
//!
//! Goal: a member that silently holds other data is named, and the snapshot marked. Method: three members
//! are restored to form one cluster, two from one snapshot and the third from another of the same
//! revision, which is what the worst of etcd's own bugs left behind.

use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::{Cluster, MemberAt, initial_cluster};
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
    }
}

/// A cluster of one lives for three writes, is saved, and ends. Gives the snapshot's id: two saves within one second are both "latest".
fn save_with_value(place: &mut Backup, version: &EtcdVersion, value: &str) -> String {
    let cluster = Cluster::new(version, 1, &PathBuf::from(place.path(value)));
    for key in ["/a", "/b", "/c"] {
        cluster.ctl(&["put", key, value]);
    }
    place.watch(&cluster);
    place.save()
}

/// Restores members one by one, as on machines of their own: same cluster, same token, same revision.
fn restore_each(place: &Backup, id: &str, members: &[MemberAt], initial: &str) {
    for member in members {
        let dir = member.data_dir.display().to_string();
        let one = ["restore", id, "--name", &member.name, "--data-dir", &dir];
        let same = ["--initial-cluster", initial, "--initial-cluster-token", "one-cluster"];
        let said = place.run(&[&one[..], &same, &["--bump-revision", "0"]].concat());
        said.ok().saying("note: This run does not write");
    }
}
