//! Those who want to know which pages the check has been to.

use crate::format::bolt::Bucket;

/// Is told of buckets, one after the other, and of the pages of each. What is on leaves, a
/// [`LeafVisitor`](crate::format::bolt::visit::LeafVisitor) sees.
pub(crate) trait Observe {
    /// A page of the bucket of buckets, and the pages that it spans.
    fn root(&mut self, pages: u64);

    /// A bucket; its pages come next.
    fn bucket(&mut self, bucket: &Bucket);

    /// A branch of the bucket that was told last: the pages that it spans and the levels above it.
    fn branch(&mut self, pages: u64, depth: u32);
}

/// Nobody wants to know.
pub(crate) struct Nobody;

impl Observe for Nobody {
    fn root(&mut self, _: u64) {}

    fn bucket(&mut self, _: &Bucket) {}

    fn branch(&mut self, _: u64, _: u32) {}
}
