//! `etcdr verify`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use etcdr_repository::{Chain, Repository, SnapshotName, archive};
use etcdr_restore_engine::local::LocalFile;
use etcdr_restore_engine::plan::Expected;
use etcdr_restore_engine::verify::{self as engine, Structure};
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{Finding, Level, Severity, VerifyReport};
use etcdr_schemas::{Diagnose, ExitCode, Progress, SnapshotId};

use crate::context::{self, StopFlag};
use crate::exit::CliError;
use crate::options::Global;
use crate::{output, progress};

/// Check a snapshot, as deep as the level says
///
/// Each level includes those before it. `manifest` and `object` need no identity. Exit code 20 means that the data
/// is damaged; 0 that every check of the level passed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    #[arg(required_unless_present = "file")]
    name: Option<SnapshotName>,

    /// Check a snapshot file instead (levels content and structure)
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    file: Option<PathBuf>,

    /// How deep to look
    #[arg(long, value_enum, default_value_t = LevelArg::Structure)]
    level: LevelArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LevelArg {
    /// Schema, signature, chain
    Manifest,
    /// Size and SHA-256 of the stored object; needs no key
    Object,
    /// Decrypted and decompressed; etcd's own digest
    Content,
    /// The database: pages, order of keys, free list
    Structure,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Manifest => Self::Manifest,
            LevelArg::Object => Self::Object,
            LevelArg::Content => Self::Content,
            LevelArg::Structure => Self::Structure,
        }
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let progress = progress::for_stderr(global.quiet);
        let level = self.level.into();
        let report = match (&self.file, &self.name) {
            (Some(file), _) => file_report(file.clone(), level, stop, progress).await?,
            (None, Some(name)) => {
                let repository = global.open().await?;
                snapshot_report(global, &repository, name, level, progress).await?
            }
            (None, None) => {
                return Err(CliError::usage(
                    "nothing to verify",
                    "name a snapshot, or a file with --file",
                )
                .into());
            }
        };
        let code = if report.ok { ExitCode::Done } else { ExitCode::Damaged };
        for finding in &report.findings {
            output::say(format!("{}: {}: {}", finding.code, finding.place, finding.message));
        }
        if !report.ok {
            output::say(" safe: Looking changed nothing; other snapshots are not affected.");
            output::say(format!(" next: {NEXT}"));
        }
        // A file has no manifest and is no stored object: those levels are not told of it.
        let from = if self.file.is_some() { Level::Content } else { Level::Manifest };
        output::print(global.output, report, |report| human(report, from))?;
        Ok(code)
    }
}

const NEXT: &str = "Take a new snapshot now. To restore, use another one: `etcdr snapshot list`.";

fn human(report: &VerifyReport, from: Level) -> String {
    let asked = |level: &&Level| (from..=report.level).contains(*level);
    let levels = Level::ALL.iter().filter(asked).map(|level| {
        let state = if report.passed.contains(level) { "ok" } else { "FAILED or not reached" };
        format!("{:<10} {state}", level.name())
    });
    let verdict = if report.ok { "good" } else { "DAMAGED" };
    let mut lines: Vec<String> = levels.collect();
    let revision =
        report.revision.map_or_else(String::new, |revision| format!(", revision {revision}"));
    lines.push(format!("{} is {verdict} at level {}{revision}", report.subject, report.level));
    lines.join("\n")
}

/// Runs levels one after the other until one fails.
struct Run {
    report: VerifyReport,
}

impl Run {
    fn new(subject: String, level: Level) -> Self {
        Self {
            report: VerifyReport {
                subject,
                level,
                passed: Vec::new(),
                findings: Vec::new(),
                ok: true,
                revision: None,
                plain_size: None,
            },
        }
    }

    /// Whether the next level is wanted and everything before it passed.
    fn wants(&self, level: Level) -> bool {
        self.report.ok && level <= self.report.level
    }

    /// Notes the findings of a level: it passed when none says damage.
    fn note(&mut self, level: Level, findings: Vec<Finding>) {
        self.report.ok = findings.iter().all(|finding| finding.severity < Severity::Damage);
        if self.report.ok {
            self.report.passed.push(level);
        }
        self.report.findings.extend(findings);
    }

    fn note_structure(&mut self, structure: Structure) {
        self.report.revision = structure.facts.map(|facts| facts.revision);
        self.note(Level::Structure, structure.findings);
    }

