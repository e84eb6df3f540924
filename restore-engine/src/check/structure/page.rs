//! The checks of one page by itself, given its tree and the bounds of its keys; they run on any
//! thread.

use super::batch::{Batch, TreeId};
use crate::format::bolt::bucket_of;
use crate::format::bolt::page::{self, MAX_DEPTH, Node};
use crate::format::bolt::visit::LeafVisitor;
use crate::format::bolt::{Bucket, Problem};
use crate::format::mvcc::RowKey;

/// bbolt's branches split at one page; even keys of 32 KiB cannot make one as large as this.
const MAX_BRANCH: u64 = 4 << 20;

/// What ends the reading of a page early.
pub(super) struct Cut {
    pub(super) problem: Problem,
    /// The last key before it; of a branch, what is below that one can be read.
    pub(super) after: Option<Vec<u8>>,
    /// Whether rows of a leaf are cut off, and not what is below a branch.
    pub(super) rows: bool,
}

impl Cut {
    /// Nothing of a page can be used.
    const fn whole(problem: Problem) -> Self {
        Self { problem, after: None, rows: false }
    }
}

/// The result of examining one page.
pub(super) struct PageResult<O> {
    pub(super) cut: Option<Cut>,
    pub(super) problems: Vec<Problem>,
    pub(super) content: PageContent<O>,
}

pub(super) enum PageContent<O> {
    /// A page that cannot be followed.
    Nothing,
    /// A leaf, with the result of the visitor.
    Leaf(O),
    /// A leaf of the bucket of buckets.
    Names(Vec<Result<Bucket, Problem>>),
    /// A branch.
    Branch(Children),
}

/// The children of a branch, and the lower bounds of their keys.
#[derive(Default)]
pub(super) struct Children {
    items: Vec<(u64, usize)>,
    keys: Vec<u8>,
}

impl Children {
    fn push(&mut self, child: u64, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.items.push((child, self.keys.len()));
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let mut start = 0;
        self.items.iter().map(move |&(child, end)| {
            let key = self.keys.get(start..end).unwrap_or_default();
            start = end;
            (child, key)
        })
    }
}

/// Examines one page of a batch. Returns the result and the bytes of heap that it takes.
pub(super) fn examine<L: LeafVisitor>(
    visitor: &L,
    cache: &mut L::ThreadCache,
    batch: &Batch,
    index: usize,
    depth: u32,
    node: &Node<'_>,
) -> (PageResult<L::Out>, usize) {
    let mut result = PageResult { cut: None, problems: Vec::new(), content: PageContent::Nothing };
    let Some(item) = batch.get(index) else { return (result, 0) };
    let (lower, upper) = batch.bounds(item);
    let mut weight = 0;
    if depth > 0 && node.count() == 0 {
        result.cut = Some(Cut::whole(Problem::Empty));
    } else if node.is_leaf() {
        let found = leaf(node, item.tree, lower, upper);
        (result.cut, result.problems) = (found.cut, found.problems);
        let out = if item.tree.is_root() {
            result.content = PageContent::Names(names(item.page, node));
            None
        } else if item.tree.is_key() {
            Some(visitor.leaf(cache, item.page, node))
        } else {
            visitor.other(node)
        };
        if let Some((out, heap)) = out {
            (result.content, weight) = (PageContent::Leaf(out), heap);
        }
    } else if depth + 1 >= MAX_DEPTH {
        result.cut = Some(Cut::whole(Problem::Depth(MAX_DEPTH)));
    } else if node.size() > MAX_BRANCH {
        result.cut = Some(Cut::whole(Problem::PageSize(node.size())));
    } else if node.count() == 0 {
        result.cut = Some(Cut::whole(Problem::Empty));
    } else {
        let children = branch(node, lower, upper, &mut result);
        weight = children.items.len() * size_of::<(u64, usize)>() + children.keys.len();
        result.content = PageContent::Branch(children);
    }
    weight += result.problems.len() * size_of::<Problem>();
    (result, weight)
}

