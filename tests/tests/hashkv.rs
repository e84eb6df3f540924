//! Goal: what the engine computes offline is what live servers of every version say.
//!
//! Method: random histories of puts, deletes, transactions, leases, compactions and
//! defragmentations, then one snapshot. HashKV at many revisions, the state at some, and `snapshot
//! status` are asked of etcd's own tools and of the engine. A few histories by default;
//! `ETCDR_TEST_ROUNDS=100` runs that many on each version.
#![allow(clippy::unwrap_used, reason = "all of it is tests, helpers too")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::scan::{View, hash_kv_with};
use etcdr_restore_engine::semantic::examine;
use etcdr_restore_engine::status;
use etcdr_schemas::report::Severity;
use etcdr_schemas::{Hidden, Revision};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::oracle::keys_at;
use etcdr_tests::process::{command, finish};
use etcdr_tests::rounds;
use etcdr_tests::versions::{EtcdVersion, versions};
use etcdr_tests::workload::Rng;
use serde_json::Value;

/// Histories on each version.
const USUAL: usize = 3;
/// Steps of a history.
const STEPS: usize = 30;
/// Revisions that are compared.
const REVISIONS: usize = 8;

#[test]
fn offline_answers_are_those_of_live_servers() {
    for version in versions() {
        for round in 0..rounds(USUAL) {
            let dir = tempfile::tempdir().unwrap();
            let mut rng = Rng(0xe7cd ^ u64::try_from(round).unwrap() << 8);
            let cluster = Cluster::new(version, 1, dir.path());
            write(&cluster, &mut rng);
            let file = dir.path().join("snapshot.db");
            cluster.ctl(&["snapshot", "save", file.to_str().unwrap()]);
            let what = format!("etcd {} round {round}", version.text());
            compare_hashes(&cluster, &file, &mut rng, &what);
            compare_states(&cluster, &file, &mut rng, &what);
            compare_status(&file, &what);
            judge(&file, &what);
        }
    }
}

fn write(cluster: &Cluster, rng: &mut Rng) {
    let mut leases = vec![grant(cluster)];
    for _ in 0..STEPS {
        match rng.below(16) {
            0 => leases.push(grant(cluster)),
            1 if leases.len() > 1 => {
                let lease = leases.swap_remove(rng.below(leases.len()));
                cluster.ctl(&["lease", "revoke", &lease]);
            }
            2 => compact(cluster, rng),
            3 => drop(cluster.ctl(&["defrag"])),
            4 => drop(cluster.ctl(&["del", "--prefix", &format!("/r/{}", rng.below(4))])),
            5 => {
                let size = rng.below(9000);
                cluster.ctl_with(&["put", &key(rng)], &rng.bytes(size));
            }
            _ => transaction(cluster, rng, &leases),
        }
    }
    if rng.below(3) == 0 {
        compact(cluster, rng);
    }
}

fn key(rng: &mut Rng) -> String {
    format!("/r/{}/{}", rng.below(4), rng.below(9))
}

fn grant(cluster: &Cluster) -> String {
    let said = cluster.ctl(&["lease", "grant", "3600"]);
    said.split_whitespace().nth(1).unwrap().to_owned()
}

/// Most wait until the rows are gone, some leave that to whoever comes first.
fn compact(cluster: &Cluster, rng: &mut Rng) {
    let at = cluster.revision() - i64::try_from(rng.below(6)).unwrap();
    let at = at.max(1).to_string();
    let physical = if rng.below(4) == 0 { "--physical=false" } else { "--physical" };
    let said = cluster.ctl_at(cluster.endpoint(), &["compaction", physical, &at]);
    assert!(said.code == 0 || said.stderr.contains("compacted"), "{said:?}");
}

fn transaction(cluster: &Cluster, rng: &mut Rng, leases: &[String]) {
    let (mut operations, mut used) = (String::from("\n"), Vec::new());
    for _ in 0..=rng.below(7) {
        let key = key(rng);
        if used.contains(&key) {
            continue;
        }
        let deletes = rng.below(4) == 0;
        let lease = leases.get(rng.below(8)).filter(|_| !deletes);
        match (deletes, lease) {
            (true, _) => writeln!(operations, "del {key}"),
            (false, Some(lease)) => writeln!(operations, "put --lease={lease} {key} l{}", rng.0),
            (false, None) => writeln!(operations, "put {key} v{}", rng.below(1000)),
        }
        .unwrap();
        used.push(key);
    }
    operations.push_str("\n\n");
    cluster.ctl_with(&["txn"], operations.as_bytes());
}

fn open(file: &Path) -> Db<LocalFile> {
    Db::open(LocalFile::open(file).unwrap()).unwrap()
}

