//! The source of a restore and its facts.

use std::io;

use bytes::Bytes;
use etcdr_schemas::ReadAt;

use super::form::{Expected, Form};
use super::intake::Intake;
use super::scanner::FactsSink;
use crate::error::{Error, Result};
use crate::format::bolt::Db;
use crate::format::facts::{self, ImageFacts, alarms};

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
    /// Reads what a plan must know from an image that can be read at random. Only a few pages are
    /// read and nothing is verified: the restore does that.
    ///
    /// # Errors
    /// The error of the first damaged page.
    pub fn inspect<R: ReadAt>(label: String, image: R, expected: Option<Expected>) -> Result<Self> {
        let form = Form::of_size(image.size());
        let db = Db::open(image)?;
        let facts = facts::facts(&db)?;
        Ok(Self { label, facts, form, alarms: alarms(&db)?, expected })
    }

    /// Reads what a plan must know from an image that can only be read from end to end, such as an
    /// archive. It is read twice, here and by the restore; alarms are not found this way.
    ///
    /// # Errors
    /// [`Error::Source`] when the stream fails, and what [`crate::restore`] says of a damaged one.
    pub fn inspect_stream(
        label: String,
        chunks: impl Iterator<Item = io::Result<Bytes>>,
    ) -> Result<Self> {
        let mut intake = Intake::new(None);
        let mut sink = FactsSink::default();
        for chunk in chunks {
            intake.push(chunk.map_err(|source| Error::Source { source })?, &mut sink)?;
        }
        let form = intake.finish(&mut sink)?.form();
        let facts = sink.finish()?;
        Ok(Self { label, facts, form, alarms: Vec::new(), expected: None })
    }
}
