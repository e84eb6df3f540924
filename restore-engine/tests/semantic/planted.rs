//! One planted defect for every finding code: which level must catch it, and that no shallower one
//! claims to.

use std::collections::BTreeSet;

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::page::FREELIST;
use etcdr_restore_engine::semantic::{self, examine};
use etcdr_restore_engine::stream::Expected;
use etcdr_restore_engine::stream::SnapshotScanner;
use etcdr_restore_engine::{Error, buckets, check, findings};
use etcdr_schemas::Hidden;
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{Finding, Level};

use crate::model::{Change, Op, Store, Version};
use crate::support::victim::{COUNT, FIRST, FLAGS, OVERFLOW, Victim};
use crate::support::{GOLDEN, Row, build, golden, put, with_digest};

/// A file with a defect, and the manifest that it is compared with.
struct Spoiled {
    file: Vec<u8>,
    manifest: Option<Manifest>,
}

impl From<Vec<u8>> for Spoiled {
    fn from(file: Vec<u8>) -> Self {
        Self { file, manifest: None }
    }
}

/// etcd's own digest is made after the defect, so that only the level in question can find it.
impl From<Victim> for Spoiled {
    fn from(victim: Victim) -> Self {
        with_digest(victim.bytes).into()
    }
}

struct Defect {
    code: &'static str,
    level: Level,
    plant: fn() -> Spoiled,
}

const fn defect(code: &'static str, level: Level, plant: fn() -> Spoiled) -> Defect {
    Defect { code, level, plant }
}

/// The store that semantic defects are planted into: never compacted, a lease, Kubernetes objects.
fn store() -> Store {
    let mut store = Store::new();
    for n in 0..40u8 {
        store.txn(&[Op::Put(n % 9, value(n), n % 3), Op::Put(n % 9 + 20, value(n), 0)]);
        if n % 5 == 4 {
            store.txn(&[Op::Delete(n % 9)]);
        }
    }
    store
}

fn value(n: u8) -> Vec<u8> {
    format!("{{\"kind\":\"Thing\",\"number\":{n}}}\n").into_bytes()
}

fn compacted(keeps: bool, batch: usize) -> Store {
    let mut store = store();
    store.compact(20, keeps, batch);
    store
}

