//! Findings on rows: the first few of each kind in order of revision, and a count of the rest, however they came together.

use std::collections::BTreeMap;

use etcdr_schemas::report::{Finding, FindingKind};
use etcdr_schemas::{ReadAt, Revision};

use super::kinds;
use crate::format::bolt::{Bucket, Db};
use crate::format::mvcc::{KeyValue, RowKey};
use crate::kubernetes::{Encoding, encoding};

/// Findings of each kind that are told one by one.
const EACH: usize = 20;
/// Bytes that a finding takes, about.
const NOTE: usize = 256;
/// Bytes of a key that are shown.
const MAX_KEY: usize = 200;

/// One finding on one row, whose key is looked up when it is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Note {
    pub(super) row: RowKey,
    pub(super) message: String,
}

#[derive(Debug)]
struct Noted {
    kind: FindingKind,
    count: u64,
    first: Vec<Note>,
}

/// Findings on rows.
#[derive(Debug, Default)]
pub(super) struct Notes(BTreeMap<&'static str, Noted>);

impl Notes {
    pub(super) fn add(&mut self, kind: FindingKind, row: RowKey, message: impl FnOnce() -> String) {
        let noted = self.of(kind);
        noted.count += 1;
        if noted.first.len() < EACH || noted.first.last().is_some_and(|last| row < last.row) {
            noted.insert(Note { row, message: message() });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn absorb(&mut self, more: Self) {
        for more in more.0.into_values() {
            let noted = self.of(more.kind);
            noted.count += more.count;
            more.first.into_iter().for_each(|note| noted.insert(note));
        }
    }

    pub(super) fn drop_kind(&mut self, kind: FindingKind) {
        self.0.remove(kind.code);
    }

    /// Bytes on the heap, about.
    pub(super) fn weight(&self) -> usize {
        self.0.values().map(|noted| noted.first.len() * NOTE).sum()
    }

    fn of(&mut self, kind: FindingKind) -> &mut Noted {
        self.0.entry(kind.code).or_insert_with(|| Noted { kind, count: 0, first: Vec::new() })
    }

    /// Tells them, with the keys of their rows.
    pub(super) fn tell<R: ReadAt>(self, db: &Db<R>, bucket: &Bucket, findings: &mut Vec<Finding>) {
        for noted in self.0.into_values() {
            let listed = noted.first.len() as u64;
            for note in noted.first {
                let (place, problem) = look_up(db, bucket, note.row);
                let message = match noted.kind {
                    kinds::KUBERNETES_VALUE => problem.to_owned(),
                    _ => note.message,
                };
                findings.push(noted.kind.at(place, message));
            }
            if noted.count > listed {
                let message =
                    format!("{} more of {} are not listed", noted.count - listed, noted.kind.code);
                findings.push(kinds::MORE.at("bucket key", message));
            }
        }
    }
}

impl Noted {
    fn insert(&mut self, note: Note) {
        let at = self.first.partition_point(|other| *other <= note);
        self.first.insert(at, note);
        self.first.truncate(EACH);
    }
}

/// Where a row is, for people; and what is wrong with its value, should Kubernetes have written it.
fn look_up<R: ReadAt>(db: &Db<R>, bucket: &Bucket, row: RowKey) -> (String, &'static str) {
    let at = place(row);
    let value = db.get(bucket, &row.encode()).ok().flatten();
    let Some(kv) = value.as_deref().and_then(KeyValue::parse) else {
        return (format!("bucket key, {at}"), "");
    };
    let why = match encoding(kv.value) {
        Encoding::Unknown { problem } => problem,
        _ => "",
    };
    let key = kv.key.get(..MAX_KEY).unwrap_or(kv.key).escape_ascii();
    (format!("bucket key, {at}, key {key}"), why)
}

fn place(row: RowKey) -> String {
    let RowKey { main: Revision(main), sub, tombstone } = row;
    format!("revision {main}.{sub}{}", if tombstone { " (deletion)" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_are_kept_in_any_order_and_all_are_counted() {
        let mut orders: Vec<Vec<i64>> = vec![(0..100).collect(), (0..100).rev().collect()];
        orders.push((0..100).map(|n| n * 37 % 100).collect());
        for order in orders {
            let (mut notes, mut others) = (Notes::default(), Notes::default());
            for (number, main) in order.into_iter().enumerate() {
                let notes = if number % 3 == 0 { &mut notes } else { &mut others };
                let row = RowKey::put(Revision(main), 0);
                notes.add(kinds::VERSION, row, || main.to_string());
            }
            notes.absorb(others);
            let noted = notes.0.values().next().unwrap();
            let mains: Vec<_> = noted.first.iter().map(|note| note.row.main.0).collect();
            assert_eq!((mains, noted.count), ((0..20).collect(), 100));
        }
    }
}
