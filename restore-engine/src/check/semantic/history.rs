//! The history of each key: versions count up, a deletion ends a generation, nothing comes from
//! nowhere.

use etcdr_schemas::Revision;
use etcdr_schemas::report::Tally;

use super::kinds;
use super::row::{HistoryFacts, NO_NAMESPACE, form, lease};
use super::row_findings::RowFindings;
use crate::format::mvcc::RowKey;
use crate::scan::keys::{LastRow, RowAnalyzer, RowSummary};

/// Checks the history of each key.
pub(super) struct HistoryCheck {
    /// Rows after it have all their predecessors; -1 when nothing was ever compacted.
    pub(super) compact: i64,
    /// Superseded rows up to it were removed.
    pub(super) finished: i64,
}

/// What was found and counted.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) row_findings: RowFindings,
    pub(super) live: Tally,
    pub(super) classes: Slots,
    pub(super) namespaces: Slots,
    pub(super) forms: Slots,
    pub(super) attached: u64,
    pub(super) dangling: Slots,
}

/// Counts by number of a name; numbers are small. `other` counts names without a number.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) named: Vec<Tally>,
    pub(super) other: Tally,
}

impl Slots {
    /// More than any name has: see the limits in [`super::row`].
    const MAX: usize = 8192;

    fn add(&mut self, number: u16, tally: Tally) {
        let number = usize::from(number);
        if number >= Self::MAX {
            return self.other.add(tally);
        }
        if self.named.len() <= number {
            self.named.resize(number + 1, Tally::default());
        }
        if let Some(slot) = self.named.get_mut(number) {
            slot.add(tally);
        }
    }

    fn absorb(&mut self, more: Self) {
        for (number, tally) in (0u16..).zip(more.named) {
            self.add(number, tally);
        }
        self.other.add(more.other);
    }
}

impl RowAnalyzer for HistoryCheck {
    type Facts = HistoryFacts;
    type Tally = Counts;
    const NEEDS_ALL_ROWS: bool = true;

    fn next(
        &self,
        counts: &mut Counts,
        before: Option<&LastRow<HistoryFacts>>,
        now: &RowSummary<HistoryFacts>,
    ) {
        if now.facts.skip {
            return;
        }
        let before = before.filter(|before| !before.facts.skip);
        if let Some(before) = before {
            self.superseded(counts, before, now);
        }
        // At or before the compact revision earlier rows may have been removed.
        let whole = now.main > self.compact;
        if now.tombstone {
            if whole && before.is_none_or(|before| before.tombstone) {
                let message = || "it deletes a key that was not there".to_owned();
                counts.row_findings.add(kinds::TOMBSTONE_ORPHAN, place(now), message);
            }
        } else if let Some(problem) = generation(before, &now.facts, now.main, whole) {
            counts.row_findings.add(kinds::GENERATION, place(now), || problem);
        }
    }

    fn is_silent(&self, counts: &Counts) -> bool {
        counts.row_findings.is_empty()
    }

    fn end(&self, counts: &mut Counts, last: &LastRow<HistoryFacts>) {
        let facts = &last.facts;
        if facts.skip {
            return;
        }
        let row = RowKey {
            main: Revision(last.main),
            sub: i64::from(last.sub),
            tombstone: last.tombstone,
        };
        if last.tombstone {
            // One at the compact revision itself is kept until the next compaction.
            if last.main < self.finished {
                let message = || format!("a deletion before the compaction at {}", self.finished);
                counts.row_findings.add(kinds::LEFTOVER, row, message);
            }
            return;
        }
        let tally = Tally { keys: 1, bytes: u64::from(facts.size) };
        counts.live.add(tally);
        counts.classes.add(facts.class, tally);
        if facts.namespace != NO_NAMESPACE {
            counts.namespaces.add(facts.namespace, tally);
        }
        counts.forms.add(facts.form, tally);
        if facts.form == form::UNKNOWN {
            counts.row_findings.add(kinds::KUBERNETES_VALUE, row, String::new);
        }
        match facts.lease {
            lease::NONE => {}
            lease::EXISTS => counts.attached += 1,
            dangling => {
                counts.dangling.add(dangling - lease::DANGLING, tally);
                let message = || "its lease does not exist".to_owned();
                counts.row_findings.add(kinds::LEASE_DANGLING, row, message);
            }
        }
    }

    fn add(&self, to: &mut Counts, more: Counts) {
        to.row_findings.absorb(more.row_findings);
        to.live.add(more.live);
        to.classes.absorb(more.classes);
        to.namespaces.absorb(more.namespaces);
        to.forms.absorb(more.forms);
        to.attached += more.attached;
        to.dangling.absorb(more.dangling);
    }
}

impl HistoryCheck {
    fn superseded(
        &self,
        counts: &mut Counts,
        before: &LastRow<HistoryFacts>,
        now: &RowSummary<HistoryFacts>,
    ) {
        if now.main > self.finished {
            return;
        }
        let row = RowKey {
            main: Revision(before.main),
            sub: i64::from(before.sub),
            tombstone: before.tombstone,
        };
        let message =
            || format!("superseded at {} before the compaction at {}", now.main, self.finished);
        counts.row_findings.add(kinds::LEFTOVER, row, message);
    }
}

fn place(row: &RowSummary<HistoryFacts>) -> RowKey {
    let RowSummary { main, sub, tombstone, .. } = *row;
    RowKey { main: Revision(main), sub: i64::from(sub), tombstone }
}

/// Whether a row that puts a key may follow the row before it. A first version is one of its own:
/// that version 1 and a create revision of its own belong together was seen in the row itself.
fn generation(
    before: Option<&LastRow<HistoryFacts>>,
    now: &HistoryFacts,
    main: i64,
    whole: bool,
) -> Option<String> {
    let HistoryFacts { version, create, .. } = *now;
    let problem = match before {
        None if whole && version != 1 => "nothing is before it".to_owned(),
        None => return None,
        Some(before) if before.tombstone => {
            let begins = if whole { version == 1 } else { create > before.main };
            if begins {
                return None;
            }
            format!("a deletion at {} is before it", before.main)
        }
        Some(before) => {
            let (earlier, from) = (before.facts.version, before.facts.create);
            let follows = match whole {
                true => Some(version) == earlier.checked_add(1) && create == from,
                false => (create == from && version > earlier) || (from < create && create <= main),
            };
            if follows {
                return None;
            }
            format!("version {earlier} created at {from} is before it")
        }
    };
    Some(format!("version {version} created at {create}, but {problem}"))
}