fn branch<O>(
    node: &Node<'_>,
    lower: Option<&[u8]>,
    upper: Option<&[u8]>,
    result: &mut PageResult<O>,
) -> Children {
    let mut order = KeyOrder::new(lower, upper);
    let mut children = Children::default();
    for (index, child) in (0..).zip(node.children()) {
        match child {
            Ok(child) => {
                order.key(index, child.key);
                children.push(child.child, child.key);
            }
            Err(problem) => {
                result.cut = Some(Cut { problem, after: order.last_key(), rows: false });
                break;
            }
        }
    }
    if result.cut.is_none() && !node.is_dense(children.keys.len()) {
        result.problems.push(Problem::Gap);
    }
    result.problems.extend(order.finish());
    children
}

fn names(page: u64, node: &Node<'_>) -> Vec<Result<Bucket, Problem>> {
    // A row that cannot be read is among the leaf's own problems.
    let rows = (0..).zip(node.rows()).map_while(|(index, row)| Some((index, row.ok()?)));
    rows.map(|(index, row)| bucket_of(page, index, row)).collect()
}

/// What is wrong with a leaf.
pub(super) struct LeafProblems {
    pub(super) cut: Option<Cut>,
    pub(super) problems: Vec<Problem>,
}

/// Checks the rows of one leaf.
pub(super) fn leaf(
    node: &Node<'_>,
    tree: TreeId,
    lower: Option<&[u8]>,
    upper: Option<&[u8]>,
) -> LeafProblems {
    let mut order = KeyOrder::new(lower, upper);
    let (mut cut, mut data) = (None, 0);
    let mut rows = RowChecks::new(tree);
    for (index, row) in (0..).zip(node.rows()) {
        match row {
            Ok(row) => {
                data += row.key.len() + row.value.len();
                order.key(index, row.key);
                rows.row(index, row);
            }
            Err(problem) => {
                cut = Some(Cut { problem, after: order.last_key(), rows: true });
                break;
            }
        }
    }
    let gap = cut.is_none() && !node.is_dense(data);
    let mut problems = order.finish();
    problems.extend(rows.found);
    problems.extend(gap.then_some(Problem::Gap));
    LeafProblems { cut, problems }
}

/// Checks that the keys of one page are in order and lie between the bounds that the parent gives.
/// Each defect is reported once for a page.
struct KeyOrder<'a> {
    lower: Option<&'a [u8]>,
    upper: Option<&'a [u8]>,
    last: Option<(u16, &'a [u8])>,
    unordered: Option<Problem>,
    below: bool,
}

impl<'a> KeyOrder<'a> {
    fn new(lower: Option<&'a [u8]>, upper: Option<&'a [u8]>) -> Self {
        Self { lower, upper, last: None, unordered: None, below: false }
    }

    fn key(&mut self, index: u16, key: &'a [u8]) {
        match self.last {
            None => self.below = self.lower.is_some_and(|lower| key < lower),
            Some((_, last)) if key <= last => {
                self.unordered = self.unordered.or(Some(Problem::KeyOrder(index)));
            }
            Some(_) => {}
        }
        self.last = Some((index, key));
    }

    fn last_key(&self) -> Option<Vec<u8>> {
        self.last.map(|(_, key)| key.to_vec())
    }

    // When keys are in order, the last one shows whether all are below the bound.
    fn finish(self) -> Vec<Problem> {
        let beyond = self.last.zip(self.upper).filter(|((_, key), upper)| key >= upper);
        let beyond = beyond.map(|((index, _), _)| Problem::KeyBeyondNext(index));
        let below = self.below.then_some(Problem::KeyBelowParent);
        [self.unordered, below, beyond].into_iter().flatten().collect()
    }
}

/// Checks what kind of rows a bucket has. The first defect of a page is reported.
struct RowChecks {
    tree: TreeId,
    found: Option<Problem>,
}

impl RowChecks {
    const fn new(tree: TreeId) -> Self {
        Self { tree, found: None }
    }

    fn row(&mut self, index: u16, row: page::LeafElement<'_>) {
        if self.tree.is_root() || self.found.is_some() {
            return;
        }
        self.found = match row.flags {
            0 if self.tree.is_key() && RowKey::parse(row.key).is_none() => {
                Some(Problem::Revision(index))
            }
            0 => None,
            page::BUCKET_FLAG => Some(Problem::NestedBucket(index)),
            flags => Some(Problem::ElementFlags { index, flags }),
        };
    }
}
