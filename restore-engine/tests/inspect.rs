//! Inspecting sound and damaged databases: reports are true, and damage hides no more than it must.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;

use etcdr_restore_engine::bolt::page::Node;
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::bolt::{Db, Meta, Root};
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::inspect::{self, Options};
use etcdr_restore_engine::scan::live_keys;
use etcdr_schemas::report::InspectReport;
use etcdr_schemas::report::inspect::{DigestState, Form};
use etcdr_schemas::{Hidden, MemberId, ReadAt, Revision};
use support::{GOLDEN, etcd, golden, many, meta, put, rows};

const OPTIONS: Options = Options { meta: None, prefix_depth: 2, top: 10 };

fn look_with(bytes: &[u8], options: Options) -> InspectReport {
    let form = Form::RawDatabase;
    inspect::database("x".into(), form, bytes, |_| false, options, &Hidden).unwrap()
}

fn look(bytes: &[u8]) -> InspectReport {
    look_with(bytes, OPTIONS)
}

/// The hash of `snapshot status`, the plain way.
fn status_hash(db: &Db<Vec<u8>>) -> u32 {
    let mut crc = 0;
    for bucket in db.buckets().unwrap() {
        crc = crc32c::crc32c_append(crc, &bucket.name);
        for (key, value) in rows(db, &bucket.name) {
            crc = crc32c::crc32c_append(crc32c::crc32c_append(crc, &key), &value);
        }
    }
    crc
}

#[test]
fn reports_of_real_files_are_what_other_readers_find() {
    for name in GOLDEN {
        let db = Db::open(golden(name)).unwrap();
        let report = look(&golden(name));
        assert!(report.ok && report.findings.is_empty(), "{name}: {:?}", report.findings);
        let facts = facts(&db).unwrap();
        let keys = report.keys.unwrap();
        assert_eq!(
            (keys.revision, keys.compact_revision),
            (facts.revision, facts.compact_revision)
        );
        assert_eq!(report.raft.consistent_index, facts.raft_index);
        assert_eq!(report.raft.term, facts.raft_term);
        assert_eq!(keys.live_keys, live_keys(&db, None).unwrap(), "{name}");
        let status = report.status.unwrap();
        assert_eq!(status.hash, status_hash(&db), "{name}");
        let mut total = 0;
        for bucket in &report.buckets {
            let rows = rows(&db, bucket.name.as_bytes());
            let bytes = rows.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
            assert_eq!(
                (bucket.rows, bucket.key_bytes + bucket.value_bytes),
                (rows.len() as u64, bytes)
            );
            total += bucket.rows;
        }
        assert_eq!((status.total_rows, status.total_size), (total, db.size()));
        assert_eq!(report.cluster.members.len(), 1, "{name}");
        let space = report.space.unwrap();
        assert_eq!(space.in_use + space.free, space.size);
        assert_eq!(space.behind, 32);
    }
}

#[test]
fn users_leases_and_versions_are_reported() {
    let report = look(&golden("busy-3.5.30.db"));
    assert_eq!((report.auth.users, report.auth.roles, report.auth.enabled), (2, 1, false));
    assert_eq!(report.leases.count, 1);
    assert_eq!((report.leases.by_ttl[0].ttl_seconds, report.leases.by_ttl[0].count), (3600, 1));
    assert_eq!(report.cluster.version.as_deref(), Some("3.5.0"));
    assert!(report.raft.conf_state.unwrap().contains("voters"));
    let prefixes = report.prefixes.unwrap();
    let pods = prefixes.by_bytes.iter().find(|one| one.prefix == "/registry/pods/").unwrap();
    assert_eq!((pods.live_keys, pods.revisions), (40, 40));
}

/// Several buckets, deep trees, rows over many pages: everything adds up at every page size.
#[test]
fn pages_add_up_at_every_page_size() {
    for page_size in [1024, 4096, 16384] {
        let mut key = many(3000, 200);
        key.push(put(9000, 0, "/big", &vec![b'b'; 100_000]));
        let bytes = etcd(page_size, key, meta(9));
        let report = look(&bytes);
        let space = report.space.unwrap();
        assert_eq!(
            (space.size, space.in_use, space.free),
            (bytes.len() as u64, bytes.len() as u64, 0)
        );
        let trees: u64 =
            report.buckets.iter().map(|b| b.leaf_pages + b.branch_pages + b.overflow_pages).sum();
        // And two metas and the root.
        assert_eq!((trees + 3) * u64::from(page_size), space.size);
        let key = report.buckets.iter().find(|bucket| bucket.name == "key").unwrap();
        assert!(key.depth >= 2 && key.fill_percent > 50.0, "{key:?}");
        assert_eq!(report.status.unwrap().hash, status_hash(&Db::open(bytes).unwrap()));
    }
}

