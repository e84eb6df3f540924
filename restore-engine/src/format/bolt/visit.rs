//! All leaves of one bucket: several threads read them in file order, one takes the results in key
//! order.

use std::ops::ControlFlow;

use etcdr_schemas::{Hidden, ReadAt};

use super::page::{MAX_DEPTH, Node};
use super::page_reader::{PageReader, RequestSizes, ScanBudget};
use super::{Bucket, Db, Problem, Root, inline_node};
use crate::Result;

/// Reads leaves, on any thread, in any order.
pub(crate) trait LeafVisitor: Sync {
    /// What a thread keeps from leaf to leaf.
    type ThreadCache: Default;
    /// What is kept of a leaf.
    type Out: Send;

    /// Reads one leaf. Returns the result and the bytes of heap that it takes.
    fn leaf(&self, cache: &mut Self::ThreadCache, page: u64, node: &Node<'_>)
    -> (Self::Out, usize);

    /// Reads a leaf of another bucket than `key`; only the structural check shows these. Most
    /// visitors ignore them.
    fn other(&self, _: &Node<'_>) -> Option<(Self::Out, usize)> {
        None
    }
}

/// Takes leaves with their page numbers, all in key order, one call after the other, and says
/// whether to go on.
pub(crate) type Take<'a, O> = dyn FnMut(Vec<(u64, O)>) -> Result<ControlFlow<()>> + 'a;

/// Ignores all leaves.
pub(crate) struct NoVisitor;

impl LeafVisitor for NoVisitor {
    type ThreadCache = ();
    type Out = ();

    fn leaf(&self, (): &mut (), _: u64, _: &Node<'_>) -> ((), usize) {
        ((), 0)
    }
}

/// Gives the leaves of a bucket to `visitor`, and its results to `take`. The structure need not
/// have been checked: damage is an error.
pub(crate) fn walk<R: ReadAt, L: LeafVisitor>(
    db: &Db<R>,
    bucket: &Bucket,
    budget: impl Into<ScanBudget>,
    visitor: &L,
    take: &mut Take<'_, L::Out>,
) -> Result<()> {
    match &bucket.root {
        Root::Inline { page, image } => {
            let node = inline_node(image).map_err(|problem| db.damaged(*page, problem))?;
            let (out, _) = visitor.leaf(&mut L::ThreadCache::default(), *page, &node);
            take(vec![(*page, out)]).map(|_| ())
        }
        Root::Page(root) => {
            let reader = PageReader::new(db, budget, &Hidden);
            let mut walk = Walk { reader, sizes: RequestSizes::default(), visitor, take };
            walk.below(&[*root], 0).map(|_| ())
        }
    }
}

/// Branches that are expanded together.
const MAX_BELOW: usize = 256 * 1024;

struct Walk<'a, 'b, R, L: LeafVisitor> {
    reader: PageReader<'a, R>,
    sizes: RequestSizes,
    visitor: &'a L,
    take: &'a mut Take<'b, L::Out>,
}

enum Visited<O> {
    Leaf(O),
    Branch(Vec<u64>),
}

impl<R: ReadAt, L: LeafVisitor> Walk<'_, '_, R, L> {
    /// Recurses once for each level of the tree; [`MAX_DEPTH`] bounds it.
    fn below(&mut self, pages: &[u64], depth: u32) -> Result<ControlFlow<()>> {
        let db = self.reader.db;
        let mut rest = pages;
        let mut children = Vec::new();
        while let Some(first) = rest.first() {
            if depth >= MAX_DEPTH {
                return Err(db.damaged(*first, Problem::Depth(MAX_DEPTH)));
            }
            let (asked, _) = rest.split_at(self.sizes.pages(depth).min(rest.len()));
            let visitor = self.visitor;
            let visit = |cache: &mut L::ThreadCache, index: usize, node: &Node<'_>| {
                let page = asked.get(index).copied().unwrap_or_default();
                visit_page(visitor, cache, page, node, depth)
            };
            let read = self.reader.read(asked, &visit)?;
            self.sizes.learn(self.reader.budget, depth, &read);
            let (done, left) = rest.split_at(read.values.len());
            rest = left;
            let mut leaves = Vec::new();
            for (page, answer) in done.iter().zip(read.values) {
                let damaged = |problem| db.damaged(*page, problem);
                match answer.and_then(|seen| seen).map_err(damaged)? {
                    // Trees have their leaves on one level; one that has not is still taken in
                    // order.
                    Visited::Leaf(out) => {
                        if self.flush(&mut Vec::new(), &mut children, depth)?.is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        leaves.push((*page, out));
                    }
                    Visited::Branch(more) => {
                        children.extend(more);
                        let full = children.len() >= MAX_BELOW;
                        if (full || !leaves.is_empty())
                            && self.flush(&mut leaves, &mut children, depth)?.is_break()
                        {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                }
            }
            if !leaves.is_empty() && (self.take)(leaves)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        self.flush(&mut Vec::new(), &mut children, depth)
    }

    /// Gives on the leaves so far, then what is below the branches that came after them.
    fn flush(
        &mut self,
        leaves: &mut Vec<(u64, L::Out)>,
        children: &mut Vec<u64>,
        depth: u32,
    ) -> Result<ControlFlow<()>> {
        if !leaves.is_empty() && (self.take)(std::mem::take(leaves))?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if children.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        self.below(&std::mem::take(children), depth + 1)
    }
}

fn visit_page<L: LeafVisitor>(
    visitor: &L,
    cache: &mut L::ThreadCache,
    page: u64,
    node: &Node<'_>,
    depth: u32,
) -> (Result<Visited<L::Out>, Problem>, usize) {
    if depth > 0 && node.count() == 0 {
        return (Err(Problem::Empty), 0);
    }
    if node.is_leaf() {
        let (out, weight) = visitor.leaf(cache, page, node);
        return (Ok(Visited::Leaf(out)), weight);
    }
    let children: Result<Vec<_>, _> =
        node.children().map(|child| child.map(|child| child.child)).collect();
    match children {
        Ok(children) if children.is_empty() => (Err(Problem::Empty), 0),
        Ok(children) => {
            let weight = children.len() * 8;
            (Ok(Visited::Branch(children)), weight)
        }
        Err(problem) => (Err(problem), 0),
    }
}
