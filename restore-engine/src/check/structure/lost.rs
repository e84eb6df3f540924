//! What is lost below a page that cannot be read: which keys, and how many pages.
//!
//! The branch that names a page also says which keys are below it, so the range is known even when
//! the page is not.

use super::batch::TreeId;
use crate::format::buckets::display;
use crate::format::mvcc::RowKey;

/// Bytes of a bound that are kept and shown.
const SHOWN: usize = 80;
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

/// One loss, and the finding that reports it.
#[derive(Debug)]
pub(super) struct Lost {
    finding: usize,
    tree: TreeId,
    lower: Option<Vec<u8>>,
    upper: Option<Vec<u8>>,
    rows: bool,
    pages: u64,
    exact: bool,
}

impl Lost {
    pub(super) fn new(finding: usize, tree: TreeId, bounds: Bounds<'_>) -> Self {
        let keep = |key: &[u8]| key.get(..SHOWN).unwrap_or(key).to_vec();
        let (lower, upper) = (bounds.lower.map(keep), bounds.upper.map(keep));
        Self { finding, tree, lower, upper, rows: bounds.rows, pages: 0, exact: false }
    }

    /// Sets whether its pages can be distinguished from free ones; otherwise their number is an
    /// upper bound.
    pub(super) const fn set_exact(&mut self, exact: bool) {
        self.exact = exact;
    }

    /// Counts pages that may be below it.
    pub(super) const fn add_pages(&mut self, pages: u64) {
        self.pages = self.pages.saturating_add(pages);
    }

    pub(super) const fn finding(&self) -> usize {
        self.finding
    }

    /// Whether a page may be one of those that are lost: its first key, and whether it lists
    /// buckets.
    pub(super) fn covers(&self, key: &[u8], buckets: bool) -> bool {
        let in_bounds = self.lower.as_deref().is_none_or(|lower| key >= lower)
            && self.upper.as_deref().is_none_or(|upper| key < upper);
        let revision = RowKey::parse(key).is_some();
        !self.rows
            && in_bounds
            && (self.tree.is_root() || revision == self.tree.is_key() && !buckets)
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
        let what = match self.tree {
            tree if tree.is_root() => "buckets",
            tree if tree.is_key() => "revisions",
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
        match RowKey::parse(key).filter(|_| self.tree.is_key()) {
            Some(RowKey { main, sub: 0, .. }) => main.to_string(),
            Some(RowKey { main, sub, .. }) => format!("{main}/{sub}"),
            None => format!("{:?}", display(key)),
        }
    }
}
