//! The database half against files of real servers, planted defects and generated databases.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use etcdr_restore_engine::bolt::{Db, Root};
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::scan::{hash_kv, key_space, live_keys};
use etcdr_restore_engine::stream::SnapshotScanner;
use etcdr_restore_engine::{Error, buckets};
use etcdr_schemas::Revision;
use support::{GOLDEN, golden};

#[path = "database/defects.rs"]
mod defects;
#[path = "database/hostile.rs"]
mod hostile;
#[path = "database/patching.rs"]
mod patching;
#[path = "database/writing.rs"]
mod writing;

fn open(name: &str) -> Db<Vec<u8>> {
    Db::open(golden(name)).unwrap()
}

#[test]
fn real_files_are_sound() {
    for name in GOLDEN {
        assert_eq!(support::findings(&golden(name)), [], "{name}");
    }
}

#[test]
fn real_files_have_etcds_buckets() {
    for name in GOLDEN {
        let names: Vec<_> = open(name).buckets().unwrap().into_iter().map(|b| b.name).collect();
        for bucket in [buckets::KEY, buckets::META, buckets::MEMBERS, buckets::LEASE] {
            assert!(names.iter().any(|name| name == bucket), "{name}: {names:?}");
        }
    }
}

#[test]
fn rows_and_lookups_agree() {
    for name in GOLDEN {
        let db = open(name);
        for bucket in db.buckets().unwrap() {
            let rows = support::rows(&db, &bucket.name);
            for (key, value) in &rows {
                assert_eq!(db.get(&bucket, key).unwrap().as_ref(), Some(value));
                let beside = [key.as_slice(), b"!"].concat();
                assert_eq!(db.get(&bucket, &beside).unwrap(), None);
            }
            assert_eq!(db.last(&bucket).unwrap(), rows.last().cloned());
        }
    }
}

#[test]
fn both_kinds_of_bucket_occur() {
    let inline = |name: &str| {
        let key = open(name).bucket(buckets::KEY).unwrap().unwrap();
        matches!(key.root, Root::Inline { .. })
    };
    assert!(inline("history-3.4.23.db"));
    assert!(!inline("busy-3.5.30.db"));
}

// What the servers reported for these files.
const HISTORY: [(i64, u32); 11] = [
    (2, 2_150_085_451),
    (3, 2_014_884_989),
    (4, 589_092_985),
    (5, 2_673_453_993),
    (6, 647_154_229),
    (7, 3_836_470_467),
    (8, 1_664_597_429),
    (9, 992_534_133),
    (10, 1_165_203_179),
    (11, 2_244_901_079),
    (12, 2_428_280_166),
];

#[test]
fn hash_kv_is_what_the_servers_reported() {
    let mut cases: Vec<(&str, i64, i64, u32)> = vec![
        ("compacted-3.4.23.db", 7, 6, 1_787_867_249),
        ("compacted-3.4.23.db", 12, 6, 1_877_774_896),
        ("busy-3.4.23.db", 20, 6, 2_338_072_037),
        ("busy-3.4.23.db", 53, 6, 3_840_923_075),
        ("busy-3.5.30.db", 20, 6, 3_471_906_595),
        ("busy-3.5.30.db", 53, 6, 2_223_792_392),
        ("compacted-3.6.14.db", 7, 6, 1_787_867_249),
        ("compacted-3.6.14.db", 12, 6, 1_877_774_896),
        ("busy-3.6.14.db", 20, 6, 543_906_754),
        ("busy-3.6.14.db", 53, 6, 1_271_933_391),
        ("busy-3.7.1.db", 20, 6, 1_608_297_815),
        ("busy-3.7.1.db", 53, 6, 1_531_258_939),
    ];
    for name in ["history-3.4.23.db", "history-3.5.30.db", "history-3.7.1.db"] {
        cases.extend(HISTORY.map(|(revision, hash)| (name, revision, -1, hash)));
    }
    for (name, revision, compact, hash) in cases {
        let db = open(name);
        let got = hash_kv(&db, Some(Revision(revision))).unwrap();
        assert_eq!((got.hash, got.compact_revision), (hash, compact), "{name} at {revision}");
        assert_eq!(key_space(&db, Some(Revision(revision))).unwrap().hash, got);
    }
}

#[test]
fn live_keys_follow_the_history() {
    let db = open("history-3.5.30.db");
    let at = |revision| live_keys(&db, Some(Revision(revision))).unwrap();
    let got: Vec<_> = (2..=12).map(at).collect();
    assert_eq!(got, [1, 1, 2, 3, 2, 3, 6, 7, 8, 9, 6]);
    assert_eq!(key_space(&db, None).unwrap().live_keys, 6);
}

#[test]
fn revisions_outside_the_history_are_refused() {
    let db = open("compacted-3.4.23.db");
    for asked in [5, 13] {
        let error = hash_kv(&db, Some(Revision(asked))).unwrap_err();
        assert!(matches!(error, Error::NotCovered { .. }), "{error}");
    }
}

#[test]
fn facts_are_read_out_of_the_bytes() {
    let history = facts(&open("history-3.4.23.db")).unwrap();
    assert_eq!((history.revision, history.compact_revision), (Revision(12), None));
    assert_eq!((history.page_size, history.db_size, history.raft_term), (4096, 20480, None));
    assert!(history.raft_index.is_some());
    let busy = facts(&open("busy-3.5.30.db")).unwrap();
    assert_eq!((busy.revision, busy.compact_revision), (Revision(53), Some(Revision(6))));
    assert!(busy.raft_term.is_some());
    for (name, version) in [("busy-3.6.14.db", "3.6.0"), ("busy-3.7.1.db", "3.7.0")] {
        assert_eq!(facts(&open(name)).unwrap().storage_version.as_deref(), Some(version), "{name}");
    }
}

#[test]
fn scanner_and_random_access_agree_however_the_file_is_cut() {
    for name in GOLDEN {
        let file = golden(name);
        for size in [1, 7, 1000, 4096, 32768, 1 << 20] {
            let mut scanner = SnapshotScanner::new();
            for chunk in file.chunks(size) {
                scanner.push(chunk).unwrap();
            }
            let scanned = scanner.finish().unwrap();
            assert_eq!(scanned.facts, facts(&open(name)).unwrap(), "{name} by {size}");
            assert_eq!(scanned.plain_size, file.len() as u64);
            assert_eq!(scanned.plain_sha256, etcdr_schemas::Sha256Digest::of(&file));
        }
    }
}
