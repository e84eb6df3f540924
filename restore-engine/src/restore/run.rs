//! Carrying out a plan: the runbook of a restore.
//!
//! Everything is built in a stage beside the target, checked there, synced, and renamed into place
//! last. An error, a panic or a kill before the last rename leaves the target as it was; what was
//! there before is moved aside, never deleted. The same plan and the same source give the same bytes.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::report::{DanglingLeases, KubernetesFacts, Rebuilt, RestoreReceipt};
use etcdr_schemas::{Progress, Sha256Digest};

use super::prove::{self, Proof};
use super::rebuild;
use super::receipt::{self, Done};
use super::staging::{self, MemberSite, Site};
use super::{build, normalise, space};
use crate::disk::durable::{Disk, NewFile};
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::format::bolt::patch::Patch;
use crate::format::bolt::{Db, patch};
use crate::format::buckets;
use crate::format::facts;
use crate::format::snap;
use crate::format::wal;
use crate::plan::Plan;
use crate::stream::intake::{Intake, Shape, Sink};

/// Mode of all directories that are made for a member.
const PRIVATE: u32 = 0o700;

/// Looks at the targets as [`restore`] will, and changes nothing: room, and what is in the way.
///
/// # Errors
/// [`Error`] for a target that [`restore`] would refuse before it reads the source.
pub fn preflight(plan: &Plan) -> Result<()> {
    space::require(plan)?;
    staging::look_at_all(plan).map(drop)
}

/// Carries out a plan. `chunks` is the whole source, in order: a snapshot file or a raw database.
/// `clock` tells when it is done.
///
/// # Errors
/// [`Error`] for a target that is in the way or too small, a source that is damaged, cut or not the
/// one that was planned with, and for a disk that fails. The target is untouched then.
pub fn restore(
    plan: &Plan,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    clock: &dyn Fn() -> DateTime<Utc>,
    progress: &dyn Progress,
) -> Result<RestoreReceipt> {
    restore_on(&Disk::default(), plan, chunks, clock, progress)
}

/// The same on a disk that is watched.
///
/// # Errors
/// As for [`restore`], and those of the watcher.
pub fn restore_on(
    disk: &Disk,
    plan: &Plan,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    clock: &dyn Fn() -> DateTime<Utc>,
    progress: &dyn Progress,
) -> Result<RestoreReceipt> {
    space::require(plan)?;
    let site = Site::prepare(disk, plan)?;
    let databases = make_directories(disk, &site.members)?;
    let (first, others) = databases.split_first().ok_or_else(no_member)?;

    let mut built = match &plan.report.rebuild {
        None => as_it_is(disk, plan, first, chunks, progress)?,
        Some(rebuild) => {
            let scratch = site.scratch().ok_or_else(no_member)?;
            build::write(disk, plan, rebuild, [&scratch, first], chunks, progress)?
        }
    };
    copy(disk, first, others, progress)?;
    write_raft_files(disk, plan, &site.members)?;
    prove::members(plan, &site.members)?;

    let (moved_aside, notices) = site.install()?;
    built.changes.extend(notices);
    Ok(receipt::write(disk, plan, Done { built, moved_aside, finished_at: clock() }))
}

/// The database of the first member, written, proven and synced.
pub(super) struct Built {
    pub(super) source_sha256: Sha256Digest,
    pub(super) proof: Proof,
    /// A sentence for each.
    pub(super) changes: Vec<String>,
    pub(super) rebuilt: Option<Rebuilt>,
    pub(super) dangling: Option<DanglingLeases>,
    pub(super) kubernetes: Option<KubernetesFacts>,
}

/// Takes the pages of the source as they are, and patches them.
fn as_it_is(
    disk: &Disk,
    plan: &Plan,
    db: &Path,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    progress: &dyn Progress,
) -> Result<Built> {
    let mut file = disk.create(db)?;
    file.write_behind()?;
    let (source_sha256, file) = receive(plan, file, chunks, progress)?;
    let mut changes = normalise(plan, db, progress)?;
    let mut proof = prove::database(&file, db, None, progress)?;
    let dangling = rebuild::report(&proof.dangling);
    if let Some(dangling) = &dangling {
        let insert = [(buckets::LEASE.to_vec(), rebuild::repair_rows(&proof.dangling))].into();
        patch::apply(db, &Patch { insert, ..Patch::default() })?;
        changes.push(repaired(dangling));
        proof = prove::database(&file, db, None, progress)?;
    }
    none_dangling(&proof, db)?;
    Ok(Built { source_sha256, proof, changes, rebuilt: None, dangling, kubernetes: None })
}

