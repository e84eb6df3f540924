//! Every byte of small databases flipped in turn: found by the structural check, or proven harmless
//! by equal contents, or a key or value that only the digest protects, because pages carry no
//! checksum.
//!
//! A map of the sound file says what each byte is. Each kind of byte has a promise; the test asks
//! every flip of every byte for it, and that nothing is said to be damaged where nothing is.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "flips/map.rs"]
mod map;
mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use etcdr_restore_engine::bolt::page::{FREELIST, Header};
use etcdr_restore_engine::bolt::patch::{self, Patch};
use etcdr_restore_engine::bolt::{Db, Meta};
use etcdr_restore_engine::check;
use etcdr_restore_engine::check::structure;
use etcdr_restore_engine::inspect::{self, Options};
use etcdr_restore_engine::semantic::examine;
use etcdr_schemas::report::Severity;
use etcdr_schemas::report::inspect::Form;
use etcdr_schemas::{Hidden, Sha256Digest};
use map::{Kind, map};
use support::Row;

/// What the check must do about a kind of byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Every flip is a finding.
    Found,
    /// Every flip is a finding, or changes no row.
    FoundOrHarmless,
    /// No flip is a finding, and none changes a row.
    Harmless,
    /// The check does not cover it: rows change, and only the digest shows it (level `semantic`
    /// when the form breaks).
    DigestOnly,
    /// A finding where order or form breaks, and otherwise as the one before.
    FoundOrDigestOnly,
    /// Every flip is a finding, unless it leads to a free page that holds an old copy of what
    /// belongs there, or past a branch to a page below it: both trees are sound then, and only the
    /// digest shows the difference.
    FoundUnlessStale,
}

/// The promise for each kind.
const fn promise(kind: Kind) -> Promise {
    match kind {
        Kind::Meta | Kind::MetaHeader | Kind::PageId | Kind::PageFlags | Kind::Count => {
            Promise::Found
        }
        Kind::ElementFlags | Kind::Element | Kind::Freelist => Promise::Found,
        Kind::InlineEnd => Promise::Found,
        Kind::Overflow | Kind::BranchKey | Kind::LastBranchKeySize => Promise::FoundOrHarmless,
        Kind::Unused | Kind::MetaUnread | Kind::InlineUnread | Kind::Sequence => Promise::Harmless,
        Kind::Value => Promise::DigestOnly,
        Kind::Key | Kind::LastSize => Promise::FoundOrDigestOnly,
        Kind::Child => Promise::FoundUnlessStale,
    }
}

type Contents = BTreeMap<Vec<u8>, Vec<Row>>;

fn contents(bytes: &[u8]) -> Option<Contents> {
    let db = Db::open(bytes).ok()?;
    let mut all = Contents::new();
    for bucket in db.buckets().ok()? {
        let mut rows = Vec::new();
        let scanned = db.scan(&bucket, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            Ok(std::ops::ControlFlow::Continue(()))
        });
        scanned.ok()?;
        all.insert(bucket.name, rows);
    }
    Some(all)
}

/// Whether the structural check has a finding.
fn found(bytes: &[u8]) -> bool {
    match Db::open(bytes) {
        Ok(db) => !structure::check(&db, &Hidden).unwrap().is_empty(),
        Err(_) => true,
    }
}

/// Flips of one byte: all of its bits in metas and headers, one or some elsewhere.
fn masks(kind: Kind, at: usize) -> &'static [u8] {
    match kind {
        Kind::Value | Kind::Key | Kind::Unused if at.is_multiple_of(2) => &[0x01],
        Kind::Value | Kind::Key | Kind::Unused => &[0xff],
        Kind::Element | Kind::ElementFlags | Kind::BranchKey => &[0x01, 0x80, 0xff],
        _ => &[1, 2, 4, 8, 16, 32, 64, 128, 0xff],
    }
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    found: u64,
    harmless: u64,
    /// Of these, level `semantic` finds so many.
    semantic: u64,
    digest_only: u64,
}

/// Whether level `semantic` has a finding above a notice.
fn means_something_else(bytes: &[u8]) -> bool {
    let examined = examine(bytes, None, 1, &Hidden).unwrap();
    let findings = examined.semantic.map(|semantic| semantic.findings).unwrap_or_default();
    findings.iter().any(|finding| finding.severity > Severity::Notice)
}

fn flip_all(name: &str, sound: &[u8]) -> BTreeMap<Kind, Count> {
    assert!(!found(sound), "{name} is not sound");
    let (kinds, want) = (map(sound), contents(sound).unwrap());
    let free = map::free_pages(sound);
    let mut counts: BTreeMap<Kind, Count> = BTreeMap::new();
    let mut bytes = sound.to_vec();
    for (at, kind) in kinds.into_iter().enumerate() {
        for mask in masks(kind, at) {
            bytes[at] ^= mask;
            let (found, same) = (found(&bytes), contents(&bytes).as_ref() == Some(&want));
            let count = counts.entry(kind).or_default();
            count.found += u64::from(found);
            count.harmless += u64::from(!found && same);
            // It takes a while, and values are most of the file.
            let asked = kind != Kind::Value || at.is_multiple_of(16);
            let semantic = asked && !found && !same && means_something_else(&bytes);
            count.semantic += u64::from(semantic);
            count.digest_only += u64::from(!found && !same && !semantic);
            let kept = match promise(kind) {
                Promise::Found => found,
                Promise::FoundOrHarmless => found || same,
                Promise::Harmless => !found && same,
                Promise::DigestOnly => !found && !same,
                Promise::FoundOrDigestOnly => true,
                Promise::FoundUnlessStale => found || leads_astray(sound, &bytes, at, &free),
            };
            let page = at / 4096;
            assert!(
                kept,
                "{name}: byte {at} (4 KiB page {page}), {kind:?} ^ {mask:#04x}: found {found}, \
                 same rows {same}"
            );
            if at.is_multiple_of(8) {
                let options = Options { meta: None, prefix_depth: 2, top: 3 };
                let form = Form::RawDatabase;
                let bytes = bytes.as_slice();
                inspect::database("x".into(), form, bytes, |_| false, options, &Hidden).unwrap();
            }
            bytes[at] ^= mask;
        }
    }
    counts
}

