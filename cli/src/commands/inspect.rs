//! `etcdr inspect`: decides whether the target is a directory, a file or a snapshot, and shows it.

use std::path::{Path, PathBuf};

use etcdr_operations::inspect;
use etcdr_repository::{SnapshotName, archive};
use etcdr_restore_engine::inspect::{self as engine, Options};
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::InspectReport;

use crate::context::blocking;
use crate::exit::CliError;
use crate::options::Global;
use crate::{output, progress};

mod render;

/// Look into a database, a snapshot or a data directory, damaged ones too
///
/// Shows meta pages, buckets, space, members, versions, revisions, leases, alarms and the largest
/// prefixes of keys. What is damaged is told with page and byte, and the rest is shown all the
/// same. Nothing is written. Exit code 20 means that something is damaged.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A database, a snapshot file or a data directory; otherwise the name of a snapshot in the
    /// repository
    #[arg(value_name = "FILE|DIR|NAME")]
    target: PathBuf,

    /// Look through meta page 0 or 1 instead of the newest: the older one shows the transaction
    /// before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(0..=1))]
    meta: Option<u8>,

    /// Directory of the log, when it is not in the data directory
    #[arg(long, value_name = "DIR")]
    wal_dir: Option<PathBuf>,

    /// Segments of a key that make its prefix
    #[arg(
        long,
        value_name = "N",
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..=16)
    )]
    prefix_depth: u32,

    /// Prefixes that are listed
    #[arg(
        long,
        value_name = "N",
        default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    top: u16,
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let report = self.report(global).await?;
        let code = if report.ok { ExitCode::Done } else { ExitCode::Damaged };
        if !report.ok {
            output::say(" safe: Looking changed nothing.");
            output::say(format!(" next: {}", render::next(&report)));
        }
        output::print(global.output, report, render::human)?;
        Ok(code)
    }

    async fn report(&self, global: &Global) -> anyhow::Result<InspectReport> {
        let progress = progress::for_stderr(global.quiet);
        let options = Options {
            meta: self.meta.map(usize::from),
            prefix_depth: self.prefix_depth,
            top: usize::from(self.top),
        };
        let path = self.target.clone();
        if path.is_dir() {
            let wal_dir = self.wal_dir.clone();
            let inspect =
                move || engine::data_dir(&path, wal_dir.as_deref(), options, progress.as_ref());
            return Ok(blocking(inspect).await??);
        }
        if path.exists() {
            if !archive::is_plain(&path)? {
                return Err(packed(&path).into());
            }
            let inspect = move || engine::file(&path, options, progress.as_ref());
            return Ok(blocking(inspect).await??);
        }
        let name = self.name(global)?;
        let repository = global.open().await?;
        let id = repository.resolve(&global.cluster, &name).await?;
        let identities = global.identities()?;
        let inspected =
            inspect::snapshot(&repository, &global.cluster, &id, &identities, options, &progress);
        Ok(inspected.await?)
    }

    /// The target as the name of a snapshot; a path that is not there is said to be missing.
    fn name(&self, global: &Global) -> anyhow::Result<SnapshotName> {
        let text = self.target.to_str().unwrap_or_default();
        let name = text.parse().ok().filter(|_| global.repository.is_some());
        name.ok_or_else(|| {
            CliError {
                what: format!("there is no file or directory {}", self.target.display()),
                safe: "Nothing was done.".into(),
                next: "Check the path; to look into a snapshot, name it and its --repository."
                    .into(),
                code: ExitCode::Failed,
            }
            .into()
        })
    }
}

fn packed(path: &Path) -> CliError {
    CliError::usage(
        format!("inspect reads a file at random, and {} is packed", path.display()),
        "Unpack it first (gunzip, zstd -d, unzip, tar -x), or `etcdr snapshot import` it and \
         inspect the snapshot.",
    )
}
