//! The database of the first member: the source's pages as they are and patched, or its rows
//! written anew.
//!
//! To be written anew, the source is staged first and checked to its last byte, because its digests
//! show at its end only. Then it is read in order and written again beside, and the staged copy is
//! removed. That takes twice the room for a while, and no memory that grows with the database.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etcdr_schemas::report::{
    DanglingLeases, DropReason, DroppedKeys, KubernetesFacts, PlannedRebuild, Rebuilt,
};
use etcdr_schemas::{Hidden, Progress, Sha256Digest};

use super::normalise::{self, Changes};
use super::prove::{self, Proof};
use super::rebuild::{self, Outcome, Prescan};
use crate::disk::durable::{Disk, NewFile};
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::format::bolt::Db;
use crate::format::bolt::patch::{self, Patch};
use crate::format::{buckets, facts};
use crate::plan::Plan;
use crate::stream::intake::Intake;
use crate::stream::splitter::{Shape, Sink};

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

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
pub(super) fn patched(
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
        // The patch wrote pages that nothing has read back yet.
        proof = prove::database(&file, db, None, progress)?;
    }
    none_dangling(&proof, db)?;
    Ok(Built { source_sha256, proof, changes, rebuilt: None, dangling, kubernetes: None })
}

/// Writes the database anew: stages the source at the first path, and writes to the second one.
pub(super) fn rewritten(
    disk: &Disk,
    plan: &Plan,
    rebuild: &PlannedRebuild,
    [scratch, db]: [&PathBuf; 2],
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    progress: &dyn Progress,
) -> Result<Built> {
    let (source_sha256, staged) = receive(plan, disk.create(scratch)?, chunks, progress)?;
    // It is never synced: pages of it that are still in memory when it is removed are never written
    // to disk.
    drop(staged);
    let mut file = disk.create(db)?;
    file.write_behind()?;
    let (file, outcome, mut changes) = rewrite(plan, rebuild, scratch, file, progress)?;
    // Before the members' copies are made, which need its space.
    disk.remove_file(scratch)?;
    let proof = prove::database(&file, db, Some(outcome.tally), progress)?;
    none_dangling(&proof, db)?;

    let bytes = db.metadata().map_err(|e| Error::io("look at", db, e))?.len();
    let rebuilt = Rebuilt {
        bytes,
        users_dropped: changes.users_dropped,
        roles_dropped: changes.roles_dropped,
        ..outcome.rebuilt
    };
    let dangling = rebuild::report(&outcome.dangling);
    changes.sentences.extend(sentences(&rebuilt));
    changes.sentences.extend(dangling.as_ref().map(repaired));
    Ok(Built {
        source_sha256,
        proof,
        changes: changes.sentences,
        rebuilt: Some(rebuilt),
        dangling,
        kubernetes: outcome.kubernetes,
    })
}

/// Reads the staged source and writes the database, while a second thread checks every page of the
/// source: rows of a damaged page graph are not to be believed, however well they read.
fn rewrite(
    plan: &Plan,
    rebuild: &PlannedRebuild,
    scratch: &Path,
    file: NewFile,
    progress: &dyn Progress,
) -> Result<(NewFile, Outcome, Changes)> {
    let db = Db::open(LocalFile::open(scratch)?)?;
    require_planned("the revision", &plan.source.facts.revision, &facts::facts(&db)?.revision)?;
    let changes = normalise::changes(&db, plan)?;
    // Before the check and not beside it: each takes the memory that one of them may.
    let prescan = Prescan::of(&db, rebuild)?;
    let (checked, written) = std::thread::scope(|scope| {
        let check = scope.spawn(|| prove::structure(&db, &Hidden));
        let out = BufWriter::with_capacity(BUFFER, file);
        let written = rebuild::rewrite(&db, &changes.patch, (rebuild, &prescan), out, progress);
        (check.join(), written)
    });
    let stopped = |_| Error::SelfCheck {
        path: scratch.to_owned(),
        reason: "a checking thread stopped".to_owned(),
    };
    checked.map_err(stopped)??;
    let (out, outcome) = written?;
    let file = out.into_inner().map_err(|e| Error::Write { page: 0, source: e.into_error() })?;
    Ok((file, outcome, changes))
}

/// A sentence for each thing that was left out or added.
fn sentences(rebuilt: &Rebuilt) -> Vec<String> {
    let mut sentences = vec![format!(
        "the database was written anew: {} bytes became {}, {} of {} rows of keys were taken over",
        rebuilt.source_bytes, rebuilt.bytes, rebuilt.rows_kept, rebuilt.rows_read
    )];
    sentences.extend(rebuilt.dropped.iter().map(dropped));
    if rebuilt.rows_detached > 0 {
        sentences.push(format!("{} rows that named a lease name none now", rebuilt.rows_detached));
    }
    if rebuilt.leases_dropped > 0 {
        sentences.push(format!("{} leases were left out", rebuilt.leases_dropped));
    }
    if let Some(revision) = rebuilt.revision_held_at {
        sentences.push(format!(
            "an empty row keeps the store at revision {revision}, whose own rows were left out"
        ));
    }
    sentences
}

fn dropped(dropped: &DroppedKeys) -> String {
    let what = match (dropped.reason, &dropped.prefix) {
        (DropReason::Prefix, Some(prefix)) if dropped.rows == 0 => {
            return format!("no key begins with {prefix}, so nothing was left out there");
        }
        (DropReason::Prefix, prefix) => {
            format!("that begin with {}", prefix.as_deref().unwrap_or_default())
        }
        (DropReason::OtherPrefix, _) => "that begin with none of the prefixes asked for".to_owned(),
        (DropReason::Expired, _) => "whose lease was due".to_owned(),
        (DropReason::Superseded, _) => {
            return format!("left out: {} rows of older revisions and deletions", dropped.rows);
        }
    };
    format!("left out: {} keys ({} rows) {what}", dropped.keys, dropped.rows)
}

fn repaired(dangling: &DanglingLeases) -> String {
    format!(
        "{} leases that {} keys name were not in the snapshot and were added with {} s to live, or \
         a write could crash every member",
        dangling.count, dangling.keys, dangling.ttl_seconds
    )
}

fn none_dangling(proof: &Proof, db: &Path) -> Result<()> {
    if proof.dangling.is_empty() {
        return Ok(());
    }
    let reason = "keys name leases that it does not have".to_owned();
    Err(Error::SelfCheck { path: db.to_owned(), reason })
}

/// Writes the database while hashing the source; returns the source's SHA-256 and the open file,
/// whose sync reports every failed write-back since it was made, whoever wrote.
fn receive(
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
    fn begin(&mut self, shape: &Shape) -> Result<()> {
        let facts = &self.plan.source.facts;
        require_planned("the database's size", &facts.db_size, &shape.db_size)?;
        require_planned("the page size", &facts.page_size, &shape.meta.page_size)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)?;
        self.progress.advance(bytes.len() as u64);
        Ok(())
    }
}

fn require_planned<T: PartialEq + ToString>(
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
    require_planned("the revision", &plan.source.facts.revision, &facts::facts(&db)?.revision)?;
    if db.meta().freelist.is_some() {
        // The patched file has none, so this is the only chance to check it.
        prove::structure(&db, progress)?;
    }
    let changes = normalise::changes(&db, plan)?;
    drop(db);
    patch::apply(path, &changes.patch)?;
    Ok(changes.sentences)
}
