//! The part of the fuzz corpus that our own writers make: the committed files equal what they
//! write.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::Path;

use etcdr_restore_engine::membership::{InitialCluster, NewCluster};
use etcdr_restore_engine::mvcc::RowKey;
use etcdr_restore_engine::{snap, wal};
use etcdr_schemas::Revision;
use support::{delete, etcd, many, meta, put, with_digest};

/// Compares with the committed file, or writes it when `ETCDR_BLESS` is set.
fn keep(target: &str, name: &str, bytes: &[u8]) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let path = dir.join(name);
    if std::env::var_os("ETCDR_BLESS").is_some() {
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(committed == bytes, "{} is stale: run with ETCDR_BLESS=1", path.display());
}

#[test]
fn the_corpus_is_what_our_writers_make() {
    let mut rows = many(60, 40);
    rows.push(put(900, 0, "/big", &[b'b'; 2500]));
    rows.push(delete(901, 0, "/big"));
    keep("bolt", "own-tree", &etcd(1024, rows.clone(), meta(7)));
    keep("bolt", "own-inline", &etcd(4096, many(3, 10), meta(7)));
    keep("scan", "own-tree", &with_digest(etcd(1024, rows, meta(7))));
    keep("scan", "own-inline", &with_digest(etcd(4096, many(3, 10), meta(7))));
    keep("scan", "own-raw", &etcd(1024, many(5, 10), meta(7)));

    let cluster = InitialCluster::parse("a=http://a:1,b=http://b:2,c=http://c:3").unwrap();
    let cluster = NewCluster::new(cluster, "token").unwrap();
    let member = cluster.members()[0].clone();
    keep("wal", "own", &wal::initial_segment(&cluster, member.id));
    keep("snap", "own", &snap::initial_snapshot(&cluster));
    keep("rows", "own-member", &member.json());
    keep("rows", "own-put", &put(7, 1, "/key", b"value").1);
    keep("rows", "own-key", &RowKey::put(Revision(7), 1).encode());
    let tombstone = RowKey { main: Revision(7), sub: 1, tombstone: true };
    keep("rows", "own-tombstone", &tombstone.encode());
    keep("rows", "real-put", b"\x0a\x03/t1\x10\x08\x18\x08\x20\x01\x2a\x01x");
    keep("rows", "real-lease", b"\x08\x90\xfc\xe5\xca\xa3\xc0\xa8\xe0\x69\x10\x90\x1c");
}
