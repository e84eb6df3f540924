//! An observer of the pages that the structural check reads.

use crate::format::bolt::Bucket;

/// Receives each bucket and then its pages. The content of leaves goes to a
/// [`LeafVisitor`](crate::format::bolt::visit::LeafVisitor).
pub(crate) trait Observe {
    /// A page of the bucket of buckets, and the pages that it spans.
    fn root(&mut self, pages: u64);

    /// A bucket; its pages come next.
    fn bucket(&mut self, bucket: &Bucket);

    /// A branch of the last bucket: the pages that it spans and the levels above it.
    fn branch(&mut self, pages: u64, depth: u32);
}

/// Ignores everything.
pub(crate) struct NoObserver;

impl Observe for NoObserver {
    fn root(&mut self, _: u64) {}

    fn bucket(&mut self, _: &Bucket) {}

    fn branch(&mut self, _: u64, _: u32) {}
}
