//! Rows one after the other: after the compact revision no revision and no change of a transaction
//! is missing.

use etcdr_schemas::Revision;

use super::kinds;
use super::row::HistoryFacts;
use super::row_findings::RowFindings;
use crate::format::mvcc::RowKey;
use crate::scan::keys::RowSummary;

/// Checks that revisions and the changes of a transaction are consecutive.
pub(super) struct OrderCheck {
    compact: i64,
    main: i64,
    sub: u32,
}

impl OrderCheck {
    /// `compact` is -1 when nothing was ever compacted.
    pub(super) fn new(compact: i64) -> Self {
        // The first write of a store is at revision 2.
        Self { compact, main: compact.max(Revision::FIRST.0), sub: 0 }
    }

    pub(super) fn row(&mut self, row: &RowSummary<HistoryFacts>, row_findings: &mut RowFindings) {
        let RowSummary { main, sub, tombstone, .. } = *row;
        if main <= self.compact {
            return;
        }
        let place = || RowKey { main: Revision(main), sub: i64::from(sub), tombstone };
        let (last, want) =
            (self.main, if main == self.main { self.sub.saturating_add(1) } else { 0 });
        if sub != want {
            row_findings.add(kinds::ROW_SUB, place(), || {
                format!("change {want} of the transaction should come here, and it is number {sub}")
            });
        }
        if main > last.saturating_add(1) {
            row_findings.add(kinds::REVISION_GAP, place(), || {
                format!("no row tells what happened between revision {last} and {main}")
            });
        }
        (self.main, self.sub) = (main, sub);
    }
}
