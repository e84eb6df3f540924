//! Snapshot files that no healthy server would write, made from one that a server wrote.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::ops::ControlFlow;

use etcdr_restore_engine::bolt::{Db, writer::Writer};
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_schemas::Revision;
use etcdr_tests::backup::Backup;
use etcdr_tests::oracle::State;
use etcdr_tests::process::{command, finish};
use etcdr_tests::source::Source;
use etcdr_tests::versions;
use sha2::{Digest as _, Sha256};

use crate::{assert_nothing_restored, boot, hash_of, one_member, restore, try_restore};

type Buckets = BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>;

/// Writes the source's database anew after `change`, with a digest, and returns the file's path.
fn crafted(place: &Backup, source: &Source, change: impl Fn(&mut Buckets)) -> String {
    let db = Db::open(source.bytes()).unwrap();
    let mut buckets = Buckets::new();
    for bucket in db.buckets().unwrap() {
        let rows = buckets.entry(bucket.name.clone()).or_default();
        db.scan(&bucket, &mut |key, value| {
            rows.insert(key.to_vec(), value.to_vec());
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    }
    change(&mut buckets);
    let mut writer = Writer::create(Cursor::new(Vec::new()), db.page_size()).unwrap();
    for (name, rows) in &buckets {
        writer.bucket(name).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
    }
    let mut bytes = writer.finish().unwrap().into_inner();
    let digest = Sha256::digest(&bytes);
    bytes.extend_from_slice(&digest);
    let file = place.path("crafted.db");
    std::fs::write(&file, bytes).unwrap();
    file
}

fn set(buckets: &mut Buckets, bucket: &[u8], key: &[u8], value: &[u8]) {
    buckets.entry(bucket.to_vec()).or_default().insert(key.to_vec(), value.to_vec());
}

/// A key of the source that is attached to a lease, as text for etcdctl.
fn leased_key(source: &Source) -> String {
    let attached = |row: &&serde_json::Value| row["lease"].as_i64().is_some_and(|lease| lease != 0);
    let row = source.state.keys.values().find(attached).expect("a key with a lease");
    String::from_utf8(crate::rebuilding::decode(row["key"].as_str().unwrap())).unwrap()
}

/// What another tool's restore leaves behind, and what the servers of it do at such a write.
#[test]
fn keys_whose_lease_is_missing_do_not_crash_the_cluster() {
    for version in versions::versions() {
        let source = Source::of(version);
        let key = leased_key(&source);
        let place = Backup::without_repository();
        let file = crafted(&place, &source, |buckets| drop(buckets.remove(b"lease".as_slice())));
        let write = ["put", "--ignore-lease", &key, "after"];
        for (number, how) in [&["--rebuild"][..], &[]].into_iter().enumerate() {
            let mut members = one_member(&place);
            members[0].data_dir = place.path(&format!("restored-{number}/m0")).into();
            let more = [&["--bump-revision", "0"], how].concat();
            let receipt = restore(&place, &["--file", &file], &members, &more);
            assert_eq!(hash_of(&receipt), source.hash, "the rows themselves are untouched");
            let added = &receipt["dangling_leases"];
            assert!(added["count"].as_u64().unwrap() >= 1, "{receipt}");
            let restored = boot(version, members);
            assert_eq!(restored.hash_kv(source.load.revision), [source.hash]);
            restored.ctl(&write);
            assert!(restored.ctl(&["get", &key]).contains("after"));
            let ttl = added["ttl_seconds"].as_i64().unwrap();
            let id = added["ids"][0].as_str().unwrap();
            let lease = restored.ask(&["lease", "timetolive", id]);
            assert_eq!(lease["granted-ttl"].as_i64(), Some(ttl), "{lease}");
        }
    }
    // The defect is real: etcd's own tool restores the same file, and that write ends the server.
    let version = versions::newest();
    let source = Source::of(version);
    let place = Backup::without_repository();
    let file = crafted(&place, &source, |buckets| drop(buckets.remove(b"lease".as_slice())));
    let members = one_member(&place);
    let mut tool = command(version.restorer());
    tool.env("ETCDCTL_API", "3").args(["snapshot", "restore", &file, "--name", "m0"]);
    tool.arg("--data-dir").arg(&members[0].data_dir);
    tool.args(["--initial-cluster", &etcdr_tests::etcd::initial_cluster(&members)]);
    tool.args(["--initial-advertise-peer-urls", &members[0].peer]);
    finish(&mut tool, &[]).ok();
    let restored = boot(version, members);
    let key = leased_key(&source);
    let said = restored.ctl_at(
        restored.endpoint(),
        &["--command-timeout=3s", "put", "--ignore-lease", &key, "after"],
    );
    assert_ne!(said.code, 0, "this etcd takes the write: {said:?}");
    assert!(restored.log().contains("unexpected error from lease Attach"), "{}", restored.log());
}

#[test]
fn compaction_markers_above_all_rows_count_for_the_revision() {
    for version in versions::versions() {
        let source = Source::of(version);
        let place = Backup::without_repository();
        let top = source.load.revision + 5;
        let marker = RowKey::put(Revision(top), 0).encode();
        let file = crafted(&place, &source, |buckets| {
            set(buckets, b"meta", b"finishedCompactRev", &marker);
            set(buckets, b"meta", b"scheduledCompactRev", &marker);
        });
        let cases: [(&[&str], i64); 4] = [
            (&["--bump-revision", "0"], top),
            (&["--bump-revision", "0", "--rebuild"], top),
            (&["--bump-revision", "100", "--mark-compacted"], top + 100),
            (&["--rebuild"], top + 1_000_000_000),
        ];
        for (number, (more, want)) in cases.into_iter().enumerate() {
            let mut members = one_member(&place);
            members[0].data_dir = place.path(&format!("restored-{number}/m0")).into();
            let receipt = restore(&place, &["--file", &file], &members, more);
            assert_eq!(receipt["plan"]["revision"], top, "{more:?}");
            let restored = boot(version, members);
            assert_eq!(restored.revision(), want, "{version:?} {more:?}");
            restored.ctl(&["put", "/after", "x"]);
            assert_eq!(restored.revision(), want + 1);
            let keys = State::of(&restored).keys.len();
            assert_eq!(keys, source.state.keys.len() + 1, "{version:?} {more:?}");
        }
    }
}

#[test]
fn a_newer_storage_version_is_converted_for_every_target() {
    for version in versions::versions() {
        let source = Source::of(version);
        let place = Backup::without_repository();
        let file = crafted(&place, &source, |buckets| {
            set(buckets, b"meta", b"storageVersion", b"3.7.0");
            set(buckets, b"cluster", b"clusterVersion", b"3.7.0");
            let downgrade = br#"{"target-version":"3.6.0","enabled":true}"#;
            set(buckets, b"cluster", b"downgrade", downgrade);
        });
        for (number, how) in [&["--rebuild"][..], &[]].into_iter().enumerate() {
            let mut members = one_member(&place);
            members[0].data_dir = place.path(&format!("restored-{number}/m0")).into();
            let minor = version.minor();
            let more = [&["--bump-revision", "0", "--target-version", &minor], how].concat();
            let receipt = restore(&place, &["--file", &file], &members, &more);
            let steps = receipt["plan"]["steps"].to_string();
            assert_eq!(steps.contains("Convert storage version"), version.number.1 < 7, "{steps}");
            let restored = boot(version, members);
            assert_eq!(restored.hash_kv(source.load.revision), [source.hash]);
            source.state.assert_same(&State::of(&restored));
            restored.ctl(&["put", "/after", "x"]);
        }
    }
}

#[test]
fn an_etcd_that_is_not_known_yet_is_refused_with_a_way_out() {
    let source = Source::of(versions::newest());
    let place = Backup::without_repository();
    for (bucket, key) in [(&b"meta"[..], &b"storageVersion"[..]), (b"cluster", b"clusterVersion")] {
        for later in ["3.8.0", "4.0.0"] {
            let file =
                crafted(&place, &source, |buckets| set(buckets, bucket, key, later.as_bytes()));
            for how in [&[][..], &["--rebuild"]] {
                let said = try_restore(&place, &["--file", &file], &one_member(&place), how);
                let said = said.ends_with(1).saying(later);
                assert!(said.stderr.contains("downgrade"), "{}", said.stderr);
                assert_nothing_restored(&place);
            }
        }
    }
}
