//! Restores that write the database anew: the same cluster when nothing is left out, and exactly
//! the rest when something is. Everything is asked of real servers of every version.

use std::collections::BTreeMap;
use std::path::PathBuf;

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::{Cluster, Extra, MemberAt};
use etcdr_tests::oracle::{State, keys_at};
use etcdr_tests::source::Source;
use etcdr_tests::{versions, workload};
use serde_json::Value;

use crate::{
    assert_nothing_restored, boot, hash_of, one_member, restore, three_members, try_restore,
};

/// Base64, as etcdctl prints keys.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.bytes().filter(|byte| *byte != b'=');
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0usize, 0);
    for digit in digits {
        bits = bits << 6 | DIGITS.iter().position(|known| *known == digit).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}

/// A member of its own directory, so that a test can restore many times.
fn member(place: &Backup, name: &str) -> Vec<MemberAt> {
    vec![MemberAt::new("m0", PathBuf::from(place.path(&format!("{name}/m0"))))]
}

/// The state without the keys that `keeps` refuses.
fn without(state: &State, keeps: impl Fn(&[u8], &Value) -> bool) -> State {
    let mut rest = state.clone();
    rest.keys.retain(|key, row| keeps(&decode(key), row));
    for lease in rest.leases.values_mut() {
        let keys = lease["keys"].as_array_mut().unwrap();
        keys.retain(|key| rest.keys.contains_key(key.as_str().unwrap()));
    }
    rest
}

fn has_lease(row: &Value) -> bool {
    row["lease"].as_i64().is_some_and(|lease| lease != 0)
}

#[test]
fn a_rebuilt_cluster_of_three_is_the_one_that_was_saved() {
    for version in versions::versions() {
        let mut place = Backup::new();
        let mut cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        let load = workload::write(&cluster, 11, 16);
        let revisions = [load.compacted, (load.compacted + load.revision) / 2, load.revision - 1];
        let history: Vec<_> = revisions.map(|r| keys_at(&cluster, Some(r))).into();
        workload::enable_auth(&mut cluster);
        let before = State::of(&cluster);
        let live = cluster.hash_kv(load.revision)[0];
        place.watch(&cluster);
        place.save();
        drop(cluster);

        let members = three_members(&place);
        let receipt =
            restore(&place, &["latest"], &members, &["--bump-revision", "0", "--rebuild"]);
        assert_eq!(hash_of(&receipt), live, "computed offline");
        let rebuilt = &receipt["rebuilt"];
        assert_eq!(rebuilt["rows_read"], rebuilt["rows_kept"]);
        assert!(rebuilt["bytes"].as_u64() < rebuilt["source_bytes"].as_u64(), "{rebuilt}");
        let database =
            |member: &MemberAt| std::fs::read(member.data_dir.join("member/snap/db")).unwrap();
        assert!(members.iter().all(|member| database(member) == database(&members[0])));
        let mut restored = boot(version, members);
        restored.login("root:root-password");
        assert_eq!(restored.hash_kv(load.revision), [live; 3], "asked of each member");
        before.assert_same(&State::of(&restored));
        for (revision, keys) in revisions.into_iter().zip(&history) {
            assert_eq!(&keys_at(&restored, Some(revision)), keys, "history at {revision}");
        }
        restored.ctl(&["put", "/after", "x"]);
        drop(restored);

        // Without users: nobody needs a password, and all keys are restored.
        let members = member(&place, "without-auth");
        let receipt =
            restore(&place, &["latest"], &members, &["--bump-revision", "0", "--drop-auth"]);
        assert_eq!(
            (&receipt["rebuilt"]["users_dropped"], &receipt["rebuilt"]["roles_dropped"]),
            (&2.into(), &2.into())
        );
        let open = boot(version, members);
        assert_eq!(open.hash_kv(load.revision), [live]);
        let after = State::of(&open);
        assert_eq!(
            (&after.keys, &after.leases, after.auth.len()),
            (&before.keys, &before.leases, 0)
        );
        open.ctl(&["put", "/after", "x"]);
        // And it can be protected again.
        let mut open = open;
        workload::enable_auth(&mut open);
        open.ctl(&["put", "/after", "y"]);
    }
}

