//! The key space as a whole: every row in order of revision, and the state at any revision that is
//! still there.

use std::ops::ControlFlow;

use etcdr_schemas::{ReadAt, Revision};

use super::hash::{KeySurvey, Range};
use super::keys::Marks;
use super::rows::{Row, VisitRow, rows_on};
use super::{KeySpace, key_space_with};
use crate::Result;
use crate::format::bolt::Db;
use crate::format::facts::{self, ImageFacts};

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

    /// Gives every key that was live at revision `at`, the current one without, to `visit`: its
    /// newest row up to there, in order of revision. Like a range over everything, it leaves out
    /// the empty key. Memory is one bit for a row; the rows are read twice.
    ///
    /// # Errors
    /// [`Error::NotCovered`] when `at` is compacted or in the future; as for [`Self::rows`].
    pub fn state(&self, at: Option<Revision>, visit: &mut VisitRow<'_>) -> Result<()> {
        let range = Range::new(self.db, at)?;
        let marks = Marks { at: range.at.0, marked: range.at.0 };
        let survey = KeySurvey::with_marks(
            self.db,
            &range.bucket,
            range.extent(),
            self.workers,
            true,
            marks,
        )?;
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
        rows_on(self.db, &range.bucket, self.workers, &mut |row| {
            if row.at.main > range.at {
                return Ok(ControlFlow::Break(()));
            }
            if wanted(row.index) { visit(row) } else { Ok(ControlFlow::Continue(())) }
        })
    }
}
