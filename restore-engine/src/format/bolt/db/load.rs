//! Logical pages of a database, one at a time, checked before they are parsed.

use std::sync::atomic::{AtomicU64, Ordering};

use etcdr_schemas::ReadAt;

use super::Db;
use crate::Result;
use crate::format::bolt::Problem;
use crate::format::bolt::page::{HEADER, Header, MAX_LOGICAL_PAGE, Node};
use crate::format::bolt::window::{WINDOW, Window};

impl<R: ReadAt> Db<R> {
    /// Brings one logical page into `window`; `ahead` is how many bytes from its start are worth
    /// reading.
    pub(in crate::format::bolt) fn load<'w>(
        &self,
        window: &'w mut Window,
        id: u64,
        ahead: u64,
    ) -> Result<Node<'w>> {
        match self.try_load(window, id, ahead)? {
            Ok(node) => Ok(node),
            Err(problem) => Err(self.damaged(id, problem)),
        }
    }

    /// Like [`Self::load`], for callers that continue after a defect.
    pub(crate) fn try_load<'w>(
        &self,
        window: &'w mut Window,
        id: u64,
        ahead: u64,
    ) -> Result<Result<Node<'w>, Problem>> {
        self.load_within(window, id, ahead, &AtomicU64::new(u64::MAX))
    }

    /// Like [`Self::try_load`], with a budget of pages. It is charged before the overflow is read,
    /// so that a page that claims much cannot make a cycle expensive.
    pub(crate) fn load_within<'w>(
        &self,
        window: &'w mut Window,
        id: u64,
        ahead: u64,
        budget: &AtomicU64,
    ) -> Result<Result<Node<'w>, Problem>> {
        let len = match self.logical_within(window, id, ahead, budget)? {
            Ok((_, len)) => len,
            Err(problem) => return Ok(Err(problem)),
        };
        let offset = id * u64::from(self.page_size());
        Ok(Node::parse(window.slice(offset, len).unwrap_or_default()))
    }

    /// Header and length of a logical page, all of which is in `window` afterwards.
    pub(crate) fn logical(
        &self,
        window: &mut Window,
        id: u64,
        ahead: u64,
    ) -> Result<Result<(Header, u64), Problem>> {
        self.logical_within(window, id, ahead, &AtomicU64::new(u64::MAX))
    }

    fn logical_within(
        &self,
        window: &mut Window,
        id: u64,
        ahead: u64,
        budget: &AtomicU64,
    ) -> Result<Result<(Header, u64), Problem>> {
        let high_water_mark = self.meta().high_water_mark;
        if !(2..high_water_mark).contains(&id) {
            return Ok(Err(Problem::Range(high_water_mark)));
        }
        let page_size = u64::from(self.page_size());
        let offset = id * page_size;
        let ahead = ahead.min(WINDOW).min(self.size() - offset).max(page_size);
        if window.slice(offset, page_size).is_none() {
            window.fill(self.source(), offset, ahead)?;
        }
        let header = window.slice(offset, HEADER as u64).and_then(Header::parse);
        let len = match header.ok_or(Problem::Range(high_water_mark)).and_then(|header| {
            logical_len(&header, id, page_size, high_water_mark).map(|len| (header, len))
        }) {
            Ok(found) => found,
            Err(problem) => return Ok(Err(problem)),
        };
        let charge = |left: u64| left.checked_sub(len.1 / page_size);
        if budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, charge).is_err() {
            return Ok(Err(Problem::Shared));
        }
        if window.slice(offset, len.1).is_none() {
            window.fill(self.source(), offset, len.1.max(ahead))?;
        }
        Ok(Ok(len))
    }
}

fn logical_len(header: &Header, id: u64, page_size: u64, hwm: u64) -> Result<u64, Problem> {
    if header.id != id {
        return Err(Problem::WrongId(header.id));
    }
    let pages = u64::from(header.overflow) + 1;
    if pages > hwm.saturating_sub(id) {
        return Err(Problem::Overflow(header.overflow));
    }
    let len = pages * page_size;
    if len > MAX_LOGICAL_PAGE { Err(Problem::PageSize(len)) } else { Ok(len) }
}
