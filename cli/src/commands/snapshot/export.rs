//! `etcdr snapshot export`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use etcdr_operations::stop::StopFlag;
use etcdr_repository::SnapshotName;
use etcdr_restore_engine::outfile::OutFile;
use etcdr_schemas::report::ExportReport;
use etcdr_schemas::{ExitCode, Progress};

use crate::context;
use crate::exit::CliError;
use crate::options::Global;
use crate::{output, progress};

/// Write a snapshot as the plain file that `etcdctl snapshot save` writes
///
/// The file is decrypted and decompressed, checked against every recorded digest, and can be given to
/// `etcdutl snapshot restore`. It holds every secret of the cluster in the clear.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    name: SnapshotName,

    /// The file to write, mode 0600; it must not exist. `-` is stdout
    file: PathBuf,
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let to_stdout = self.file == Path::new("-");
        if !to_stdout && self.file.symlink_metadata().is_ok() {
            return Err(exists(&self.file).into());
        }
        let repository = global.open().await?;
        let id = repository.resolve(&global.cluster, &self.name).await?;
        let manifest = repository.manifest(&global.cluster, &id).await?.manifest;
        let image = repository.open_image(&manifest.image, &global.identities()?).await?;
        let chunks = image.chunks();
        let progress = progress::for_stderr(global.quiet);
        progress.begin("exporting", Some(manifest.image.plain_size));
        let file = self.file.clone();
        let size = context::blocking(move || {
            let chunks = stop.guard(chunks);
            if to_stdout { to_pipe(chunks, &progress) } else { to_file(&file, chunks, &progress) }
        })
        .await??;
        let report = ExportReport {
            id,
            file: self.file.display().to_string(),
            size,
            sha256: manifest.image.plain_sha256,
        };
        if to_stdout {
            // stdout carries the snapshot: the report would end up in it.
            return Ok(ExitCode::Done);
        }
        output::print(global.output, report, |report| {
            format!("{} written: {} bytes, sha256 {}", report.file, report.size, report.sha256)
        })?;
        Ok(ExitCode::Done)
    }
}

type Chunks<'a> = &'a mut dyn Iterator<Item = io::Result<Bytes>>;

fn copy(chunks: Chunks<'_>, out: &mut dyn Write, progress: &Arc<dyn Progress>) -> io::Result<u64> {
    let mut size = 0;
    for chunk in chunks {
        let chunk = chunk?;
        out.write_all(&chunk)?;
        size += chunk.len() as u64;
        progress.advance(chunk.len() as u64);
    }
    out.flush()?;
    progress.end();
    Ok(size)
}

fn to_pipe(
    mut chunks: impl Iterator<Item = io::Result<Bytes>>,
    progress: &Arc<dyn Progress>,
) -> anyhow::Result<u64> {
    Ok(copy(&mut chunks, &mut io::stdout().lock(), progress)?)
}

/// Writes beside, syncs, and renames: the file is there whole or not at all.
fn to_file(
    path: &Path,
    mut chunks: impl Iterator<Item = io::Result<Bytes>>,
    progress: &Arc<dyn Progress>,
) -> anyhow::Result<u64> {
    let mut file = OutFile::create(path)?;
    let size = copy(&mut chunks, &mut file, progress)?;
    file.commit()?;
    Ok(size)
}

fn exists(path: &Path) -> CliError {
    CliError {
        what: format!("{} exists", path.display()),
        safe: "It was not touched.".into(),
        next: "Name another file, or move it away.".into(),
        code: ExitCode::Failed,
    }
}
