//! Random histories: the view returns what a map of the whole history contains.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use etcdr_restore_engine::bolt::Db;
use etcdr_restore_engine::scan::{View, hash_kv_with, key_space_with};
use etcdr_restore_engine::semantic::examine;
use etcdr_restore_engine::status::status_with;
use etcdr_restore_engine::{Error, status};
use etcdr_schemas::report::Severity;
use etcdr_schemas::{Hidden, Revision};
use proptest::prelude::*;

use crate::model::{Op, Store};

#[derive(Debug, Clone)]
enum Step {
    Txn(Vec<Op>),
    /// How far back, whether the deletion at it stays, and how many rows one batch removes.
    Compact(i64, bool, usize),
}

fn op() -> impl Strategy<Value = Op> {
    let value = || proptest::collection::vec(any::<u8>(), 0..90);
    prop_oneof![
        3 => (0u8..12, value(), any::<u8>())
            .prop_map(|(key, value, lease)| Op::Put(key, value, lease)),
        1 => (0u8..12).prop_map(Op::Delete),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => proptest::collection::vec(op(), 1..6).prop_map(Step::Txn),
        1 => (0i64..6, any::<bool>(), prop_oneof![Just(usize::MAX), 0usize..4])
            .prop_map(|(back, keeps, batch)| Step::Compact(back, keeps, batch)),
    ]
}

fn run(steps: &[Step]) -> Store {
    let mut store = Store::new();
    for step in steps {
        match step {
            Step::Txn(ops) => store.txn(ops),
            // What was left of a compaction is done before the next one begins.
            Step::Compact(back, keeps, batch) => {
                if store.scheduled == store.finished {
                    store.compact(store.revision - back, *keeps, *batch);
                }
            }
        }
    }
    store
}

type State = BTreeMap<Vec<u8>, (Vec<u8>, i64, i64, i64, i64)>;

