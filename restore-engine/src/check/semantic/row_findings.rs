//! Findings on rows: the first of each kind in order of revision, and a count of the rest. The
//! order in which threads add them makes no difference.

use std::collections::BTreeMap;

use etcdr_schemas::report::{Finding, FindingKind};
use etcdr_schemas::{ReadAt, Revision};

use super::kinds;
use crate::format::bolt::{Bucket, Db};
use crate::format::mvcc::{KeyValue, RowKey};
use crate::kubernetes::{Encoding, encoding};

/// Findings of each kind that are listed; the others are counted.
const EACH: usize = 20;
/// Bytes that a finding takes, about.
const WEIGHT: usize = 256;
/// Bytes of a key that are shown.
const MAX_KEY: usize = 200;

/// One finding on one row. Only the revision is kept; the user's key is read again for the report.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RowFinding {
    pub(super) row: RowKey,
    pub(super) message: String,
}

#[derive(Debug)]
struct KindFindings {
    kind: FindingKind,
    count: u64,
    first: Vec<RowFinding>,
}

/// Findings on rows.
#[derive(Debug, Default)]
pub(super) struct RowFindings(BTreeMap<&'static str, KindFindings>);

impl RowFindings {
    pub(super) fn add(&mut self, kind: FindingKind, row: RowKey, message: impl FnOnce() -> String) {
        let of_kind = self.of(kind);
        of_kind.count += 1;
        if of_kind.first.len() < EACH || of_kind.first.last().is_some_and(|last| row < last.row) {
            of_kind.insert(RowFinding { row, message: message() });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn absorb(&mut self, more: Self) {
        for more in more.0.into_values() {
            let of_kind = self.of(more.kind);
            of_kind.count += more.count;
            more.first.into_iter().for_each(|finding| of_kind.insert(finding));
        }
    }

    pub(super) fn drop_kind(&mut self, kind: FindingKind) {
        self.0.remove(kind.code);
    }

    /// Bytes on the heap, about.
    pub(super) fn weight(&self) -> usize {
        self.0.values().map(|of_kind| of_kind.first.len() * WEIGHT).sum()
    }

    fn of(&mut self, kind: FindingKind) -> &mut KindFindings {
        self.0.entry(kind.code).or_insert_with(|| KindFindings {
            kind,
            count: 0,
            first: Vec::new(),
        })
    }

    /// Appends them to `findings`, with the keys of their rows.
    pub(super) fn list<R: ReadAt>(self, db: &Db<R>, bucket: &Bucket, findings: &mut Vec<Finding>) {
        for of_kind in self.0.into_values() {
            let listed = of_kind.first.len() as u64;
            for finding in of_kind.first {
                let (place, problem) = look_up(db, bucket, finding.row);
                let message = match of_kind.kind {
                    kinds::KUBERNETES_VALUE => problem.to_owned(),
                    _ => finding.message,
                };
                findings.push(of_kind.kind.at(place, message));
            }
            if of_kind.count > listed {
                let message = format!(
                    "{} more of {} are not listed",
                    of_kind.count - listed,
                    of_kind.kind.code
                );
                findings.push(kinds::MORE.at("bucket key", message));
            }
        }
    }
}

impl KindFindings {
    fn insert(&mut self, finding: RowFinding) {
        let at = self.first.partition_point(|other| *other <= finding);
        self.first.insert(at, finding);
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
            let (mut row_findings, mut others) = (RowFindings::default(), RowFindings::default());
            for (number, main) in order.into_iter().enumerate() {
                let row_findings = if number % 3 == 0 { &mut row_findings } else { &mut others };
                let row = RowKey::put(Revision(main), 0);
                row_findings.add(kinds::VERSION, row, || main.to_string());
            }
            row_findings.absorb(others);
            let of_kind = row_findings.0.values().next().unwrap();
            let mains: Vec<_> = of_kind.first.iter().map(|finding| finding.row.main.0).collect();
            assert_eq!((mains, of_kind.count), ((0..20).collect(), 100));
        }
    }
}