    /// Damage becomes a finding; other errors (no key, store unreachable) end the verification, because
    /// they say nothing about the data.
    fn note_error(
        &mut self,
        level: Level,
        place: &str,
        error: impl Diagnose + Send + Sync + 'static,
    ) -> anyhow::Result<()> {
        if error.exit_code() != ExitCode::Damaged {
            return Err(error.into());
        }
        let finding = Finding {
            code: format!("{}.damaged", level.name()),
            severity: Severity::Damage,
            place: place.to_owned(),
            message: error.to_string(),
        };
        self.note(level, vec![finding]);
        Ok(())
    }
}

async fn snapshot_report(
    global: &Global,
    repository: &Repository,
    name: &SnapshotName,
    level: Level,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<VerifyReport> {
    let id = repository.resolve(&global.cluster, name).await?;
    let mut run = Run::new(id.to_string(), level);
    let loaded = match repository.manifest(&global.cluster, &id).await {
        Ok(loaded) => loaded,
        Err(error) => {
            run.note_error(Level::Manifest, &id.to_string(), error)?;
            return Ok(run.report);
        }
    };
    run.note(Level::Manifest, chain_findings(repository.chain(&loaded).await?, &id));
    let manifest = loaded.manifest;
    run.report.plain_size = Some(manifest.image.plain_size);
    if run.wants(Level::Object) {
        progress.begin("reading the stored object", Some(manifest.image.stored_size));
        match repository.verify_object(&manifest.image).await {
            Ok(()) => run.note(Level::Object, Vec::new()),
            Err(error) => run.note_error(Level::Object, &manifest.image.key, error)?,
        }
        progress.end();
    }
    if run.wants(Level::Content) {
        deep(global, repository, &manifest, &mut run, progress).await?;
    }
    Ok(run.report)
}

/// A broken chain means that a manifest is gone or was exchanged; this snapshot may be sound all the same,
/// so it is a warning.
fn chain_findings(chain: Chain, id: &SnapshotId) -> Vec<Finding> {
    match chain {
        Chain::First | Chain::Follows(_) => Vec::new(),
        Chain::Broken => vec![Finding {
            code: "manifest.chain.broken".to_owned(),
            severity: Severity::Warning,
            place: id.to_string(),
            message: "the manifest that it follows is gone or was changed".to_owned(),
        }],
    }
}

/// Levels `content` and `structure` of a stored image. Nothing is written to disk.
async fn deep(
    global: &Global,
    repository: &Repository,
    manifest: &Manifest,
    run: &mut Run,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<()> {
    let image = &manifest.image;
    let sealed = match repository.open_image(image, &global.identities()?).await {
        Ok(sealed) => sealed,
        Err(error) => return run.note_error(Level::Content, &image.key, error),
    };
    let expected = Expected {
        size: image.plain_size,
        sha256: image.plain_sha256,
        // The level's meaning is that etcd's own digest was looked at.
        by_reader: false,
    };
    let (chunks, shown) = (sealed.chunks(), Arc::clone(&progress));
    let content =
        context::blocking(move || engine::content(chunks, Some(expected), shown.as_ref()));
    match content.await? {
        Ok(content) => run.note(Level::Content, content.findings),
        Err(error) => run.note_error(Level::Content, &image.key, error)?,
    }
    if run.wants(Level::Structure) {
        let random = sealed.random();
        let structure = context::blocking(move || engine::structure(random, progress.as_ref()));
        match structure.await? {
            Ok(structure) => run.note_structure(structure),
            Err(error) => run.note_error(Level::Structure, &image.key, error)?,
        }
    }
    Ok(())
}

/// A file: its bytes, then, when it is not packed, its structure.
async fn file_report(
    path: PathBuf,
    level: Level,
    stop: StopFlag,
    progress: Arc<dyn Progress>,
) -> anyhow::Result<VerifyReport> {
    let subject = path.display().to_string();
    let mut run = Run::new(subject.clone(), level.max(Level::Content));
    let (chunks, shown) = (stop.guard(archive::open(&path)?), Arc::clone(&progress));
    let content = context::blocking(move || engine::content(chunks, None, shown.as_ref())).await?;
    match content {
        Ok(content) => {
            run.report.plain_size = Some(content.size);
            run.note(Level::Content, content.findings);
        }
        Err(error) => run.note_error(Level::Content, &subject, error)?,
    }
    if run.wants(Level::Structure) {
        if !archive::is_plain(&path)? {
            return Err(CliError::usage(
                format!("level structure reads a file at random, and {subject} is packed"),
                "Say --level content, unpack the file first, or import it and verify the snapshot.",
            )
            .into());
        }
        let file = LocalFile::open(&path)?;
        let structure =
            context::blocking(move || engine::structure(file, progress.as_ref())).await?;
        match structure {
            Ok(structure) => run.note_structure(structure),
            Err(error) => run.note_error(Level::Structure, &subject, error)?,
        }
    }
    Ok(run.report)
}