pub(super) fn repaired(dangling: &DanglingLeases) -> String {
    format!(
        "{} leases that {} keys name were not in the snapshot and were added with {} s to live, or a write could \
         crash every member",
        dangling.count, dangling.keys, dangling.ttl_seconds
    )
}

pub(super) fn none_dangling(proof: &Proof, db: &Path) -> Result<()> {
    if proof.dangling.is_empty() {
        return Ok(());
    }
    let reason = "keys name leases that it does not have".to_owned();
    Err(Error::SelfCheck { path: db.to_owned(), reason })
}

fn no_member() -> Error {
    Error::request("there is no member to write".to_owned())
}

/// Makes the directories of all members and returns where each database goes.
fn make_directories(disk: &Disk, members: &[MemberSite]) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    let mut databases = Vec::new();
    for member in members {
        let snap = member.data.join("member/snap");
        disk.create_dirs(&snap, PRIVATE, &mut made)?;
        disk.create_dirs(&member.wal, PRIVATE, &mut made)?;
        databases.push(snap.join("db"));
    }
    Ok(databases)
}

/// Writes the database while hashing the source; returns the source's SHA-256 and the open file, whose
/// sync reports every failed write-back since it was made, whoever wrote.
pub(super) fn receive(
    plan: &Plan,
    file: NewFile,
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    progress: &dyn Progress,
) -> Result<(Sha256Digest, NewFile)> {
    let mut sink = Destination { plan, file, progress };
    let mut intake = Intake::new(plan.source.expected);
    progress.begin("write", Some(plan.source.facts.db_size));
    for chunk in chunks {
        intake.push(chunk.map_err(|source| Error::Source { source })?, &mut sink)?;
    }
    let received = intake.finish(&mut sink)?;
    progress.end();
    received.check(plan.source.expected, plan.skip_hash_check)?;
    Ok((received.sha256, sink.file))
}

/// The staged database, being written.
struct Destination<'a> {
    plan: &'a Plan,
    file: NewFile,
    progress: &'a dyn Progress,
}

impl Sink for Destination<'_> {
    fn begin(&mut self, shape: Shape) -> Result<()> {
        let facts = &self.plan.source.facts;
        same("the database's size", &facts.db_size, &shape.db_size)?;
        same("the page size", &facts.page_size, &shape.page_size)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)?;
        self.progress.advance(bytes.len() as u64);
        Ok(())
    }
}

pub(super) fn same<T: PartialEq + ToString>(
    what: &'static str,
    planned: &T,
    came: &T,
) -> Result<()> {
    if planned == came {
        return Ok(());
    }
    Err(Error::NotAsPlanned { what, expected: planned.to_string(), actual: came.to_string() })
}

/// Rewrites what the new cluster must not inherit; returns a sentence for each change.
fn normalise(plan: &Plan, path: &Path, progress: &dyn Progress) -> Result<Vec<String>> {
    let db = Db::open(LocalFile::open(path)?)?;
    same("the revision", &plan.source.facts.revision, &facts::facts(&db)?.revision)?;
    if db.meta().freelist.is_some() {
        // The patched file has none, so this is the only chance to check it.
        prove::structure(&db, progress)?;
    }
    let changes = normalise::changes(&db, plan)?;
    drop(db);
    patch::apply(path, &changes.patch)?;
    Ok(changes.told)
}

/// All members begin with the same database, byte for byte.
fn copy(disk: &Disk, first: &Path, others: &[PathBuf], progress: &dyn Progress) -> Result<()> {
    let size = first.metadata().map_err(|e| Error::io("look at", first, e))?.len();
    for other in others {
        progress.begin("copy", Some(size));
        let copied = disk.copy(first, other)?;
        progress.advance(copied);
        progress.end();
        if copied != size {
            let reason = format!("{copied} of {size} bytes were copied");
            return Err(Error::SelfCheck { path: other.clone(), reason });
        }
    }
    Ok(())
}

fn write_raft_files(disk: &Disk, plan: &Plan, members: &[MemberSite]) -> Result<()> {
    let raft_snapshot = snap::initial_snapshot(&plan.cluster);
    let snap_name = snap::file_name(plan.cluster.members().len());
    for (site, target) in members.iter().zip(&plan.targets) {
        let member = plan.cluster.member(&target.name).ok_or_else(no_member)?;
        let log = wal::initial_segment(&plan.cluster, member.id);
        disk.write_new(&site.data.join("member/snap").join(&snap_name), &raft_snapshot)?;
        disk.write_new(&site.wal.join(wal::SEGMENT_NAME), &log)?;
    }
    Ok(())
}
