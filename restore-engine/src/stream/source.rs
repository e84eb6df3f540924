//! What a restore starts from, as far as a plan must know it.

use std::io;
use std::ops::ControlFlow;

use bytes::Bytes;
use etcdr_schemas::{ReadAt, RunningSha256, Sha256Digest};

use super::intake::{Intake, Shape, Sink};
use super::scanner::SnapshotScanner;
use crate::error::{Error, Result};
use crate::format::bolt::Db;
use crate::format::buckets;
use crate::format::facts::{self, ImageFacts};

/// Most alarms that are looked at; etcd has two kinds a member.
const MAX_ALARMS: usize = 1000;

/// Whether a file ends with etcd's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A file as `etcdctl snapshot save` writes it: database and digest.
    Snapshot,
    /// A copy of `member/snap/db`: whole pages, nothing that covers them.
    RawDatabase,
}

impl Form {
    /// The form of a file of `size` bytes, by etcd's own rule: a digest is there when 32 bytes are left
    /// after the last whole sector.
    #[must_use]
    pub const fn of_size(size: u64) -> Self {
        if size % 512 == Sha256Digest::LEN as u64 { Self::Snapshot } else { Self::RawDatabase }
    }
}

/// What a manifest says of the bytes to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Bytes of the snapshot file.
    pub size: u64,
    /// SHA-256 of the snapshot file.
    pub sha256: Sha256Digest,
    /// Whether the reader of the bytes holds them against `sha256` itself and ends in an error before the
    /// last of them when they differ. They are not hashed a second time then: the manifest was written
    /// only after etcd's own digest, which is part of them, had matched.
    pub by_reader: bool,
}

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A snapshot's id or a file's path, for people.
    pub label: String,
    /// What the image says of itself.
    pub facts: ImageFacts,
    /// Whether it ends with etcd's digest.
    pub form: Form,
    /// Alarms in the image: `NOSPACE`, `CORRUPT`.
    pub alarms: Vec<String>,
    /// What the manifest says, for a snapshot of a repository.
    pub expected: Option<Expected>,
}

impl Source {
    /// Reads what a plan must know from an image that can be read at random. Only a few pages are read and
    /// nothing is verified: the restore does that.
    ///
    /// # Errors
    /// The error of the first page that is not what it should be.
    pub fn inspect<R: ReadAt>(label: String, image: R, expected: Option<Expected>) -> Result<Self> {
        let form = Form::of_size(image.size());
        let db = Db::open(image)?;
        let facts = facts::facts(&db)?;
        Ok(Self { label, facts, form, alarms: alarms(&db)?, expected })
    }

    /// The same from an image that can only be read from end to end, such as an archive. It is read once
    /// here and once more by the restore; alarms are not seen this way.
    ///
    /// # Errors
    /// [`Error::Source`] when the stream fails, and what [`crate::restore`] says of a damaged one.
    pub fn inspect_stream(
        label: String,
        chunks: impl Iterator<Item = io::Result<Bytes>>,
    ) -> Result<Self> {
        let mut intake = Intake::new(None);
        let mut sink = ScanSink { scanner: SnapshotScanner::new(), sha: RunningSha256::new() };
        for chunk in chunks {
            intake.push(chunk.map_err(|source| Error::Source { source })?, &mut sink)?;
        }
        let received = intake.finish(&mut sink)?;
        let mut scanner = sink.scanner;
        scanner.push(sink.sha.finish().as_bytes())?;
        let scanned = scanner.finish()?;
        let form = received.form();
        Ok(Self { label, facts: scanned.facts, form, alarms: Vec::new(), expected: None })
    }

    pub(crate) const fn checked_by(&self) -> &'static str {
        match (self.expected, self.form) {
            (Some(expected), _) if expected.by_reader => "the manifest's digest",
            (Some(_), _) => "the manifest's digest and etcd's own",
            (None, Form::Snapshot) => "etcd's digest",
            (None, Form::RawDatabase) => "its length",
        }
    }

    /// What follows from the kind of source that was named.
    pub(crate) fn notes(&self, skip_hash_check: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if self.form == Form::RawDatabase && self.expected.is_none() {
            notes.push(
                "The source is a raw database: no digest covers it, only the structural check does. A copy \
                 of a running member's file may be torn."
                    .to_owned(),
            );
        } else if skip_hash_check {
            notes.push("etcd's digest is not checked, as asked for.".to_owned());
        }
        notes
    }

    /// What is wrong with the source.
    pub(crate) fn warnings(&self, keep_alarms: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.alarms.iter().any(|alarm| alarm == "CORRUPT") {
            warnings.push(
                "A CORRUPT alarm is in the snapshot: members of the source disagreed, and this copy may be the \
                 wrong one. Compare with a snapshot from before the alarm."
                    .to_owned(),
            );
        }
        if keep_alarms && !self.alarms.is_empty() {
            warnings.push(format!(
                "Alarms stay raised, as asked for ({}): the restored cluster refuses writes until \
                 `etcdctl alarm disarm`.",
                self.alarms.join(", ")
            ));
        } else if self.alarms.iter().any(|alarm| alarm == "NOSPACE") {
            warnings.push(
                "A NOSPACE alarm is in the snapshot and is cleared: start the members with a larger \
                 --quota-backend-bytes, or compact and defragment at once."
                    .to_owned(),
            );
        }
        warnings
    }
}

/// Kinds of the alarms in a database, each once.
///
/// # Errors
/// The error of the first page that is not what it should be.
pub(crate) fn alarms<R: ReadAt>(db: &Db<R>) -> Result<Vec<String>> {
    let Some(bucket) = db.bucket(buckets::ALARM)? else { return Ok(Vec::new()) };
    let mut kinds = std::collections::BTreeSet::new();
    let mut rows = 0;
    db.scan(&bucket, &mut |key, _| {
        rows += 1;
        kinds.insert(kind(key));
        Ok(if rows < MAX_ALARMS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(kinds.into_iter().collect())
}

/// An alarm's row has the member and the kind in its key, and no value (docs/etcd-formats.md 2.4).
fn kind(key: &[u8]) -> String {
    use etcdr_schemas::pb::etcd::AlarmMember;
    match <AlarmMember as prost::Message>::decode(key).map(|alarm| alarm.alarm) {
        Ok(1) => "NOSPACE".to_owned(),
        Ok(2) => "CORRUPT".to_owned(),
        Ok(other) => other.to_string(),
        Err(_) => "unreadable".to_owned(),
    }
}

/// Feeds the scanner the database alone, so that raw copies with garbage behind it can be scanned too.
struct ScanSink {
    scanner: SnapshotScanner,
    sha: RunningSha256,
}

impl Sink for ScanSink {
    fn begin(&mut self, _: Shape) -> Result<()> {
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sha.update(bytes);
        self.scanner.push(bytes)
    }
}