#[test]
fn prefixes_choose_what_every_version_serves() {
    for version in versions::versions() {
        let source = Source::of(version);
        let file = source.file.display().to_string();
        let place = Backup::without_repository();
        let starts = |key: &[u8], prefixes: &[&str]| {
            prefixes.iter().any(|prefix| key.starts_with(prefix.as_bytes()))
        };
        let two = ["/registry/events/", "/registry/big"];
        let exclude = ["--exclude-prefix", two[0], "--exclude-prefix", two[1]];
        let only = ["--only-prefix", "/registry/pods/", "--only-prefix", "/registry/empty"];
        let kept = ["/registry/pods/", "/registry/empty"];
        let whole = member(&place, "whole");
        restore(&place, &["--file", &file], &whole, &["--bump-revision", "0"]);
        let whole = boot(version, whole);
        let middle = (source.load.compacted + source.load.revision) / 2;
        let at_middle = keys_at(&whole, Some(middle));

        for (name, flags, keeps) in [
            (
                "exclude",
                &exclude,
                Box::new(|key: &[u8]| !starts(key, &two)) as Box<dyn Fn(&[u8]) -> bool>,
            ),
            ("only", &only, Box::new(|key: &[u8]| starts(key, &kept))),
        ] {
            for bump in [&["--bump-revision", "0"][..], &[]] {
                let members = member(&place, &format!("{name}-{}", bump.len()));
                let more = [&flags[..], bump].concat();
                let receipt = restore(&place, &["--file", &file], &members, &more);
                let want = without(&source.state, |key, _| keeps(key));
                assert!(!want.keys.is_empty() && want.keys.len() < source.state.keys.len());
                assert_eq!(receipt["live_keys"], want.keys.len());
                let dropped: u64 = receipt["rebuilt"]["dropped"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|row| row["keys"].as_u64().unwrap())
                    .sum();
                assert_eq!(
                    dropped,
                    (source.state.keys.len() - want.keys.len()) as u64,
                    "{receipt}"
                );
                let restored = boot(version, members);
                let revision =
                    receipt["plan"]["bump"]["to"].as_i64().unwrap_or(source.load.revision);
                assert_eq!(restored.revision(), revision, "{version:?} {more:?}");
                assert_eq!(restored.hash_kv(0), [hash_of(&receipt)]);
                want.assert_same(&State::of(&restored));
                if !bump.is_empty() {
                    let mut history = at_middle.clone();
                    history.retain(|key, _| keeps(&decode(key)));
                    assert_eq!(keys_at(&restored, Some(middle)), history, "{version:?} {more:?}");
                }
                restored.ctl(&["put", "/after", "x"]);
                assert_eq!(restored.revision(), revision + 1);
            }
        }
    }
}

/// Current values only are what etcd itself has after a compaction at the current revision.
#[test]
fn current_values_only_are_what_a_compaction_leaves() {
    for version in versions::versions() {
        let source = Source::of(version);
        let file = source.file.display().to_string();
        let place = Backup::without_repository();
        let revision = source.load.revision;
        let [all, current] = ["all", "current"].map(|history| {
            let members = member(&place, history);
            let more = ["--bump-revision", "0", "--history", history];
            let receipt = restore(&place, &["--file", &file], &members, &more);
            assert_eq!(receipt["live_keys"], source.state.keys.len());
            boot(version, members)
        });
        all.ctl(&["compaction", "--physical", &revision.to_string()]);
        for cluster in [&all, &current] {
            assert_eq!(cluster.revision(), revision, "{version:?}");
            source.state.assert_same(&State::of(cluster));
            let old = ["get", "x", "--rev", &(revision - 1).to_string()];
            cluster.ctl_at(cluster.endpoint(), &old).ends_with(1).saying("compacted");
            cluster.ctl(&["put", "/after", "x"]);
        }
        assert_eq!(all.hash_kv(revision + 1), current.hash_kv(revision + 1), "{version:?}");

        // Raised as well, as by default.
        let members = member(&place, "raised");
        let receipt = restore(&place, &["--file", &file], &members, &["--history", "current"]);
        let raised = boot(version, members);
        assert_eq!(raised.hash_kv(0), [hash_of(&receipt)]);
        source.state.assert_same(&State::of(&raised));
    }
}

