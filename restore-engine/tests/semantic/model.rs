//! A simple model of a store: a list of all changes, and what etcd does with it.

use std::collections::{BTreeMap, BTreeSet};

use etcdr_restore_engine::mvcc::RowKey;
use etcdr_schemas::Revision;
use etcdr_schemas::pb::disk;
use prost::Message as _;

use crate::support::{Row, build};

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) main: i64,
    pub(crate) sub: i64,
    pub(crate) key: String,
    /// `None` deletes.
    pub(crate) put: Option<Version>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) create: i64,
    pub(crate) version: i64,
    pub(crate) value: Vec<u8>,
    pub(crate) lease: i64,
}

impl Change {
    pub(crate) fn row(&self) -> Row {
        let key =
            RowKey { main: Revision(self.main), sub: self.sub, tombstone: self.put.is_none() };
        let mut message =
            disk::KeyValue { key: Some(self.key.clone().into()), ..Default::default() };
        if let Some(put) = &self.put {
            message.create_revision = Some(put.create);
            message.mod_revision = Some(self.main);
            message.version = Some(put.version);
            message.value = (!put.value.is_empty()).then(|| put.value.clone().into());
            message.lease = (put.lease != 0).then_some(put.lease);
        }
        (key.encode(), message.encode_to_vec())
    }
}

/// What a transaction does.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Put(u8, Vec<u8>, u8),
    Delete(u8),
}

/// A store with its whole history.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    /// Every change that was ever made.
    pub(crate) changes: Vec<Change>,
    /// Those that compactions left.
    pub(crate) rows: Vec<Change>,
    pub(crate) revision: i64,
    pub(crate) scheduled: Option<i64>,
    pub(crate) finished: Option<i64>,
    pub(crate) leases: BTreeSet<i64>,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { revision: 1, ..Self::default() }
    }

    /// The newest change of each live key up to `at`.
    pub(crate) fn state(&self, at: i64) -> BTreeMap<String, Change> {
        let mut state = BTreeMap::new();
        for change in self.changes.iter().filter(|change| change.main <= at) {
            match change.put {
                Some(_) => state.insert(change.key.clone(), change.clone()),
                None => state.remove(&change.key),
            };
        }
        state
    }

    pub(crate) fn txn(&mut self, ops: &[Op]) {
        let (mut sub, mut touched) = (0, BTreeSet::new());
        for op in ops {
            let (Op::Put(number, ..) | Op::Delete(number)) = op;
            let key = format!("/registry/things/ns-{}/{number}", number % 3);
            let live = self.state(i64::MAX).remove(&key);
            // etcd refuses to change a key twice in a transaction, and deletes only keys that
            // exist.
            if !touched.insert(*number) || (matches!(op, Op::Delete(_)) && live.is_none()) {
                continue;
            }
            let main = self.revision + 1;
            let put = match op {
                Op::Delete(_) => None,
                Op::Put(_, value, lease) => {
                    let before = live.and_then(|change| change.put);
                    let (create, version) =
                        before.map_or((main, 1), |before| (before.create, before.version + 1));
                    let lease = i64::from(*lease % 4);
                    self.leases.extend((lease != 0).then_some(lease));
                    Some(Version { create, version, value: value.clone(), lease })
                }
            };
            let change = Change { main, sub, key, put };
            self.changes.push(change.clone());
            self.rows.push(change);
            sub += 1;
        }
        self.revision += i64::from(sub > 0);
    }

    /// Compacts at `at`, removing at most `batch` rows. `keeps` is what etcd does from 3.4.34 and
    /// 3.5.16 on: a deletion at the compact revision itself stays.
    pub(crate) fn compact(&mut self, at: i64, keeps: bool, batch: usize) {
        if at <= self.scheduled.unwrap_or(0) || at > self.revision {
            return;
        }
        self.scheduled = Some(at);
        let mut newest = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.main <= at) {
            newest.insert(row.key.clone(), (row.main, row.sub));
        }
        let (mut left, mut removed) = (batch, 0);
        self.rows.retain(|row| {
            let is_newest = newest.get(&row.key) == Some(&(row.main, row.sub));
            let stays =
                row.main > at || (is_newest && (row.put.is_some() || (keeps && row.main == at)));
            if stays || left == 0 {
                return true;
            }
            left -= 1;
            removed += 1;
            false
        });
        if left > 0 {
            self.finished = Some(at);
        }
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.scheduled.unwrap_or(-1)
    }

    /// docs/etcd-formats.md 5.1.
    pub(crate) fn hash_kv(&self, at: i64) -> u32 {
        let keep: BTreeSet<_> =
            self.state(at).into_values().map(|change| (change.main, change.sub)).collect();
        let (mut bytes, compact) = (b"key".to_vec(), self.compacted());
        for row in self.rows.iter().filter(|row| row.main <= at) {
            let superseded =
                row.main <= compact && !keep.is_empty() && !keep.contains(&(row.main, row.sub));
            if !(superseded || row.main == compact && row.put.is_none()) {
                let (key, value) = row.row();
                bytes.extend(key);
                bytes.extend(value);
            }
        }
        crc32c::crc32c(&bytes)
    }

    pub(crate) fn buckets(&self) -> Vec<(&'static [u8], Vec<Row>)> {
        let revision = |main: i64| RowKey::put(Revision(main), 0).encode();
        let mut meta = vec![
            (b"confState".to_vec(), br#"{"voters":[1],"auto_leave":false}"#.to_vec()),
            (b"consistent_index".to_vec(), 77u64.to_be_bytes().to_vec()),
            (b"term".to_vec(), 3u64.to_be_bytes().to_vec()),
        ];
        meta.extend(self.finished.map(|at| (b"finishedCompactRev".to_vec(), revision(at))));
        meta.extend(self.scheduled.map(|at| (b"scheduledCompactRev".to_vec(), revision(at))));
        meta.sort();
        let lease = |id: &i64| {
            let lease = disk::Lease { id: Some(*id), ttl: Some(60), remaining_ttl: None };
            (id.to_be_bytes().to_vec(), lease.encode_to_vec())
        };
        let member = (b"1".to_vec(), br#"{"id":1,"peerURLs":["http://a:1"],"name":"a"}"#.to_vec());
        vec![
            (b"alarm", vec![]),
            (b"auth", vec![(b"authRevision".to_vec(), 1u64.to_be_bytes().to_vec())]),
            (b"authRoles", vec![]),
            (b"authUsers", vec![]),
            (b"cluster", vec![(b"clusterVersion".to_vec(), b"3.5.0".to_vec())]),
            (b"key", self.rows.iter().map(Change::row).collect()),
            (b"lease", self.leases.iter().map(lease).collect()),
            (b"members", vec![member]),
            (b"members_removed", vec![]),
            (b"meta", meta),
        ]
    }

    pub(crate) fn database(&self, page_size: u32) -> Vec<u8> {
        build(page_size, &self.buckets())
    }
}
