//! What a database, a snapshot or a data directory holds, as far as it can be read.
//!
//! The structural check reads every page of every tree once, in file order, and [`Census`] counts
//! what it reads. So a large file is read once, and a damaged one gets the findings that `verify`
//! reports. Memory is a few bits a page, a table of keys with a limit (beyond it live keys are
//! estimated from a sample), and a table of prefixes with a limit.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use etcdr_schemas::report::inspect::{
    DigestState, Form, InspectReport, MetaPage, OtherMeta, Recovery, Space,
};
use etcdr_schemas::report::{Finding, Level, Severity};
use etcdr_schemas::{Hidden, Progress, ReadAt};

use super::error_finding::error_finding;
use super::file::file as check_file;
use super::structure::{self, Checked, Observe, Strays, check_observed};
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::format::bolt::{Bucket, Db, Meta, meta};
use crate::stream;

mod census;
mod directory;
mod keys;
mod prefixes;
mod reader;
mod records;
mod space;
mod tolerant;

use census::Census;
pub use directory::data_dir;
use prefixes::PrefixNames;
use reader::{Leaf, Reader};
use tolerant::Tolerant;
pub use tolerant::{IsDamage, disk_damage};

/// Threads that read pages.
const WORKERS: usize = 2;
/// Size of a page where no meta page contains it.
const USUAL_PAGE: u32 = 4096;

/// What a report shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Read through this meta page, 0 or 1, instead of the newest.
    pub meta: Option<usize>,
    /// Segments of a prefix.
    pub prefix_depth: u32,
    /// Prefixes and times to live that are listed.
    pub top: usize,
}

/// Inspects a local file: a database, or a snapshot. Its digest is computed at the same time.
///
/// # Errors
/// When the medium fails, and [`Error::Request`] for a meta page that is not there. Damage is a
/// finding.
pub fn file(path: &Path, options: Options, progress: &dyn Progress) -> Result<InspectReport> {
    let subject = path.display().to_string();
    let image = LocalFile::open(path)?;
    let content = std::thread::scope(|scope| {
        let (bytes, reader) = (&image, LocalFile::open(path)?);
        let content = scope.spawn(move || check_file(reader, Level::Content, &Hidden));
        let form = Form::RawDatabase;
        let report = database(subject, form, bytes, disk_damage, options, progress)?;
        let gone = || Error::Source { source: std::io::Error::other("the digest's thread ended") };
        Ok::<_, Error>((content.join().map_err(|_| gone())??.content, report))
    });
    let (content, mut report) = content?;
    let snapshot = stream::Form::of_size(image.size()) == stream::Form::Snapshot;
    if snapshot {
        report.form = Form::SnapshotFile;
    }
    let wrong = |finding: &&Finding| finding.severity == Severity::Damage;
    report.digest = match (snapshot, content.findings.iter().find(wrong)) {
        (false, _) => DigestState::None,
        (true, None) => DigestState::Matches,
        (true, Some(_)) => DigestState::Differs,
    };
    merge(&mut report.findings, content.findings);
    judge(&mut report);
    Ok(report)
}

/// Adds findings that are not in the list yet: both readings report a damaged meta page.
fn merge(all: &mut Vec<Finding>, more: Vec<Finding>) {
    for finding in more {
        let known =
            |other: &Finding| (&other.code, &other.place) == (&finding.code, &finding.place);
        if !all.iter().any(known) {
            all.push(finding);
        }
    }
}

fn judge(report: &mut InspectReport) {
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    report.ok = report.findings.iter().all(|finding| finding.severity < Severity::Damage);
    if !report.ok {
        report.status = None;
    }
}

/// Inspects a database that can be read at random, wherever it is.
///
/// # Errors
/// See [`file`].
pub fn database<R: ReadAt>(
    subject: String,
    form: Form,
    source: R,
    is_damage: IsDamage,
    options: Options,
    progress: &dyn Progress,
) -> Result<InspectReport> {
    let source = Tolerant::new(source, is_damage);
    let mut report = empty(subject, form, source.size());
    list(&source, &mut report, options, progress)?;
    report.findings.extend(source.findings());
    judge(&mut report);
    Ok(report)
}

fn list<R: ReadAt>(
    source: &R,
    report: &mut InspectReport,
    options: Options,
    progress: &dyn Progress,
) -> Result<()> {
    report.metas = meta_pages(source)?;
    let (db, problem) = match Db::open_damaged(source, options.meta) {
        Ok(opened) => opened,
        Err(error) => {
            report.findings.push(error_finding(error)?);
            let size = report.metas.iter().map(|meta| meta.page_size).find(|size| plausible(*size));
            let strays = structure::strays(source, size.unwrap_or(USUAL_PAGE))?;
            report.recovery = Some(recovery(0, 1, Some(strays)));
            return Ok(());
        }
    };
    if let Some(problem) = problem {
        report.findings.push(problem.kind().at("the meta pages", problem.to_string()));
    }
    for page in &mut report.metas {
        page.used = page.valid && page.txid == db.meta().txid;
    }
    let (checked, census, reader) = census(&db, options.prefix_depth, progress)?;
    report.space = Some(space(&db, &checked, &census));
    report.findings.extend(checked.findings);
    let rows_read = census.rows();
    census.report_to(report, reader.names, options.top, db.size());
    if report.findings.iter().any(|finding| finding.severity == Severity::Damage) {
        let mut left = recovery(rows_read, checked.lost_parts, checked.strays);
        left.other_meta = other_meta(&db)?;
        report.recovery = Some(left);
    }
    Ok(())
}