#[test]
fn leases_go_and_their_keys_stay_or_go_with_them() {
    for version in versions::versions() {
        let source = Source::of(version);
        let file = source.file.display().to_string();
        let place = Backup::without_repository();
        let restored = |name: &str, flags: &[&str]| {
            let members = member(&place, name);
            let more = [&["--bump-revision", "0"], flags].concat();
            let receipt = restore(&place, &["--file", &file], &members, &more);
            let cluster = boot(version, members);
            assert_eq!(cluster.hash_kv(0), [hash_of(&receipt)]);
            (receipt, State::of(&cluster), cluster)
        };
        let (receipt, detached, cluster) = restored("detached", &["--drop-leases"]);
        let mut want = source.state.clone();
        for row in want.keys.values_mut() {
            row.as_object_mut().unwrap().remove("lease");
        }
        want.leases = BTreeMap::new();
        want.assert_same(&detached);
        assert_ne!(hash_of(&receipt), source.hash);
        assert!(receipt["plan"]["notes"].to_string().contains("HashKV"));
        cluster.ctl(&["put", "--ignore-lease", &text_of(&source, has_lease), "x"]);

        let (receipt, rest, _cluster) =
            restored("expired", &["--drop-expired", "--taken-at", "2020-01-01T00:00:00Z"]);
        let mut want = without(&source.state, |_, row| !has_lease(row));
        want.leases = BTreeMap::new();
        want.assert_same(&rest);
        assert_eq!(receipt["rebuilt"]["leases_dropped"], source.state.leases.len());

        // Leases that still have time are not touched.
        let now = "2099-01-01T00:00:00Z";
        let (receipt, rest, _cluster) = restored("fresh", &["--drop-expired", "--taken-at", now]);
        source.state.assert_same(&rest);
        assert_eq!(hash_of(&receipt), source.hash);
    }
}

fn text_of(source: &Source, choose: impl Fn(&Value) -> bool) -> String {
    let row = source.state.keys.values().find(|row| choose(row)).unwrap();
    String::from_utf8(decode(row["key"].as_str().unwrap())).unwrap()
}

