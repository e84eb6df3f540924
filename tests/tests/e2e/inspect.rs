//! `etcdr inspect` against what etcd's own tools say, on files, data directories and encrypted
//! images.

use std::path::{Path, PathBuf};

use etcdr_tests::backup::{Backup, assert_valid};
use etcdr_tests::etcd::Cluster;
use etcdr_tests::process::{command, finish};
use etcdr_tests::source::Source;
use etcdr_tests::versions::{EtcdVersion, newest, versions};
use etcdr_tests::workload;
use serde_json::Value;

use crate::place_with_snapshot;

/// What `snapshot status` of this version says of a file.
fn status(version: &EtcdVersion, file: &Path) -> Value {
    let mut tool = command(version.restorer());
    tool.env("ETCDCTL_API", "3").args(["snapshot", "status", "--write-out", "json"]).arg(file);
    finish(&mut tool, &[]).ok().json()
}

fn inspect(place: &Backup, args: &[&str]) -> Value {
    let report = place.json(&[&["inspect"], args].concat());
    assert_valid(&report);
    report
}

#[track_caller]
fn assert_status(report: &Value, said: &Value, version: &EtcdVersion) {
    let ours = &report["status"];
    assert_eq!(ours["hash"], said["hash"], "{}", version.text());
    assert_eq!(ours["revision"], said["revision"]);
    assert_eq!(ours["total_size"], said["totalSize"]);
    let keys = if version.number >= (3, 6, 0) { "total_keys" } else { "total_rows" };
    assert_eq!(ours[keys], said["totalKey"], "{}", version.text());
}

#[test]
fn snapshot_files_give_the_numbers_of_the_official_tool() {
    for version in versions() {
        let source = Source::of(version);
        let place = Backup::without_repository();
        let file = source.file.display().to_string();
        let report = inspect(&place, &[&file]);
        assert_status(&report, &status(version, &source.file), version);
        assert_eq!(report["form"], "snapshot_file");
        assert_eq!(report["digest"], "matches");
        assert_eq!(report["keys"]["revision"], source.load.revision);
        assert_eq!(report["keys"]["compact_revision"], source.load.compacted);
        assert_eq!(report["keys"]["live_keys"], source.state.keys.len());
        assert_eq!(report["leases"]["count"], source.state.leases.len());
        assert_eq!(report["keys"]["estimated"], false);
        let counted: u64 = prefixes(&report).map(|one| one["live_keys"].as_u64().unwrap()).sum();
        assert_eq!(counted, source.state.keys.len() as u64);
        let keys: Vec<_> = source.state.keys.keys().map(|key| plain(key)).collect();
        for one in prefixes(&report) {
            let prefix = one["prefix"].as_str().unwrap();
            // Two segments, or the folder of a key that has one.
            let within = |key: &&String| {
                let rest = key.strip_prefix(prefix);
                rest.is_some_and(|rest| prefix.matches('/').count() == 3 || !rest.contains('/'))
            };
            assert_eq!(one["live_keys"], keys.iter().filter(within).count(), "{prefix}");
        }
    }
}

/// Base64, as etcdctl prints keys in JSON.
fn plain(text: &str) -> String {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.chars().filter_map(|digit| DIGITS.find(digit));
    let bits: Vec<_> =
        digits.flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1)).collect();
    let bytes = bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit));
    bytes.map(|byte| char::from(u8::try_from(byte).unwrap())).collect()
}

fn prefixes(report: &Value) -> impl Iterator<Item = &Value> {
    report["prefixes"]["by_count"].as_array().unwrap().iter()
}