/// Checks a database, and counts what is read.
fn census<R: ReadAt>(
    db: &Db<R>,
    prefix_depth: u32,
    progress: &dyn Progress,
) -> Result<(Checked, Census, Reader)> {
    let reader = Reader { names: PrefixNames::new(prefix_depth) };
    let census = RefCell::new(Census::new(db.page_size()));
    let mut take = |leaves: Vec<(u64, Leaf)>| {
        let mut census = census.borrow_mut();
        leaves.iter().for_each(|(_, leaf)| census.leaf(leaf));
        Ok(ControlFlow::Continue(()))
    };
    let checked = check_observed(db, WORKERS, progress, &reader, &mut take, &mut Shared(&census))?;
    Ok((checked, census.into_inner(), reader))
}

/// Leaves and pages reach the census through two callbacks of the check, which both need it.
struct Shared<'a>(&'a RefCell<Census>);

impl Observe for Shared<'_> {
    fn root(&mut self, pages: u64) {
        self.0.borrow_mut().root(pages);
    }

    fn bucket(&mut self, bucket: &Bucket) {
        self.0.borrow_mut().bucket(bucket);
    }

    fn branch(&mut self, pages: u64, depth: u32) {
        self.0.borrow_mut().branch(pages, depth);
    }
}

fn empty(subject: String, form: Form, file_size: u64) -> InspectReport {
    InspectReport {
        subject,
        form,
        file_size,
        digest: DigestState::NotChecked,
        metas: Vec::new(),
        space: None,
        buckets: Vec::new(),
        cluster: Default::default(),
        raft: Default::default(),
        keys: None,
        prefixes: None,
        leases: Default::default(),
        alarms: Vec::new(),
        auth: Default::default(),
        status: None,
        log: None,
        raft_snapshot: None,
        recovery: None,
        findings: Vec::new(),
        ok: true,
    }
}

fn plausible(page_size: u32) -> bool {
    page_size.is_power_of_two()
        && (crate::format::bolt::page::MIN_PAGE_SIZE..=crate::format::bolt::page::MAX_PAGE_SIZE)
            .contains(&page_size)
}

fn meta_pages<R: ReadAt>(source: &R) -> Result<Vec<MetaPage>> {
    let page = |(page, (meta, valid)): (u64, (Meta, bool))| MetaPage {
        page,
        valid,
        used: false,
        page_size: meta.page_size,
        txid: meta.txid,
        root: meta.root,
        freelist: meta.freelist,
        high_water_mark: meta.high_water_mark,
    };
    Ok((0..).zip(meta::read_both(source)?).map(page).collect())
}

fn space<R: ReadAt>(db: &Db<R>, checked: &Checked, census: &Census) -> Space {
    let page_size = u64::from(db.page_size());
    let (size, in_use) = (db.size(), checked.used.saturating_mul(page_size).min(db.size()));
    let free = size - in_use;
    Space {
        page_size: db.page_size(),
        size,
        in_use,
        free,
        fragmentation_percent: space::percent(free, size),
        defragmented: census.defragmented().min(in_use),
        freelist_stored: db.meta().freelist.is_some(),
        behind: db.source().size().saturating_sub(size),
    }
}

fn recovery(rows_read: u64, lost_parts: u64, strays: Option<Strays>) -> Recovery {
    let strays = strays.unwrap_or_default();
    Recovery {
        rows_read,
        lost_parts,
        stray_pages: strays.pages,
        stray_revisions: strays.revisions,
        newest_stray_revision: strays.newest,
        stray_roots: strays.roots,
        other_meta: None,
    }
}

/// Reads the database through the other meta page, when that has another root.
fn other_meta<R: ReadAt>(db: &Db<R>) -> Result<Option<OtherMeta>> {
    let other = (0..).zip(db.metas().pair).find_map(|(page, meta)| {
        let meta = meta.filter(|meta| meta.txid != db.meta().txid)?;
        (meta.root != db.meta().root).then_some((page, meta))
    });
    let Some((page, meta)) = other else { return Ok(None) };
    let (older, problem) = Db::open_damaged(db.source(), Some(page))?;
    let (checked, rows, _) = census(&older, 1, &Hidden)?;
    let damage = |finding: &Finding| finding.severity == Severity::Damage;
    let sound = problem.is_none() && !checked.findings.iter().any(damage);
    let page = page as u64;
    Ok(Some(OtherMeta { page, txid: meta.txid, sound, rows_read: rows.rows() }))
}

/// Path of the database in a data directory.
fn db_path(data_dir: &Path) -> PathBuf {
    data_dir.join("member/snap/db")
}