/// A page of the tree of `key` and what is below it.
struct Branch {
    page: u64,
    first: Vec<u8>,
    next: Option<Vec<u8>>,
    children: u64,
}

/// A branch below the root of `key`, not the first of its siblings.
fn branch(bytes: &[u8], page_size: usize) -> Branch {
    let db = Db::open(bytes).unwrap();
    let Root::Page(root) = db.bucket(b"key").unwrap().unwrap().root else { panic!("inline") };
    let node = |id: u64| {
        let at = usize::try_from(id).unwrap() * page_size;
        Node::parse(&bytes[at..at + page_size]).unwrap()
    };
    let child = node(root).child(1).unwrap();
    let next = node(root).child(2).ok().map(|next| next.key.to_vec());
    let children = u64::from(node(child.child).count());
    assert!(!node(child.child).is_leaf(), "the tree is too flat");
    Branch { page: child.child, first: child.key.to_vec(), next, children }
}

fn revision(raw: &[u8]) -> i64 {
    i64::from_be_bytes(raw[..8].try_into().unwrap())
}

#[test]
fn a_damaged_branch_shows_which_revisions_and_how_many_pages_are_lost() {
    let mut bytes = etcd(1024, many(2000, 100), meta(9));
    let sound = look(&bytes);
    let lost = branch(&bytes, 1024);
    let at = usize::try_from(lost.page).unwrap() * 1024;
    bytes[at + 8..at + 16].fill(0);
    let report = look(&bytes);
    assert!(!report.ok);
    let finding = &report.findings[0];
    assert_eq!(finding.code, "bolt.page.kind");
    let place = format!("page {} (byte {at}), bucket key", lost.page);
    assert_eq!(finding.place, place);
    let next = lost.next.as_deref().map(revision).unwrap();
    let want = format!(
        "; lost with it: revisions from {} to before {next}, at most {} pages below it",
        revision(&lost.first),
        lost.children
    );
    assert!(finding.message.ends_with(&want), "{} / {want}", finding.message);
    // Each row has a revision of its own, so the rest can be counted.
    let gone = u64::try_from(next - revision(&lost.first)).unwrap();
    let rows = |report: &InspectReport| report.keys.as_ref().unwrap().revisions;
    assert_eq!(rows(&report), rows(&sound) - gone);
    let left = report.recovery.unwrap();
    assert_eq!((left.lost_parts, left.stray_pages), (1, lost.children));
    assert_eq!(left.stray_revisions, gone);
    assert_eq!(left.newest_stray_revision, Some(Revision(next - 1)));
    assert_eq!(report.status, None);
}

#[test]
fn each_child_that_cannot_be_read_is_reported_and_the_others_are_read() {
    let mut bytes = etcd(1024, many(2000, 100), meta(9));
    let total = look(&bytes).keys.unwrap().revisions;
    // Every tenth page is overwritten by something else.
    let pages = bytes.len() / 1024;
    let spoiled: Vec<_> = (5..pages).step_by(10).collect();
    for page in &spoiled {
        bytes[page * 1024..page * 1024 + 200].fill(0xa5);
    }
    let report = look(&bytes);
    let left = report.recovery.unwrap();
    assert!(left.lost_parts >= 20, "{left:?}");
    let read = report.keys.unwrap().revisions;
    assert!(read > total / 2 && read < total, "{read} of {total}");
    assert!(read + left.stray_revisions > total * 8 / 10, "{read} {left:?}");
    let listed = report.findings.iter().filter(|finding| finding.message.contains("lost with it"));
    assert!(listed.count() >= 20, "{:#?}", report.findings);
}

