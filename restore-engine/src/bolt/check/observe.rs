//! Those who want to see the pages that the check reads anyway.

use crate::bolt::Bucket;
use crate::bolt::page::Node;

/// Which tree a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// The bucket of buckets.
    Buckets,
    /// The bucket with this number, in the order in which they were shown.
    Bucket(usize),
}

/// One page of a tree that can be read. Its elements may still be defective: reading them ends at the first
/// defect.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Which tree it belongs to.
    pub tree: Tree,
    /// Its number; of an inline bucket, that of the page around it.
    pub page: u64,
    /// Pages that it spans; 0 for an inline bucket.
    pub pages: u64,
    /// Levels above it.
    pub depth: u32,
    /// What is on it.
    pub node: Node<'a>,
}

impl<'a> Seen<'a> {
    pub(super) const fn inline(tree: Tree, page: u64, node: Node<'a>) -> Self {
        Self { tree, page, pages: 0, depth: 0, node }
    }
}

/// Sees every page of every tree once, in the order in which they lie in the file, more or less.
pub trait Observe {
    /// A bucket; its pages come later.
    fn bucket(&mut self, bucket: &Bucket);

    /// A page.
    fn node(&mut self, seen: &Seen<'_>);
}

/// Nobody looks.
pub(super) struct Nobody;

impl Observe for Nobody {
    fn bucket(&mut self, _: &Bucket) {}

    fn node(&mut self, _: &Seen<'_>) {}
}
