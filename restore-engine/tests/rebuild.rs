//! Databases that are written anew, against a model of the whole history.
//!
//! Goal: a rebuilt store answers every read at every revision that it still covers as the source
//! did, but for what was asked to be left out; nothing of what was left out survives in the file.
//! Method: random histories with transactions, deletions, re-creations, leases and compactions are
//! written as etcd stores them, restored through every selection, and read back row by row.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use bytes::Bytes;
use chrono::{DateTime, TimeZone, Utc};
use etcdr_restore_engine::bolt::{Db, patch};
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::membership::InitialCluster;
use etcdr_restore_engine::mvcc::{RowKey, key_of};
use etcdr_restore_engine::plan::{Bump, RestoreRequest, Selection, Target, plan};
use etcdr_restore_engine::restore::{preflight, restore};
use etcdr_restore_engine::stream::Source;
use etcdr_restore_engine::{Error, check, scan};
use etcdr_schemas::pb::etcd::KeyValue;
use etcdr_schemas::report::{DropReason, History, RestoreReceipt};
use etcdr_schemas::{Diagnose, ExitCode, Hidden, Revision};
use proptest::prelude::*;
use prost::Message as _;
use tempfile::TempDir;

use support::{GOLDEN, Row, etcd, golden, many, meta, put, rows, with_digest};

fn at(seconds: i64) -> DateTime<Utc> {
    Utc.timestamp_opt(seconds, 0).unwrap()
}

const NOW: i64 = 1_800_000_000;

fn request(file: &[u8], dir: &Path, selection: Selection) -> RestoreRequest {
    RestoreRequest {
        source: Source::inspect("test".into(), file.to_vec(), None).unwrap(),
        initial_cluster: InitialCluster::parse("m=http://127.0.0.1:2380").unwrap(),
        token: "fresh".into(),
        targets: vec![Target {
            name: "m".into(),
            data_dir: dir.join("m"),
            wal_dir: None,
            advertise: None,
        }],
        target_version: None,
        bump: Bump::None,
        mark_compacted: false,
        replace: false,
        skip_hash_check: false,
        keep_alarms: false,
        selection,
        now: at(NOW),
    }
}

/// The result of a restore.
struct Restored {
    receipt: RestoreReceipt,
    bytes: Vec<u8>,
}

impl Restored {
    fn db(&self) -> Db<Vec<u8>> {
        Db::open(self.bytes.clone()).unwrap()
    }
}

fn carry_out(file: &[u8], request: RestoreRequest) -> Result<Restored, Error> {
    let chunks: Vec<_> = file.chunks(5000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    let data_dir = request.targets[0].data_dir.clone();
    let receipt = restore(&plan(request)?, chunks.into_iter(), &|| at(NOW), &Hidden)?;
    let verdict = check::data_dir(&data_dir, None, &Hidden).unwrap();
    assert_eq!(verdict.findings, []);
    Ok(Restored { receipt, bytes: fs::read(data_dir.join("member/snap/db")).unwrap() })
}

fn run(file: &[u8], selection: Selection) -> Result<Restored, Error> {
    let dir = TempDir::new().unwrap();
    let restored = carry_out(file, request(file, dir.path(), selection))?;
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "the member and two receipts: {left:?}");
    Ok(restored)
}

fn rebuild() -> Selection {
    Selection { rebuild: true, ..Selection::default() }
}

// ---- The model ----

/// One change of one key in a transaction.
#[derive(Debug, Clone)]
enum Op {
    Put { lease: i64 },
    Delete,
}

/// Transactions in order; the first one is revision 2.
type Transactions = Vec<Vec<(usize, Op)>>;

const KEYS: [&str; 6] = ["/a/1", "/a/2", "/b/1", "/b/22", "c", "/a"];

/// Key to its value, at each revision from 1 on.
type States = Vec<BTreeMap<String, KeyValue>>;