#[test]
fn a_cut_file_is_read_as_far_as_it_goes() {
    let bytes = etcd(1024, many(800, 100), meta(9));
    for pages in [3, 10, 50, bytes.len() / 1024 - 1] {
        let report = look(&bytes[..pages * 1024 + 100]);
        assert!(!report.ok);
        let codes: Vec<_> = report.findings.iter().map(|finding| finding.code.as_str()).collect();
        assert!(codes.contains(&"bolt.meta.high-water-mark"), "{codes:?}");
        let left = report.recovery.unwrap();
        // Leaves are written first and the root last: what was written is found without the root.
        assert!(left.stray_pages + 2 >= pages as u64, "{pages}: {left:?}");
    }
}

#[test]
fn a_file_without_meta_pages_still_shows_what_is_on_its_pages() {
    let mut bytes = golden("busy-3.5.30.db");
    bytes[..4096 * 2].fill(0);
    let report = look(&bytes);
    assert!(!report.ok && report.space.is_none());
    let left = report.recovery.unwrap();
    assert!(!left.stray_roots.is_empty() && left.stray_revisions >= 40, "{left:?}");
    assert_eq!(left.newest_stray_revision, Some(Revision(53)));
}

/// A transaction later: the newer meta page leads to a broken root, the older one to the state
/// before.
#[test]
fn the_older_meta_page_is_tried_and_can_be_looked_through() {
    let mut bytes = etcd(1024, many(300, 100), meta(9));
    let before = look(&bytes);
    let old = *Db::open(bytes.as_slice()).unwrap().meta();
    let root = old.high_water_mark;
    bytes.extend_from_slice(&[0x77; 1024]);
    let newer = Meta { root, high_water_mark: root + 1, txid: old.txid + 1, ..old };
    let page = newer.txid % 2;
    let at = usize::try_from(page).unwrap() * 1024;
    bytes[at..at + 80].copy_from_slice(&newer.encode(page));
    let report = look(&bytes);
    assert!(!report.ok);
    assert!(
        report.findings[0].message.contains("lost with it: all buckets"),
        "{:?}",
        report.findings
    );
    let other = report.recovery.unwrap().other_meta.unwrap();
    assert!(other.sound);
    let rows =
        |report: &InspectReport| report.buckets.iter().map(|bucket| bucket.rows).sum::<u64>();
    assert_eq!((other.page, other.txid, other.rows_read), (1 - page, old.txid, rows(&before)));
    let options = Options { meta: Some(usize::try_from(1 - page).unwrap()), ..OPTIONS };
    let through = look_with(&bytes, options);
    assert!(through.ok, "{:?}", through.findings);
    assert_eq!(rows(&through), rows(&before));
    let used: Vec<_> =
        through.metas.iter().filter(|meta| meta.used).map(|meta| meta.page).collect();
    assert_eq!(used, [1 - page]);
}

#[test]
fn members_that_came_and_went_are_reported() {
    let member = br#"{"id":5,"peerURLs":["http://a:1"],"name":"a","isLearner":true,
        "clientURLs":["http://a:2"]}"#;
    let mut writer = Writer::create(Cursor::new(Vec::new()), 4096).unwrap();
    let alarm = (vec![0x08, 0x05, 0x10, 0x01], vec![]);
    let rows: [(&[u8], Vec<support::Row>); 6] = [
        (b"alarm", vec![alarm]),
        (b"auth", vec![(b"authEnabled".to_vec(), vec![1])]),
        (
            b"cluster",
            vec![(b"downgrade".to_vec(), br#"{"target-version":"3.5.0","enabled":true}"#.to_vec())],
        ),
        (b"key", vec![]),
        (b"members", vec![(b"5".to_vec(), member.to_vec()), (b"6".to_vec(), b"{".to_vec())]),
        (b"members_removed", vec![(b"be1b32b7b1ce69d".to_vec(), b"removed".to_vec())]),
    ];
    for (name, rows) in rows {
        writer.bucket(name).unwrap();
        rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
    }
    let report = look(&writer.finish().unwrap().into_inner());
    assert_eq!(report.cluster.members[0].id, MemberId(5));
    assert!(report.cluster.members[0].learner);
    assert_eq!(report.cluster.removed, [MemberId(0x0be1_b32b_7b1c_e69d)]);
    assert!(report.cluster.downgrade.unwrap().enabled && report.auth.enabled);
    assert_eq!(
        (report.alarms[0].kind.as_str(), report.alarms[0].member_id),
        ("NOSPACE", MemberId(5))
    );
    let codes: Vec<_> = report.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["etcd.row"], "a member that is no JSON");
}

