//! `etcdr restore`.

mod content;
mod render;
mod targets;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::ArgGroup;
use etcdr_operations::stop::StopFlag;
use etcdr_repository::{Identities, Repository, SnapshotName, archive, names};
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::plan::{self, Bump, Expected, Plan, RestoreRequest, Source};
use etcdr_restore_engine::restore;
use etcdr_schemas::manifest::{Kind, Manifest};
use etcdr_schemas::report::RestoreReceipt;
use etcdr_schemas::{ExitCode, Progress, Revision, TargetVersion};

use crate::context;
use crate::exit::CliError;
use crate::options::Global;
use crate::{output, progress};
use content::ContentFlags;
use targets::TargetFlags;

/// Rebuild data directories of a new cluster from a snapshot
///
/// Writes one member (--data-dir and --name, with the flags of `etcdutl snapshot restore`) or all members of one new
/// cluster (--all-members). Everything is written beside the target, checked, and renamed last; what was there is
/// refused, or moved aside with --replace. Receipts beside the data directories tell what was done and how to start.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("where").args(["data_dir", "all_members"]).required(true))]
#[command(group = ArgGroup::new("what").args(["snapshot", "file"]).required(true))]
pub(super) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    #[arg(value_name = "NAME")]
    snapshot: Option<SnapshotName>,

    /// Restore a snapshot file or a copy of member/snap/db instead; plain or .gz, .zst, .zip, .tar, .tar.gz
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    targets: TargetFlags,

    #[command(flatten)]
    content: ContentFlags,

    /// Do not compare the snapshot with the digest at its end
    #[arg(long)]
    skip_hash_check: bool,

    /// Raise the revision: `auto` puts it above all that the repository has seen of the cluster; a number adds that
    /// much and needs --mark-compacted; 0 leaves it
    #[arg(long, value_name = "auto|N|0", default_value = "auto", value_parser = bump)]
    bump_revision: BumpArg,

    /// Mark everything before the raised revision as compacted (always so with `auto`)
    #[arg(long)]
    mark_compacted: bool,

    /// etcd minor that will start the members [default: one that suits all of 3.4 to 3.7]
    #[arg(long, value_name = "3.x")]
    target_version: Option<TargetVersion>,

    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Move an existing data directory aside instead of refusing it
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Clone, Copy)]
enum BumpArg {
    Auto,
    By(i64),
}

fn bump(text: &str) -> Result<BumpArg, String> {
    match text {
        "auto" => Ok(BumpArg::Auto),
        number => match number.parse() {
            Ok(by) if by >= 0 => Ok(BumpArg::By(by)),
            _ => Err("say auto, 0, or a positive number".to_owned()),
        },
    }
}

/// Blocking chunks of the plain snapshot file.
pub(super) type Chunks = Box<dyn Iterator<Item = io::Result<Bytes>> + Send>;

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let progress = progress::for_stderr(global.quiet);
        let opened = self.open(global).await?;
        let request = self.request(opened.source, opened.highest_seen, opened.taken_at)?;
        let plan = plan::plan(request)?;
        for warning in &plan.report.warnings {
            output::say(format!("warning: {warning}"));
        }
        if !global.quiet {
            plan.report.notes.iter().for_each(|note| output::say(format!("note: {note}")));
        }
        if self.dry_run {
            let preflight = restore::preflight(&plan);
            output::print(global.output, plan.report, render::plan)?;
            // A plan that would be refused is shown all the same, and not called good.
            preflight?;
            return Ok(ExitCode::Done);
        }
        let told = plan.report.warnings.len();
        let receipt = carry_out(plan, Box::new(stop.guard(opened.chunks)), progress).await?;
        let warned = !receipt.plan.warnings.is_empty();
        for warning in receipt.plan.warnings.iter().skip(told) {
            output::say(format!("warning: {warning}"));
        }
        output::print(global.output, receipt, render::receipt)?;
        Ok(if warned { ExitCode::Warnings } else { ExitCode::Done })
    }

    async fn open(&self, global: &Global) -> anyhow::Result<Opened> {
        match (&self.snapshot, &self.file) {
            (Some(name), None) => open_snapshot(global, name).await,
            (None, Some(file)) => open_file(file.clone()).await,
            _ => {
                Err(CliError::usage("nothing to restore", "name a snapshot, or a file with --file")
                    .into())
            }
        }
    }

    fn request(
        &self,
        source: Source,
        highest_seen: Option<Revision>,
        taken_at: Option<DateTime<Utc>>,
    ) -> anyhow::Result<RestoreRequest> {
        let bump = match self.bump_revision {
            BumpArg::Auto => Bump::Auto { highest_seen, margin: plan::DEFAULT_BUMP_MARGIN },
            BumpArg::By(by) => Bump::By(by),
        };
        let (initial_cluster, targets) = self.targets.resolve()?;
        Ok(RestoreRequest {
            source,
            initial_cluster,
            token: self.targets.token()?,
            targets,
            target_version: self.target_version,
            bump,
            mark_compacted: self.mark_compacted,
            replace: self.replace,
            skip_hash_check: self.skip_hash_check,
            keep_alarms: self.content.keep_alarms,
            selection: self.content.selection(taken_at),
            now: context::now(),
        })
    }
}

