//! Checks of snapshots and of data directories: named findings, not just yes or no.
//!
//! What a check finds wrong with the data is a [`Finding`]; an error is that the check could not be made.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etcdr_schemas::report::{Finding, Kind, Level, Severity};
use etcdr_schemas::{MemberId, Progress, RaftIndex, ReadAt, Sha256Digest};

use super::structure as check;
use crate::disk::local::LocalFile;
use crate::error::{Error, Result};
use crate::findings;
use crate::format::bolt::Db;
use crate::format::buckets;
use crate::format::facts::{self, ImageFacts};
use crate::format::snap;
use crate::format::wal;
use crate::stream::intake::{Intake, Shape, Sink};
use crate::stream::{Expected, Form};

/// Bytes of one read when a file is read from end to end.
const CHUNK: usize = 1 << 20;

/// What the check of a file's bytes found.
#[derive(Debug, Clone)]
pub struct Content {
    /// Bytes of the file.
    pub size: u64,
    /// SHA-256 of the file, when it could be read to its end.
    pub sha256: Option<Sha256Digest>,
    /// Whether it ends with etcd's digest, when it could be read to its end.
    pub form: Option<Form>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What the check of a database's structure found.
#[derive(Debug, Clone)]
pub struct Structure {
    /// What the image says of itself, when it can be read.
    pub facts: Option<ImageFacts>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// What the check of a snapshot file found.
#[derive(Debug, Clone)]
pub struct FileVerdict {
    /// The bytes.
    pub content: Content,
    /// The structure, when it was asked for and the bytes are good.
    pub structure: Option<Structure>,
}

impl FileVerdict {
    /// All findings.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        let structure = self.structure.iter().flat_map(|structure| &structure.findings);
        self.content.findings.iter().chain(structure)
    }
}

/// Level `content`: the digest that the file ends with, its length, and what a manifest says of it.
///
/// # Errors
/// [`Error::Source`] when the chunks end in an error.
pub fn content(
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    expected: Option<Expected>,
    progress: &dyn Progress,
) -> Result<Content> {
    progress.begin("read", expected.map(|expected| expected.size));
    let mut intake = Intake::new(expected);
    let mut content = Content { size: 0, sha256: None, form: None, findings: Vec::new() };
    for chunk in chunks {
        let chunk = chunk.map_err(|source| Error::Source { source })?;
        content.size += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
        if let Err(error) = intake.push(chunk, &mut Nowhere) {
            content.findings.push(found(error)?);
            return Ok(content);
        }
    }
    progress.end();
    match intake.finish(&mut Nowhere) {
        Ok(received) => {
            content.sha256 = Some(received.sha256);
            content.form = Some(received.form());
            if let Err(error) = received.check(expected, false) {
                content.findings.push(found(error)?);
            }
        }
        Err(error) => content.findings.push(found(error)?),
    }
    if content.form == Some(Form::RawDatabase) && expected.is_none() {
        let message = "a raw database: no digest covers it";
        content.findings.push(findings::DIGEST_NONE.at("the end of the file", message));
    }
    Ok(content)
}

struct Nowhere;

impl Sink for Nowhere {
    fn begin(&mut self, _: Shape) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

/// Level `structure`: the page graph of an image, and that etcd's own records in it can be read.
///
/// # Errors
/// [`Error::Read`] when the medium fails.
pub fn structure<R: ReadAt>(image: R, progress: &dyn Progress) -> Result<Structure> {
    structure_with(image, 1, progress)
}

/// The same on that many threads.
///
/// # Errors
/// See [`structure`].
pub fn structure_with<R: ReadAt>(
    image: R,
    workers: usize,
    progress: &dyn Progress,
) -> Result<Structure> {
    let mut structure = Structure { facts: None, findings: Vec::new() };
    let db = match Db::open(image) {
        Ok(db) => db,
        Err(error) => {
            structure.findings.push(found(error)?);
            return Ok(structure);
        }
    };
    let findings = check::check_on(&db, workers, progress)?;
    Structure::of(&db, findings)
}

impl Structure {
    /// What the structural check found, and the facts beside it.
    pub(crate) fn of<R: ReadAt>(db: &Db<R>, findings: Vec<Finding>) -> Result<Self> {
        let mut structure = Self { facts: None, findings };
        match facts::facts(db) {
            Ok(facts) => structure.facts = Some(facts),
            // The page graph's own findings already tell what keeps the facts from being read.
            Err(error) if !structure.is_damaged() => structure.findings.push(found(error)?),
            Err(_) => {}
        }
        Ok(structure)
    }

    /// Whether anything says damage.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Damage)
    }
}

/// A snapshot file or raw database, up to `level`, but not beyond `structure`: see [`crate::check::semantic::examine`].
///
/// # Errors
/// [`Error::Source`] and [`Error::Read`] when the medium fails.
pub fn file<R: ReadAt>(image: R, level: Level, progress: &dyn Progress) -> Result<FileVerdict> {
    let content = content(Sequential { image: &image, offset: 0 }, None, progress)?;
    let good = content.findings.iter().all(|finding| finding.severity < Severity::Damage);
    let structure = match level {
        Level::Structure | Level::Semantic if good => Some(structure(&image, progress)?),
        _ => None,
    };
    Ok(FileVerdict { content, structure })
}

/// An image from its first to its last byte.
struct Sequential<R> {
    image: R,
    offset: u64,
}

impl<R: ReadAt> Iterator for Sequential<R> {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.image.size().saturating_sub(self.offset);
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        if length == 0 {
            return None;
        }
        let mut chunk = vec![0; length];
        let read = self.image.read_exact_at(&mut chunk, self.offset);
        self.offset += length as u64;
        Some(read.map(|()| Bytes::from(chunk)))
    }
}

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
/// When a file is missing or cannot be read, and [`Error::Wal`] or [`Error::Snap`] for damage that leaves
/// nothing to compare.
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

/// What must hold between log, raft snapshot and database for a server to start. `index` is the database's, when
/// it can be read.
pub(crate) fn between(
    log: &wal::LogFacts,
    snap: Option<&snap::SnapFacts>,
    index: Option<RaftIndex>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut add = |kind: Kind, place, message: String| found.push(kind.at(place, message));
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

/// An error that says that the data is damaged becomes a finding; any other stays an error.
pub(crate) fn found(error: Error) -> Result<Finding> {
    let (kind, place) = match &error {
        Error::Digest { .. } => (findings::DIGEST, "the last 32 bytes".to_owned()),
        Error::Length { .. } => (findings::LENGTH, "the end of the file".to_owned()),
        Error::NoDigest { .. } => (findings::DIGEST_MISSING, "the end of the file".to_owned()),
        Error::NotAsPlanned { .. } => (findings::MANIFEST, "the file".to_owned()),
        Error::NotBolt { problem } => (problem.kind(), "the meta pages".to_owned()),
        Error::Page { page, problem, .. } => (problem.kind(), format!("page {page}")),
        Error::NotEtcd { .. } => (findings::RECORDS, "the database".to_owned()),
        Error::Row { bucket, key, .. } => (findings::ROW, format!("bucket {bucket}, row {key}")),
        _ => return Err(error),
    };
    Ok(kind.at(place, error.to_string()))
}