/// Without deletions of what is not there, which leave nothing and raise no revision.
fn effective(transactions: Transactions) -> Transactions {
    let mut there = BTreeSet::new();
    let mut keep = |(key, op): &(usize, Op)| match op {
        Op::Put { .. } => {
            there.insert(*key);
            true
        }
        Op::Delete => there.remove(key),
    };
    let mut kept = Vec::new();
    for mut transaction in transactions {
        transaction.retain(&mut keep);
        kept.push(transaction);
    }
    kept.retain(|transaction| !transaction.is_empty());
    kept
}

fn states(transactions: &Transactions) -> States {
    let mut states: States = vec![BTreeMap::new(), BTreeMap::new()];
    for (number, transaction) in transactions.iter().enumerate() {
        let main = i64::try_from(number).unwrap() + 2;
        let mut state = states.last().unwrap().clone();
        for (sub, (key, op)) in transaction.iter().enumerate() {
            let key = KEYS[*key].to_owned();
            match op {
                Op::Delete => drop(state.remove(&key)),
                Op::Put { lease } => {
                    let old = state.get(&key);
                    let new = KeyValue {
                        key: key.clone().into(),
                        create_revision: old.map_or(main, |old| old.create_revision),
                        mod_revision: main,
                        version: old.map_or(1, |old| old.version + 1),
                        value: format!("{main}.{sub}").into(),
                        lease: *lease,
                    };
                    state.insert(key, new);
                }
            }
        }
        states.push(state);
    }
    states
}

/// Rows as etcd stores them, before any compaction.
fn history(transactions: &Transactions) -> Vec<Row> {
    let mut found = Vec::new();
    let mut state: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (number, transaction) in transactions.iter().enumerate() {
        let main = i64::try_from(number).unwrap() + 2;
        for (sub, (key, op)) in (0..).zip(transaction) {
            let key = KEYS[*key].to_owned();
            let tombstone = matches!(op, Op::Delete);
            let row = RowKey { main: Revision(main), sub, tombstone };
            let value = match op {
                Op::Delete => {
                    state.remove(&key);
                    KeyValue { key: key.into(), ..KeyValue::default() }
                }
                Op::Put { lease } => {
                    let (create, version) = state.get(&key).map_or((main, 1), |(c, v)| (*c, v + 1));
                    state.insert(key.clone(), (create, version));
                    KeyValue {
                        key: key.into(),
                        create_revision: create,
                        mod_revision: main,
                        version,
                        value: format!("{main}.{sub}").into(),
                        lease: *lease,
                    }
                }
            };
            found.push((row.encode(), value.encode_to_vec()));
        }
    }
    found
}

fn main_of(row: &Row) -> i64 {
    RowKey::parse(&row.0).unwrap().main.0
}

fn key_in(row: &Row) -> Vec<u8> {
    key_of(&row.1).unwrap().to_vec()
}

/// What a compaction at `compact` leaves; `keep_tombstone` is what newer servers do with one at it.
fn compacted(rows: Vec<Row>, compact: i64, keep_tombstone: bool) -> Vec<Row> {
    let mut newest: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for row in rows.iter().filter(|row| main_of(row) <= compact) {
        newest.insert(key_in(row), row.0.clone());
    }
    let stays = |row: &Row| {
        let tombstone = RowKey::parse(&row.0).unwrap().tombstone;
        main_of(row) > compact
            || (newest[&key_in(row)] == row.0
                && (!tombstone || (keep_tombstone && main_of(row) == compact)))
    };
    rows.into_iter().filter(stays).collect()
}

/// State at a revision, read out of rows.
fn read_at(rows: &[Row], revision: i64) -> BTreeMap<String, KeyValue> {
    let mut state = BTreeMap::new();
    for (raw, message) in rows {
        let row = RowKey::parse(raw).unwrap();
        if row.main.0 > revision {
            break;
        }
        let value = KeyValue::decode(message.as_slice()).unwrap();
        let key = String::from_utf8(value.key.to_vec()).unwrap();
        if row.tombstone { drop(state.remove(&key)) } else { drop(state.insert(key, value)) }
    }
    state.remove("");
    state
}