/// What a live cluster says of itself, what its snapshot says, and what its data directory says
/// once it is stopped.
#[test]
fn a_data_directory_tells_what_the_cluster_told() {
    for version in versions() {
        let mut place = Backup::new();
        let mut cluster = Cluster::new(version, 3, &PathBuf::from(place.path("live")));
        let load = workload::write(&cluster, 11, 6);
        workload::enable_auth(&mut cluster);
        place.watch(&cluster);
        let id = place.save();
        let members = cluster.ask(&["member", "list"]);
        let cluster_id = members["header"]["cluster_id"].as_u64().unwrap();
        let sealed = inspect(&place, &[&id]);
        let dir = cluster.members[1].data_dir.clone();
        let id_of = cluster.ask_at(&cluster.endpoints[1], &["endpoint", "status"]);
        let member_id = id_of[0]["Status"]["header"]["member_id"].as_u64().unwrap();
        cluster.kill();

        let report = inspect(&place, &[&dir.display().to_string()]);
        assert_eq!(report["form"], "data_directory");
        assert_eq!(report["log"]["member_id"], format!("{member_id:x}"));
        assert_eq!(report["log"]["segments"], 1);
        let commit = report["log"]["commit"].as_u64().unwrap();
        assert!(commit >= report["raft"]["consistent_index"].as_u64().unwrap() || commit > 0);
        for report in [&sealed, &report] {
            assert_eq!(report["cluster"]["id"], format!("{cluster_id:x}"));
            let reported = report["cluster"]["members"].as_array().unwrap();
            assert_eq!(reported.len(), 3);
            for member in members["members"].as_array().unwrap() {
                let id = format!("{:x}", member["ID"].as_u64().unwrap());
                let one = reported.iter().find(|one| one["id"] == id.as_str()).expect("the member");
                assert_eq!(one["name"], member["name"]);
                assert_eq!(one["peer_urls"], member["peerURLs"]);
            }
            assert_eq!(report["cluster"]["version"], format!("{}.0", version.minor()));
            assert_eq!(report["keys"]["revision"], load.revision);
            assert_eq!(report["auth"]["enabled"], true);
            assert_eq!(
                (&report["auth"]["users"], &report["auth"]["roles"]),
                (&2.into(), &2.into())
            );
        }
        assert_eq!(sealed["form"], "repository_image");
        // The snapshot names its cluster in the manifest; the file alone would have had to be
        // guessed right.
        assert_eq!(sealed["cluster"]["id_from"], "manifest");
        assert_eq!(report["cluster"]["id_from"], "log");
        let file = place.path("exported.db");
        place.run(&["snapshot", "export", &id, &file]).ok();
        let exported = inspect(&place, &[&file]);
        assert_eq!(exported["cluster"]["id"], format!("{cluster_id:x}"));
        assert_eq!(exported["cluster"]["id_from"], "members");
        for part in ["buckets", "space", "keys", "prefixes", "status", "leases", "raft"] {
            assert_eq!(exported[part], sealed[part], "{part}");
        }
    }
}

/// The free space in the report is what a defragmentation gives back.
#[test]
fn the_estimate_of_a_defragmented_copy_is_what_defrag_makes() {
    for version in versions() {
        let place = Backup::without_repository();
        let mut cluster = Cluster::new(version, 1, &PathBuf::from(place.path("live")));
        let load = workload::write(&cluster, 3, 40);
        cluster.ctl(&["compaction", &load.revision.to_string()]);
        // A compaction continues after its answer; two snapshots with a pause let it end.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        let save = |name: &str| {
            let file = place.path(name);
            cluster.ctl(&["snapshot", "save", &file]);
            inspect(&place, &[&file])
        };
        let before = save("before.db");
        cluster.ctl(&["defrag"]);
        let after = save("after.db");
        cluster.kill();
        let space = |report: &Value, name: &str| report["space"][name].as_f64().unwrap();
        let (reported, made) = (space(&before, "defragmented"), space(&after, "size"));
        assert!(
            (reported / made - 1.0).abs() < 0.25,
            "{}: reported {reported}, is {made}",
            version.text()
        );
        assert!(space(&before, "fragmentation_percent") > space(&after, "fragmentation_percent"));
        assert_eq!(before["keys"]["live_keys"], after["keys"]["live_keys"]);
    }
}

#[test]
fn a_damaged_file_is_shown_and_ends_with_20() {
    let source = Source::of(newest());
    let place = Backup::without_repository();
    let file = place.path("damaged.db");
    let mut bytes = source.bytes();
    let sound = inspect(&place, &[&source.file.display().to_string()]);
    // A page in the middle of the tree of keys, without its header.
    let report =
        place.run(&["inspect", &source.file.display().to_string(), "--output", "json"]).ok().json();
    let pages = report["space"]["size"].as_u64().unwrap() / 4096;
    let leaf = (2..pages).rev().map(|page| usize::try_from(page * 4096).unwrap()).find(|at| {
        bytes[at + 8] == 2
            && bytes[*at..at + 8] == (*at as u64 / 4096).to_le_bytes()
            && bytes[at + 10] > 3
            && holds_revisions(&bytes[*at + 16..])
    });
    let at = leaf.expect("a leaf");
    bytes[at..at + 16].fill(0xee);
    std::fs::write(&file, &bytes).unwrap();
    let said = place.run(&["inspect", &file]).ends_with(20).saying("next:");
    let text = said.stdout_text();
    assert!(text.contains("DAMAGED") && text.contains("DOES NOT MATCH"), "{text}");
    let report = place.run(&["inspect", &file, "--output", "json"]).ends_with(20).json();
    assert_valid(&report);
    assert_eq!(report["digest"], "differs");
    assert_eq!(report["status"], Value::Null);
    let codes: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"snapshot.digest"), "{codes:?}");
    // The page may be a free one; the digest shows it nevertheless, and what can be read is read.
    let rows = |report: &Value| report["keys"]["revisions"].as_u64().unwrap();
    assert!(rows(&report) > rows(&sound) * 9 / 10);
}