fn seen(view: &View<'_, Vec<u8>>, at: i64) -> State {
    let (mut state, mut last) = (State::new(), None);
    view.state(Some(Revision(at)), &mut |row| {
        let kv = row.kv;
        assert!(last < Some(row.at), "not in order of revision");
        last = Some(row.at);
        let (create, modified) = (kv.create_revision.0, kv.mod_revision.0);
        let facts = (kv.value.to_vec(), create, modified, kv.version, kv.lease);
        assert!(state.insert(kv.key.to_vec(), facts).is_none(), "a key came twice");
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    state
}

fn wanted(store: &Store, at: i64) -> State {
    let state = store.state(at).into_values();
    let entry = |change: crate::model::Change| {
        let put = change.put.unwrap();
        (change.key.into_bytes(), (put.value, put.create, change.main, put.version, put.lease))
    };
    state.map(entry).collect()
}

fn check(store: &Store, page_size: u32, workers: usize) {
    let bytes = store.database(page_size);
    let db = Db::open(bytes.clone()).unwrap();
    let view = View::open(&db, workers).unwrap();
    let oldest = store.compacted().max(1);
    for at in oldest..=store.revision {
        assert_eq!(seen(&view, at), wanted(store, at), "state at {at}");
        let hash = hash_kv_with(&db, Some(Revision(at)), workers).unwrap();
        assert_eq!(hash.hash, store.hash_kv(at), "HashKV at {at}");
        let space = key_space_with(&db, Some(Revision(at)), workers).unwrap();
        assert_eq!((space.hash, space.live_keys), (hash, store.state(at).len() as u64));
    }
    for at in [oldest - 1, store.revision + 1].into_iter().filter(|at| *at > 0) {
        let refused = view.state(Some(Revision(at)), &mut |_| panic!("a row"));
        assert!(matches!(refused, Err(Error::NotCovered { .. })), "{at}");
    }
    let mut rows = Vec::new();
    view.rows(&mut |row| {
        rows.push((row.at, row.kv.key.to_vec()));
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(rows.len(), store.rows.len());

    let counted = status_with(&db, workers).unwrap();
    let mut all = Vec::new();
    let buckets = store.buckets();
    for (name, rows) in &buckets {
        all.extend_from_slice(name);
        rows.iter().for_each(|(key, value)| all.extend([key.as_slice(), value].concat()));
    }
    let row_count = buckets.iter().map(|(_, rows)| rows.len() as u64).sum::<u64>();
    assert_eq!((counted.hash, counted.rows), (crc32c::crc32c(&all), row_count));
    assert_eq!(counted.live_keys, store.state(i64::MAX).len() as u64);
    assert_eq!(counted.revision.0, store.rows.last().map_or(0, |row| row.main));
    assert_eq!(counted, status(&db).unwrap());

    let examined = examine(bytes, None, workers, &Hidden).unwrap();
    assert_eq!(examined.structure.findings, []);
    let semantic = examined.semantic.unwrap();
    // Half of a compaction leaves rows that the earlier one should not have kept.
    let bad: Vec<_> =
        semantic.findings.iter().filter(|finding| finding.severity > Severity::Notice).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let contents = semantic.contents.unwrap();
    assert_eq!(contents.live.keys, store.state(i64::MAX).len() as u64);
    assert_eq!(contents.rows, store.rows.len() as u64);
    assert_eq!(contents.hash_kv.unwrap().hash, store.hash_kv(store.revision));
    let attached =
        store.state(i64::MAX).into_values().filter(|c| c.put.as_ref().unwrap().lease != 0);
    assert_eq!(contents.leases.attached_keys, attached.count() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_history_reads_as_it_was(
        steps in proptest::collection::vec(step(), 1..50),
        page_size in prop::sample::select(&[1024u32, 4096][..]),
        workers in 1usize..4,
    ) {
        check(&run(&steps), page_size, workers);
    }
}

#[test]
fn an_empty_store_and_one_whose_keys_are_all_gone_are_read() {
    check(&Store::new(), 4096, 2);
    for keeps in [false, true] {
        let mut store = Store::new();
        store.txn(&[Op::Put(1, b"x".to_vec(), 0), Op::Put(2, vec![], 1)]);
        store.txn(&[Op::Delete(1), Op::Delete(2)]);
        check(&store, 4096, 2);
        store.compact(3, keeps, usize::MAX);
        check(&store, 4096, 2);
    }
}

/// More rows than one window takes, more pages than one thread reads, leaves far apart.
#[test]
fn a_large_history_reads_like_a_small_one() {
    let mut store = Store::new();
    for n in 0..6000u32 {
        let key = u8::try_from(n * 7919 % 251).unwrap();
        store.revision += 1;
        let main = store.revision;
        let before = store.rows.iter().rev().find(|row| row.key == format!("/k/{key}")).cloned();
        let before = before.and_then(|row| row.put);
        let (create, version) = before.map_or((main, 1), |put| (put.create, put.version + 1));
        let value = vec![key; usize::from(key) * 40];
        let put = Some(crate::model::Version { create, version, value, lease: 0 });
        let change = crate::model::Change { main, sub: 0, key: format!("/k/{key}"), put };
        store.changes.push(change.clone());
        store.rows.push(change);
    }
    let last = store.revision;
    let check = |store: &Store| {
        let bytes = store.database(1024);
        let db = Db::open(bytes.clone()).unwrap();
        for at in [store.compacted().max(2), last / 2 + 1000, last] {
            for workers in [1, 3] {
                let hash = hash_kv_with(&db, Some(Revision(at)), workers).unwrap();
                assert_eq!(hash.hash, store.hash_kv(at), "{at}");
            }
        }
        let view = View::open(&db, 2).unwrap();
        assert_eq!(seen(&view, last), wanted(store, last));
        let examined = examine(bytes, None, 2, &Hidden).unwrap();
        assert_eq!(examined.structure.findings, []);
        assert_eq!(examined.semantic.unwrap().findings, []);
    };
    check(&store);
    store.compact(last / 2, true, usize::MAX);
    check(&store);
}