fn lease_row(id: i64, ttl: i64) -> Row {
    use etcdr_schemas::pb::disk::Lease;
    let lease = Lease { id: Some(id), ttl: Some(ttl), remaining_ttl: None };
    (id.to_be_bytes().to_vec(), lease.encode_to_vec())
}

/// A snapshot with these rows and leases.
fn database(page_size: u32, rows: Vec<Row>, leases: Vec<Row>, compact: Option<i64>) -> Vec<u8> {
    let mut markers = meta(9);
    if let Some(compact) = compact {
        let marker = RowKey::put(Revision(compact), 0).encode();
        markers.push((b"finishedCompactRev".to_vec(), marker.clone()));
        markers.push((b"scheduledCompactRev".to_vec(), marker));
        markers.sort();
    }
    let member = (b"be1b32b7b1ce69d".to_vec(), br#"{"id":1,"name":"a"}"#.to_vec());
    let user = (b"root".to_vec(), b"\x0a\x04root".to_vec());
    let enabled = vec![
        (b"authEnabled".to_vec(), vec![1]),
        (b"authRevision".to_vec(), 7u64.to_be_bytes().to_vec()),
    ];
    with_digest(support::build(
        page_size,
        &[
            (b"alarm", vec![(b"\x08\x01\x10\x01".to_vec(), vec![])]),
            (b"auth", enabled),
            (b"authRoles", vec![(b"reader".to_vec(), b"\x0a\x06reader".to_vec())]),
            (b"authUsers", vec![user]),
            (b"cluster", vec![(b"clusterVersion".to_vec(), b"3.5.0".to_vec())]),
            (b"key", rows),
            (b"lease", leases),
            (b"members", vec![member]),
            (b"meta", markers),
        ],
    ))
}

fn operation() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => Just(Op::Put { lease: 0 }),
        2 => (1i64..6).prop_map(|lease| Op::Put { lease }),
        2 => Just(Op::Delete),
    ]
}

fn transactions() -> impl Strategy<Value = Transactions> {
    let transaction = proptest::collection::btree_map(0..KEYS.len(), operation(), 1..4);
    let all =
        proptest::collection::vec(transaction.prop_map(|ops| ops.into_iter().collect()), 1..25);
    all.prop_map(effective)
}

fn selection() -> impl Strategy<Value = Selection> {
    let prefix = prop_oneof![Just("/a/"), Just("/a"), Just("/b/"), Just("c"), Just("/b/2")];
    let prefixes = proptest::collection::vec(prefix.prop_map(str::to_owned), 0..3);
    (prefixes, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(prefixes, only, current, drop_leases, drop_expired, drop_auth)| Selection {
            rebuild: true,
            only_prefixes: if only { prefixes.clone() } else { Vec::new() },
            exclude_prefixes: if only { Vec::new() } else { prefixes },
            history: if current { History::Current } else { History::All },
            drop_leases,
            drop_expired,
            expired_at: None,
            // Leases 1 and 2 have 100 seconds to live, the others 1000.
            taken_at: Some(at(NOW - 500)),
            drop_auth,
            kubernetes: false,
        },
    )
}

