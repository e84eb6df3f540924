//! What hangs below a place that cannot be read: which keys, and how many pages nothing reaches because of it.
//!
//! The branch that names a page also says which keys are below it, so the range is known even when the page is
//! not. Pages are counted afterwards, and only when something is lost: one sweep over the pages that no tree
//! reaches finds those that look like pages of trees and hold keys of a lost range. Without a stored freelist, old
//! copies on free pages look the same, and the number is an upper bound.

use etcdr_schemas::{ReadAt, Revision};

use super::batch::{Bits, Place};
use super::findings::Findings;
use crate::Result;
use crate::format::bolt::page::{self, BRANCH, BUCKET_FLAG, ELEMENT, HEADER, Header, LEAF};
use crate::format::bolt::{Db, read as read_bytes};
use crate::format::buckets::{self, display};
use crate::format::mvcc::RowKey;

/// Bytes that the sweep reads at once.
const CHUNK: u64 = 1 << 20;
/// Bytes of a bound that are kept and shown.
const SHOWN: usize = 80;
/// Roots that are listed.
const MAX_ROOTS: usize = 16;

/// Keys that are lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    rows: bool,
}

impl<'a> Bounds<'a> {
    /// All of a tree.
    pub(super) const ALL: Self = Self { lower: None, upper: None, rows: false };

    /// What a branch says is below one of its children: from `lower` to before `upper`.
    pub(super) const fn below(lower: Option<&'a [u8]>, upper: Option<&'a [u8]>) -> Self {
        Self { lower, upper, rows: false }
    }

    /// The part of it after a key, of the rows of a leaf or below a branch.
    pub(super) fn after(self, key: Option<&'a [u8]>, rows: bool) -> Self {
        Self { lower: key.or(self.lower), rows, ..self }
    }
}

/// One loss, and the finding that tells of it.
#[derive(Debug)]
pub(super) struct Lost {
    finding: usize,
    place: Place,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
    rows: bool,
    pages: u64,
    exact: bool,
}

impl Lost {
    pub(super) fn new(finding: usize, place: Place, bounds: Bounds<'_>) -> Self {
        let keep = |key: &[u8]| key.get(..SHOWN).unwrap_or(key).to_vec();
        let (lower, upper) = (bounds.lower.map(keep), bounds.upper.map(keep));
        Self { finding, place, lower, upper, rows: bounds.rows, pages: 0, exact: false }
    }

    pub(super) const fn finding(&self) -> usize {
        self.finding
    }

    fn covers(&self, stray: &Stray<'_>) -> bool {
        let in_bounds = self.lower.as_deref().is_none_or(|lower| stray.key >= lower)
            && self.upper.as_deref().is_none_or(|upper| stray.key < upper);
        let revision = RowKey::parse(stray.key).is_some();
        !self.rows
            && in_bounds
            && (self.place.is_root() || revision == self.place.is_key() && !stray.buckets)
    }

    /// What is appended to the finding's message.
    pub(super) fn sentence(&self) -> String {
        let mut text = format!("; lost with it: {}", self.range());
        if self.pages > 0 {
            let most = if self.exact { "" } else { "at most " };
            let s = if self.pages == 1 { "" } else { "s" };
            text.push_str(&format!(", {most}{} page{s} below it", self.pages));
        }
        text
    }

    fn range(&self) -> String {
        let what = match self.place {
            place if place.is_root() => "buckets",
            place if place.is_key() => "revisions",
            _ => "keys",
        };
        let from = if self.rows { "after" } else { "from" };
        let show = |key: &Vec<u8>| self.bound(key);
        match (self.lower.as_ref().map(show), self.upper.as_ref().map(show)) {
            (None, None) => format!("all {what}"),
            (Some(lower), None) => format!("{what} {from} {lower} on"),
            (None, Some(upper)) => format!("{what} before {upper}"),
            (Some(lower), Some(upper)) => format!("{what} {from} {lower} to before {upper}"),
        }
    }

    fn bound(&self, key: &[u8]) -> String {
        match RowKey::parse(key).filter(|_| self.place.is_key()) {
            Some(RowKey { main, sub: 0, .. }) => main.to_string(),
            Some(RowKey { main, sub, .. }) => format!("{main}/{sub}"),
            None => format!("{:?}", display(key)),
        }
    }
}

/// What is on pages that no tree reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Strays {
    /// Those that look like a page of a tree, overflow included.
    pub(crate) pages: u64,
    /// Rows on those that look like leaves of bucket `key`.
    pub(crate) revisions: u64,
    /// Highest revision of these rows.
    pub(crate) newest: Option<Revision>,
    /// Those that look like the root: leaves that list buckets of etcd.
    pub(crate) roots: Vec<u64>,
}

