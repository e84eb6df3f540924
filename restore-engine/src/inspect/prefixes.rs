//! Keys that begin alike, counted in a table with a limit.

use std::collections::HashMap;

use etcdr_schemas::report::inspect::{PrefixFacts, Prefixes};

use crate::buckets::display;

/// Prefixes that are told apart.
const MAX_PREFIXES: usize = 64 * 1024;
/// Bytes of all prefixes that are kept.
const MAX_BYTES: usize = 8 << 20;
/// Bytes of a prefix that are kept.
const MAX_PREFIX: usize = 512;

/// Number of a prefix in the table; 0 stands for those that were not told apart.
pub(super) type Id = u32;

/// The table.
#[derive(Debug)]
pub(super) struct Table {
    depth: u32,
    ids: HashMap<Box<[u8]>, Id>,
    rows: Vec<PrefixFacts>,
    bytes: usize,
    overflowed: bool,
    // Rows come in the order of revisions, and neighbours often begin alike.
    last: (Vec<u8>, Id),
}

impl Table {
    pub(super) fn new(depth: u32) -> Self {
        let rows = vec![PrefixFacts::default()];
        let last = (vec![0], 0);
        Self { depth, ids: HashMap::new(), rows, bytes: 0, overflowed: false, last }
    }

    /// Counts a row and tells which prefix its key has.
    pub(super) fn row(&mut self, key: &[u8], bytes: u64) -> Id {
        let prefix = prefix(key, self.depth);
        let id = if self.last.0 == prefix { self.last.1 } else { self.find(prefix) };
        if let Some(row) = self.rows.get_mut(id as usize) {
            row.revisions += 1;
            row.bytes += bytes;
        }
        id
    }

    fn find(&mut self, prefix: &[u8]) -> Id {
        let id = match self.ids.get(prefix) {
            Some(id) => *id,
            None if self.ids.len() >= MAX_PREFIXES || self.bytes >= MAX_BYTES => {
                self.overflowed = true;
                return 0;
            }
            None => {
                let id = Id::try_from(self.rows.len()).unwrap_or_default();
                self.rows.push(PrefixFacts { prefix: display(prefix), ..PrefixFacts::default() });
                self.ids.insert(prefix.into(), id);
                self.bytes += prefix.len();
                id
            }
        };
        self.last.0.clear();
        self.last.0.extend_from_slice(prefix);
        self.last.1 = id;
        id
    }

    /// Counts live keys of a prefix: `keys` of them for one that was kept in a sample.
    pub(super) fn live(&mut self, id: Id, keys: u64, bytes: u64) {
        if let Some(row) = self.rows.get_mut(id as usize) {
            row.live_keys = row.live_keys.saturating_add(keys);
            row.live_bytes = row.live_bytes.saturating_add(bytes);
        }
    }

    pub(super) fn tell(mut self, top: usize) -> Prefixes {
        let others = (!self.rows.is_empty()).then(|| self.rows.remove(0));
        let others = others.filter(|_| self.overflowed);
        let count = self.rows.len() as u64;
        let mut by_bytes = self.rows.clone();
        by_bytes.sort_by(|a, b| (b.bytes, &a.prefix).cmp(&(a.bytes, &b.prefix)));
        by_bytes.truncate(top);
        self.rows.sort_by(|a, b| (b.revisions, &a.prefix).cmp(&(a.revisions, &b.prefix)));
        self.rows.truncate(top);
        Prefixes { depth: self.depth, count, by_count: self.rows, by_bytes, others }
    }
}

/// The first `depth` segments of a key, with the slash behind them; a key that has fewer is in the folder that
/// it has, and one without slashes in the empty prefix.
fn prefix(key: &[u8], depth: u32) -> &[u8] {
    let mut end = 0;
    let mut segments = 0;
    for (at, _) in key.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        // The slash that a key begins with ends no segment.
        if at > 0 {
            segments += 1;
        }
        if segments > depth || at >= MAX_PREFIX {
            break;
        }
        end = at + 1;
        if segments == depth {
            break;
        }
    }
    key.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_has_as_many_segments_as_asked() {
        let cases: [(&str, u32, &str); 9] = [
            ("/registry/pods/default/a", 2, "/registry/pods/"),
            ("/registry/pods/default/a", 3, "/registry/pods/default/"),
            ("/registry/health", 2, "/registry/"),
            ("/registry/health", 1, "/registry/"),
            ("/health", 2, "/"),
            ("health", 2, ""),
            ("a/b/c", 1, "a/"),
            ("a/b/c", 0, ""),
            ("", 2, ""),
        ];
        for (key, depth, want) in cases {
            assert_eq!(prefix(key.as_bytes(), depth), want.as_bytes(), "{key} at {depth}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_together() {
        let mut table = Table::new(1);
        for number in 0..MAX_PREFIXES + 10 {
            let id = table.row(format!("{number}/x").as_bytes(), 7);
            table.live(id, 1, 7);
        }
        let told = table.tell(3);
        let others = told.others.unwrap();
        assert_eq!((others.revisions, others.bytes, others.live_keys), (10, 70, 10));
        assert_eq!((told.count, told.by_count.len()), (MAX_PREFIXES as u64, 3));
    }
}
