//! `etcdr snapshot export`: writes a snapshot to a file or to stdout.

use std::io;
use std::path::{Path, PathBuf};

use etcdr_operations::export::{self, Destination};
use etcdr_operations::stop::StopFlag;
use etcdr_repository::SnapshotName;
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::ExportReport;

use crate::options::Global;
use crate::{output, progress};

/// Write a snapshot as the plain file that `etcdctl snapshot save` writes
///
/// The file is decrypted and decompressed, checked against every recorded digest, and can be given
/// to `etcdutl snapshot restore`. It holds every secret of the cluster in the clear.
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
        let destination = match to_stdout {
            true => Destination::stream(Box::new(io::stdout())),
            false => Destination::file(self.file.clone())?,
        };
        let repository = global.open().await?;
        let (cluster, identities) = (&global.cluster, global.identities()?);
        let progress = progress::for_stderr(global.quiet);
        let exported = export::snapshot(
            &repository,
            cluster,
            &self.name,
            &identities,
            destination,
            &progress,
            &stop,
        );
        let exported = exported.await?;
        if to_stdout {
            // stdout carries the snapshot: the report would end up in it.
            return Ok(ExitCode::Done);
        }
        let report = ExportReport {
            id: exported.id,
            file: self.file.display().to_string(),
            size: exported.size,
            sha256: exported.sha256,
        };
        output::print(global.output, report, |report| {
            format!("{} written: {} bytes, sha256 {}", report.file, report.size, report.sha256)
        })?;
        Ok(ExitCode::Done)
    }
}
