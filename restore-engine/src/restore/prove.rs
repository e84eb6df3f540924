//! Reading back what was staged, before it may take its place.

use std::path::Path;

use etcdr_schemas::Progress;
use etcdr_schemas::ReadAt;
use etcdr_schemas::report::{Finding, OfflineHash, Severity};

use super::rebuild::{self, Dangling, Tally};
use super::staging::MemberStage;
use crate::check::semantic::{self, Examined, Semantic, kinds};
use crate::check::structure::check;
use crate::disk::durable::NewFile;
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::format::bolt::{Db, ScanBudget};
use crate::format::snap;
use crate::format::wal;
use crate::format::wal::RESTORE_TERM;
use crate::plan::Plan;

/// The budget of a proof. Two threads keep up with a disk, and memory is scarce where a restore
/// runs. The file is in the page cache, so that small requests cost nothing; the table holds
/// 450,000 keys.
const BUDGET: ScanBudget = ScanBudget { workers: 2, answers: 1 << 20, table: 19 << 20 };

/// What the proof found in the database that all members start with.
#[derive(Debug)]
pub(super) struct Proof {
    pub(super) hash_kv: OfflineHash,
    pub(super) live_keys: u64,
    /// Findings that do not prevent the use of the database.
    pub(super) findings: Vec<Finding>,
    /// Leases that keys name and the database does not have.
    pub(super) dangling: Dangling,
}

/// Checks the staged database as `verify --level semantic` does, in one reading, while another
/// thread syncs the file: the pages are still in memory, and the sync waits for the disk. The tally
/// of what was `written` must match.
///
/// Damage to the page graph, or a row that cannot be read, is an error. Other defects of the rows
/// come from the source: they are reported, and do not prevent the restore.
pub(super) fn database(
    file: &NewFile,
    path: &Path,
    written: Option<Tally>,
    progress: &dyn Progress,
) -> Result<Proof> {
    let db = Db::open(LocalFile::open(path)?)?;
    let (examined, synced) = std::thread::scope(|scope| {
        let sync = scope.spawn(|| file.sync());
        let examined = semantic::examine(db.source(), None, BUDGET, progress);
        (examined, sync.join())
    });
    synced.map_err(|_| Error::SelfCheck {
        path: path.to_owned(),
        reason: "the thread that synced it stopped".to_owned(),
    })??;
    let Examined { structure, semantic } = examined?;
    let mut findings = sound(structure.findings)?;
    let Some(Semantic { contents, findings: rows }) = semantic else {
        return Err(Error::Damaged { findings });
    };
    let Some((hash_kv, contents)) = contents.and_then(|all| Some((all.hash_kv?, all))) else {
        return Err(Error::Damaged { findings: rows });
    };
    reads_back(&db, path, written)?;
    let unsure = rows.iter().any(|finding| finding.code == kinds::LEASES_UNCHECKED.code);
    let dangling = match contents.leases.dangling_keys {
        0 if !unsure => Dangling::new(),
        _ => rebuild::dangling(&db)?,
    };
    findings.extend(rows.into_iter().filter(|finding| finding.severity == Severity::Damage));
    Ok(Proof { hash_kv, live_keys: contents.live.keys, findings, dangling })
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
    let findings = check(db, progress)?;
    progress.end();
    sound(findings)
}

/// Findings short of damage; damage is an error.
fn sound(findings: Vec<Finding>) -> Result<Vec<Finding>> {
    if findings.iter().any(|finding| finding.severity == Severity::Damage) {
        return Err(Error::Damaged { findings });
    }
    Ok(findings)
}

/// Reads log and raft snapshot of every member with the readers that any data directory is read
/// with.
pub(super) fn members(plan: &Plan, members: &[MemberStage]) -> Result<()> {
    let count = plan.cluster.members().len() as u64;
    let conf_state = plan.cluster.conf_state();
    for (stage, target) in members.iter().zip(&plan.targets) {
        let own = plan.cluster.member(&target.name).map(|member| member.id.0);
        let log = wal::read_log(&stage.wal, &mut |_| Ok(()))?;
        let snap_path =
            stage.data.join("member/snap").join(snap::file_name(plan.cluster.members().len()));
        let snap = snap::read(&snap_path)?;
        let log_is_good = Some(log.metadata.node_id) == own
            && log.metadata.cluster_id == plan.cluster.id().0
            && log.entries == Some((1, count))
            && log.torn.is_none()
            && (log.state.term, log.state.commit) == (RESTORE_TERM, count)
            && (log.last_snapshot.term, log.last_snapshot.index) == (RESTORE_TERM, count)
            && log.last_snapshot.conf_state.as_ref() == Some(&conf_state);
        require(log_is_good, &stage.wal, "the log does not carry the new membership")?;
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use etcdr_schemas::Hidden;

    use super::*;
    use crate::disk::durable::Disk;
    use crate::format::bolt::writer::Writer;
    use crate::format::buckets;

    /// The tally depends on the rows alone, not on how they lie in pages.
    #[test]
    fn what_does_not_read_back_as_it_was_written_is_refused() {
        let database = |page_size, rows: &[(&[u8], &[u8])]| {
            let mut writer = Writer::create(Cursor::new(Vec::new()), page_size).unwrap();
            writer.bucket(buckets::KEY).unwrap();
            writer.bucket(buckets::META).unwrap();
            rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
            writer.finish().unwrap().into_inner()
        };
        let tally = |bytes: &Vec<u8>| rebuild::tally(&Db::open(bytes.clone()).unwrap()).unwrap();
        let good = database(4096, &[(b"a", b"1"), (b"b", b"2")]);
        let others = [
            database(4096, &[(b"a", b"1"), (b"b", b"3")]),
            database(4096, &[(b"a", b"1")]),
            database(4096, &[(b"a", b"1b"), (b"c", b"2")]),
            database(4096, &[(b"a1", b""), (b"b", b"2")]),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let mut file = Disk::default().create(&path).unwrap();
        file.write(&good).unwrap();
        let proven = |written| self::database(&file, &path, Some(written), &Hidden);
        proven(tally(&database(1024, &[(b"a", b"1"), (b"b", b"2")]))).unwrap();
        for other in &others {
            let refused = proven(tally(other)).unwrap_err();
            assert!(matches!(refused, Error::SelfCheck { .. }), "{refused}");
        }
    }
}
