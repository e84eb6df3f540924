//! A member's data directory: database, log and raft snapshot, each by itself and together.

use std::path::{Path, PathBuf};

use etcdr_schemas::report::{Finding, FindingKind};
use etcdr_schemas::{MemberId, Progress, RaftIndex};

use super::structure::{Structure, structure};
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::findings;
use crate::format::bolt::Db;
use crate::format::{buckets, snap, wal};

/// What the check of a data directory found.
#[derive(Debug, Clone)]
pub struct DataDir {
    /// Id of the member.
    pub member: MemberId,
    /// What the log says.
    pub log: wal::LogFacts,
    /// What the newest raft snapshot says, when there is one.
    pub raft_snapshot: Option<snap::SnapFacts>,
    /// The database.
    pub structure: Structure,
    /// What is wrong with any of them, or between them.
    pub findings: Vec<Finding>,
}

/// Checks a member's data directory: database, log, raft snapshot, and that they belong together
/// (docs/etcd-formats.md 4.5: what keeps a server from starting).
///
/// # Errors
/// When a file is missing or cannot be read, and [`Error::Wal`] or [`Error::Snap`] for damage that
/// leaves nothing to compare.
pub fn data_dir(
    data_dir: &Path,
    wal_dir: Option<&Path>,
    progress: &dyn Progress,
) -> Result<DataDir> {
    let inner = data_dir.join("member/wal");
    let snap_dir = data_dir.join("member/snap");
    let log = wal::read_log(wal_dir.unwrap_or(&inner), &mut |_| Ok(()))?;
    let raft_snapshot = newest_snap(&snap_dir)?.map(|path| snap::read(&path)).transpose()?;
    let db_path = snap_dir.join("db");
    let structure = structure(LocalFile::open(&db_path)?, progress)?;
    let mut findings = structure.findings.clone();
    let member = MemberId(log.metadata.node_id);
    let index = structure.facts.as_ref().map(|facts| facts.raft_index.unwrap_or_default());
    findings.extend(between(&log, raft_snapshot.as_ref(), index));
    if structure.facts.is_some() && !has_member(&db_path, member)? {
        findings.push(member_unknown(member));
    }
    Ok(DataDir { member, log, raft_snapshot, structure, findings })
}

pub(crate) fn member_unknown(member: MemberId) -> Finding {
    let message =
        format!("member {member} of the log is not in the database: etcd 3.6 will not start");
    findings::MEMBER_UNKNOWN.at("bucket members", message)
}

pub(crate) fn newest_snap(dir: &Path) -> Result<Option<PathBuf>> {
    let io = |source| Error::io("read", dir, source);
    let mut newest = None;
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_some_and(|extension| extension == "snap") {
            newest = newest.max(Some(path));
        }
    }
    Ok(newest)
}

fn has_member(db: &Path, member: MemberId) -> Result<bool> {
    let db = Db::open(LocalFile::open(db)?)?;
    let Some(bucket) = db.bucket(buckets::MEMBERS)? else { return Ok(false) };
    Ok(db.get(&bucket, member.to_string().as_bytes())?.is_some())
}

/// Compares log, raft snapshot and database: the conditions without which a server does not start.
/// `index` is the database's, when it can be read.
pub(crate) fn between(
    log: &wal::LogFacts,
    snap: Option<&snap::SnapFacts>,
    index: Option<RaftIndex>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |kind: FindingKind, place, message: String| found.push(kind.at(place, message));
    if let Some((path, offset)) = &log.torn {
        let message = format!("{} ends in a torn record at byte {offset}", path.display());
        add(findings::WAL_TORN, "log", message);
    }
    let snap_index = snap.map_or(0, |snap| snap.metadata.index);
    let last = log.entries.map_or(snap_index, |(_, last)| last.max(snap_index));
    let commit = log.state.commit;
    if !(snap_index..=last).contains(&commit) {
        let message = format!("commit {commit} is not in {snap_index} to {last}");
        add(findings::WAL_COMMIT, "log", message);
    }
    let index = index.map(|index| index.0);
    if index.is_some_and(|index| index < snap_index) {
        let message = format!("the database is older than the raft snapshot at {snap_index}");
        add(findings::INDEX_BEHIND, "meta/consistent_index", message);
    }
    if index.is_some_and(|index| index > last) {
        let message = format!("the log ends at {last}, before the database: writes would be lost");
        add(findings::INDEX_AHEAD, "meta/consistent_index", message);
    }
    if snap.is_some_and(|snap| snap.metadata.conf_state.voters.is_empty()) {
        let message = "the raft snapshot has no voters".to_owned();
        add(findings::SNAP_VOTERS, "raft snapshot", message);
    }
    found
}