/// One page that looks like a page of a tree.
struct Stray<'a> {
    header: Header,
    key: &'a [u8],
    buckets: bool,
    newest: Option<Revision>,
}

impl<'a> Stray<'a> {
    /// Looks at the first page of what may be a logical page.
    fn parse(id: u64, bytes: &'a [u8]) -> Option<Self> {
        let header = Header::parse(bytes).filter(|header| header.id == id)?;
        if !matches!(header.flags, LEAF | BRANCH) {
            return None;
        }
        let last = usize::from(header.count.checked_sub(1)?);
        let leaf = header.flags == LEAF;
        let (flags, key) = element(bytes, 0, leaf)?;
        let buckets = leaf && flags == BUCKET_FLAG && buckets::ALL.contains(&key);
        let revision = |key| RowKey::parse(key).map(|row| row.main);
        let newest = if leaf && !buckets {
            let last = element(bytes, last, leaf).and_then(|(_, key)| revision(key));
            revision(key).map(|first| last.unwrap_or(first))
        } else {
            None
        };
        Some(Self { header, key, buckets, newest })
    }
}

/// Flags and key of an element, as far as they lie in these bytes.
fn element(bytes: &[u8], index: usize, leaf: bool) -> Option<(u32, &[u8])> {
    let at = HEADER + index * ELEMENT;
    let field = |offset| page::u32_at(bytes, at + offset);
    let (flags, pos, size) =
        if leaf { (field(0)?, field(4)?, field(8)?) } else { (0, field(0)?, field(4)?) };
    let start = at.checked_add(usize::try_from(pos).ok()?)?;
    let key = bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)?;
    (!key.is_empty()).then_some((flags, key))
}

/// Sweeps the pages that nothing reaches, and tells each loss how many of them may be below it.
pub(super) fn look<R: ReadAt>(
    db: &Db<R>,
    reached: &Bits,
    free: Option<&Bits>,
    findings: &mut Findings,
) -> Result<Strays> {
    let mut strays = Strays::default();
    let skip = |page| reached.get(page) || free.is_some_and(|free| free.get(page));
    let losses = findings.losses();
    losses.iter_mut().for_each(|lost| lost.exact = free.is_some());
    let mut count = |stray: &Stray<'_>| {
        let pages = u64::from(stray.header.overflow) + 1;
        for lost in losses.iter_mut().filter(|lost| lost.covers(stray)) {
            lost.pages = lost.pages.saturating_add(pages);
        }
    };
    let pages = db.meta().high_water_mark;
    sweep(db.source(), db.page_size(), pages, &skip, &mut strays, &mut count)?;
    Ok(strays)
}

/// The same for a file without a meta page that leads anywhere: all of its pages are strays.
///
/// # Errors
/// When the medium fails.
pub(crate) fn strays<R: ReadAt>(source: &R, page_size: u32) -> Result<Strays> {
    let mut strays = Strays::default();
    let pages = source.size() / u64::from(page_size.max(1));
    sweep(source, page_size, pages, &|_| false, &mut strays, &mut |_| {})?;
    Ok(strays)
}

fn sweep<R: ReadAt>(
    source: &R,
    page_size: u32,
    pages: u64,
    skip: &dyn Fn(u64) -> bool,
    strays: &mut Strays,
    visit: &mut dyn FnMut(&Stray<'_>),
) -> Result<()> {
    let size = u64::from(page_size.max(1));
    let step = (CHUNK / size).max(1);
    let mut bytes = Vec::new();
    let mut first = 0;
    while first < pages {
        let end = first.saturating_add(step).min(pages);
        if !(first..end).all(skip) {
            bytes.resize(usize::try_from((end - first) * size).unwrap_or_default(), 0);
            read_bytes(source, &mut bytes, first * size)?;
            let each = bytes.chunks(usize::try_from(size).unwrap_or(usize::MAX));
            for (id, page) in (first..end).zip(each).filter(|(id, _)| !skip(*id)) {
                if let Some(stray) = Stray::parse(id, page) {
                    strays.note(id, &stray, pages);
                    visit(&stray);
                }
            }
        }
        first = end;
    }
    Ok(())
}

impl Strays {
    fn note(&mut self, id: u64, stray: &Stray<'_>, pages: u64) {
        let span = (u64::from(stray.header.overflow) + 1).min(pages - id);
        self.pages = self.pages.saturating_add(span);
        if stray.newest.is_some() {
            self.revisions = self.revisions.saturating_add(u64::from(stray.header.count));
            self.newest = self.newest.max(stray.newest);
        }
        if stray.buckets && self.roots.len() < MAX_ROOTS {
            self.roots.push(id);
        }
    }
}
