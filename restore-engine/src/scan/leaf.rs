//! What is kept of one leaf of bucket `key` until the leaves before it were read.

use etcdr_schemas::Revision;

use super::fingerprint::Fingerprint;
use super::keys::RowSummary;
use crate::format::bolt::Problem;
use crate::format::bolt::page::{LeafElement, Node};
use crate::format::buckets;
use crate::format::mvcc::RowKey;
use crate::format::mvcc::crc::Sum;
use crate::{Error, Result};

/// Which rows of a leaf matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rows up to here are summed.
    pub(crate) at: Revision,
    /// Rows up to here may be superseded; -1 when nothing was ever compacted.
    pub(crate) compact: i64,
    /// Whether rows after `at` are read, too.
    pub(crate) beyond: bool,
}

/// One leaf's rows.
#[derive(Debug)]
pub(crate) struct LeafRows<F> {
    pub(crate) rows: Vec<RowSummary<F>>,
    /// Its first and last row.
    pub(crate) ends: Option<(RowKey, RowKey)>,
    /// Over its rows up to `at`.
    pub(crate) sum: Sum,
    /// Its rows up to the compact revision.
    pub(crate) compacted: u32,
    /// Whether it has rows after `at`.
    pub(crate) ends_after: bool,
    /// The error that ended the reading early.
    pub(crate) error: Option<Error>,
}

/// Returns the fingerprint of the user's key of a row, and the facts that an analyzer needs.
pub(crate) type ReadFacts<'a, F> =
    &'a mut dyn FnMut(RowKey, &LeafElement<'_>) -> Result<(Fingerprint, F)>;

impl<F> LeafRows<F> {
    /// Reads the rows of a leaf. Without `facts` only the sum is made.
    pub(crate) fn read(
        node: &Node<'_>,
        extent: Extent,
        damaged: impl Fn(Problem) -> Error,
        mut facts: Option<ReadFacts<'_, F>>,
    ) -> Self {
        let mut leaf = Self {
            rows: Vec::new(),
            ends: None,
            sum: Sum::default(),
            compacted: 0,
            ends_after: false,
            error: None,
        };
        if facts.is_some() {
            leaf.rows.reserve_exact(usize::from(node.count()));
        }
        for element in node.rows() {
            let read = element.map_err(&damaged).and_then(|element| {
                let key = leaf.step(extent, &element)?;
                let (Some(key), Some(facts)) = (key, facts.as_mut()) else { return Ok(()) };
                let (fingerprint, facts) = facts(key, &element)?;
                let sub = u32::try_from(key.sub).unwrap_or(u32::MAX);
                let RowKey { main, tombstone, .. } = key;
                leaf.rows.push(RowSummary { fingerprint, main: main.0, sub, tombstone, facts });
                Ok(())
            });
            if let Err(error) = read {
                leaf.error = Some(error);
            }
            if leaf.error.is_some() || (leaf.ends_after && !extent.beyond) {
                break;
            }
        }
        leaf
    }

    /// Adds a row to the sums. Returns its key, unless the row is beyond the extent.
    fn step(&mut self, extent: Extent, element: &LeafElement<'_>) -> Result<Option<RowKey>> {
        let raw = element.key;
        let key = RowKey::parse(raw).ok_or_else(|| bad_row(raw, "the key is no revision"))?;
        follows(self.ends.map(|(_, last)| last), key)?;
        if key.main > extent.at {
            self.ends_after = true;
            if !extent.beyond {
                return Ok(None);
            }
        } else {
            self.sum.feed(raw);
            self.sum.feed(element.value);
        }
        self.ends = Some((self.ends.map_or(key, |(first, _)| first), key));
        self.compacted += u32::from(key.main.0 <= extent.compact);
        Ok(Some(key))
    }

    /// Bytes on the heap.
    pub(crate) fn weight(&self) -> usize {
        self.rows.capacity() * size_of::<RowSummary<F>>()
    }
}

/// Fails unless `key` may come after `last`.
pub(crate) fn follows(last: Option<RowKey>, key: RowKey) -> Result<()> {
    // A put and a deletion with the same numbers would be two rows of one change.
    let numbers = |key: RowKey| (key.main, key.sub);
    match last {
        Some(last) if numbers(key) <= numbers(last) => {
            Err(bad_row(&key.encode(), "the key is not above the one before it"))
        }
        _ => Ok(()),
    }
}

pub(crate) fn bad_row(raw: &[u8], problem: &'static str) -> Error {
    let key = raw.iter().take(32).map(|byte| format!("{byte:02x}")).collect();
    Error::Row { bucket: buckets::display(buckets::KEY), key, problem }
}
