//! Any source as the bytes of a snapshot file.
//!
//! A repository keeps one form only: the database to its high-water mark, then its digest. A file
//! of `etcdctl snapshot save` is that already; a raw copy of `member/snap/db` loses what it has
//! grown ahead and gains the digest.

use std::io;

use bytes::Bytes;
use etcdr_schemas::RunningSha256;

use super::form::Form;
use super::intake::Intake;
use super::splitter::Sink;
use crate::error::{Error, Result};

/// Gives `out` the bytes of a snapshot file, made from `chunks`. The caller must drop what it got
/// when this fails: a wrong digest shows at the end only.
///
/// # Errors
/// Those of a damaged, truncated or foreign source; [`Error::Source`] when it cannot be read or
/// `out` does not take the bytes.
pub fn as_snapshot_file(
    chunks: impl Iterator<Item = io::Result<Bytes>>,
    out: &mut dyn FnMut(Bytes) -> io::Result<()>,
) -> Result<Form> {
    let mut sink = Refile { sha: RunningSha256::new(), out };
    let mut intake = Intake::new(None);
    for chunk in chunks {
        intake.push(chunk.map_err(|source| Error::Source { source })?, &mut sink)?;
    }
    let received = intake.finish(&mut sink)?;
    received.check(None, false)?;
    let Refile { sha, out } = sink;
    let digest = sha.finish();
    out(Bytes::copy_from_slice(digest.as_bytes())).map_err(|source| Error::Source { source })?;
    Ok(received.form())
}

struct Refile<'a> {
    sha: RunningSha256,
    out: &'a mut dyn FnMut(Bytes) -> io::Result<()>,
}

impl Sink for Refile<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.sha.update(bytes);
        (self.out)(Bytes::copy_from_slice(bytes)).map_err(|source| Error::Source { source })
    }
}
