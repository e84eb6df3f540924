//! Reading back what was staged, before it may take its place.

use std::path::Path;

use etcdr_schemas::Progress;
use etcdr_schemas::ReadAt;
use etcdr_schemas::report::{Finding, OfflineHash, Severity};

use super::site::MemberSite;
use crate::bolt::{Db, check};
use crate::durable::NewFile;
use crate::error::{Error, Result};
use crate::local::LocalFile;
use crate::mvcc;
use crate::plan::Plan;
use crate::rebuild::{self, Dangling, Tally};
use crate::wal::RESTORE_TERM;
use crate::{snap, wal};

/// What is known of the database that all members start with.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) hash_kv: OfflineHash,
    pub(super) live_keys: u64,
    /// Findings short of damage.
    pub(super) findings: Vec<Finding>,
    /// Leases that keys name and the database does not have.
    pub(super) dangling: Dangling,
}

/// Checks the page graph, computes HashKV, looks for missing leases and syncs the file, all at once: what
/// they read is in memory anyway, and the last one waits for the disk. What was `written` must read back.
pub(super) fn database(
    file: &NewFile,
    path: &Path,
    written: Option<Tally>,
    progress: &dyn Progress,
) -> Result<Proof> {
    let db = Db::open(LocalFile::open(path)?)?;
    std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync());
        let hash = scope.spawn(|| mvcc::key_space(&db, None));
        let rows = scope.spawn(|| {
            reads_back(&db, path, written)?;
            rebuild::dangling(&db)
        });
        let findings = structure(&db, progress);
        let stopped = |_| Error::SelfCheck {
            path: path.to_owned(),
            reason: "a checking thread stopped".to_owned(),
        };
        let hash = hash.join().map_err(stopped)?;
        let dangling = rows.join().map_err(stopped)?;
        sync.join().map_err(stopped)??;
        let findings = findings?;
        let summary = hash?;
        let (hash_kv, live_keys) = (summary.hash, summary.live_keys);
        Ok(Proof { hash_kv, live_keys, findings, dangling: dangling? })
    })
}

fn reads_back<R: ReadAt>(db: &Db<R>, path: &Path, written: Option<Tally>) -> Result<()> {
    let Some(written) = written else { return Ok(()) };
    let found = rebuild::tally(db)?;
    let same = found == written;
    require(same, path, "its rows are not those that were written")
}

/// The structural check; damage is an error.
pub(super) fn structure<R: ReadAt>(db: &Db<R>, progress: &dyn Progress) -> Result<Vec<Finding>> {
    progress.begin("check", Some(db.size()));
    let findings = check::check(db, progress)?;
    progress.end();
    if findings.iter().any(|finding| finding.severity == Severity::Damage) {
        return Err(Error::Damaged { findings });
    }
    Ok(findings)
}

/// Reads log and raft snapshot of every member with the readers that any data directory is read with.
pub(super) fn members(plan: &Plan, members: &[MemberSite]) -> Result<()> {
    let count = plan.cluster.members().len() as u64;
    let conf_state = plan.cluster.conf_state();
    for (site, target) in members.iter().zip(&plan.targets) {
        let own = plan.cluster.member(&target.name).map(|member| member.id.0);
        let log = wal::read_log(&site.wal, &mut |_| Ok(()))?;
        let snap_path =
            site.data.join("member/snap").join(snap::file_name(plan.cluster.members().len()));
        let snap = snap::read(&snap_path)?;
        let log_is_good = Some(log.metadata.node_id) == own
            && log.metadata.cluster_id == plan.cluster.id().0
            && log.entries == Some((1, count))
            && log.torn.is_none()
            && (log.state.term, log.state.commit) == (RESTORE_TERM, count)
            && (log.last_snapshot.term, log.last_snapshot.index) == (RESTORE_TERM, count)
            && log.last_snapshot.conf_state.as_ref() == Some(&conf_state);
        require(log_is_good, &site.wal, "the log does not carry the new membership")?;
        let snap_is_good = (snap.metadata.term, snap.metadata.index) == (RESTORE_TERM, count)
            && snap.metadata.conf_state == conf_state
            && snap.member_ids.len() as u64 == count;
        require(snap_is_good, &snap_path, "it does not carry the new membership")?;
    }
    Ok(())
}

fn require(good: bool, path: &Path, reason: &str) -> Result<()> {
    if good {
        return Ok(());
    }
    Err(Error::SelfCheck { path: path.to_owned(), reason: reason.to_owned() })
}