/// Whether one of the numbers that this byte may be part of now names a free page, which may hold
/// an old copy, or a page below the one that it named.
fn leads_astray(sound: &[u8], bytes: &[u8], at: usize, free: &[u64]) -> bool {
    let start = at.saturating_sub(7);
    let numbers = |bytes: &[u8]| -> Vec<u64> {
        let fields = bytes[start..].windows(8).take(8);
        fields.map(|field| u64::from_le_bytes(field.try_into().unwrap())).collect()
    };
    let both = numbers(sound).into_iter().zip(numbers(bytes));
    both.into_iter().any(|(was, is)| free.contains(&is) || map::below(sound, was).contains(&is))
}

/// A database with all that a file can have: branches, rows over several pages, inline buckets,
/// pages that are free, and a freelist that names them.
fn everything(freelist: bool) -> Vec<u8> {
    let mut rows = support::many(150, 40);
    rows.push(support::put(900, 0, "/big", &[b'b'; 2500]));
    rows.push(support::delete(901, 0, "/big"));
    let bytes = support::etcd(1024, rows, support::meta(7));
    // Patching leaves the pages of what it replaces free.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db");
    std::fs::write(&path, bytes).unwrap();
    let (key, value) = support::put(902, 0, "/last", b"v");
    let mut patch = Patch { append: vec![(b"key".to_vec(), key, value)], ..Patch::default() };
    patch.replace.insert(b"members".to_vec(), vec![(b"1".to_vec(), b"{\"id\":1}".to_vec())]);
    patch::apply(&path, &patch).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    if freelist { with_freelist(bytes) } else { bytes }
}

/// Adds a freelist of all that nothing uses.
fn with_freelist(mut bytes: Vec<u8>) -> Vec<u8> {
    let meta = *Db::open(bytes.as_slice()).unwrap().meta();
    let size = usize::try_from(meta.page_size).unwrap();
    let id = meta.high_water_mark;
    let free = map::free_pages(&bytes);
    let count = u16::try_from(free.len()).unwrap();
    let mut page = Header { id, flags: FREELIST, count, overflow: 0 }.encode().to_vec();
    free.iter().for_each(|free| page.extend_from_slice(&free.to_le_bytes()));
    page.resize(size, 0);
    bytes.truncate(usize::try_from(id).unwrap() * size);
    bytes.extend_from_slice(&page);
    let meta = Meta { freelist: Some(id), high_water_mark: id + 1, ..meta };
    for page in [0, 1] {
        let at = usize::try_from(page).unwrap() * size;
        bytes[at..at + 80].copy_from_slice(&meta.encode(page));
    }
    bytes
}

fn real(name: &str) -> Vec<u8> {
    let mut bytes = support::golden(name);
    bytes.truncate(bytes.len() - Sha256Digest::LEN);
    bytes
}

#[test]
fn every_flipped_byte_is_found_or_harmless_or_the_digests_business() {
    let own = everything(false);
    let files = [
        ("real, its rows inline", real("history-3.5.30.db")),
        ("real, with a tree", real("busy-3.4.23.db")),
        ("all kinds of pages", own),
        ("a stored freelist", everything(true)),
    ];
    let mut all: BTreeMap<Kind, Count> = BTreeMap::new();
    std::thread::scope(|scope| {
        let each = files.each_ref().map(|(name, bytes)| scope.spawn(|| flip_all(name, bytes)));
        for (kind, count) in each.into_iter().flat_map(|one| one.join().unwrap()) {
            let sum = all.entry(kind).or_default();
            sum.found += count.found;
            sum.harmless += count.harmless;
            sum.semantic += count.semantic;
            sum.digest_only += count.digest_only;
        }
    });
    // Every kind occurs, or its promise would be empty.
    let seen: Vec<_> = all.keys().copied().collect();
    assert_eq!(seen, Kind::ALL, "{all:#?}");
    // What the check lets pass: level `semantic` finds every wrong length and every page that was
    // taken for another, and nearly every key; what is still well formed is the digest's business,
    // and said to be: values, and keys that nothing else names, as of a user, of the built-in role,
    // or of a deletion.
    assert_eq!(
        (all[&Kind::LastSize].digest_only, all[&Kind::Child].digest_only),
        (0, 0),
        "{all:#?}"
    );
    assert!(all[&Kind::Key].digest_only * 10 < all[&Kind::Key].semantic, "{all:#?}");
    assert!(all[&Kind::Value].digest_only > 10_000, "{all:#?}");
}

#[test]
fn the_digest_finds_every_flipped_byte() {
    let file = support::golden("history-3.4.23.db");
    for at in 0..file.len() {
        let mut bytes = file.clone();
        bytes[at] ^= 1 << (at % 8);
        let chunks = [Ok(Bytes::from(bytes))].into_iter();
        let content = check::content(chunks, None, &Hidden).unwrap();
        assert!(!content.findings.is_empty(), "byte {at}");
    }
}
