//! What can be wrong with a bbolt file, with the stable code of each finding.

use etcdr_schemas::report::{FindingKind, Severity};

use crate::findings::USE_ANOTHER;

/// One defect of a page, a meta, a key or the freelist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant's sentence is its message")]
pub enum Problem {
    #[error("{size} bytes are fewer than two pages")]
    TooShort { size: u64 },
    #[error("neither meta page is valid")]
    NoMeta,
    #[error("this meta page is not valid; the other one is used")]
    OneMeta,
    #[error("the header of this meta page is not a meta page's")]
    MetaHeader,
    #[error("the meta page counts {high_water_mark} pages, the file holds {pages}")]
    HighWaterMark { high_water_mark: u64, pages: u64 },
    #[error("the meta page names page {0} as the root")]
    Root(u64),
    #[error("the meta page names page {0} as the freelist")]
    FreelistId(u64),
    #[error("the page is out of range: the database has {0} pages")]
    Range(u64),
    #[error("its header says that it is page {0}")]
    WrongId(u64),
    #[error("it is neither a branch nor a leaf (flags {0:#06x})")]
    Kind(u16),
    #[error("it claims {0} overflow pages, which go past the end")]
    Overflow(u32),
    #[error("a page of {0} bytes is more than etcd can write")]
    PageSize(u64),
    #[error("the tree is deeper than {0} levels")]
    Depth(u32),
    #[error("it is used more than once")]
    Shared,
    #[error("it has no elements")]
    Empty,
    #[error("nothing that streamed by can be this page of the tree")]
    Lost,
    #[error("element {0} points outside the page")]
    Element(u16),
    #[error("its keys and values do not lie side by side: a count or a length was changed")]
    Gap,
    #[error("element {index} has flags {flags:#x}")]
    ElementFlags { index: u16, flags: u32 },
    #[error("the key of element {index} has {size} bytes")]
    KeySize { index: u16, size: u32 },
    #[error("the key of element {0} is not above the one before it")]
    KeyOrder(u16),
    #[error("its first key is below the key in its parent")]
    KeyBelowParent,
    #[error("element {0} has a key that belongs to the next page")]
    KeyBeyondNext(u16),
    #[error("element {0} is a bucket without a proper header")]
    BucketHeader(u16),
    #[error("element {0} is a plain row among the buckets")]
    PlainInRoot(u16),
    #[error("element {0} is a bucket inside a bucket")]
    NestedBucket(u16),
    #[error("there are more than {0} buckets")]
    Buckets(usize),
    #[error("the freelist counts more pages than it has room for")]
    FreelistCount,
    #[error("the freelist names page {0}, which is out of range")]
    FreelistRange(u64),
    #[error("the freelist names page {0} twice")]
    FreelistDuplicate(u64),
    #[error("the freelist is not in order at page {0}")]
    FreelistOrder(u64),
    #[error("it is in use and in the freelist")]
    FreelistReachable,
    #[error("it is neither in use nor in the freelist")]
    Unreachable,
    #[error("the key of element {0} is not a revision")]
    Revision(u16),
}

impl Problem {
    /// The stable code of a finding. Part of the report contract: codes are added, never changed.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "bolt.meta.size",
            Self::NoMeta | Self::OneMeta => "bolt.meta.invalid",
            Self::MetaHeader => "bolt.meta.header",
            Self::HighWaterMark { .. } => "bolt.meta.high-water-mark",
            Self::Root(_) => "bolt.meta.root",
            Self::FreelistId(_) => "bolt.meta.freelist",
            Self::Range(_) => "bolt.page.range",
            Self::WrongId(_) => "bolt.page.id",
            Self::Kind(_) => "bolt.page.kind",
            Self::Overflow(_) => "bolt.page.overflow",
            Self::PageSize(_) => "bolt.page.size",
            Self::Depth(_) => "bolt.page.depth",
            Self::Shared => "bolt.page.shared",
            Self::Empty => "bolt.page.empty",
            Self::Lost => "bolt.page.lost",
            Self::Unreachable => "bolt.page.unreachable",
            Self::Element(_) => "bolt.element.bounds",
            Self::Gap => "bolt.element.gap",
            Self::ElementFlags { .. } => "bolt.element.flags",
            Self::KeySize { .. } => "bolt.key.size",
            Self::KeyOrder(_) => "bolt.key.order",
            Self::KeyBelowParent => "bolt.key.parent",
            Self::KeyBeyondNext(_) => "bolt.key.next",
            Self::BucketHeader(_) => "bolt.bucket.header",
            Self::PlainInRoot(_) => "bolt.bucket.plain",
            Self::NestedBucket(_) => "bolt.bucket.nested",
            Self::Buckets(_) => "bolt.bucket.count",
            Self::FreelistCount => "bolt.freelist.count",
            Self::FreelistRange(_) => "bolt.freelist.range",
            Self::FreelistDuplicate(_) => "bolt.freelist.duplicate",
            Self::FreelistOrder(_) => "bolt.freelist.order",
            Self::FreelistReachable => "bolt.freelist.reachable",
            Self::Revision(_) => "etcd.key.malformed",
        }
    }

    /// The kind of finding that it is.
    #[must_use]
    pub const fn kind(self) -> FindingKind {
        let advice = match self {
            Self::OneMeta | Self::MetaHeader => {
                "etcd starts from the other meta page; take a new snapshot all the same."
            }
            Self::FreelistOrder(_) => "A restore drops the freelist, and etcd makes a new one.",
            _ => USE_ANOTHER,
        };
        FindingKind { code: self.code(), severity: self.severity(), advice }
    }

    /// How bad it is. A damaged meta page that is not used, or a header that is not read, does no
    /// harm yet.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::OneMeta | Self::MetaHeader | Self::FreelistOrder(_) => Severity::Warning,
            _ => Severity::Damage,
        }
    }
}
