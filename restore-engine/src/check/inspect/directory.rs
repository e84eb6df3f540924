//! A member's data directory: its database, log and raft snapshot.

use std::path::Path;

use etcdr_schemas::report::Finding;
use etcdr_schemas::report::inspect::{Form, InspectReport, LogFacts, RaftSnapshotFacts};
use etcdr_schemas::{ClusterId, MemberId, Progress, RaftIndex, Term};

use super::{Options, database, db_path, disk_damage, empty, judge};
use crate::check::data_dir::{between, member_unknown, newest_snap};
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::findings;
use crate::format::snap;
use crate::format::wal;

/// Inspects a data directory. A part that cannot be read is a finding, and the others are reported.
///
/// # Errors
/// When there is no database in it, or the medium fails.
pub fn data_dir(
    dir: &Path,
    wal_dir: Option<&Path>,
    options: Options,
    progress: &dyn Progress,
) -> Result<InspectReport> {
    let subject = dir.display().to_string();
    let path = db_path(dir);
    let mut damage = Vec::new();
    let inner = dir.join("member/wal");
    let log = or_finding(log(wal_dir.unwrap_or(&inner)), "log", &mut damage)?;
    let snap = raft_snapshot(&dir.join("member/snap"));
    let raft_snapshot = or_finding(snap, "raft snapshot", &mut damage)?.flatten();
    let mut report = match LocalFile::open(&path) {
        Ok(file) => database(subject, Form::DataDirectory, file, disk_damage, options, progress)?,
        Err(error) if missing(&error) && log.is_some() => {
            let mut report = empty(subject, Form::DataDirectory, 0);
            let message = format!("{}: there is no database", path.display());
            report.findings.push(findings::RECORDS.at("member/snap/db", message));
            report
        }
        Err(error) => return Err(error),
    };
    if let Some((facts, raw)) = log {
        report.cluster.id = Some(facts.cluster_id);
        report.cluster.id_from = Some("log".to_owned());
        let snap = raft_snapshot.as_ref().map(|(_, snap)| snap);
        let index = report.space.as_ref().map(|_| report.raft.consistent_index.unwrap_or_default());
        damage.extend(between(&raw, snap, index));
        let members = &report.cluster.members;
        if !members.is_empty() && members.iter().all(|member| member.id != facts.member_id) {
            damage.push(member_unknown(facts.member_id));
        }
        report.log = Some(facts);
    }
    report.raft_snapshot = raft_snapshot.map(|(facts, _)| facts);
    report.findings.extend(damage);
    judge(&mut report);
    Ok(report)
}

fn missing(error: &Error) -> bool {
    matches!(error, Error::Local { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
}

/// What could be read, or a finding that says why not.
fn or_finding<T>(result: Result<T>, place: &str, damage: &mut Vec<Finding>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ Error::Wal { .. }) => {
            damage.push(findings::WAL_DAMAGED.at(place, error.to_string()));
            Ok(None)
        }
        Err(error @ Error::Snap { .. }) => {
            damage.push(findings::SNAP_DAMAGED.at(place, error.to_string()));
            Ok(None)
        }
        Err(error) if missing(&error) => {
            damage.push(findings::DIRECTORY.at(place, error.to_string()));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn log(dir: &Path) -> Result<(LogFacts, wal::LogFacts)> {
    let segments = wal::segment_names(dir)?.len() as u64;
    let raw = wal::read_log(dir, &mut |_| Ok(()))?;
    let facts = LogFacts {
        member_id: MemberId(raw.metadata.node_id),
        cluster_id: ClusterId(raw.metadata.cluster_id),
        segments,
        first_index: raw.entries.map(|(first, _)| RaftIndex(first)),
        last_index: raw.entries.map(|(_, last)| RaftIndex(last)),
        term: Term(raw.state.term),
        commit: RaftIndex(raw.state.commit),
        torn_at: raw.torn.as_ref().map(|(_, offset)| *offset),
    };
    Ok((facts, raw))
}

fn raft_snapshot(dir: &Path) -> Result<Option<(RaftSnapshotFacts, snap::SnapFacts)>> {
    let Some(path) = newest_snap(dir)? else { return Ok(None) };
    let raw = snap::read(&path)?;
    let ids = |ids: &[u64]| ids.iter().map(|id| MemberId(*id)).collect();
    let state = &raw.metadata.conf_state;
    let facts = RaftSnapshotFacts {
        file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        index: RaftIndex(raw.metadata.index),
        term: Term(raw.metadata.term),
        voters: ids(&state.voters),
        learners: ids(&state.learners),
    };
    Ok(Some((facts, raw)))
}