/// Whether a key is left out of the model.
fn is_left_out(key: &str, newest: &BTreeMap<String, KeyValue>, selection: &Selection) -> bool {
    let begins = |prefix: &String| key.starts_with(prefix.as_str());
    let only = &selection.only_prefixes;
    let due = newest.get(key).is_some_and(|value| matches!(value.lease, 1 | 2));
    (!only.is_empty() && !only.iter().any(begins))
        || selection.exclude_prefixes.iter().any(begins)
        || (selection.drop_expired && due)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_rebuilt_store_is_the_model_without_what_was_left_out(
        transactions in transactions(),
        selection in selection(),
        page_size in prop_oneof![Just(1024u32), Just(4096), Just(16384)],
        compact in proptest::option::of((0usize..1000, any::<bool>())),
        raise in any::<bool>(),
    ) {
        let states = states(&transactions);
        let current = i64::try_from(states.len()).unwrap() - 1;
        let revision = |place: usize| 1 + i64::try_from(place).unwrap() % current;
        let compact = compact.map(|(place, keep)| (revision(place), keep));
        let mut source_rows = history(&transactions);
        if let Some((compact, keep)) = compact {
            source_rows = compacted(source_rows, compact, keep);
        }
        // Lease 5 is missing: it dangles wherever a live key names it.
        let leases = (1..5).map(|id| lease_row(id, if id < 3 { 100 } else { 1000 })).collect();
        let file = database(page_size, source_rows.clone(), leases, compact.map(|(at, _)| at));
        let revision = facts(&Db::open(file.clone()).unwrap()).unwrap().revision;

        let dir = TempDir::new().unwrap();
        let mut request = request(&file, dir.path(), selection.clone());
        if raise {
            request.bump = Bump::By(1000);
            request.mark_compacted = true;
        }
        let restored = match carry_out(&file, request) {
            Ok(restored) => restored,
            Err(Error::Request { message }) => {
                // A prefix that no row has.
                let unmatched = |prefix: &String| {
                    !source_rows.iter().any(|row| key_in(row).starts_with(prefix.as_bytes()))
                };
                prop_assert!(selection.only_prefixes.iter().any(unmatched), "{}", message);
                return Ok(());
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        let db = restored.db();
        let facts = facts(&db).unwrap();
        prop_assert_eq!(facts.revision.0, revision.0 + if raise { 1000 } else { 0 });
        prop_assert_eq!(facts.page_size, page_size);
        let written = rows(&db, b"key");

        let newest = &states[states.len() - 1];
        let expected = |revision: i64| {
            let mut state = states[usize::try_from(revision).unwrap()].clone();
            state.retain(|key, _| !is_left_out(key, newest, &selection));
            for value in state.values_mut().filter(|_| selection.drop_leases) {
                value.lease = 0;
            }
            state
        };
        let oldest = match selection.history {
            History::Current => current,
            History::All => compact.map_or(1, |(compact, _)| compact),
        };
        for revision in oldest..=current {
            prop_assert_eq!(read_at(&written, revision), expected(revision), "at {}", revision);
        }
        if selection.history == History::Current {
            let kept = written.iter().filter(|row| !key_in(row).is_empty()).count();
            prop_assert_eq!(kept, expected(current).len());
            prop_assert!(facts.compact_revision >= Some(revision));
        } else if !raise {
            prop_assert_eq!(facts.compact_revision, compact.map(|(at, _)| Revision(at)));
        }

        let left: BTreeSet<i64> = rows(&db, b"lease")
            .iter()
            .map(|(id, _)| i64::from_be_bytes(id.as_slice().try_into().unwrap()))
            .collect();
        let live = expected(current);
        let named = live.values().map(|value| value.lease).filter(|id| *id != 0);
        let named: BTreeSet<i64> = named.collect();
        prop_assert!(named.is_subset(&left), "{:?} of {:?}", named, left);
        let mut want: BTreeSet<i64> = named;
        if !selection.drop_leases {
            want.extend([3, 4]);
            if !selection.drop_expired {
                want.extend([1, 2]);
            }
        }
        prop_assert_eq!(left, want);

        let rebuilt = restored.receipt.rebuilt.as_ref().unwrap();
        let gone: u64 = rebuilt.dropped.iter().map(|dropped| dropped.rows).sum();
        prop_assert_eq!(rebuilt.rows_read, source_rows.len() as u64);
        prop_assert_eq!(rebuilt.rows_kept + gone, rebuilt.rows_read);
        let keys: u64 = rebuilt.dropped.iter().map(|dropped| dropped.keys).sum();
        if !rebuilt.dropped.is_empty() {
            prop_assert_eq!(keys, (newest.len() - live.len()) as u64);
        }
        prop_assert_eq!(restored.receipt.live_keys, live.len() as u64);
        prop_assert_eq!(rows(&db, b"authUsers").is_empty(), selection.drop_auth);
    }

    #[test]
    fn a_rebuild_that_leaves_nothing_out_has_the_rows_of_a_plain_restore(
        transactions in transactions(),
        compact in proptest::option::of((0usize..1000, any::<bool>())),
    ) {
        let mut source_rows = history(&transactions);
        let current = i64::try_from(transactions.len()).unwrap() + 1;
        let revision = |place: usize| 1 + i64::try_from(place).unwrap() % current;
        let compact = compact.map(|(place, keep)| (revision(place), keep));
        if let Some((compact, keep)) = compact {
            source_rows = compacted(source_rows, compact, keep);
        }
        let leases = vec![lease_row(2, 100)];
        let file = database(4096, source_rows, leases, compact.map(|(at, _)| at));
        let selections = [Selection::default(), rebuild()];
        let [plain, rebuilt] = selections.map(|how| run(&file, how).unwrap());
        prop_assert_eq!(plain.receipt.hash_kv, rebuilt.receipt.hash_kv);
        prop_assert_eq!(&plain.receipt.dangling_leases, &rebuilt.receipt.dangling_leases);
        let content = |restored: &Restored| {
            let db = restored.db();
            let names = db.buckets().unwrap().into_iter().map(|bucket| bucket.name);
            names.map(|name| (name.clone(), rows(&db, &name))).collect::<Vec<_>>()
        };
        prop_assert_eq!(content(&plain), content(&rebuilt));
        let oldest = compact.map_or(1, |(compact, _)| compact);
        for revision in oldest..=current {
            let at = Some(Revision(revision));
            let hash = |restored: &Restored| scan::hash_kv(&restored.db(), at).unwrap();
            prop_assert_eq!(hash(&plain), hash(&rebuilt), "at {}", revision);
        }
    }
}

#[test]
fn files_of_real_servers_come_through_a_rebuild() {
    for name in GOLDEN {
        let file = golden(name);
        let [plain, rebuilt] =
            [Selection::default(), rebuild()].map(|how| run(&file, how).unwrap());
        assert_eq!(plain.receipt.hash_kv, rebuilt.receipt.hash_kv, "{name}");
        assert_eq!(plain.receipt.live_keys, rebuilt.receipt.live_keys, "{name}");
        assert!(rebuilt.bytes.len() < plain.bytes.len(), "{name}");
        for bucket in plain.db().buckets().unwrap() {
            let both = [&plain, &rebuilt].map(|restored| rows(&restored.db(), &bucket.name));
            assert_eq!(both[0], both[1], "{name}");
        }
        assert!(plain.receipt.rebuilt.is_none());
        let report = rebuilt.receipt.rebuilt.unwrap();
        assert_eq!((report.dropped.len(), report.rows_kept), (0, report.rows_read));
        assert_eq!(report.bytes, rebuilt.bytes.len() as u64);
    }
}

#[test]
fn the_same_rebuild_gives_the_same_bytes() {
    let file = golden("busy-3.5.30.db");
    let once =
        || run(&file, Selection { exclude_prefixes: vec!["/a".into()], ..rebuild() }).unwrap();
    assert!(once().bytes == once().bytes);
}

/// Deleted values survive in the free pages of a database for as long as nothing else is written
/// there.
#[test]
fn nothing_of_free_pages_survives_a_rebuild() {
    let secret = b"the password that was deleted";
    let mut all = many(20, 300);
    all.push(put(30, 0, "/registry/secrets/a/b", secret));
    let bare = etcd(4096, all, meta(9));
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("db");
    fs::write(&path, &bare).unwrap();
    // What a deletion and a compaction leave: the row is gone, its page is free and has it still.
    let replace = [(b"key".to_vec(), many(20, 300))].into();
    patch::apply(&path, &patch::Patch { replace, ..patch::Patch::default() }).unwrap();
    let file = with_digest(fs::read(&path).unwrap());
    let holds = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret);
    assert!(holds(&run(&file, Selection::default()).unwrap().bytes), "the defect is not planted");
    assert!(!holds(&run(&file, rebuild()).unwrap().bytes));

    // What a prefix leaves out is gone from the file as well.
    let file = with_digest(bare);
    let without = Selection { exclude_prefixes: vec!["/registry/secrets/".into()], ..rebuild() };
    assert!(holds(&run(&file, rebuild()).unwrap().bytes));
    assert!(!holds(&run(&file, without).unwrap().bytes));
}

#[test]
fn a_rebuilt_file_is_packed_whatever_the_size_of_its_values() {
    for size in [100, 1000, 2100, 3000, 5000, 6500, 9000, 14_000] {
        let all = many(i64::try_from(2_000_000 / size).unwrap(), size);
        let payload: usize = all.iter().map(|(key, value)| key.len() + value.len() + 16).sum();
        let file = with_digest(etcd(4096, all, meta(9)));
        let bytes = run(&file, rebuild()).unwrap().bytes.len();
        let waste = (bytes - payload) * 100 / bytes;
        assert!(waste <= 25, "values of {size}: {waste} % of {bytes} bytes hold nothing");
    }
}

#[test]
fn leases_that_are_missing_get_a_row_in_every_restore() {
    let named = |main, key: &str, lease| {
        let value = KeyValue {
            key: key.to_owned().into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            lease,
            ..KeyValue::default()
        };
        (RowKey::put(Revision(main), 0).encode(), value.encode_to_vec())
    };
    // 7 is missing and named by two keys, 8 only by an older row, 9 only by a key that is deleted.
    let all = vec![
        named(2, "a", 7),
        named(3, "b", 7),
        named(4, "c", 8),
        put(5, 0, "c", b"x"),
        named(6, "d", 9),
        support::delete(7, 0, "d"),
        named(8, "e", 3),
    ];
    let file = database(4096, all, vec![lease_row(3, 60), lease_row(12, 60)], None);
    for how in [Selection::default(), rebuild()] {
        let restored = run(&file, how).unwrap();
        let report = restored.receipt.dangling_leases.clone().unwrap();
        assert_eq!((report.count, report.keys, report.ids), (1, 2, vec!["7".to_owned()]));
        let want = vec![lease_row(3, 60), lease_row(7, report.ttl_seconds), lease_row(12, 60)];
        assert_eq!(rows(&restored.db(), b"lease"), want);
        assert!(restored.receipt.changes.iter().any(|change| change.contains("were added")));
    }
    // Without any bucket of leases, as tools leave it that rebuild a store from keys.
    let file =
        with_digest(support::build(4096, &[(b"key", vec![named(2, "a", 7)]), (b"meta", meta(3))]));
    for how in [Selection::default(), rebuild()] {
        let restored = run(&file, how).unwrap();
        assert_eq!(rows(&restored.db(), b"lease").len(), 1);
    }
    let none = run(&golden("busy-3.5.30.db"), rebuild()).unwrap();
    assert_eq!(none.receipt.dangling_leases, None);
}

#[test]
fn the_store_does_not_go_back_when_its_last_rows_are_left_out() {
    let all =
        vec![put(2, 0, "/keep/a", b"x"), put(3, 0, "/drop/a", b"x"), put(4, 1, "/drop/b", b"x")];
    let file = database(4096, all, vec![], None);
    let without = Selection { exclude_prefixes: vec!["/drop/".into()], ..rebuild() };
    let restored = run(&file, without.clone()).unwrap();
    assert_eq!(restored.receipt.rebuilt.as_ref().unwrap().revision_held_at, Some(Revision(4)));
    assert_eq!(restored.receipt.live_keys, 1);
    let last = rows(&restored.db(), b"key").pop().unwrap();
    assert_eq!(last, (RowKey::put(Revision(4), 0).encode(), vec![]));
    // A second restore of the result keeps that row and does not count it as a key.
    let again = run(
        &with_digest(restored.bytes),
        Selection { exclude_prefixes: vec!["/x".into()], ..rebuild() },
    );
    let again = again.unwrap();
    assert_eq!(again.receipt.live_keys, 1);
    assert_eq!(again.receipt.rebuilt.unwrap().revision_held_at, None);
    assert!(again.receipt.changes.iter().any(|change| change.contains("no key begins with /x")));

    let current = Selection { history: History::Current, ..without };
    let restored = run(&file, current).unwrap();
    let facts = facts(&restored.db()).unwrap();
    assert_eq!((facts.revision, facts.compact_revision), (Revision(4), Some(Revision(4))));
    assert_eq!(rows(&restored.db(), b"key").len(), 1);
}

#[test]
fn the_kubernetes_profile_drops_what_lost_api_servers_registered() {
    let object = |main, key: &str, value: &str, lease| {
        let value = KeyValue {
            key: key.to_owned().into(),
            create_revision: main,
            mod_revision: main,
            version: 1,
            value: value.to_owned().into(),
            lease,
        };
        (RowKey::put(Revision(main), 0).encode(), value.encode_to_vec())
    };
    let all = vec![
        object(2, "/registry/masterleases/10.0.0.1", "k8s\0", 1),
        object(3, "/registry/masterleases/10.0.0.2", "k8s\0", 2),
        object(4, "/registry/events/default/e", "k8s\0", 2),
        object(5, "/registry/minions/node-1", "k8s\0", 0),
        object(6, "/registry/secrets/a/b", "k8s:enc:kms:v2:key1:xx", 0),
        object(7, "/registry/leases/kube-node-lease/node-1", "k8s\0", 0),
        object(8, "/registry/masterleases/10.0.0.1", "k8s\0", 3),
        object(9, "compact_rev_key", "5", 0),
    ];
    let leases = (1..5).map(|id| lease_row(id, 15)).collect();
    let file = database(4096, all, leases, None);
    let restored = run(&file, Selection { kubernetes: true, ..Selection::default() }).unwrap();
    let kept: Vec<_> = read_at(&rows(&restored.db(), b"key"), 9).into_keys().collect();
    assert_eq!(kept.len(), 5, "{kept:?}");
    assert!(kept.iter().all(|key| !key.contains("masterleases")));
    // 2 is still an event's, and 4 never was an API server's.
    let left: Vec<_> = rows(&restored.db(), b"lease").into_iter().map(|(id, _)| id[7]).collect();
    assert_eq!(left, [2, 4]);
    let report = restored.receipt.rebuilt.unwrap();
    assert_eq!(report.leases_dropped, 2);
    let dropped = report.dropped.iter().find(|dropped| dropped.rows > 0).unwrap();
    assert_eq!(dropped.prefix.as_deref(), Some("/registry/masterleases/"));
    assert_eq!((dropped.reason, dropped.keys, dropped.rows), (DropReason::Prefix, 2, 3));
    let facts = restored.receipt.kubernetes.unwrap();
    assert_eq!(facts.encryption_keys[0].key, "key1");
    assert_eq!(facts.objects["nodes"], 1);
    assert!(restored.receipt.plan.checklist[0].why.contains("key1"));
}

#[test]
fn alarms_go_or_stay_as_asked() {
    let file = database(4096, many(3, 10), vec![], None);
    for (keep, rebuilt) in [(false, false), (false, true), (true, false), (true, true)] {
        let dir = TempDir::new().unwrap();
        let selection = if rebuilt { rebuild() } else { Selection::default() };
        let request = RestoreRequest { keep_alarms: keep, ..request(&file, dir.path(), selection) };
        let restored = carry_out(&file, request).unwrap();
        assert_eq!(rows(&restored.db(), b"alarm").is_empty(), !keep);
        let warned = restored.receipt.plan.warnings.join("\n");
        assert!(warned.contains(if keep { "stay raised" } else { "is cleared" }), "{warned}");
    }
}

#[test]
fn authentication_goes_without_a_trace_and_its_revision_does_not_come_again() {
    let file = database(4096, many(3, 10), vec![], None);
    let restored = run(&file, Selection { drop_auth: true, ..Selection::default() }).unwrap();
    let db = restored.db();
    assert_eq!(rows(&db, b"auth"), [(b"authRevision".to_vec(), 8u64.to_be_bytes().to_vec())]);
    assert!(rows(&db, b"authUsers").is_empty() && rows(&db, b"authRoles").is_empty());
    let report = restored.receipt.rebuilt.unwrap();
    assert_eq!((report.users_dropped, report.roles_dropped), (1, 1));
    let plain = run(&file, Selection::default()).unwrap();
    assert_eq!(plain.receipt.hash_kv, restored.receipt.hash_kv);
}

#[test]
fn a_prefix_that_no_key_has_is_a_typing_error() {
    let file = database(4096, many(3, 10), vec![], None);
    let only = |prefixes: &[&str]| Selection {
        only_prefixes: prefixes.iter().map(|&prefix| prefix.to_owned()).collect(),
        ..Selection::default()
    };
    let error = run(&file, only(&["/registry/", "registry/"])).err().unwrap();
    assert_eq!(error.exit_code(), ExitCode::Usage);
    assert!(error.to_string().contains("\"registry/\""), "{error}");
    run(&file, only(&["/registry/"])).unwrap();
}

#[test]
fn snapshots_of_an_etcd_that_nobody_knows_yet_are_refused() {
    let with = |bucket: &[u8], key: &[u8], version: &str| {
        let mut markers = meta(9);
        let row = (key.to_vec(), version.as_bytes().to_vec());
        let mut cluster = vec![];
        if bucket == b"meta" {
            markers.push(row);
        } else {
            cluster.push(row);
        }
        markers.sort();
        with_digest(support::build(
            4096,
            &[(b"cluster", cluster), (b"key", many(2, 10)), (b"meta", markers)],
        ))
    };
    for version in ["3.8.0", "4.0.0"] {
        for (bucket, key) in
            [(&b"meta"[..], &b"storageVersion"[..]), (b"cluster", b"clusterVersion")]
        {
            for how in [Selection::default(), rebuild()] {
                let error = run(&with(bucket, key, version), how).err().unwrap();
                assert!(matches!(error, Error::Newer { .. }), "{error}");
                assert_eq!(error.exit_code(), ExitCode::Failed);
                assert!(
                    error.to_string().contains(version)
                        && error.diagnosis().next.contains("downgrade")
                );
            }
        }
    }
    run(&with(b"meta", b"storageVersion", "3.7.0"), rebuild()).unwrap();
}

#[test]
fn a_rebuild_needs_its_room_twice() {
    let dir = TempDir::new().unwrap();
    let file = golden("busy-3.5.30.db");
    let stat = rustix::fs::statvfs(dir.path()).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    let ask = |selection| {
        let mut request = request(&file, dir.path(), selection);
        request.source.facts.db_size = free / 3 * 2;
        preflight(&plan(request).unwrap())
    };
    ask(Selection::default()).unwrap();
    assert!(matches!(ask(rebuild()), Err(Error::NoSpace { .. })));
}

/// A defect that an ordered scan does not meet: a branch says that its child begins later than it
/// does, and etcd would look for the rows before in the wrong place.
#[test]
fn a_damaged_page_graph_is_refused_however_well_its_rows_read() {
    let mut broken = etcd(4096, many(200, 400), meta(9));
    let pages = broken.len() / 4096;
    let branch = (2..pages).map(|page| page * 4096).find(|at| broken[at + 8] == 1).unwrap();
    let element = branch + 16 + 16;
    let number = |at: usize| u32::from_le_bytes(broken[at..at + 4].try_into().unwrap()) as usize;
    let end = element + number(element) + number(element + 4);
    broken[end - 1] = 0xff;
    let file = with_digest(broken);
    for how in [Selection::default(), rebuild()] {
        let error = run(&file, how).err().unwrap();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}
