//! A file as a stream: through the scanner and through the intake, in pieces of any size.

use bytes::Bytes;
use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::stream::SnapshotScanner;
use etcdr_restore_engine::stream::refile;
use etcdr_schemas::Sha256Digest;

/// Both agree with random access, and the size of the pieces changes nothing.
pub(crate) fn run(data: &[u8]) {
    let scanned = scan(data, 32768);
    let seed = crc32c::crc32c(data) as usize;
    for size in [1 + seed % 999, 4096, data.len().max(1)] {
        let again = scan(data, size);
        assert_eq!(scanned.is_ok(), again.is_ok(), "pieces of {size}: {scanned:?} / {again:?}");
        if let (Ok(one), Ok(other)) = (&scanned, &again) {
            assert_eq!(one, other, "pieces of {size}");
        }
    }
    if let Ok(scanned) = &scanned {
        assert_eq!(scanned.plain_sha256, Sha256Digest::of(data));
        if let Ok(random) = Db::open(data).and_then(|db| facts(&db)) {
            assert_eq!(random, scanned.facts);
        }
    }
    let chunks = data.chunks(5000).map(|chunk| Ok(Bytes::copy_from_slice(chunk)));
    let mut made = Vec::new();
    let refiled = refile::as_snapshot_file(chunks, &mut |bytes| {
        made.extend_from_slice(&bytes);
        Ok(())
    });
    if refiled.is_ok() {
        let body = made.len() - Sha256Digest::LEN;
        assert!(data.starts_with(&made[..body]), "bytes were invented");
        assert_eq!(Sha256Digest::of(&made[..body]).as_bytes()[..], made[body..]);
    }
}

fn scan(
    data: &[u8],
    size: usize,
) -> etcdr_restore_engine::Result<etcdr_restore_engine::stream::ScannedSnapshot> {
    let mut scanner = SnapshotScanner::new();
    for chunk in data.chunks(size) {
        scanner.push(chunk)?;
    }
    scanner.finish()
}

/// Repairs the checksums of the meta pages and the digest at the end.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn fix(data: &mut Vec<u8>) {
    super::bolt::fix(data);
    let body = data.len().saturating_sub(Sha256Digest::LEN);
    let digest = Sha256Digest::of(&data[..body]);
    data.truncate(body);
    data.extend_from_slice(digest.as_bytes());
}
