//! Patches: they change what was asked for and nothing else, and the result is sound.

use std::collections::BTreeMap;
use std::path::PathBuf;

use etcdr_restore_engine::bolt::patch::{Patch, apply};
use etcdr_restore_engine::bolt::{Db, Meta};
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_restore_engine::{Error, Result};
use etcdr_schemas::Revision;

use crate::support::{GOLDEN, Row, build, etcd, findings, golden, many, meta, put, rows};

struct Staged {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Staged {
    fn new(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        std::fs::write(&path, bytes).unwrap();
        Self { _dir: dir, path }
    }

    fn apply(&self, patch: &Patch) -> Result<Meta> {
        apply(&self.path, patch)
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }
}

fn members() -> Vec<Row> {
    (0..5).rev().map(|n| (format!("{n}f").into_bytes(), vec![b'm'; 120])).collect()
}

/// What a restore changes, and one row behind the last revision.
fn restore_like(at: i64) -> Patch {
    let mut patch = Patch::default();
    patch.replace.insert(b"members".to_vec(), members());
    patch.replace.insert(b"members_removed".to_vec(), vec![]);
    patch.replace.insert(b"alarm".to_vec(), vec![]);
    patch.replace.insert(b"meta".to_vec(), meta(1));
    let (key, value) = put(at, 0, "", b"");
    patch.append.push((b"key".to_vec(), key, value));
    patch
}

#[track_caller]
fn check(bytes: &[u8], patch: &Patch) -> Vec<u8> {
    let staged = Staged::new(bytes);
    let before = Db::open(bytes.to_vec()).unwrap();
    let new = staged.apply(patch).unwrap();
    let after = staged.bytes();
    assert_eq!(findings(&after), []);
    assert_eq!(new.database_size(), Some(after.len() as u64));
    let db = Db::open(after.clone()).unwrap();
    assert_eq!(db.meta().txid, before.meta().txid + 1);
    let mut want: BTreeMap<Vec<u8>, Vec<Row>> = BTreeMap::new();
    for bucket in before.buckets().unwrap() {
        want.insert(bucket.name.clone(), rows(&before, &bucket.name));
    }
    for (name, rows) in &patch.replace {
        let mut rows = rows.clone();
        rows.sort();
        want.insert(name.clone(), rows);
    }
    for (name, key, value) in &patch.append {
        want.entry(name.clone()).or_default().push((key.clone(), value.clone()));
    }
    for (name, insert) in &patch.insert {
        let rows = want.remove(name).unwrap_or_default().into_iter();
        let rows: BTreeMap<_, _> = rows.chain(insert.clone()).collect();
        want.insert(name.clone(), rows.into_iter().collect());
    }
    let got: BTreeMap<_, _> = db
        .buckets()
        .unwrap()
        .into_iter()
        .map(|bucket| (bucket.name.clone(), rows(&db, &bucket.name)))
        .collect();
    assert!(got == want);
    after
}

#[test]
fn real_files_can_be_patched() {
    for name in GOLDEN {
        let patch = restore_like(1_000_000_012);
        let after = check(&golden(name), &patch);
        let facts = facts(&Db::open(after).unwrap()).unwrap();
        assert_eq!(facts.revision, Revision(1_000_000_012), "{name}");
        assert_eq!(facts.raft_index.map(|index| index.0), Some(1));
    }
}

#[test]
fn every_shape_of_a_key_bucket_can_grow() {
    for page_size in [1024, 4096, 65536] {
        for count in [0, 1, 5, 40, 400, 3000] {
            let db = etcd(page_size, many(count, 90), meta(3));
            check(&db, &restore_like(100_000));
        }
    }
}

#[test]
fn many_patches_in_a_row_stay_sound() {
    let mut db = etcd(1024, many(200, 90), meta(3));
    for turn in 0..60 {
        db = check(&db, &restore_like(100_000 + turn));
    }
    assert_eq!(rows(&Db::open(db).unwrap(), b"key").len(), 260);
}

#[test]
fn many_rows_make_many_pages() {
    let mut patch = Patch::default();
    for main in 0..2000 {
        let (key, value) = put(10_000 + main, 0, "/new", &[b'n'; 200]);
        patch.append.push((b"key".to_vec(), key, value));
    }
    let big = put(20_000, 0, "/big", &vec![b'b'; 300_000]);
    patch.append.push((b"key".to_vec(), big.0, big.1));
    patch.replace.insert(b"lease".to_vec(), many(500, 50));
    check(&etcd(4096, many(300, 90), meta(3)), &patch);
    check(&build(1024, &[]), &patch);
}

#[test]
fn rows_are_inserted_between_those_that_are_there() {
    for count in [0, 1, 5, 400] {
        let lease = |id: i64| (id.to_be_bytes().to_vec(), vec![b'l'; 30]);
        let there: Vec<Row> = (0..count).map(|n| lease(10 * n + 5)).collect();
        for ids in [vec![], vec![0], vec![9999], vec![1, 5, 6, 15, 444, 3999, 9999]] {
            let insert: BTreeMap<_, _> = ids.into_iter().map(lease).collect();
            let insert = [(b"lease".to_vec(), insert)].into();
            let patch = Patch { insert, ..Patch::default() };
            check(&build(4096, &[(b"key", many(3, 9)), (b"lease", there.clone())]), &patch);
            check(&build(1024, &[(b"key", many(3, 9))]), &patch);
        }
    }
}

#[test]
fn a_longer_file_is_cut_to_its_database() {
    let mut file = golden("history-3.5.30.db");
    file.resize(1 << 20, 0xaa);
    check(&file, &restore_like(500));
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let db = etcd(4096, many(10, 90), meta(3));
    let append = |main| {
        let key = RowKey::put(Revision(main), 0).encode();
        Patch { append: vec![(b"key".to_vec(), key, vec![])], ..Patch::default() }
    };
    let twice = vec![(b"a".to_vec(), vec![]), (b"a".to_vec(), vec![])];
    let twice = Patch { replace: [(b"meta".to_vec(), twice)].into(), ..Patch::default() };
    for patch in [append(11), append(5), twice] {
        let error = Staged::new(&db).apply(&patch).unwrap_err();
        assert!(matches!(error, Error::Rows { .. }), "{error}");
    }
    assert!(Staged::new(&db).apply(&append(12)).is_ok());
}
