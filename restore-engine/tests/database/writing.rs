//! The reader reads what the bulk writer writes, at every page size.

use std::collections::BTreeMap;
use std::io::Cursor;

use etcdr_restore_engine::Error;
use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::bolt::writer::Writer;
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::scan::key_space;
use etcdr_restore_engine::stream::SnapshotScanner;
use etcdr_schemas::Revision;
use etcdr_schemas::report::OfflineHash;
use proptest::prelude::*;

use crate::support::{build, delete, etcd, findings, many, meta, put, rows, with_digest};

const PAGE_SIZES: [u32; 4] = [1024, 4096, 16384, 65536];

fn scanned(db: Vec<u8>, chunk: usize) -> etcdr_restore_engine::facts::ImageFacts {
    let mut scanner = SnapshotScanner::new();
    with_digest(db).chunks(chunk).for_each(|chunk| scanner.push(chunk).unwrap());
    scanner.finish().unwrap().facts
}

#[test]
fn large_values_and_deep_trees_come_back() {
    for page_size in PAGE_SIZES {
        let mut all = many(3000, 40);
        for (main, size) in [(4000, 5000), (4001, 1 << 20), (4002, 3), (4003, 70_000)] {
            all.push(put(main, 0, "/big", &vec![b'x'; size]));
        }
        let db = etcd(page_size, all.clone(), meta(77));
        assert_eq!(findings(&db), [], "{page_size}");
        let open = Db::open(db.clone()).unwrap();
        assert_eq!(open.page_size(), page_size);
        assert!(rows(&open, b"key") == all, "{page_size}");
        assert_eq!(scanned(db, 32768), facts(&open).unwrap());
        assert_eq!(facts(&open).unwrap().revision, Revision(4003));
    }
}

/// The last key of a leaf can lie far behind the leaf's first page.
#[test]
fn the_scanner_waits_for_keys_behind_large_values() {
    for tail in 1..40 {
        let mut all = many(20, 10);
        all.push(put(100, 0, "/big", &vec![b'x'; 1000 * tail]));
        let mut db = etcd(1024, all, meta(5));
        // Move the last two rows into one leaf, as bbolt does: it keeps two rows on a page at
        // least.
        join_last_leaves(&mut db);
        let open = Db::open(db.clone()).unwrap();
        assert_eq!(findings(&db), []);
        assert_eq!(scanned(db, 777), facts(&open).unwrap());
        assert_eq!(facts(&open).unwrap().revision, Revision(101));
    }
}

/// Rebuilds the database by hand with a root leaf of `key` that holds a large row and a small one
/// behind it.
fn join_last_leaves(db: &mut Vec<u8>) {
    use etcdr_restore_engine::bolt::Meta;
    use etcdr_restore_engine::bolt::page::{Header, LEAF};
    let open = Db::open(db.clone()).unwrap();
    let all = rows(&open, b"key");
    let (key, value) = all.last().unwrap();
    let (next, small) = put(101, 0, "/small", b"y");
    let id = open.meta().high_water_mark;
    let data = [key.as_slice(), value, &next, &small].concat();
    let pages = (16 + 32 + data.len()).div_ceil(1024);
    let overflow = u32::try_from(pages - 1).unwrap();
    let mut page = Header { id, flags: LEAF, count: 2, overflow }.encode().to_vec();
    let second = 16 + key.len() + value.len();
    for (pos, key, value) in [(32, key, value), (second, &next, &small)] {
        for number in [0, pos, key.len(), value.len()] {
            page.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
        }
    }
    page.extend_from_slice(&data);
    page.resize(pages * 1024, 0);
    let root = usize::try_from(open.meta().root).unwrap() * 1024;
    let meta = Meta { high_water_mark: id + pages as u64, ..*open.meta() };
    db.extend_from_slice(&page);
    for page in [0u64, 1] {
        let at = usize::try_from(page).unwrap() * 1024;
        db[at..at + 80].copy_from_slice(&meta.encode(page));
    }
    // The value of bucket `key` in the root leaf is its root page.
    let leaf = &db[root..root + 1024];
    let name = leaf.windows(3).position(|bytes| bytes == b"key").unwrap();
    db[root + name + 3..root + name + 11].copy_from_slice(&id.to_le_bytes());
}

#[test]
fn many_buckets_make_a_tree_of_names() {
    let names: Vec<_> = (0..200).map(|n| format!("bucket-{n:03}").into_bytes()).collect();
    let mut buckets: Vec<(&[u8], Vec<_>)> = Vec::new();
    for name in &names {
        buckets.push((name, vec![(b"name".to_vec(), name.clone())]));
    }
    buckets.push((b"key", many(3, 10)));
    buckets.push((b"meta", meta(5)));
    let db = build(1024, &buckets);
    assert_eq!(findings(&db), []);
    let open = Db::open(db.clone()).unwrap();
    assert_eq!(open.buckets().unwrap().len(), 202);
    assert_eq!(scanned(db, 4096), facts(&open).unwrap());
}

