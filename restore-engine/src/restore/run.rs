//! Carrying out a plan: the runbook of a restore.
//!
//! Everything is built in a stage beside the target, checked there, synced, and renamed into place
//! last. An error, a panic or a kill before the last rename leaves the target as it was; what was
//! there before is moved aside, never deleted. Equal plans and sources give equal bytes.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use etcdr_schemas::Progress;
use etcdr_schemas::report::RestoreReceipt;

use super::receipt::{self, Finished};
use super::staging::{self, MemberStage, Staging};
use super::{build, prove, space};
use crate::disk::durable::Disk;
use crate::error::{Error, Result};
use crate::format::{snap, wal};
use crate::plan::Plan;

/// Mode of all directories that are made for a member.
const PRIVATE: u32 = 0o700;

/// Checks the targets as [`restore`] will, and changes nothing: free space, and what is in the way.
///
/// # Errors
/// [`Error`] for a target that [`restore`] would refuse before it reads the source.
pub fn preflight(plan: &Plan) -> Result<()> {
    space::require(plan)?;
    staging::examine_targets(plan).map(drop)
}

/// Carries out a plan. `chunks` is the whole source, in order: a snapshot file or a raw database.
/// `clock` gives the time at its end.
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

/// [`restore`] on `disk`, whose watcher sees every change.
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
    let staging = Staging::prepare(disk, plan)?;
    let databases = make_directories(disk, &staging.members)?;
    let (first, others) = databases.split_first().ok_or_else(no_member)?;

    let mut built = match &plan.report.rebuild {
        None => build::patched(disk, plan, first, chunks, progress)?,
        Some(rebuild) => {
            let scratch = staging.scratch().ok_or_else(no_member)?;
            build::rewritten(disk, plan, rebuild, [&scratch, first], chunks, progress)?
        }
    };
    // Log and raft snapshot differ between members, the database does not: it is built and proven
    // once.
    copy(disk, first, others, progress)?;
    write_raft_files(disk, plan, &staging.members)?;
    prove::members(plan, &staging.members)?;

    // The renames come last: until here an error, a kill or a power loss leaves the target as it
    // was.
    let (moved_aside, notices) = staging.install()?;
    built.changes.extend(notices);
    Ok(receipt::write(disk, plan, Finished { built, moved_aside, finished_at: clock() }))
}

fn no_member() -> Error {
    Error::request("there is no member to write".to_owned())
}

/// Makes the directories of all members and returns the path of each database.
fn make_directories(disk: &Disk, members: &[MemberStage]) -> Result<Vec<PathBuf>> {
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

fn write_raft_files(disk: &Disk, plan: &Plan, members: &[MemberStage]) -> Result<()> {
    let raft_snapshot = snap::initial_snapshot(&plan.cluster);
    let snap_name = snap::file_name(plan.cluster.members().len());
    for (stage, target) in members.iter().zip(&plan.targets) {
        let member = plan.cluster.member(&target.name).ok_or_else(no_member)?;
        let log = wal::initial_segment(&plan.cluster, member.id);
        disk.write_new(&stage.data.join("member/snap").join(&snap_name), &raft_snapshot)?;
        disk.write_new(&stage.wal.join(wal::SEGMENT_NAME), &log)?;
    }
    Ok(())
}
