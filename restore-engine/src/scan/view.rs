//! The key space as a whole: every row in order of revision, and the state at any revision that is still there.

use std::ops::ControlFlow;

use etcdr_schemas::{ReadAt, Revision};

use super::hash::{Range, Survey};
use super::keys::Marks;
use super::leaf::{bad_row, follows};
use super::{KeySpace, key_space_with};
use crate::Result;
use crate::format::bolt::Db;
use crate::format::bolt::page::{LeafElement, Node};
use crate::format::bolt::visit::{Look, walk};
use crate::format::facts;
use crate::format::facts::ImageFacts;
use crate::format::mvcc::{KeyValue, RowKey};

/// One row of the key space, borrowed from a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Its revision, and whether it deletes.
    pub at: RowKey,
    /// What it holds; of a deletion, the key.
    pub kv: KeyValue<'a>,
}

/// Takes a row, and says whether to go on.
pub type VisitRow<'a> = dyn FnMut(Row<'_>) -> Result<ControlFlow<()>> + 'a;

/// A view of the key space of a database.
#[derive(Debug)]
pub struct View<'a, R> {
    db: &'a Db<R>,
    facts: ImageFacts,
    workers: usize,
}

impl<'a, R: ReadAt> View<'a, R> {
    /// Opens a view that reads with that many threads.
    ///
    /// # Errors
    /// When the database has no bucket `key`, or a page on the way is damaged.
    pub fn open(db: &'a Db<R>, workers: usize) -> Result<Self> {
        Ok(Self { db, facts: facts::facts(db)?, workers: workers.max(1) })
    }

    /// What the database says of itself: the revisions that it covers.
    #[must_use]
    pub const fn facts(&self) -> &ImageFacts {
        &self.facts
    }

    /// Gives every row to `visit`, in order of revision, deletions and superseded rows too.
    ///
    /// # Errors
    /// When a page or a row is damaged, and whatever `visit` returns.
    pub fn rows(&self, visit: &mut VisitRow<'_>) -> Result<()> {
        let range = Range::new(self.db, None)?;
        self.scan(&range, &mut |_| true, visit)
    }

    /// Gives every key that was live at revision `at`, the current one without, to `visit`: its newest row up to
    /// there, in order of revision. Like a range over everything, it leaves out the empty key. Memory is one bit for a
    /// row; the rows are read twice.
    ///
    /// # Errors
    /// [`Error::NotCovered`] when `at` is compacted or in the future; as for [`Self::rows`].
    pub fn state(&self, at: Option<Revision>, visit: &mut VisitRow<'_>) -> Result<()> {
        let range = Range::new(self.db, at)?;
        let marks = Marks { at: range.at.0, marked: range.at.0 };
        let survey =
            Survey::with_marks(self.db, &range.bucket, range.extent(), self.workers, true, marks)?;
        let mut leave_empty = |row: Row<'_>| match row.kv.key {
            [] => Ok(ControlFlow::Continue(())),
            _ => visit(row),
        };
        self.scan(&range, &mut |index| survey.hash.is_newest(index), &mut leave_empty)
    }

    /// HashKV and the number of live keys at revision `at`, the current one without.
    ///
    /// # Errors
    /// As for [`Self::state`].
    pub fn key_space(&self, at: Option<Revision>) -> Result<KeySpace> {
        key_space_with(self.db, at, self.workers)
    }

    /// Gives those rows up to `range.at` to `visit` that are `wanted` by their number.
    fn scan(
        &self,
        range: &Range,
        wanted: &mut dyn FnMut(u32) -> bool,
        visit: &mut VisitRow<'_>,
    ) -> Result<()> {
        let (mut next, mut last) = (0u32, None);
        walk(self.db, &range.bucket, self.workers, &Copies, &mut |leaves| {
            for (page, copy) in leaves {
                let damaged = |problem| self.db.damaged(page, problem);
                for element in Node::parse(&copy).map_err(damaged)?.rows() {
                    let element = element.map_err(damaged)?;
                    let row = row(&element)?;
                    follows(last.replace(row.at), row.at)?;
                    let over = row.at.main > range.at;
                    if over || (wanted(next) && visit(row)?.is_break()) {
                        return Ok(ControlFlow::Break(()));
                    }
                    next = next.saturating_add(1);
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}

fn row<'a>(element: &LeafElement<'a>) -> Result<Row<'a>> {
    let bad = |problem| bad_row(element.key, problem);
    let at = RowKey::parse(element.key).ok_or_else(|| bad("the key is no revision"))?;
    let kv = KeyValue::parse(element.value).ok_or_else(|| bad("the value is no KeyValue"))?;
    Ok(Row { at, kv })
}

/// Copies leaves, so that they can wait for their turn.
struct Copies;

impl Look for Copies {
    type Kept = ();
    type Out = Vec<u8>;

    fn leaf(&self, (): &mut (), _: u64, node: &Node<'_>) -> (Vec<u8>, usize) {
        let copy = node.bytes().to_vec();
        let weight = copy.len();
        (copy, weight)
    }
}
