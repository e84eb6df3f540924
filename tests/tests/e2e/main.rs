//! The binary and real etcd, end to end, as a user meets them. One test binary: it shares the
//! sources that are made once, and links once.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "all of it is tests, helpers too")]

mod agents;
mod agreement;
mod audit;
mod audit_runs;
mod crafted;
mod damage;
mod demo;
mod documents;
mod etcd_failures;
mod examples;
mod files_as_sources;
mod full_disk;
mod harmless;
mod inspect;
mod interruptions;
mod official_tools;
mod outputs;
mod pruning;
mod rebuilding;
mod restore_refusals;
mod round_trip;
mod semantic;
mod store_failures;

use std::path::{Path, PathBuf};

use etcdr_tests::backup::{Backup, assert_valid};
use etcdr_tests::etcd::{Cluster, Extra, MemberAt, initial_cluster};
use etcdr_tests::process::Said;
use etcdr_tests::versions::EtcdVersion;
use serde_json::Value;

/// A single member named `m0` under the place's directory.
fn one_member(place: &Backup) -> Vec<MemberAt> {
    vec![MemberAt::new("m0", Path::new(&place.path("restored/m0")).to_owned())]
}

/// Members `m0` to `m2` under the place's directory.
fn three_members(place: &Backup) -> Vec<MemberAt> {
    let dir = PathBuf::from(place.path("restored"));
    (0..3).map(|n| MemberAt::new(&format!("m{n}"), dir.join(format!("m{n}")))).collect()
}

/// Restores into the directories of all these members and returns the receipt. Warnings are fine.
#[track_caller]
fn restore(place: &Backup, source: &[&str], members: &[MemberAt], more: &[&str]) -> Value {
    let said = try_restore(place, source, members, more);
    let said = if said.code == 3 { said } else { said.ok() };
    let receipt = said.json();
    assert_valid(&receipt);
    receipt
}

fn try_restore(place: &Backup, source: &[&str], members: &[MemberAt], more: &[&str]) -> Said {
    let dir = members[0].data_dir.parent().expect("a parent").display().to_string();
    let cluster = initial_cluster(members);
    let all = ["--all-members", &dir, "--initial-cluster", &cluster, "--output", "json"];
    place.run(&[&["restore"], source, &all, more].concat())
}

/// Boots what was restored.
fn boot(version: &EtcdVersion, members: Vec<MemberAt>) -> Cluster {
    Cluster::boot(version, members, Extra::default())
}

/// Hash and compact revision as a report gives them.
#[track_caller]
fn hash_of(report: &Value) -> (u64, i64) {
    let hash = &report["hash_kv"];
    let value = hash["hash"].as_u64().unwrap_or_else(|| panic!("no hash in {report}"));
    (value, hash["compact_revision"].as_i64().expect("a compact revision"))
}

/// A place whose repository holds one snapshot, imported from the source of this version.
fn place_with_snapshot(version: &EtcdVersion) -> (Backup, String) {
    let place = Backup::new();
    let source = etcdr_tests::source::Source::of(version);
    let file = source.file.display().to_string();
    let id = place.run(&["snapshot", "import", &file]).ok().stdout_text().trim().to_owned();
    (place, id)
}

/// Fails unless the directory that targets are written into is not there or empty: nothing half
/// made.
#[track_caller]
fn assert_nothing_restored(place: &Backup) {
    let dir = PathBuf::from(place.path("restored"));
    let left: Vec<_> =
        dir.read_dir().into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}
