//! Keys counted by prefix, in a table with a limit.

use etcdr_schemas::report::inspect::{PrefixFacts, Prefixes};

use crate::format::buckets::display;
use crate::scan::names::{KnownNames, Limits, Names};

/// Prefixes that are counted separately.
const MAX_PREFIXES: usize = 64 * 1024;
/// Bytes of all prefixes that are kept.
const MAX_BYTES: usize = 8 << 20;
/// Bytes of a prefix that are kept.
const MAX_PREFIX: usize = 512;

/// Number of a prefix; 0 stands for all that are not counted separately.
pub(super) type Id = u32;

/// The prefixes themselves; threads share them.
#[derive(Debug)]
pub(super) struct PrefixNames {
    depth: u32,
    names: Names,
}

impl PrefixNames {
    pub(super) fn new(depth: u32) -> Self {
        let limits = Limits { names: MAX_PREFIXES, each: MAX_PREFIX, bytes: MAX_BYTES };
        Self { depth, names: Names::new(limits) }
    }

    /// The number of a key's prefix.
    pub(super) fn id(&self, known: &mut KnownNames, key: &[u8]) -> Id {
        self.names.number(known, self.prefix(key)).map_or(0, |number| number + 1)
    }

    /// The first segments of a key, with the slash behind them; a key that has fewer is in the
    /// folder that it has, and one without slashes in the empty prefix.
    fn prefix<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        let mut end = 0;
        let mut segments = 0;
        for (at, _) in key.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            // The slash that a key begins with ends no segment.
            if at > 0 {
                segments += 1;
            }
            if segments > self.depth || at >= MAX_PREFIX {
                break;
            }
            end = at + 1;
            if segments == self.depth {
                break;
            }
        }
        key.get(..end).unwrap_or_default()
    }
}

/// What is counted of each prefix.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    live_keys: u64,
    live_bytes: u64,
    revisions: u64,
    bytes: u64,
}

/// The counts, by number.
#[derive(Debug, Default)]
pub(super) struct Counts(Vec<Count>);

impl Counts {
    fn at(&mut self, id: Id) -> Option<&mut Count> {
        let id = id as usize;
        if self.0.len() <= id && id <= MAX_PREFIXES {
            self.0.resize(id + 1, Count::default());
        }
        self.0.get_mut(id)
    }

    /// Counts a row.
    pub(super) fn row(&mut self, id: Id, bytes: u64) {
        if let Some(count) = self.at(id) {
            count.revisions += 1;
            count.bytes += bytes;
        }
    }

    /// Counts live keys: `keys` of them for one that was kept in a sample.
    pub(super) fn live(&mut self, id: Id, keys: u64, bytes: u64) {
        if let Some(count) = self.at(id) {
            count.live_keys = count.live_keys.saturating_add(keys);
            count.live_bytes = count.live_bytes.saturating_add(bytes);
        }
    }

    pub(super) fn into_report(self, names: PrefixNames, top: usize) -> Prefixes {
        let facts = |prefix: String, id: Id| {
            let count = self.0.get(id as usize).copied().unwrap_or_default();
            let Count { live_keys, live_bytes, revisions, bytes } = count;
            PrefixFacts { prefix, live_keys, live_bytes, revisions, bytes }
        };
        let named = (1..).zip(names.names.into_names());
        let mut all: Vec<_> = named.map(|(id, prefix)| facts(display(&prefix), id)).collect();
        // A leaf that was read and given up may have named prefixes that nothing counted.
        all.retain(|one| one.revisions > 0);
        let count = all.len() as u64;
        let mut by_bytes = all.clone();
        by_bytes.sort_by(|a, b| (b.bytes, &a.prefix).cmp(&(a.bytes, &b.prefix)));
        by_bytes.truncate(top);
        all.sort_by(|a, b| (b.revisions, &a.prefix).cmp(&(a.revisions, &b.prefix)));
        all.truncate(top);
        let others = Some(facts(String::new(), 0)).filter(|others| others.revisions > 0);
        Prefixes { depth: names.depth, count, by_count: all, by_bytes, others }
    }
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
            let prefix = PrefixNames::new(depth).prefix(key.as_bytes());
            assert_eq!(prefix, want.as_bytes(), "{key} at {depth}");
        }
    }

    #[test]
    fn what_does_not_fit_is_counted_together() {
        let (names, mut counts) = (PrefixNames::new(1), Counts::default());
        let mut known = KnownNames::default();
        for number in 0..MAX_PREFIXES + 10 {
            let id = names.id(&mut known, format!("{number}/").as_bytes());
            counts.row(id, 7);
            counts.live(id, 1, 7);
        }
        let report = counts.into_report(names, 3);
        let others = report.others.unwrap();
        assert_eq!((others.revisions, others.bytes, others.live_keys), (10, 70, 10));
        assert_eq!((report.count, report.by_count.len()), (MAX_PREFIXES as u64, 3));
    }
}
