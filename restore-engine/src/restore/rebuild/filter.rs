//! Decides which rows are taken over, and counts the others.

use etcdr_schemas::report::{DropReason, DroppedKeys, History, PlannedRebuild};

use super::prescan::Prescan;
use crate::error::{Error, Result};
use crate::scan::rows::Row;

/// Decides about rows and counts what it leaves out.
pub(super) struct Filter<'a> {
    plan: &'a PlannedRebuild,
    prescan: &'a Prescan,
    /// One for each excluded prefix, in the order of the plan.
    excluded: Vec<Count>,
    /// Rows of each prefix that was asked for.
    only: Vec<u64>,
    other: Count,
    expired: Count,
    superseded: Count,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    keys: u64,
    rows: u64,
}

impl Count {
    fn add(&mut self, live: bool) {
        self.rows += 1;
        self.keys += u64::from(live);
    }
}

impl<'a> Filter<'a> {
    pub(super) fn new(plan: &'a PlannedRebuild, prescan: &'a Prescan) -> Self {
        Self {
            plan,
            prescan,
            excluded: vec![Count::default(); plan.exclude_prefixes.len()],
            only: vec![0; plan.only_prefixes.len()],
            other: Count::default(),
            expired: Count::default(),
            superseded: Count::default(),
        }
    }

    /// Whether a row is taken over.
    pub(super) fn keeps(&mut self, row: &Row<'_>) -> bool {
        let key = row.kv.key;
        let newest = self.prescan.is_live(row);
        // No client wrote the empty key: an earlier restore left it to raise the revision.
        let live = newest == Some(true) && !key.is_empty();
        let starts = |prefix: &String| key.starts_with(prefix.as_bytes());
        if !self.only.is_empty() {
            match self.plan.only_prefixes.iter().position(starts) {
                Some(at) => {
                    if let Some(count) = self.only.get_mut(at) {
                        *count += 1;
                    }
                }
                None => {
                    self.other.add(live);
                    return false;
                }
            }
        }
        if let Some(at) = self.plan.exclude_prefixes.iter().position(starts)
            && let Some(count) = self.excluded.get_mut(at)
        {
            count.add(live);
            return false;
        }
        if self.prescan.has_expired(key) {
            self.expired.add(live);
            return false;
        }
        if self.plan.history == History::Current && newest == Some(false) {
            self.superseded.add(false);
            return false;
        }
        true
    }

    /// A prefix that was asked for and that no key has is a typing error, and a restore of nothing.
    pub(super) fn check(&self) -> Result<()> {
        let unmatched =
            self.plan.only_prefixes.iter().zip(&self.only).find(|(_, rows)| **rows == 0);
        match unmatched {
            Some((prefix, _)) => Err(Error::request(format!(
                "no key of the snapshot begins with {prefix:?}, which --only-prefix asks for"
            ))),
            None => Ok(()),
        }
    }

    pub(super) fn dropped(&self) -> Vec<DroppedKeys> {
        let row = |reason, prefix: Option<&String>, count: Count| DroppedKeys {
            reason,
            prefix: prefix.cloned(),
            keys: count.keys,
            rows: count.rows,
        };
        let mut dropped = Vec::new();
        for (prefix, count) in self.plan.exclude_prefixes.iter().zip(&self.excluded) {
            dropped.push(row(DropReason::Prefix, Some(prefix), *count));
        }
        for (asked, reason, count) in [
            (!self.plan.only_prefixes.is_empty(), DropReason::OtherPrefix, self.other),
            (self.plan.drop_expired.is_some(), DropReason::Expired, self.expired),
            (self.plan.history == History::Current, DropReason::Superseded, self.superseded),
        ] {
            if asked {
                dropped.push(row(reason, None, count));
            }
        }
        dropped
    }
}
