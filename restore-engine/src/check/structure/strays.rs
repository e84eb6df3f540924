//! Pages that no tree reaches, and what they hold.
//!
//! They are read only when something is lost: one pass finds those that look like pages of trees
//! and hold keys of a lost range. Without a stored freelist, old copies on free pages cannot be
//! distinguished from lost pages, and the number is an upper bound.

use etcdr_schemas::{ReadAt, Revision};

use super::batch::Bits;
use super::findings::Findings;
use crate::Result;
use crate::format::bolt::page::{self, BRANCH, BUCKET_FLAG, ELEMENT, HEADER, Header, LEAF};
use crate::format::bolt::{Db, read as read_bytes};
use crate::format::buckets;
use crate::format::mvcc::RowKey;

/// Bytes that are read at once.
const CHUNK: u64 = 1 << 20;
/// Roots that are listed.
const MAX_ROOTS: usize = 16;

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
    /// Parses the first page of what may be a logical page.
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

/// Reads the pages that no tree reaches, and adds to each loss how many of them may be below it.
pub(super) fn count_lost<R: ReadAt>(
    db: &Db<R>,
    reached: &Bits,
    free: Option<&Bits>,
    findings: &mut Findings,
) -> Result<Strays> {
    let mut strays = Strays::default();
    let skip = |page| reached.get(page) || free.is_some_and(|free| free.get(page));
    let losses = findings.losses();
    losses.iter_mut().for_each(|lost| lost.set_exact(free.is_some()));
    let mut count = |stray: &Stray<'_>| {
        let pages = u64::from(stray.header.overflow) + 1;
        for lost in losses.iter_mut().filter(|lost| lost.covers(stray.key, stray.buckets)) {
            lost.add_pages(pages);
        }
    };
    let pages = db.meta().high_water_mark;
    scan_pages(db.source(), db.page_size(), pages, &skip, &mut strays, &mut count)?;
    Ok(strays)
}

/// The strays of a file without a usable meta page: all of its pages.
///
/// # Errors
/// When the medium fails.
pub(crate) fn strays<R: ReadAt>(source: &R, page_size: u32) -> Result<Strays> {
    let mut strays = Strays::default();
    let pages = source.size() / u64::from(page_size.max(1));
    scan_pages(source, page_size, pages, &|_| false, &mut strays, &mut |_| {})?;
    Ok(strays)
}

fn scan_pages<R: ReadAt>(
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