/// Some revisions above the compact one: at it, servers may answer from memory
/// (docs/etcd-formats.md 5.2).
fn revisions(from: i64, to: i64, rng: &mut Rng) -> Vec<i64> {
    let span = usize::try_from(to - from).unwrap_or(0);
    let mut some: Vec<i64> =
        (0..REVISIONS).map(|_| from + 1 + i64::try_from(rng.below(span)).unwrap()).collect();
    some.push(to);
    some.retain(|at| *at > from && *at <= to);
    some.sort_unstable();
    some.dedup();
    some
}

fn compare_hashes(cluster: &Cluster, file: &Path, rng: &mut Rng, what: &str) {
    let db = open(file);
    let view = View::open(&db, 2).unwrap();
    let facts = view.facts();
    assert_eq!(facts.revision.0, cluster.revision(), "{what}");
    let oldest = facts.compact_revision.map_or(1, |revision| revision.0);
    for at in revisions(oldest, facts.revision.0, rng) {
        let offline = hash_kv_with(&db, Some(Revision(at)), 2).unwrap();
        let live = cluster.hash_kv(at);
        assert_eq!(
            [(u64::from(offline.hash), offline.compact_revision)][..],
            live,
            "{what} at {at}"
        );
    }
}

/// Create, mod, version, value and lease of each key; keys and values in base64, as etcdctl
/// prints them.
type State = BTreeMap<String, (i64, i64, i64, String, i64)>;

fn live_state(cluster: &Cluster, at: i64) -> State {
    let number = |row: &Value, name: &str| row[name].as_i64().unwrap_or(0);
    let entry = |(key, row): (String, Value)| {
        let value = row["value"].as_str().unwrap_or_default().to_owned();
        let numbers = ["create_revision", "mod_revision", "version", "lease"];
        let [create, modified, version, lease] = numbers.map(|name| number(&row, name));
        (key, (create, modified, version, value, lease))
    };
    keys_at(cluster, Some(at)).into_iter().map(entry).collect()
}

fn offline_state(file: &Path, at: i64) -> State {
    let db = open(file);
    let mut state = State::new();
    View::open(&db, 2)
        .unwrap()
        .state(Some(Revision(at)), &mut |row| {
            let kv = row.kv;
            let (create, modified) = (kv.create_revision.0, kv.mod_revision.0);
            let value = (create, modified, kv.version, base64(kv.value), kv.lease);
            assert!(state.insert(base64(kv.key), value).is_none(), "a key came twice");
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    state
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = (0..3).fold(0, |all, at| all << 8 | usize::from(*chunk.get(at).unwrap_or(&0)));
        for digit in 0..4 {
            let known = digit <= chunk.len();
            let index = number >> (18 - 6 * digit) & 63;
            text.push(if known { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

fn compare_states(cluster: &Cluster, file: &Path, rng: &mut Rng, what: &str) {
    let facts = View::open(&open(file), 1).unwrap().facts().clone();
    let oldest = facts.compact_revision.map_or(1, |revision| revision.0);
    for at in revisions(oldest, facts.revision.0, rng).into_iter().rev().step_by(3) {
        assert_eq!(offline_state(file, at), live_state(cluster, at), "{what} at {at}");
    }
}

/// Every version's tool that can be found is asked about the file.
fn compare_status(file: &Path, what: &str) {
    let ours = status(&open(file)).unwrap();
    for version in versions() {
        let said = told_status(version, file);
        let number = |name: &str| said[name].as_u64().unwrap_or_else(|| panic!("{name} in {said}"));
        let keys = if version.number.1 >= 6 { ours.live_keys } else { ours.rows };
        let revision = u64::try_from(ours.revision.0).unwrap();
        let got = (u64::from(ours.hash), revision, keys, ours.total_size);
        let want = (number("hash"), number("revision"), number("totalKey"), number("totalSize"));
        assert_eq!(got, want, "{what}: status of {}", version.text());
    }
}

fn told_status(version: &EtcdVersion, file: &Path) -> Value {
    let tool: PathBuf = version.restorer();
    let mut tool = command(tool);
    tool.env("ETCDCTL_API", "3").args(["snapshot", "status", "-w", "json"]).arg(file);
    finish(&mut tool, &[]).ok().json()
}

/// A sound history has no finding.
fn judge(file: &Path, what: &str) {
    let examined = examine(LocalFile::open(file).unwrap(), None, 2, &Hidden).unwrap();
    assert_eq!(examined.structure.findings, [], "{what}");
    let semantic = examined.semantic.unwrap();
    let bad: Vec<_> =
        semantic.findings.iter().filter(|finding| finding.severity > Severity::Notice).collect();
    assert!(bad.is_empty(), "{what}: {bad:?}");
    let live = offline_state(file, examined.structure.facts.unwrap().revision.0).len();
    assert_eq!(semantic.contents.unwrap().live.keys, u64::try_from(live).unwrap(), "{what}");
}
