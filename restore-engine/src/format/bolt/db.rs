//! Ordered, bounds-checked reading of the buckets of a database.
//!
//! A scan goes depth first and holds one path of page numbers and one window of bytes. Neighbouring
//! pages are read together: leaves that were written together lie side by side.

mod load;

use std::ops::ControlFlow;

use etcdr_schemas::ReadAt;

use super::Problem;
use super::meta::{self, Meta, Metas};
use super::page::{self, BUCKET_FLAG, BUCKET_HEADER, HEADER, MAX_DEPTH, Node};
use super::window::{Window, run};
use crate::{Error, Result};

/// Most buckets that are read; etcd has 10.
pub(crate) const MAX_BUCKETS: usize = 1024;
/// bbolt inlines buckets of up to a quarter of a page, and pages have at most 64 KiB.
const MAX_INLINE: usize = 64 * 1024;
/// Takes the key and the value of a row, and says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;
/// Takes a leaf and its page number, and says whether to go on.
type VisitLeaf<'a> = dyn FnMut(u64, &Node<'_>) -> Result<ControlFlow<()>> + 'a;

/// An open database.
#[derive(Debug)]
pub struct Db<R> {
    source: R,
    metas: Metas,
    size: u64,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: Vec<u8>,
    /// Where its rows are.
    pub root: Root,
}

/// Where the rows of a bucket are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// In a tree with this root page.
    Page(u64),
    /// In a page image that was the bucket's value.
    Inline {
        /// The page that holds the value.
        page: u64,
        /// The image, from its page header on.
        image: Vec<u8>,
    },
}

impl<R: ReadAt> Db<R> {
    /// Opens a database. `source` may be longer than the database: a live file is, and a snapshot
    /// file has its digest behind it.
    ///
    /// # Errors
    /// [`Error::NotBolt`] when there is no valid meta page, or it names pages that the file does
    /// not have.
    pub fn open(source: R) -> Result<Self> {
        let metas = meta::discover(&source)?;
        let not_bolt = |problem| Error::NotBolt { problem };
        metas.chosen.check(Some(source.size())).map_err(not_bolt)?;
        let size = metas.chosen.database_size().ok_or(not_bolt(Problem::NoMeta))?;
        Ok(Self { source, metas, size })
    }

    /// Opens what is left of a database, through the meta page `page` (0 or 1) or the newest one.
    /// Pages that the meta page names beyond the end of the file are left out. Returns what is
    /// wrong with that meta page.
    ///
    /// The older meta page leads to the transaction before; its pages may have been reused since.
    ///
    /// # Errors
    /// [`Error::NotBolt`] when no meta page is valid, [`Error::Request`] when the one that is named
    /// is not.
    pub fn open_damaged(source: R, page: Option<usize>) -> Result<(Self, Option<Problem>)> {
        let mut metas = meta::discover(&source)?;
        if let Some(page) = page {
            let not_valid = || Error::request(format!("meta page {page} is not valid"));
            metas.chosen = metas.pair.get(page).copied().flatten().ok_or_else(not_valid)?;
        }
        let problem = metas.chosen.check(Some(source.size())).err();
        let pages = source.size() / u64::from(metas.chosen.page_size);
        let meta = &mut metas.chosen;
        meta.high_water_mark = meta.high_water_mark.min(pages);
        meta.freelist = meta.freelist.filter(|id| *id < meta.high_water_mark);
        let size = meta.database_size().unwrap_or_default();
        Ok((Self { source, metas, size }, problem))
    }

    /// Bytes of a page.
    #[must_use]
    pub const fn page_size(&self) -> u32 {
        self.metas.chosen.page_size
    }

    /// Bytes of the database: pages up to the high-water mark.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The meta page that counts.
    #[must_use]
    pub const fn meta(&self) -> &Meta {
        &self.metas.chosen
    }