#[test]
fn a_local_file_is_held_against_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("snap.db");
    let mut bytes = golden("history-3.5.30.db");
    let state = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let report = inspect::file(&path, OPTIONS, &Hidden).unwrap();
        (report.form, report.digest, report.ok)
    };
    assert_eq!(state(&bytes), (Form::SnapshotFile, DigestState::Matches, true));
    // A value: only the digest shows it.
    let at = bytes.windows(4).position(|four| four == b"bee2").unwrap();
    bytes[at] ^= 1;
    assert_eq!(state(&bytes), (Form::SnapshotFile, DigestState::Differs, false));
    bytes.truncate(bytes.len() - 32);
    assert_eq!(state(&bytes), (Form::RawDatabase, DigestState::None, true));
}

/// A disk with a bad sector: its content is lost and reported, the rest is read.
struct BadSector(Vec<u8>, u64);

impl ReadAt for BadSector {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if (offset..offset + buf.len() as u64).contains(&self.1) {
            return Err(io::Error::other("bad sector"));
        }
        self.0.read_exact_at(buf, offset)
    }
}

#[test]
fn what_a_bad_disk_does_not_give_is_reported() {
    let bytes = etcd(4096, many(8000, 400), meta(9));
    let total = look(&bytes).keys.unwrap().revisions;
    let disk = BadSector(bytes, 1_000_000);
    let form = Form::RawDatabase;
    let report = inspect::database("x".into(), form, disk, |_| true, OPTIONS, &Hidden).unwrap();
    assert!(report.findings.iter().any(|finding| finding.code == "medium.unreadable"));
    let read = report.keys.unwrap().revisions;
    assert!(read < total && read > total * 8 / 10, "{read} of {total}");
}

/// A data directory as a member leaves it, with parts of the fuzz corpus.
fn data_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let member = dir.path().join("member");
    fs::create_dir_all(member.join("snap")).unwrap();
    fs::create_dir_all(member.join("wal")).unwrap();
    fs::write(member.join("snap/db"), golden("busy-3.5.30.db")).unwrap();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let wal = member.join("wal/0000000000000000-0000000000000000.wal");
    fs::copy(corpus.join("wal/real-3.5.30"), wal).unwrap();
    let snap = member.join("snap/0000000000000002-000000000000000a.snap");
    fs::copy(corpus.join("snap/real-3.5.30"), snap).unwrap();
    dir
}

fn codes_of(dir: &Path) -> (Vec<String>, InspectReport) {
    let report = inspect::data_dir(dir, None, OPTIONS, &Hidden).unwrap();
    (report.findings.iter().map(|finding| finding.code.clone()).collect(), report)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn each_part_of_a_data_directory_is_reported_by_itself() {
    let dir = data_dir();
    let member = dir.path().join("member");
    let (_, whole) = codes_of(dir.path());
    let log = whole.log.unwrap();
    assert!(log.segments == 1 && log.last_index > log.first_index, "{log:?}");
    assert!(whole.raft_snapshot.unwrap().index.0 > 0);

    flip(&member.join("wal/0000000000000000-0000000000000000.wal"), 300);
    let (codes, report) = codes_of(dir.path());
    assert!(codes.contains(&"wal.damaged".to_owned()) && report.log.is_none(), "{codes:?}");
    assert!(report.keys.is_some() && report.raft_snapshot.is_some());

    flip(&member.join("snap/0000000000000002-000000000000000a.snap"), 50);
    let (codes, report) = codes_of(dir.path());
    assert!(codes.contains(&"snap.damaged".to_owned()), "{codes:?}");
    assert!(report.raft_snapshot.is_none() && report.keys.is_some());

    fs::remove_dir_all(member.join("wal")).unwrap();
    let (codes, _) = codes_of(dir.path());
    assert!(codes.contains(&"directory.incomplete".to_owned()), "{codes:?}");

    let without = data_dir();
    fs::remove_file(without.path().join("member/snap/db")).unwrap();
    let (codes, report) = codes_of(without.path());
    assert!(codes.contains(&"etcd.records".to_owned()) && report.log.is_some(), "{codes:?}");
}
