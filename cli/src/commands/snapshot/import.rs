//! `etcdr snapshot import`: stores a file as a snapshot.

use std::path::PathBuf;

use etcdr_operations::import::{self, ImportRequest};
use etcdr_operations::stop::StopFlag;
use etcdr_repository::archive;
use etcdr_schemas::ExitCode;

use super::save::{StoringFlags, finish};
use crate::context;
use crate::options::Global;
use crate::progress;

/// Store a snapshot file, or a copy of member/snap/db
///
/// Takes what `etcdctl snapshot save` or `etcdutl snapshot save` wrote, or the db file of a stopped
/// member; plain or inside .gz, .zst, .zip, .tar or .tar.gz. It is checked as a live snapshot is,
/// and named by the time of the import and the revision in its bytes.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// The file
    file: PathBuf,

    #[command(flatten)]
    storing: StoringFlags,
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let repository = global.open().await?;
        let signing_key = self.storing.signing_key(global)?;
        let signed = signing_key.is_some();
        let request = ImportRequest {
            cluster: global.cluster.clone(),
            label: self.file.display().to_string(),
            seal: self.storing.seal_options(&repository, global)?,
            signing_key,
            nonce: u32::from_le_bytes(context::random()?),
            tool_version: context::VERSION.to_owned(),
        };
        let chunks = stop.guard(archive::open(&self.file)?);
        let progress = progress::for_stderr(global.quiet);
        let saved =
            import::import(&repository, request, Box::new(chunks), &context::now, &progress)
                .await?;
        finish(global, saved, signed)
    }
}