    /// The medium.
    #[must_use]
    pub const fn source(&self) -> &R {
        &self.source
    }

    pub(crate) const fn metas(&self) -> &Metas {
        &self.metas
    }

    /// All buckets, in order of their names.
    ///
    /// # Errors
    /// When a page of the bucket of buckets is damaged.
    pub fn buckets(&self) -> Result<Vec<Bucket>> {
        let mut buckets = Vec::new();
        self.walk(self.meta().root, &mut |page, node| {
            for (index, row) in (0..).zip(node.rows()) {
                let row = row.map_err(|problem| self.damaged(page, problem))?;
                let bucket = bucket_of(page, index, row);
                buckets.push(bucket.map_err(|problem| self.damaged(page, problem))?);
                if buckets.len() > MAX_BUCKETS {
                    return Err(self.damaged(page, Problem::Buckets(MAX_BUCKETS)));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(buckets)
    }

    /// One bucket, if it is there.
    ///
    /// # Errors
    /// See [`Self::buckets`].
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket>> {
        Ok(self.buckets()?.into_iter().find(|bucket| bucket.name == name))
    }

    /// Gives every row of a bucket to `visit`, in key order, until it returns a break.
    ///
    /// # Errors
    /// When a page is damaged or cannot be read, and whatever `visit` returns.
    pub fn scan(&self, bucket: &Bucket, visit: &mut Visit<'_>) -> Result<()> {
        self.walk_bucket(bucket, &mut |page, node| {
            for row in node.rows() {
                let row = row.map_err(|problem| self.damaged(page, problem))?;
                if visit(row.key, row.value)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    /// The value of one row.
    ///
    /// # Errors
    /// When a page on the way is damaged or cannot be read.
    pub fn get(&self, bucket: &Bucket, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.descend(
            bucket,
            |node| {
                let mut chosen = 0;
                for (index, child) in (0..).zip(node.children()) {
                    if child?.key > key {
                        break;
                    }
                    chosen = index;
                }
                Ok(chosen)
            },
            |node| {
                for row in node.rows() {
                    let row = row?;
                    if row.key == key {
                        return Ok(Some(row.value.to_vec()));
                    }
                }
                Ok(None)
            },
        )
    }

    /// The last row of a bucket: its key and value.
    ///
    /// # Errors
    /// When a page on the way is damaged or cannot be read.
    pub fn last(&self, bucket: &Bucket) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
        let last = |node: &Node<'_>| node.count().checked_sub(1);
        let row = |node: &Node<'_>| match last(node) {
            Some(index) => {
                let row = node.row(index)?;
                Ok(Some((row.key.to_vec(), row.value.to_vec())))
            }
            None => Ok(None),
        };
        self.descend(bucket, |node| last(node).ok_or(Problem::Empty), row)
    }

    /// Descends from the root of a bucket to one leaf. A leaf below a branch must not be empty:
    /// bbolt never leaves one behind, and it would hide the last row or a row that is searched.
    fn descend<T>(
        &self,
        bucket: &Bucket,
        choose: impl Fn(&Node<'_>) -> Result<u16, Problem>,
        take: impl Fn(&Node<'_>) -> Result<T, Problem>,
    ) -> Result<T> {
        let mut id = match &bucket.root {
            Root::Page(id) => *id,
            Root::Inline { page, image } => {
                let taken = inline_node(image).and_then(|node| take(&node));
                return taken.map_err(|problem| self.damaged(*page, problem));
            }
        };
        let mut window = Window::default();
        for depth in 0..MAX_DEPTH {
            let node = self.load(&mut window, id, 0)?;
            let damaged = |problem| self.damaged(id, problem);
            if depth > 0 && node.count() == 0 {
                return Err(damaged(Problem::Empty));
            }
            if node.is_leaf() {
                return take(&node).map_err(damaged);
            }
            let child = choose(&node).and_then(|index| node.child(index));
            id = child.map_err(damaged)?.child;
        }
        Err(self.damaged(id, Problem::Depth(MAX_DEPTH)))
    }

    pub(crate) fn walk_bucket(&self, bucket: &Bucket, visit: &mut VisitLeaf<'_>) -> Result<()> {
        match &bucket.root {
            Root::Page(root) => self.walk(*root, visit),
            Root::Inline { page, image } => {
                let node = inline_node(image).map_err(|problem| self.damaged(*page, problem))?;
                visit(*page, &node).map(|_| ())
            }
        }
    }

    /// Gives the leaves below `root` to `visit`, in key order.
    fn walk(&self, root: u64, visit: &mut VisitLeaf<'_>) -> Result<()> {
        let mut window = Window::default();
        let mut path = vec![Siblings { ids: vec![root], next: 0 }];
        // No page belongs to a tree twice, so a walk that reads more pages than the file has
        // follows a cycle.
        let mut budget = self.meta().high_water_mark;
        while let Some(level) = path.last_mut() {
            let Some(id) = level.take() else {
                path.pop();
                continue;
            };
            let ahead = level.ahead(id) * u64::from(self.page_size());
            let node = self.load(&mut window, id, ahead)?;
            let pages = node.size() / u64::from(self.page_size());
            budget = budget.checked_sub(pages).ok_or_else(|| self.damaged(id, Problem::Shared))?;
            if node.is_leaf() {
                if visit(id, &node)?.is_break() {
                    return Ok(());
                }
                continue;
            }
            let children = node.children().map(|child| child.map(|child| child.child));
            let ids = children
                .collect::<Result<Vec<_>, _>>()
                .map_err(|problem| self.damaged(id, problem))?;
            if ids.is_empty() {
                return Err(self.damaged(id, Problem::Empty));
            }
            path.push(Siblings { ids, next: 0 });
            if path.len() > MAX_DEPTH as usize {
                return Err(self.damaged(id, Problem::Depth(MAX_DEPTH)));
            }
        }
        Ok(())
    }

    /// An error that names a page.
    pub(crate) fn damaged(&self, page: u64, problem: Problem) -> Error {
        let offset = page.saturating_mul(u64::from(self.page_size()));
        Error::Page { page, offset, problem }
    }
}

/// The page of an inline bucket. It is always a leaf.
pub(crate) fn inline_node(image: &[u8]) -> Result<Node<'_>, Problem> {
    let node = Node::parse(image)?;
    if node.is_leaf() { Ok(node) } else { Err(Problem::Kind(page::BRANCH)) }
}

/// Reads a row of the bucket of buckets.
pub(crate) fn bucket_of(
    page: u64,
    index: u16,
    row: page::LeafElement<'_>,
) -> Result<Bucket, Problem> {
    match row.flags {
        BUCKET_FLAG => {}
        0 => return Err(Problem::PlainInRoot(index)),
        flags => return Err(Problem::ElementFlags { index, flags }),
    }
    let bad = Problem::BucketHeader(index);
    let root = page::u64_at(row.value, 0).ok_or(bad)?;
    let image = row.value.get(BUCKET_HEADER..).ok_or(bad)?;
    let root = match root {
        0 if image.len() >= HEADER && image.len() <= MAX_INLINE => {
            Root::Inline { page, image: image.to_vec() }
        }
        id if id != 0 && image.is_empty() => Root::Page(id),
        _ => return Err(bad),
    };
    Ok(Bucket { name: row.key.to_vec(), root })
}

/// The children of one branch that are still to be visited.
struct Siblings {
    ids: Vec<u64>,
    next: usize,
}

impl Siblings {
    fn take(&mut self) -> Option<u64> {
        let id = self.ids.get(self.next).copied();
        self.next += 1;
        id
    }

    fn ahead(&self, id: u64) -> u64 {
        run(id, self.ids.get(self.next..).unwrap_or_default().iter().copied())
    }
}