#[test]
fn a_kubernetes_store_comes_back_without_lost_api_servers_and_with_a_checklist() {
    for version in versions::versions() {
        let mut place = Backup::new();
        let cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        let grant = |seconds: &str| {
            let said = cluster.ctl(&["lease", "grant", seconds]);
            said.split_whitespace().nth(1).unwrap().to_owned()
        };
        let (own, shared) = (grant("600"), grant("600"));
        let put = |key: &str, value: &str, lease: &str| {
            let lease = format!("--lease={lease}");
            cluster.ctl(&["put", &lease, key, value]);
        };
        put("/registry/masterleases/10.0.0.1", "k8s-endpoint", &own);
        put("/registry/masterleases/10.0.0.2", "k8s-endpoint", &shared);
        put("/registry/events/default/e1", "k8s-event", &shared);
        for (key, value) in [
            ("/registry/minions/node-1", "k8s-node"),
            ("/registry/pods/default/p", "k8s-pod"),
            ("/registry/secrets/default/s", "k8s:enc:kms:v2:key7:xxxx"),
            ("/registry/leases/kube-node-lease/node-1", "k8s-lease"),
            ("/registry/services/endpoints/default/kubernetes", "k8s-endpoints"),
            ("compact_rev_key", "3"),
        ] {
            cluster.ctl(&["put", key, value]);
        }
        let before = State::of(&cluster);
        place.watch(&cluster);
        place.save();
        drop(cluster);
        let members = one_member(&place);
        let receipt = restore(&place, &["latest"], &members, &["--kubernetes"]);
        let mut want = without(&before, |key, _| !key.starts_with(b"/registry/masterleases/"));
        want.leases.remove(&own);
        let restored = boot(version, members);
        want.assert_same(&State::of(&restored));
        assert_eq!(receipt["kubernetes"]["encryption_keys"][0]["key"], "key7");
        let list = receipt["plan"]["checklist"].as_array().unwrap();
        let checklist = receipt["plan"]["checklist"].to_string();
        for part in [
            "key7",
            "webhooks",
            "compact_rev_key",
            "1 nodes",
            "1 pods",
            "kubectl get nodes",
            "tokens",
        ] {
            assert!(checklist.contains(part), "{part}: {checklist}");
        }
        assert!(list[0]["why"].as_str().unwrap().contains("useless without"), "keys come first");
    }
}

#[test]
fn alarms_are_cleared_unless_they_are_to_stay() {
    let version = versions::newest();
    let place = Backup::without_repository();
    let quota =
        Extra { server_args: vec!["--quota-backend-bytes=200000".into()], ..Extra::default() };
    let dir = PathBuf::from(place.path("live"));
    let cluster = Cluster::new_with(version, 1, &dir, quota);
    let value = "x".repeat(100_000);
    while cluster.ctl_at(cluster.endpoint(), &["put", "/fill", &value]).code == 0 {}
    assert!(cluster.ctl(&["alarm", "list"]).contains("NOSPACE"));
    let file = place.path("full.db");
    cluster.ctl(&["snapshot", "save", &file]);
    drop(cluster);
    for how in [&[][..], &["--rebuild"]] {
        let members = member(&place, &format!("cleared-{}", how.len()));
        let receipt = restore(&place, &["--file", &file], &members, how);
        assert!(receipt["changes"].to_string().contains("alarms were cleared"));
        boot(version, members).ctl(&["put", "/after", "x"]);

        let members = member(&place, &format!("kept-{}", how.len()));
        restore(&place, &["--file", &file], &members, &[how, &["--keep-alarms"]].concat());
        let kept = boot(version, members);
        assert!(kept.ctl(&["alarm", "list"]).contains("NOSPACE"));
        assert_ne!(kept.ctl_at(kept.endpoint(), &["put", "/after", "x"]).code, 0);
        kept.ctl(&["alarm", "disarm"]);
        kept.ctl(&["put", "/after", "x"]);
    }
}

#[test]
fn flags_that_contradict_one_another_are_refused_before_anything_is_read() {
    let place = Backup::new();
    let source = Source::of(versions::newest());
    let file = source.file.display().to_string();
    place.run(&["snapshot", "import", &file]).ok();
    let cases: [(&[&str], &str); 14] = [
        (&["--exclude-prefix", "/a", "--only-prefix", "/b"], "cannot be used with"),
        (&["--exclude-prefix", ""], "empty"),
        (&["--only-prefix", ""], "empty"),
        (&["--only-prefix", "registry/"], "no key"),
        (&["--history", "recent"], "current"),
        (&["--drop-expired"], "--taken-at"),
        (&["--taken-at", "2026-01-01T00:00:00Z"], "--drop-expired"),
        (&["--drop-expired", "--taken-at", "yesterday"], "taken-at"),
        (&["--bump-revision", "5"], "--mark-compacted"),
        (&["--bump-revision", "0", "--mark-compacted"], "--bump-revision"),
        (&["--bump-revision", "-5", "--mark-compacted"], "-5"),
        (&["--bump-revision", "9223372036854775807", "--mark-compacted"], "raised"),
        (&["--bump-revision", "99999999999999999999", "--mark-compacted"], "positive"),
        (&["--target-version", "3.8"], "3.7"),
    ];
    for source in [&["--file", &file][..], &["latest"]] {
        for (flags, part) in cases {
            let said = try_restore(&place, source, &one_member(&place), flags);
            let said = said.ends_with(2);
            assert!(said.stderr.contains(part), "{flags:?}: {}", said.stderr);
            assert_nothing_restored(&place);
        }
    }
}

