//! Files that are broken, cut or invented: each gives a result or an error, never a panic or a
//! hang.

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::check::structure;
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::scan::key_space;
use etcdr_restore_engine::stream::SnapshotScanner;
use etcdr_restore_engine::{Error, Result};
use etcdr_schemas::{Hidden, Sha256Digest};
use proptest::prelude::*;

use crate::support::{etcd, golden, many, meta, rows, with_digest};

/// Does everything that can be done with a file.
fn exercise(bytes: &[u8]) {
    let Ok(db) = Db::open(bytes) else { return };
    let _ = structure::check(&db, &Hidden);
    let _ = facts(&db);
    let _ = key_space(&db, None);
    if let Ok(buckets) = db.buckets() {
        for bucket in buckets {
            let _ = db.last(&bucket);
            let _ = db.get(&bucket, b"consistent_index");
        }
    }
}

fn scan(file: &[u8], size: usize) -> Result<()> {
    let mut scanner = SnapshotScanner::new();
    for chunk in file.chunks(size) {
        scanner.push(chunk)?;
    }
    scanner.finish().map(|_| ())
}

#[test]
fn every_flipped_byte_gets_an_answer() {
    let file = golden("busy-3.5.30.db");
    let used = file.len() - Sha256Digest::LEN;
    // All bytes of headers and elements matter; of keys and values every seventh is enough.
    for at in (0..used).filter(|at| at % 4096 < 512 || at % 7 == 0) {
        let mut broken = file.clone();
        broken[at] ^= 0xff;
        exercise(&broken[..used]);
        // With a digest that fits, so that the pages are reached.
        if at % 3 == 0 {
            let _ = scan(&with_digest(broken[..used].to_vec()), 32768);
        }
    }
}

#[test]
fn every_flipped_byte_fails_the_digest() {
    let file = golden("history-3.4.23.db");
    for at in (0..file.len()).step_by(61).chain(file.len() - 40..file.len()) {
        let mut broken = file.clone();
        broken[at] ^= 1;
        assert!(scan(&broken, 32768).is_err(), "byte {at}");
    }
}

#[test]
fn a_cut_or_longer_file_is_refused() {
    let file = golden("busy-3.4.23.db");
    for len in (0..file.len()).step_by(37).chain(file.len() - 40..file.len()) {
        assert!(scan(&file[..len], 32768).is_err(), "{len} bytes");
    }
    for more in [1, 32, 4096, 1 << 20] {
        let longer = [file.clone(), vec![0; more]].concat();
        let error = scan(&longer, 32768).unwrap_err();
        assert!(matches!(error, Error::Length { .. }), "{error}");
    }
}

#[test]
fn files_that_are_no_database_are_refused() {
    let noise: Vec<u8> =
        (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for file in [vec![], vec![0; 31], vec![0; 5000], vec![0; 1 << 20], noise] {
        assert!(matches!(Db::open(file.as_slice()), Err(Error::NotBolt { .. })));
        assert!(matches!(scan(&file, 4096), Err(Error::NotBolt { .. })));
    }
}

/// A free page that claims an overflow must not hide the used pages behind it from the scanner.
#[test]
fn stale_headers_do_not_hide_pages() {
    let mut bytes = etcd(4096, many(500, 300), meta(9));
    let db = Db::open(bytes.clone()).unwrap();
    let want = facts(&db).unwrap();
    let spare = db.meta().high_water_mark;
    let meta = etcdr_restore_engine::bolt::Meta { high_water_mark: spare + 1, ..*db.meta() };
    // A stale leaf at the end whose last key lies behind the end of the database.
    let mut stale = bytes[2 * 4096..3 * 4096].to_vec();
    stale[..8].copy_from_slice(&spare.to_le_bytes());
    stale[12] = 200;
    bytes.extend_from_slice(&stale);
    // The first page of the tree becomes free and claims everything behind it.
    for page in [0u64, 1] {
        let at = usize::try_from(page * 4096).unwrap();
        bytes[at..at + 80].copy_from_slice(&meta.encode(page));
    }
    let mut scanner = SnapshotScanner::new();
    scanner.push(&with_digest(bytes)).unwrap();
    let got = scanner.finish().unwrap().facts;
    assert_eq!((got.revision, got.raft_index), (want.revision, want.raft_index));
}

#[test]
fn a_page_that_is_its_own_child_ends() {
    let bytes = etcd(1024, many(400, 100), meta(7));
    let db = Db::open(bytes.clone()).unwrap();
    for page in 2..db.meta().high_water_mark {
        let at = usize::try_from(page * 1024).unwrap();
        if bytes[at + 8] == 1 {
            let mut broken = bytes.clone();
            broken[at + 24..at + 32].copy_from_slice(&page.to_le_bytes());
            exercise(&broken);
            assert!(key_space(&Db::open(broken).unwrap(), None).is_err());
        }
    }
    assert_eq!(rows(&db, b"key").len(), 400);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn several_broken_places_get_an_answer(
        spots in proptest::collection::vec((0usize..200 * 1024, any::<u8>()), 1..12)
    ) {
        let mut bytes = etcd(1024, many(300, 120), meta(7));
        for (at, byte) in spots {
            // Not the metas: their checksum would only hide the rest.
            let at = 2048 + at % (bytes.len() - 2048);
            bytes[at] = byte;
        }
        exercise(&bytes);
        let _ = scan(&with_digest(bytes), 10_000);
    }
}
