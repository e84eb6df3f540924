//! Level `semantic`: what the database says, row by row, and whether it can be so.
//!
//! The rows of bucket `key` are checked while the structural check reads their pages, so that both
//! levels read the database once. A row by itself is checked on the thread that reads it; the
//! history of its key is checked in order of revision, from the few bytes that are kept of each
//! row. When there are more keys than the table has room for, the rows are read in several passes,
//! each for a part of the keys.

use std::ops::ControlFlow;

use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{Contents, Finding, OfflineHash};
use etcdr_schemas::{Progress, ReadAt};

use super::error_finding::error_finding;
use super::structure::check_with;
use super::structure::{Structure, structure};
use crate::format::bolt::visit::walk;
use crate::format::bolt::{Bucket, Db, ScanBudget};
use crate::format::facts::{ImageFacts, facts_and_key_bucket};
use crate::scan::key_hash::KeyHash;
use crate::scan::keys::{Keys, Marks};
use crate::scan::leaf::Extent;
use crate::{Error, Result};

mod contents;
mod history;
pub mod kinds;
mod meta_bucket;
mod order;
mod row;
mod row_findings;
mod small_buckets;

use history::HistoryCheck;
use meta_bucket::MetaBucket;
use order::OrderCheck;
use row::{AllNames, Leaf, Rows};
use row_findings::RowFindings;
use small_buckets::SmallBuckets;

/// What level `semantic` found.
#[derive(Debug, Clone)]
pub struct Semantic {
    /// What the database holds; `None` when a row kept that from being counted.
    pub contents: Option<Contents>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// The findings of both levels that read the pages of a database.
#[derive(Debug, Clone)]
pub struct Examined {
    /// Level `structure`.
    pub structure: Structure,
    /// Level `semantic`, unless the structure is damaged.
    pub semantic: Option<Semantic>,
}

/// Levels `structure` and `semantic` of an image, in one reading. With the manifest, what it says
/// of the image is compared.
///
/// # Errors
/// [`Error::Read`] when the medium fails; damage is a finding.
pub fn examine<R: ReadAt>(
    image: R,
    manifest: Option<&Manifest>,
    budget: impl Into<ScanBudget>,
    progress: &dyn Progress,
) -> Result<Examined> {
    let db = match Db::open(&image) {
        Ok(db) => db,
        Err(_) => return Ok(only_structure(structure(&image, progress)?)),
    };
    // When the facts cannot be read, the structural check reports why.
    let Ok(base) = Base::read(&db) else {
        return Ok(only_structure(structure(&image, progress)?));
    };
    let meta_bucket = MetaBucket { facts: &base.facts, manifest };
    Reading::new(&db, &base, &meta_bucket, budget.into()).run(progress)
}

const fn only_structure(structure: Structure) -> Examined {
    Examined { structure, semantic: None }
}

/// The small parts of the database, read before the rows.
struct Base {
    facts: ImageFacts,
    key: Bucket,
    buckets: Vec<Bucket>,
    small_buckets: SmallBuckets,
}

impl Base {
    fn read<R: ReadAt>(db: &Db<R>) -> Result<Self> {
        let (facts, key) = facts_and_key_bucket(db)?;
        let buckets = db.buckets()?;
        let small_buckets = small_buckets::read(db, &buckets)?;
        Ok(Self { facts, key, buckets, small_buckets })
    }
}

/// One reading of all rows, in as many passes as their keys need.
struct Reading<'a, R> {
    db: &'a Db<R>,
    base: &'a Base,
    meta_bucket: &'a MetaBucket<'a>,
    budget: ScanBudget,
    extent: Extent,
    names: AllNames,
    recorded: Option<OfflineHash>,
    findings: Vec<Finding>,
}

impl<'a, R: ReadAt> Reading<'a, R> {
    fn new(
        db: &'a Db<R>,
        base: &'a Base,
        meta_bucket: &'a MetaBucket<'a>,
        budget: ScanBudget,
    ) -> Self {
        let mut findings = Vec::new();
        let recorded = match meta_bucket.recorded() {
            Some(Ok(hash)) => Some(hash),
            Some(Err(finding)) => {
                findings.push(finding);
                None
            }
            None => None,
        };
        let at = recorded.map_or(base.facts.revision, |hash| hash.revision);
        let extent = Extent { at, compact: meta_bucket.compact(), beyond: true };
        let names = AllNames::default();
        Self { db, base, meta_bucket, budget, extent, names, recorded, findings }
    }

