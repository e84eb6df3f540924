//! The database of the first member, written anew.
//!
//! The source is staged first and checked to its last byte, because its digests show at its end only. Then it
//! is read in order and written again beside, and the staged copy goes. That takes twice the room for a
//! while, and no memory that grows with the database.

use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etcdr_schemas::report::{DropReason, DroppedKeys, PlannedRebuild, Rebuilt};
use etcdr_schemas::{Hidden, Progress};

use super::normalise::{self, Changes};
use super::prove;
use super::rebuild::{self, Outcome, Survey};
use super::run::{Built, none_dangling, receive, repaired, same};
use crate::disk::durable::{Disk, NewFile};
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::format::bolt::Db;
use crate::format::facts;
use crate::plan::Plan;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

/// Stages the source at the first path, and writes the database to the second one.
pub(super) fn write(
    disk: &Disk,
    plan: &Plan,
    rebuild: &PlannedRebuild,
    [scratch, db]: [&PathBuf; 2],
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    progress: &dyn Progress,
) -> Result<Built> {
    let (source_sha256, staged) = receive(plan, disk.create(scratch)?, chunks, progress)?;
    // It is never synced: what is still in memory when it goes need not be written at all.
    drop(staged);
    let mut file = disk.create(db)?;
    file.write_behind()?;
    let (file, outcome, mut changes) = rewrite(plan, rebuild, scratch, file, progress)?;
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
    changes.told.extend(told(&rebuilt));
    changes.told.extend(dangling.as_ref().map(repaired));
    Ok(Built {
        source_sha256,
        proof,
        changes: changes.told,
        rebuilt: Some(rebuilt),
        dangling,
        kubernetes: outcome.kubernetes,
    })
}

/// Reads the staged source and writes the database, while a second thread checks every page of the source:
/// rows of a damaged page graph are not to be believed, however well they read.
fn rewrite(
    plan: &Plan,
    rebuild: &PlannedRebuild,
    scratch: &Path,
    file: NewFile,
    progress: &dyn Progress,
) -> Result<(NewFile, Outcome, Changes)> {
    let db = Db::open(LocalFile::open(scratch)?)?;
    same("the revision", &plan.source.facts.revision, &facts::facts(&db)?.revision)?;
    let changes = normalise::changes(&db, plan)?;
    // Before the check and not beside it: each takes the memory that one of them may.
    let survey = Survey::of(&db, rebuild)?;
    let (checked, written) = std::thread::scope(|scope| {
        let check = scope.spawn(|| prove::structure(&db, &Hidden));
        let out = BufWriter::with_capacity(BUFFER, file);
        let written = rebuild::rewrite(&db, &changes.patch, (rebuild, &survey), out, progress);
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
fn told(rebuilt: &Rebuilt) -> Vec<String> {
    let mut told = vec![format!(
        "the database was written anew: {} bytes became {}, {} of {} rows of keys were taken over",
        rebuilt.source_bytes, rebuilt.bytes, rebuilt.rows_kept, rebuilt.rows_read
    )];
    told.extend(rebuilt.dropped.iter().map(dropped));
    if rebuilt.rows_detached > 0 {
        told.push(format!("{} rows that named a lease name none now", rebuilt.rows_detached));
    }
    if rebuilt.leases_dropped > 0 {
        told.push(format!("{} leases were left out", rebuilt.leases_dropped));
    }
    if let Some(revision) = rebuilt.revision_held_at {
        told.push(format!(
            "an empty row keeps the store at revision {revision}, whose own rows were left out"
        ));
    }
    told
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
