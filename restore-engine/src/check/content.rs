//! Level `content`: the bytes of a file, from the first to the last.

use std::io;

use bytes::Bytes;
use etcdr_schemas::report::Finding;
use etcdr_schemas::{Progress, Sha256Digest};

use super::error_finding::error_finding;
use crate::error::{Error, Result};
use crate::findings;
use crate::stream::intake::Intake;
use crate::stream::splitter::Sink;
use crate::stream::{Expected, Form};

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
        if let Err(error) = intake.push(chunk, &mut DiscardBytes) {
            content.findings.push(error_finding(error)?);
            return Ok(content);
        }
    }
    progress.end();
    match intake.finish(&mut DiscardBytes) {
        Ok(received) => {
            content.sha256 = Some(received.sha256);
            content.form = Some(received.form());
            if let Err(error) = received.check(expected, false) {
                content.findings.push(error_finding(error)?);
            }
        }
        Err(error) => content.findings.push(error_finding(error)?),
    }
    if content.form == Some(Form::RawDatabase) && expected.is_none() {
        let message = "a raw database: no digest covers it";
        content.findings.push(findings::DIGEST_NONE.at("the end of the file", message));
    }
    Ok(content)
}

struct DiscardBytes;

impl Sink for DiscardBytes {
    fn write(&mut self, _: &[u8]) -> Result<()> {
        Ok(())
    }
}