#[test]
fn every_form_of_a_source_comes_through_a_rebuild() {
    let version = versions::newest();
    let source = Source::of(version);
    let place = Backup::new();
    let [file, raw] = [&source.file, &source.raw].map(|path| path.display().to_string());
    let archive = place.path("a.tar.gz");
    let dir = source.file.parent().unwrap().display().to_string();
    let mut tar = etcdr_tests::process::command("tar");
    tar.args(["-czf", &archive, "-C", &dir, "snapshot.db"]);
    etcdr_tests::process::finish(&mut tar, &[]).ok();
    place.run(&["snapshot", "import", &file]).ok();
    let mut databases = Vec::new();
    for (number, from) in
        [&["--file", &file][..], &["--file", &archive], &["latest"]].into_iter().enumerate()
    {
        let mut members = member(&place, &format!("form-{number}"));
        members[0].peer = "http://127.0.0.1:2380".into();
        let more = ["--rebuild", "--bump-revision", "0", "--initial-cluster-token", "one"];
        let receipt = restore(&place, from, &members, &more);
        assert_eq!(hash_of(&receipt), source.hash);
        databases.push(std::fs::read(members[0].data_dir.join("member/snap/db")).unwrap());
    }
    assert!(databases.iter().all(|database| *database == databases[0]));
    // A raw copy is of a later moment: it has the same keys.
    let members = member(&place, "raw");
    let receipt =
        restore(&place, &["--file", &raw], &members, &["--rebuild", "--bump-revision", "0"]);
    assert_eq!(hash_of(&receipt), source.hash);
    source.state.assert_same(&State::of(&boot(version, members)));
}

/// Members whose keys differ never agree, so the note that names the others gives all flags that
/// they need.
#[test]
fn members_restored_one_by_one_with_the_flags_of_the_note_agree() {
    let version = versions::newest();
    let source = Source::of(version);
    let file = source.file.display().to_string();
    let place = Backup::without_repository();
    let members = three_members(&place);
    let cluster = etcdr_tests::etcd::initial_cluster(&members);
    let one = |member: &MemberAt, flags: &[&str]| {
        let data_dir = member.data_dir.display().to_string();
        let own = ["restore", "--file", &file, "--name", &member.name, "--data-dir", &data_dir];
        place.json(&[&own, &["--initial-cluster", &cluster][..], flags].concat())
    };
    let chosen = ["--exclude-prefix", "/registry/events/", "--taken-at", "2020-01-01T00:00:00Z"];
    let first =
        one(&members[0], &[&chosen[..], &["--drop-expired", "--history", "current"]].concat());
    let notes: Vec<_> =
        first["plan"]["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let note = notes.iter().find(|note| note.contains("does not write")).unwrap();
    let from = note.find("--initial-cluster-token").unwrap();
    let flags: Vec<_> = note[from..note.find(", or").unwrap()].split_whitespace().collect();
    let others = [&members[1], &members[2]].map(|member| one(member, &flags));
    for receipt in &others {
        assert_eq!(receipt["hash_kv"], first["hash_kv"], "{flags:?}");
        assert_eq!(receipt["rebuilt"], first["rebuilt"], "{flags:?}");
    }
    let restored = boot(version, members);
    assert_eq!(restored.hash_kv(0), [hash_of(&first); 3]);
}