/// The file of a store after a change to its buckets.
fn changed(store: &Store, change: impl FnOnce(&mut Vec<(&'static [u8], Vec<Row>)>)) -> Vec<u8> {
    let mut buckets = store.buckets();
    change(&mut buckets);
    with_digest(build(1024, &buckets))
}

/// A change to one bucket of the usual store.
fn bucket(name: &[u8], change: impl FnOnce(&mut Vec<Row>)) -> Spoiled {
    bucket_of(&store(), name, change)
}

fn bucket_of(store: &Store, name: &[u8], change: impl FnOnce(&mut Vec<Row>)) -> Spoiled {
    let changing = |buckets: &mut Vec<(&'static [u8], Vec<Row>)>| {
        let (_, rows) = buckets.iter_mut().find(|(known, _)| *known == name).unwrap();
        change(rows);
        rows.sort();
    };
    changed(store, changing).into()
}

fn row(name: &'static [u8], key: &[u8], value: &[u8]) -> Spoiled {
    let (key, value) = (key.to_vec(), value.to_vec());
    bucket(name, move |rows| {
        rows.retain(|(known, _)| *known != key);
        rows.push((key, value));
    })
}

/// A change to the rows of the usual store.
fn rows(change: impl FnOnce(&mut Vec<Change>)) -> Spoiled {
    rows_of(store(), change)
}

fn rows_of(mut store: Store, change: impl FnOnce(&mut Vec<Change>)) -> Spoiled {
    change(&mut store.rows);
    with_digest(store.database(1024)).into()
}

/// One change of the rows that puts and has a version above 1.
fn later(rows: &mut [Change]) -> (&mut Change, usize) {
    let version = |row: &Change| row.put.as_ref().map_or(0, |put| put.version);
    let at = rows.iter().position(|row| version(row) == 3).unwrap();
    (&mut rows[at], at)
}

fn later_put(rows: &mut [Change]) -> &mut Version {
    later(rows).0.put.as_mut().unwrap()
}

fn revision(main: i64) -> Vec<u8> {
    put(main, 0, "", b"").0
}

fn with_manifest(store: &Store, change: impl FnOnce(&mut serde_json::Value)) -> Spoiled {
    let mut json: serde_json::Value = serde_json::from_str(MANIFEST).unwrap();
    let file = with_digest(store.database(1024));
    let db = Db::open(file.clone()).unwrap();
    let hash = store.hash_kv(store.revision);
    let id = format!("20261122T070000Z-r{:020}-1a2b3c4d", store.revision);
    json["id"] = id.into();
    json["revision"] = store.revision.into();
    json["db_size"] = db.size().into();
    json["image"]["plain_size"] = (db.size() + 32).into();
    json["hash_kv"] = serde_json::json!({
        "revision": store.revision,
        "compact_revision": store.compacted(),
        "hash": hash,
        "agreed": [],
    });
    if store.compacted() > 0 {
        json["compact_revision"] = store.compacted().into();
    }
    change(&mut json);
    let manifest = Manifest::from_json(&serde_json::to_vec(&json).unwrap()).unwrap();
    Spoiled { file, manifest: Some(manifest) }
}

const MANIFEST: &str = r#"{
    "format": 1, "kind": "full", "id": "", "cluster": "default", "members": [],
    "source": { "endpoint": "http://a:2379", "server_version": "3.5.30" },
    "revision": 0, "raft_term": 3, "raft_index": 77, "db_size": 0,
    "started_at": "2026-11-22T07:00:00Z", "finished_at": "2026-11-22T07:00:01Z",
    "image": {
        "key": "default/x", "plain_size": 0, "stored_size": 1, "codec": {},
        "plain_sha256": "0000000000000000000000000000000000000000000000000000000000000000",
        "stored_sha256": "0000000000000000000000000000000000000000000000000000000000000000"
    },
    "alarms": [], "tool_version": "0"
}"#;

/// A user in etcd's protobuf: name and one role.
fn user(name: &str, role: &str) -> Vec<u8> {
    let field = |number: u8, text: &str| {
        [&[number << 3 | 2, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
    };
    [field(1, name), field(3, role)].concat()
}

const CONTENT: [Defect; 4] = [
    defect("snapshot.digest", Level::Content, || {
        let mut file = with_digest(store().database(1024));
        file[5000] ^= 1;
        file.into()
    }),
    defect("snapshot.digest.missing", Level::Content, || {
        let mut file = with_digest(store().database(1024));
        file.truncate(file.len() - 7);
        // No longer whole pages, and not long enough for a digest either.
        file.into()
    }),
    defect("snapshot.digest.none", Level::Content, || store().database(1024).into()),
    defect("snapshot.length", Level::Content, || {
        let mut file = with_digest(store().database(1024));
        file.truncate(file.len() - 2000);
        file.into()
    }),
];

const PAGES: [Defect; 17] = [
    defect("bolt.meta.invalid", Level::Structure, || Victim::new().put(1, 30, &[1]).into()),
    defect("bolt.meta.header", Level::Structure, || Victim::new().put(0, FLAGS, &[2]).into()),
    defect("bolt.page.id", Level::Structure, || leaf(0, &[0xee])),
    defect("bolt.page.kind", Level::Structure, || leaf(FLAGS, &[FREELIST.to_le_bytes()[0]])),
    defect("bolt.page.overflow", Level::Structure, || leaf(OVERFLOW, &[0xff])),
    defect("bolt.page.shared", Level::Structure, || leaf(OVERFLOW, &[1])),
    defect("bolt.page.empty", Level::Structure, || leaf(COUNT, &[0, 0])),
    defect("bolt.element.bounds", Level::Structure, || leaf(COUNT, &[0xff, 0])),
    // Without its last rows: what they held lies behind what is left.
    defect("bolt.element.gap", Level::Structure, || leaf(COUNT, &[2, 0])),
    defect("bolt.element.flags", Level::Structure, || leaf(FIRST, &[2])),
    defect("bolt.bucket.nested", Level::Structure, || leaf(FIRST, &[1])),
    defect("bolt.key.size", Level::Structure, || leaf(FIRST + 8, &[0; 4])),
    defect("bolt.key.order", Level::Structure, || leaf_key(1, 6, &[9])),
    defect("bolt.key.parent", Level::Structure, || leaf_key(0, 6, &[0, 0])),
    defect("bolt.key.next", Level::Structure, || {
        let victim = Victim::new();
        let (leaf, last) = (victim.leaf(), victim.node(victim.leaf()).count() - 1);
        victim.put_key(leaf, last, 0, &[1]).into()
    }),
    defect("etcd.key.malformed", Level::Structure, || leaf_key(1, 8, b"-")),
    defect("bolt.page.range", Level::Structure, || {
        let victim = Victim::new();
        let ((branch, _), high) = (victim.lowest(), victim.meta().high_water_mark);
        victim.put(branch, FIRST + 8, &high.to_le_bytes()).into()
    }),
];

fn leaf(at: usize, bytes: &[u8]) -> Spoiled {
    let victim = Victim::new();
    let leaf = victim.leaf();
    victim.put(leaf, at, bytes).into()
}

fn leaf_key(index: u16, at: usize, bytes: &[u8]) -> Spoiled {
    let victim = Victim::new();
    let leaf = victim.leaf();
    victim.put_key(leaf, index, at, bytes).into()
}

const NAMES_AND_FREELIST: [Defect; 10] = [
    defect("bolt.bucket.header", Level::Structure, || root(FIRST + 12, &[15, 0, 0, 0])),
    defect("bolt.bucket.plain", Level::Structure, || root(FIRST, &[0])),
    defect("bolt.bucket.count", Level::Structure, || {
        let names: Vec<_> = (0..1025).map(|n| format!("b{n:04}").into_bytes()).collect();
        let buckets: Vec<_> = names.iter().map(|name| (name.as_slice(), vec![])).collect();
        with_digest(build(4096, &buckets)).into()
    }),
    defect("bolt.page.unreachable", Level::Structure, || {
        let spare = Victim::new().meta().high_water_mark;
        Victim::new().spare(2).freelist(&[spare]).into()
    }),
    defect("bolt.freelist.duplicate", Level::Structure, || freelist(1, |spare| vec![spare, spare])),
    defect("bolt.freelist.order", Level::Structure, || freelist(2, |spare| vec![spare + 1, spare])),
    defect("bolt.freelist.range", Level::Structure, || freelist(0, |spare| vec![spare + 9])),
    defect("bolt.freelist.reachable", Level::Structure, || {
        let leaf = Victim::new().leaf();
        Victim::new().freelist(&[leaf]).into()
    }),
    defect("bolt.freelist.count", Level::Structure, || {
        let spare = Victim::new().meta().high_water_mark;
        Victim::new().freelist(&[]).put(spare, COUNT, &[0xf0, 0]).into()
    }),
    defect("bolt.findings.more", Level::Structure, || {
        Victim::new().spare(300).freelist(&[]).into()
    }),
];

fn root(at: usize, bytes: &[u8]) -> Spoiled {
    let victim = Victim::new();
    let root = victim.meta().root;
    victim.put(root, at, bytes).into()
}

fn freelist(spare: u64, ids: fn(u64) -> Vec<u64>) -> Spoiled {
    let high = Victim::new().meta().high_water_mark;
    Victim::new().spare(spare).freelist(&ids(high)).into()
}

/// Defects that keep the file from being opened: level `content` sees them too, as it must know how
/// long the file is.
const METAS: [Defect; 2] = [
    defect("etcd.records", Level::Structure, || {
        with_digest(build(1024, &[(b"meta", vec![])])).into()
    }),
    defect("etcd.row", Level::Structure, || row(buckets::META, b"consistent_index", b"short")),
];

const ROWS: [Defect; 14] = [
    defect("etcd.row", Level::Semantic, || {
        bucket(buckets::KEY, |rows| rows[30].1 = b"\x0a\xff".to_vec())
    }),
    defect("mvcc.row.twice", Level::Semantic, || {
        bucket(buckets::KEY, |rows| {
            let (mut key, value) = rows[30].clone();
            key.push(b't');
            rows.push((key, value));
        })
    }),
    defect("mvcc.row.revision", Level::Semantic, || {
        bucket(buckets::KEY, |rows| {
            let mut wrong = later(&mut store().rows).0.clone();
            let at = rows.iter().position(|row| *row == wrong.row()).unwrap();
            wrong.main += 1;
            rows[at].1 = wrong.row().1;
        })
    }),
    defect("mvcc.row.sub", Level::Semantic, || {
        rows(|rows| {
            let at = rows.iter().rposition(|row| row.sub == 1).unwrap();
            rows[at].sub = 2;
        })
    }),
    defect("mvcc.revision.gap", Level::Semantic, || {
        rows(|rows| {
            let last = rows.iter().map(|row| row.main).max().unwrap();
            let key = "/new".to_owned();
            let put = Version { create: last + 2, version: 1, value: vec![], lease: 0 };
            rows.push(Change { main: last + 2, sub: 0, key, put: Some(put) });
        })
    }),
    defect("mvcc.row.bump", Level::Semantic, || {
        bucket_of(&compacted(true, usize::MAX), buckets::KEY, |rows| {
            rows.push((revision(1000), Vec::new()));
        })
    }),
    defect("mvcc.key.empty", Level::Semantic, || rows(|rows| later(rows).0.key.clear())),
    defect("mvcc.tombstone.shape", Level::Semantic, || {
        bucket(buckets::KEY, |rows| {
            let row = rows.iter_mut().find(|(key, _)| key.len() == 18).unwrap();
            row.1.extend(b"\x10\x02");
        })
    }),
    defect("mvcc.tombstone.orphan", Level::Semantic, || {
        rows(|rows| {
            let main = rows.iter().map(|row| row.main).max().unwrap() + 1;
            rows.push(Change { main, sub: 0, key: "/never".into(), put: None });
        })
    }),
    defect("mvcc.version", Level::Semantic, || rows(|rows| later_put(rows).version = 0)),
    defect("mvcc.generation", Level::Semantic, || rows(|rows| later_put(rows).version += 1)),
    defect("semantic.findings.more", Level::Semantic, || {
        rows(|rows| {
            let puts = rows.iter_mut().filter_map(|row| row.put.as_mut());
            puts.for_each(|put| put.version += 5);
        })
    }),
    defect("kubernetes.value", Level::Semantic, || {
        rows(|rows| {
            let last = rows.iter_mut().rfind(|row| row.put.is_some()).unwrap();
            last.put.as_mut().unwrap().value = b"{\"kind\":".to_vec();
        })
    }),
    defect("kubernetes.sealed", Level::Semantic, || {
        rows(|rows| {
            let last = rows.iter_mut().rfind(|row| row.put.is_some()).unwrap();
            last.put.as_mut().unwrap().value =
                [b"k8s:enc:aescbc:v1:key1:".as_slice(), &[7; 48]].concat();
        })
    }),
];

const COMPACTION: [Defect; 6] = [
    defect("mvcc.compaction.leftover", Level::Semantic, || {
        let mut store = store();
        store.compact(20, true, 1);
        store.finished = store.scheduled;
        with_digest(store.database(1024)).into()
    }),
    defect("mvcc.compaction.unfinished", Level::Semantic, || {
        with_digest(compacted(true, 1).database(1024)).into()
    }),
    defect("mvcc.compaction.order", Level::Semantic, || {
        let mut store = compacted(true, usize::MAX);
        store.finished = Some(22);
        with_digest(store.database(1024)).into()
    }),
    defect("mvcc.compaction.tail", Level::Semantic, || {
        let mut store = compacted(true, usize::MAX);
        let at = store.revision + 1;
        (store.scheduled, store.finished) = (Some(at), Some(at));
        with_digest(store.database(1024)).into()
    }),
    defect("mvcc.compaction.beyond", Level::Semantic, || {
        let mut store = compacted(true, usize::MAX);
        let at = store.revision + 1;
        (store.scheduled, store.finished, store.revision) = (Some(at), Some(at), at);
        with_manifest(&store, |_| {})
    }),
    defect("hashkv.not-compared", Level::Semantic, || {
        with_manifest(&store(), |json| json["hash_kv"]["compact_revision"] = 9.into())
    }),
];

const OTHERS: [Defect; 19] = [
    defect("hashkv.differs", Level::Semantic, || {
        with_manifest(&store(), |json| json["hash_kv"]["hash"] = 1.into())
    }),
    defect("manifest.facts", Level::Semantic, || {
        with_manifest(&store(), |json| json["raft_index"] = 78.into())
    }),
    defect("lease.row", Level::Semantic, || row(buckets::LEASE, &1i64.to_be_bytes(), b"\x08\x02")),
    defect("lease.dangling", Level::Semantic, || bucket(buckets::LEASE, Vec::clear)),
    defect("alarm.row", Level::Semantic, || row(buckets::ALARM, b"\x08\x01\x10\x09", b"")),
    defect("alarm.nospace", Level::Semantic, || row(buckets::ALARM, b"\x08\x01\x10\x01", b"")),
    defect("alarm.corrupt", Level::Semantic, || row(buckets::ALARM, b"\x08\x01\x10\x02", b"")),
    defect("auth.row", Level::Semantic, || row(buckets::AUTH, b"authEnabled", b"yes")),
    defect("auth.role.missing", Level::Semantic, || {
        row(buckets::AUTH_USERS, b"anna", &user("anna", "reader"))
    }),
    defect("auth.root.missing", Level::Semantic, || row(buckets::AUTH, b"authEnabled", b"\x01")),
    defect("member.row", Level::Semantic, || row(buckets::MEMBERS, b"2", b"{\"id\":3}")),
    defect("member.none", Level::Semantic, || bucket(buckets::MEMBERS, Vec::clear)),
    defect("cluster.row", Level::Semantic, || row(buckets::CLUSTER, b"clusterVersion", b"new")),
    defect("cluster.downgrade", Level::Semantic, || {
        let json = br#"{"target-version":"3.5.0","enabled":true}"#;
        row(buckets::CLUSTER, b"downgrade", json)
    }),
    defect("etcd.bucket.unknown", Level::Semantic, || {
        changed(&store(), |buckets| buckets.push((b"zebra", vec![]))).into()
    }),
    defect("meta.consistent-index", Level::Semantic, || {
        row(buckets::META, b"consistent_index", &[0; 8])
    }),
    defect("meta.term", Level::Semantic, || row(buckets::META, b"term", &[0; 8])),
    defect("meta.conf-state", Level::Semantic, || row(buckets::META, b"confState", b"{}")),
    defect("meta.storage-version", Level::Semantic, || {
        row(buckets::META, b"storageVersion", b"9.9.9")
    }),
];

fn table() -> impl Iterator<Item = &'static Defect> {
    let tables: [&[Defect]; 7] =
        [&CONTENT, &PAGES, &NAMES_AND_FREELIST, &METAS, &ROWS, &COMPACTION, &OTHERS];
    tables.into_iter().flatten()
}

/// Codes that other tests plant, with the place.
const ELSEWHERE: [(&str, &str); 19] = [
    // The file cannot be opened: database/defects.rs.
    ("bolt.meta.size", "database/defects.rs"),
    ("bolt.meta.root", "database/defects.rs"),
    ("bolt.meta.freelist", "database/defects.rs"),
    ("bolt.meta.high-water-mark", "database/defects.rs"),
    // A page of its own making, or a sparse file: database/defects.rs.
    ("bolt.page.depth", "database/defects.rs"),
    ("bolt.page.size", "database/defects.rs"),
    // Only the reader of a stream can lose a page: below.
    ("bolt.page.lost", "semantic/planted.rs"),
    ("snapshot.manifest", "semantic/planted.rs"),
    // Whole data directories: restore.rs.
    ("member.unknown", "restore.rs"),
    ("wal.torn", "restore.rs"),
    ("wal.commit", "restore.rs"),
    ("db.index.behind", "restore.rs"),
    ("db.index.ahead", "restore.rs"),
    ("snap.voters", "restore.rs"),
    // Whole data directories, and files on a bad disk: inspecting.
    ("wal.damaged", "inspect.rs"),
    ("snap.damaged", "inspect.rs"),
    ("directory.incomplete", "inspect.rs"),
    ("medium.unreadable", "inspect.rs"),
    // Needs four million leases: `too_many_leases_are_a_finding` in semantic/small_buckets.rs.
    ("lease.unchecked", "../src/check/semantic/small_buckets.rs"),
];

/// Findings of each level, by itself.
fn at(level: Level, spoiled: &Spoiled) -> Vec<Finding> {
    let Spoiled { file, manifest } = spoiled;
    match level {
        Level::Manifest | Level::Object => Vec::new(),
        Level::Content => check::file(file.as_slice(), level, &Hidden).unwrap().content.findings,
        Level::Structure => check::structure(file.as_slice(), &Hidden).unwrap().findings,
        Level::Semantic => {
            let examined = examine(file.as_slice(), manifest.as_ref(), 2, &Hidden).unwrap();
            examined.semantic.map(|semantic| semantic.findings).unwrap_or_default()
        }
    }
}

#[test]
fn every_planted_defect_is_caught_at_its_level_and_not_before() {
    for Defect { code, level, plant } in table() {
        let spoiled = plant();
        let found = at(*level, &spoiled);
        let caught = found.iter().find(|finding| finding.code == *code);
        let caught = caught.unwrap_or_else(|| panic!("{code} at {level}: {found:?}"));
        assert!(!caught.place.is_empty() && !caught.message.is_empty(), "{caught:?}");
        assert!(caught.advice.ends_with('.'), "{caught:?}");
        for before in Level::ALL.into_iter().filter(|before| before < level) {
            let claims = at(before, &spoiled);
            assert!(claims.is_empty(), "{code} at {before} already: {claims:?}");
        }
    }
}

/// What the semantic level says of the store that defects are planted into, before they are.
#[test]
fn without_a_defect_nothing_is_found() {
    for store in [store(), compacted(true, usize::MAX), compacted(false, usize::MAX)] {
        let spoiled = with_manifest(&store, |_| {});
        for level in Level::ALL {
            assert_eq!(at(level, &spoiled), [], "{level}");
        }
        let examined = examine(spoiled.file, spoiled.manifest.as_ref(), 1, &Hidden).unwrap();
        let contents = examined.semantic.unwrap().contents.unwrap();
        assert_eq!(contents.hash_kv_matches, Some(true));
        assert!(contents.kubernetes);
        assert_eq!(contents.resources.named[0].name, "things");
    }
    let sound = Victim::new().bytes;
    assert_eq!(at(Level::Structure, &with_digest(sound).into()), []);
}

#[test]
fn the_table_has_every_code() {
    let planted: BTreeSet<_> = table().map(|defect| defect.code).collect();
    let elsewhere: BTreeSet<_> = ELSEWHERE.iter().map(|(code, _)| *code).collect();
    let pages = include_str!("../../src/format/bolt/problem.rs");
    let quoted = pages.split('"').skip(1).step_by(2);
    let bolt = quoted.filter(|text| text.starts_with("bolt.") || text.starts_with("etcd."));
    let kinds = findings::ALL.iter().chain(semantic::kinds::ALL).map(|kind| kind.code);
    let all: BTreeSet<_> = bolt.chain(kinds).collect();
    assert!(all.len() > 80, "{}", all.len());
    let missing: Vec<_> =
        all.iter().filter(|code| !planted.contains(*code) && !elsewhere.contains(*code)).collect();
    assert!(missing.is_empty(), "no defect is planted for {missing:?}");
    let unknown: Vec<_> =
        planted.iter().chain(&elsewhere).filter(|code| !all.contains(*code)).collect();
    assert!(unknown.is_empty(), "nothing finds {unknown:?}");
    for (code, file) in ELSEWHERE {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(&format!("\"{code}\"")), "{code} in {file}");
    }
}

#[test]
fn in_real_files_nothing_is_found() {
    for name in GOLDEN {
        let examined = examine(golden(name), None, 2, &Hidden).unwrap();
        assert_eq!(examined.structure.findings, [], "{name}");
        let semantic = examined.semantic.unwrap();
        assert_eq!(semantic.findings, [], "{name}");
        let contents = semantic.contents.unwrap();
        assert!(contents.live.keys > 0 && !contents.kubernetes, "{name}: {contents:?}");
    }
}

/// The reader of a stream cannot return to a page: one that it did not recognise as a leaf is lost.
#[test]
fn a_page_that_streamed_by_as_something_else_is_lost() {
    let victim = Victim::new();
    let mut id = victim.key();
    while !victim.node(id).is_leaf() {
        id = victim.node(id).child(victim.node(id).count() - 1).unwrap().child;
    }
    let file = with_digest(victim.put(id, FLAGS, &[FREELIST.to_le_bytes()[0]]).bytes);
    let mut scanner = SnapshotScanner::new();
    scanner.push(&file).unwrap();
    let Err(Error::Page { problem, .. }) = scanner.finish() else { panic!("it was not lost") };
    assert_eq!(problem.code(), "bolt.page.lost");
}

#[test]
fn other_bytes_than_the_manifest_promises_are_found() {
    let file = with_digest(store().database(1024));
    let sha256 = etcdr_schemas::Sha256Digest::of(b"another file");
    let expected = Expected { size: file.len() as u64, sha256, by_reader: false };
    let chunks = std::iter::once(Ok(bytes::Bytes::from(file)));
    let content = check::content(chunks, Some(expected), &Hidden).unwrap();
    let codes: Vec<_> = content.findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["snapshot.manifest"]);
}
