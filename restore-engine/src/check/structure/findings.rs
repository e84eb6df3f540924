//! What the check found: a bounded list, and a count of the rest.

use etcdr_schemas::report::Finding;

use super::TreeId;
use super::lost::{Bounds, Lost};
use super::page::Cut;
use crate::findings;
use crate::format::bolt::Problem;
use crate::format::buckets::display;

/// Findings that are listed; the others are counted.
const MAX_FINDINGS: usize = 100;

#[derive(Debug)]
pub(super) struct Findings {
    page_size: u64,
    names: Vec<Vec<u8>>,
    list: Vec<Finding>,
    more: u64,
    lost: Vec<Lost>,
    lost_parts: u64,
}

impl Findings {
    pub(super) fn new(page_size: u32) -> Self {
        Self {
            page_size: u64::from(page_size),
            names: Vec::new(),
            list: Vec::new(),
            more: 0,
            lost: Vec::new(),
            lost_parts: 0,
        }
    }

    /// Takes the name of the next bucket, which places of findings contain.
    pub(super) fn name(&mut self, name: Vec<u8>) {
        self.names.push(name);
    }

    /// A defect of a page that belongs to no bucket, or to all.
    pub(super) fn page(&mut self, page: u64, problem: Problem) {
        self.add(page, String::new(), problem);
    }

    /// A defect of a page of a tree.
    pub(super) fn at(&mut self, page: u64, tree: TreeId, problem: Problem) {
        let suffix = self.bucket(tree);
        self.add(page, suffix, problem);
    }

    /// A page whose reading ends early, if it does; `bounds` are those of the whole page.
    pub(super) fn cut(&mut self, page: u64, tree: TreeId, cut: Option<&Cut>, bounds: Bounds<'_>) {
        let Some(cut) = cut else { return };
        let bounds = bounds.after(cut.after.as_deref(), cut.rows);
        self.lost(page, tree, cut.problem, bounds);
    }

    /// A defect of a page of a tree that keeps what is below it from being read: keys between
    /// `bounds`.
    pub(super) fn lost(&mut self, page: u64, tree: TreeId, problem: Problem, bounds: Bounds<'_>) {
        self.lose(tree, bounds);
        self.at(page, tree, problem);
    }

    /// A page that one branch should not name, and whose keys are lost.
    pub(super) fn child(
        &mut self,
        page: u64,
        parent: u64,
        tree: TreeId,
        problem: Problem,
        bounds: Bounds<'_>,
    ) {
        self.lose(tree, bounds);
        let suffix = format!(" below page {parent}{}", self.bucket(tree));
        self.add(page, suffix, problem);
    }

    /// Records a loss, which the next finding reports.
    fn lose(&mut self, tree: TreeId, bounds: Bounds<'_>) {
        self.lost_parts += 1;
        if self.list.len() < MAX_FINDINGS {
            self.lost.push(Lost::new(self.list.len(), tree, bounds));
        }
    }

    /// Parts of trees that could not be read.
    pub(super) const fn lost_parts(&self) -> u64 {
        self.lost_parts
    }

    /// The losses that are listed; the findings say what was found out about them later.
    pub(super) fn losses(&mut self) -> &mut [Lost] {
        &mut self.lost
    }

    pub(super) fn all(&mut self, page: u64, tree: TreeId, problems: &[Problem]) {
        for problem in problems {
            self.at(page, tree, *problem);
        }
    }

    pub(super) fn into_list(mut self) -> Vec<Finding> {
        for lost in &self.lost {
            if let Some(finding) = self.list.get_mut(lost.finding()) {
                finding.message.push_str(&lost.sentence());
            }
        }
        if self.more > 0 {
            let message = format!("{} more findings are not listed", self.more);
            self.list.push(findings::MORE.at("database", message));
        }
        self.list
    }

    fn bucket(&self, tree: TreeId) -> String {
        let name = tree.index().and_then(|index| self.names.get(index));
        name.map_or_else(
            || ", bucket of buckets".to_owned(),
            |name| format!(", bucket {}", display(name.get(..64).unwrap_or(name))),
        )
    }

    fn add(&mut self, page: u64, suffix: String, problem: Problem) {
        if self.list.len() >= MAX_FINDINGS {
            self.more += 1;
            return;
        }
        let offset = page.saturating_mul(self.page_size);
        let place = format!("page {page} (byte {offset}){suffix}");
        self.list.push(problem.kind().at(place, problem.to_string()));
    }
}