/// A source that is ready to be planned for and to be read.
struct Opened {
    source: Source,
    chunks: Chunks,
    highest_seen: Option<Revision>,
    /// When the source was taken from its cluster, where that is known.
    taken_at: Option<DateTime<Utc>>,
}

async fn open_snapshot(global: &Global, name: &SnapshotName) -> anyhow::Result<Opened> {
    let repository = global.open().await?;
    let ids = repository.list(&global.cluster).await?.ids;
    let id = names::resolve(&global.cluster, &ids, name)?;
    let manifest = repository.manifest(&global.cluster, &id).await?.manifest;
    let (source, chunks) = open_image(&repository, &manifest, &global.identities()?).await?;
    let highest_seen = ids.iter().map(etcdr_schemas::SnapshotId::revision).max();
    // An imported file was taken at a time that nobody noted.
    let taken_at = (manifest.kind == Kind::Full).then_some(manifest.started_at);
    Ok(Opened { source, chunks, highest_seen, taken_at })
}

/// What a plan must know of a stored image, and its bytes. Shared with the demo.
pub(super) async fn open_image(
    repository: &Repository,
    manifest: &Manifest,
    identities: &Identities,
) -> anyhow::Result<(Source, Chunks)> {
    let image = repository.open_image(&manifest.image, identities).await?;
    let (label, random) = (manifest.id.to_string(), image.random());
    let expected = Expected {
        size: manifest.image.plain_size,
        sha256: manifest.image.plain_sha256,
        by_reader: true,
    };
    let source =
        context::blocking(move || Source::inspect(label, random, Some(expected))).await??;
    Ok((source, Box::new(image.chunks())))
}

async fn open_file(path: PathBuf) -> anyhow::Result<Opened> {
    let label = path.display().to_string();
    let inspected = path.clone();
    let source = context::blocking(move || inspect_file(label, &inspected)).await??;
    let chunks = Box::new(archive::open(&path)?);
    Ok(Opened { source, chunks, highest_seen: None, taken_at: None })
}

/// A plain file is read at random; an archive must be read through once, here, and once more by the restore.
fn inspect_file(label: String, path: &Path) -> anyhow::Result<Source> {
    if archive::is_plain(path)? {
        Ok(Source::inspect(label, LocalFile::open(path)?, None)?)
    } else {
        Ok(Source::inspect_stream(label, archive::open(path)?)?)
    }
}

/// Carries the plan out on a blocking thread. Shared with the demo.
pub(super) async fn carry_out(
    plan: Plan,
    chunks: Chunks,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<RestoreReceipt> {
    let done = context::blocking(move || {
        restore::restore(&plan, chunks, &context::now, progress.as_ref())
    });
    Ok(done.await??)
}