    fn run(mut self, progress: &dyn Progress) -> Result<Examined> {
        let (compact, finished) = (self.meta_bucket.compact(), self.meta_bucket.finished());
        let marks = Marks { at: self.extent.at.0, marked: compact };
        let keys = Keys::new(HistoryCheck { compact, finished }, marks, self.budget.table);
        let mut pass = Pass {
            hash: KeyHash::new(keys, self.extent, self.budget.workers),
            order: OrderCheck::new(compact),
            row_findings: RowFindings::default(),
            broken: None,
            first: true,
        };
        let rows = self.rows(true);
        let take = &mut |leaves| pass.take(leaves);
        let findings = check_with(self.db, self.budget, progress, &rows, take)?;
        let structure = Structure::of(self.db, findings)?;
        if structure.is_damaged() {
            return Ok(only_structure(structure));
        }
        pass.first = false;
        while pass.broken.is_none() && pass.hash.end_pass() {
            let rows = self.rows(false);
            let take = &mut |leaves| pass.take(leaves);
            walk(self.db, &self.base.key, self.budget, &rows, take)?;
        }
        self.findings.extend(self.meta_bucket.findings(self.db, &self.base.buckets)?);
        self.findings.extend(self.base.small_buckets.findings.iter().cloned());
        let contents = match pass.broken.take() {
            Some(error) => {
                self.findings
                    .push(meta_bucket::row_error(&error).map_or_else(|| error_finding(error), Ok)?);
                None
            }
            None => Some(self.counted(pass)?),
        };
        let semantic = Semantic { contents, findings: self.findings };
        Ok(Examined { structure, semantic: Some(semantic) })
    }

    fn rows(&self, first_pass: bool) -> Rows<'_> {
        let leases = self.base.small_buckets.leases.as_deref();
        Rows { extent: self.extent, names: &self.names, leases, first_pass }
    }

    /// Compares the hash, fills in the counts, and lists the findings of the rows.
    fn counted(&mut self, pass: Pass) -> Result<Contents> {
        let hash = OfflineHash {
            revision: self.extent.at,
            compact_revision: self.extent.compact,
            hash: pass.hash.value(self.db, &self.base.key)?,
        };
        let rows = pass.hash.rows();
        let mut counts = pass.hash.into_tally();
        counts.row_findings.absorb(pass.row_findings);
        let mut contents = contents::contents(
            &mut counts,
            std::mem::take(&mut self.names),
            &self.base.small_buckets,
            &mut self.findings,
        );
        contents.rows = rows;
        contents.hash_kv = Some(hash);
        contents.hash_kv_matches = self.recorded.map(|recorded| recorded == hash);
        if let Some(recorded) = self.recorded.filter(|recorded| *recorded != hash) {
            let message = format!(
                "at revision {} it is {}, and the live members gave {}",
                hash.revision, hash.hash, recorded.hash
            );
            self.findings.push(kinds::HASH_DIFFERS.at("bucket key", message));
        }
        counts.row_findings.list(self.db, &self.base.key, &mut self.findings);
        Ok(contents)
    }
}

/// The state of one pass; leaves come in order of their rows.
struct Pass {
    hash: KeyHash<HistoryCheck>,
    order: OrderCheck,
    row_findings: RowFindings,
    broken: Option<Error>,
    first: bool,
}

impl Pass {
    fn take(&mut self, leaves: Vec<(u64, Leaf)>) -> Result<ControlFlow<()>> {
        if self.broken.is_some() {
            return Ok(ControlFlow::Break(()));
        }
        let mut taken = Vec::with_capacity(leaves.len());
        for (page, mut leaf) in leaves {
            if let Some(error) = leaf.rows.error.take() {
                self.broken = Some(error);
                return Ok(ControlFlow::Break(()));
            }
            if self.first {
                self.row_findings.absorb(leaf.row_findings);
                leaf.rows.rows.iter().for_each(|row| self.order.row(row, &mut self.row_findings));
            }
            taken.push((page, leaf.rows));
        }
        match self.hash.take(&taken) {
            Err(error @ Error::Row { .. }) => {
                self.broken = Some(error);
                Ok(ControlFlow::Break(()))
            }
            other => other.map(|()| ControlFlow::Continue(())),
        }
    }
}