#[test]
fn rows_that_cannot_be_stored_are_refused() {
    let mut writer = Writer::create(Cursor::new(Vec::new()), 4096).unwrap();
    assert!(matches!(writer.row(b"a", b""), Err(Error::Rows { .. })));
    writer.bucket(b"key").unwrap();
    writer.row(b"b", b"").unwrap();
    for key in [&b"a"[..], b"b", b"", &[b'x'; 40000]] {
        assert!(matches!(writer.row(key, b""), Err(Error::Rows { .. })), "{key:?}");
    }
    writer.row(b"c", b"").unwrap();
    assert!(writer.bucket(b"key").is_ok());
    assert!(matches!(writer.finish(), Err(Error::Rows { .. })));
    for page_size in [0, 512, 5000, 1 << 17] {
        assert!(Writer::create(Cursor::new(Vec::new()), page_size).is_err());
    }
}

/// HashKV in its simplest form: docs/etcd-formats.md 5.1.
fn model(history: &[(i64, i64, u8, bool)], at: i64, compact: i64) -> (u32, u64) {
    let row = |(main, sub, key, deleted): (i64, i64, u8, bool)| {
        let name = format!("/k{key}");
        if deleted { delete(main, sub, &name) } else { put(main, sub, &name, &[key; 9]) }
    };
    let mut newest = BTreeMap::new();
    for (main, sub, key, deleted) in history.iter().filter(|row| row.0 <= at) {
        newest.insert(*key, (*main, *sub, *deleted));
    }
    newest.retain(|_, (_, _, deleted)| !*deleted);
    let keep: Vec<_> = newest.values().map(|(main, sub, _)| (*main, *sub)).collect();
    let mut bytes = b"key".to_vec();
    for entry in history.iter().filter(|row| row.0 <= at) {
        let (main, sub, _, deleted) = *entry;
        let skipped = main <= compact && !keep.is_empty() && !keep.contains(&(main, sub));
        let kept_tombstone = main == compact && deleted;
        if !skipped && !kept_tombstone {
            let (key, value) = row(*entry);
            bytes.extend(key);
            bytes.extend(value);
        }
    }
    (crc32c::crc32c(&bytes), keep.len() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rows_come_back_and_facts_agree(
        all in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 1..40),
            proptest::collection::vec(any::<u8>(), 0..3000), 0..120),
        revisions in 0i64..200,
        page_size in prop::sample::select(&PAGE_SIZES[..]),
        chunk in 1usize..50_000,
    ) {
        let all: Vec<_> = all.into_iter().collect();
        let db = build(page_size, &[
            (b"key", many(revisions, 60)), (b"meta", meta(3)), (b"other", all.clone()),
        ]);
        prop_assert_eq!(findings(&db), vec![]);
        let open = Db::open(db.clone()).unwrap();
        prop_assert!(rows(&open, b"other") == all);
        prop_assert_eq!(scanned(db, chunk), facts(&open).unwrap());
    }

    #[test]
    fn hash_and_count_follow_the_rules(
        changes in proptest::collection::vec((0u8..6, any::<bool>(), 0i64..2), 1..40),
        compact in prop::option::of(2i64..40),
        back in 0i64..10,
    ) {
        let mut history: Vec<(i64, i64, u8, bool)> = Vec::new();
        for (key, deleted, advance) in changes {
            let (main, sub) = match history.last() {
                Some((main, sub, ..)) if advance == 0 => (*main, sub + 1),
                Some((main, ..)) => (main + 1, 0),
                None => (2, 0),
            };
            history.push((main, sub, key, deleted));
        }
        let mut marks = meta(3);
        if let Some(compact) = compact {
            let (key, _) = put(compact, 0, "", b"");
            marks.insert(2, (b"scheduledCompactRev".to_vec(), key));
        }
        let stored = history.iter().map(|&(main, sub, key, deleted)| {
            let name = format!("/k{key}");
            if deleted { delete(main, sub, &name) } else { put(main, sub, &name, &[key; 9]) }
        });
        let db = Db::open(etcd(4096, stored.collect(), marks)).unwrap();
        let current = history.last().map_or(1, |row| row.0).max(compact.unwrap_or(1));
        let compact = compact.unwrap_or(-1);
        let at = (current - back).max(compact).max(1);
        let got = key_space(&db, Some(Revision(at))).unwrap();
        let (hash, live) = model(&history, at, compact);
        let want = OfflineHash { revision: Revision(at), compact_revision: compact, hash };
        prop_assert_eq!((got.hash, got.live_keys), (want, live));
    }
}