/// Whether the first of a leaf's elements is a row of bucket `key`. Without the root page, or
/// another bucket's, less could be shown.
fn holds_revisions(elements: &[u8]) -> bool {
    let number = |at: usize| u32::from_le_bytes(elements[at..at + 4].try_into().unwrap()) as usize;
    let (flags, pos, len) = (number(0), number(4), number(8));
    flags == 0 && matches!(len, 17 | 18) && elements[pos + 8] == b'_'
}

/// A frame of an encrypted image that does not open: the rest is shown.
#[test]
fn a_damaged_image_is_shown_as_far_as_it_opens() {
    let mut place = Backup::new();
    let cluster = Cluster::new(newest(), 1, &PathBuf::from(place.path("live")));
    // Some frames.
    workload::write_bulk(&cluster, 5, 12);
    place.watch(&cluster);
    place.save();
    drop(cluster);
    let image = place.objects().into_iter().find(|key| key.ends_with(".db.zst.age")).unwrap();
    let path = place.object(&image);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let report = place.run(&["inspect", "latest", "--output", "json"]).ends_with(20).json();
    assert_valid(&report);
    let codes: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert!(codes.contains(&"medium.unreadable"), "{codes:?}");
    assert!(
        report["cluster"]["members"].as_array().unwrap().len() == 1
            || report["recovery"].is_object()
    );
}

#[test]
fn what_cannot_be_inspected_is_said() {
    let (place, id) = place_with_snapshot(newest());
    let source = Source::of(newest());
    place.run(&["inspect", &place.path("no-such-file")]).ends_with(1).saying("no-such-file");
    let packed = place.path("x.db.gz");
    let mut shell = command("/bin/sh");
    shell.args(["-c", "gzip -1c \"$1\" > \"$2\"", "sh"]).arg(&source.file).arg(&packed);
    finish(&mut shell, &[]).ok();
    place.run(&["inspect", &packed]).ends_with(2).saying("packed").saying("gunzip");
    std::fs::write(place.path("zeros"), vec![0; 100_000]).unwrap();
    let said = place.run(&["inspect", &place.path("zeros")]).ends_with(20);
    assert!(said.stdout_text().contains("bolt.meta.invalid"), "{}", said.stdout_text());
    std::fs::write(place.path("empty"), b"").unwrap();
    place.run(&["inspect", &place.path("empty")]).ends_with(20);
    std::fs::create_dir(place.path("dir")).unwrap();
    place.run(&["inspect", &place.path("dir")]).ends_with(1).saying("member/snap/db");
    // Without the identity an image stays shut.
    let mut place = place;
    place.unset("ETCDR_IDENTITY");
    place.run(&["inspect", &id]).ends_with(12);
}

/// The text for people, for one committed file. `ETCDR_BLESS=1` writes it anew.
#[test]
fn the_text_is_what_it_was() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = "restore-engine/tests/data/busy-3.5.30.db";
    let mut etcdr = command(etcdr_tests::backup::etcdr());
    etcdr.args(["inspect", file, "--top", "5"]).current_dir(&root);
    let text = finish(&mut etcdr, &[]).ok().stdout_text();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/inspect.txt");
    if std::env::var_os("ETCDR_BLESS").is_some() {
        std::fs::write(&golden, &text).unwrap();
    }
    let want = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(text, want, "ETCDR_BLESS=1 writes it anew");
    let wide = text.lines().filter(|line| line.chars().count() > 100);
    assert_eq!(wide.collect::<Vec<_>>(), Vec::<&str>::new());
}
