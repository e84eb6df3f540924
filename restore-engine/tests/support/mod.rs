//! Builds databases for the tests.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod victim;

use std::fmt::Write as _;
use std::io::Cursor;
use std::ops::ControlFlow;
use std::path::PathBuf;

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::check::structure;
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_schemas::report::Finding;
use etcdr_schemas::{Hidden, ReadAt, Revision, Sha256Digest};

pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// A database with these buckets, in order of their names.
pub(crate) fn build(page_size: u32, buckets: &[(&[u8], Vec<Row>)]) -> Vec<u8> {
    let mut writer = Writer::create(Cursor::new(Vec::new()), page_size).unwrap();
    for (name, rows) in buckets {
        writer.bucket(name).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

/// A database with etcd's buckets around these rows of `key`.
pub(crate) fn etcd(page_size: u32, rows: Vec<Row>, meta: Vec<Row>) -> Vec<u8> {
    let member = (b"be1b32b7b1ce69d".to_vec(), br#"{"id":1,"name":"a"}"#.to_vec());
    build(
        page_size,
        &[
            (b"alarm", vec![]),
            (b"auth", vec![(b"authRevision".to_vec(), 1u64.to_be_bytes().to_vec())]),
            (b"cluster", vec![(b"clusterVersion".to_vec(), b"3.5.0".to_vec())]),
            (b"key", rows),
            (b"lease", vec![]),
            (b"members", vec![member]),
            (b"members_removed", vec![]),
            (b"meta", meta),
        ],
    )
}

/// The usual rows of `meta`.
pub(crate) fn meta(index: u64) -> Vec<Row> {
    vec![
        (b"confState".to_vec(), br#"{"voters":[1],"auto_leave":false}"#.to_vec()),
        (b"consistent_index".to_vec(), index.to_be_bytes().to_vec()),
        (b"term".to_vec(), 3u64.to_be_bytes().to_vec()),
    ]
}

/// A row that puts `value`.
pub(crate) fn put(main: i64, sub: i64, key: &str, value: &[u8]) -> Row {
    let mut message = vec![0x0a];
    message.push(u8::try_from(key.len()).unwrap());
    message.extend_from_slice(key.as_bytes());
    message.push(0x2a);
    let mut len = value.len();
    while len >= 0x80 {
        message.push(u8::try_from(len & 0x7f).unwrap() | 0x80);
        len >>= 7;
    }
    message.push(u8::try_from(len).unwrap());
    message.extend_from_slice(value);
    (RowKey::put(Revision(main), sub).encode(), message)
}

/// A row that deletes.
pub(crate) fn delete(main: i64, sub: i64, key: &str) -> Row {
    let row = RowKey { main: Revision(main), sub, tombstone: true };
    let mut message = vec![0x0a, u8::try_from(key.len()).unwrap()];
    message.extend_from_slice(key.as_bytes());
    (row.encode(), message)
}

/// `count` rows of about `size` bytes.
pub(crate) fn many(count: i64, size: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    for main in 2..2 + count {
        let mut key = String::new();
        write!(key, "/registry/pods/default/pod-{}", main % 1000).unwrap();
        rows.push(put(main, 0, &key, &vec![b'v'; size]));
    }
    rows
}

/// A snapshot file: the database and its digest.
pub(crate) fn with_digest(mut db: Vec<u8>) -> Vec<u8> {
    let digest = Sha256Digest::of(&db);
    db.extend_from_slice(digest.as_bytes());
    db
}

pub(crate) fn findings(db: &[u8]) -> Vec<Finding> {
    structure::check(&Db::open(db.to_vec()).unwrap(), &Hidden).unwrap()
}

pub(crate) fn codes(db: &[u8]) -> Vec<String> {
    findings(db).into_iter().map(|finding| finding.code).collect()
}

/// All rows of a bucket; none when it is missing.
pub(crate) fn rows<R: ReadAt>(db: &Db<R>, name: &[u8]) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(bucket) = db.bucket(name).unwrap() {
        db.scan(&bucket, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
    }
    rows
}

/// A file that a real server wrote.
pub(crate) fn golden(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files that real servers wrote.
pub(crate) const GOLDEN: [&str; 9] = [
    "history-3.4.23.db",
    "compacted-3.4.23.db",
    "busy-3.4.23.db",
    "history-3.5.30.db",
    "busy-3.5.30.db",
    "compacted-3.6.14.db",
    "busy-3.6.14.db",
    "history-3.7.1.db",
    "busy-3.7.1.db",
];
