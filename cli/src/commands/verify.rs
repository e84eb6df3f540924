//! `etcdr verify`: checks one snapshot or file, and shows findings and contents.

use std::path::PathBuf;

use clap::ValueEnum;
use etcdr_operations::stop::StopFlag;
use etcdr_operations::verify;
use etcdr_repository::{Identities, SnapshotName, archive};
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::{Finding, Level, VerifyReport};

use crate::exit::CliError;
use crate::options::Global;
use crate::{output, progress};

mod contents;

/// Check a snapshot, as deep as the level says
///
/// Each level includes those before it. `manifest` and `object` need no identity. Exit code 20
/// means that the data is damaged; 0 that every check of the level passed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    #[arg(required_unless_present = "file")]
    name: Option<SnapshotName>,

    /// Check a snapshot file instead (from level content on)
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    file: Option<PathBuf>,

    /// How deep to look
    #[arg(long, value_enum, default_value_t = LevelArg::Structure)]
    level: LevelArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LevelArg {
    /// Schema, signature, chain
    Manifest,
    /// Size and SHA-256 of the stored object; needs no key
    Object,
    /// Decrypted and decompressed; etcd's own digest
    Content,
    /// The database: pages, order of keys, free list
    Structure,
    /// What it says: every row and its history, HashKV, leases, users, Kubernetes' values; counts
    /// what there is
    Semantic,
}

impl From<LevelArg> for Level {
    fn from(level: LevelArg) -> Self {
        match level {
            LevelArg::Manifest => Self::Manifest,
            LevelArg::Object => Self::Object,
            LevelArg::Content => Self::Content,
            LevelArg::Structure => Self::Structure,
            LevelArg::Semantic => Self::Semantic,
        }
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global, stop: StopFlag) -> anyhow::Result<ExitCode> {
        let progress = progress::for_stderr(global.quiet);
        let level = self.level.into();
        let report = match (&self.file, &self.name) {
            (Some(file), _) => {
                let chunks = stop.guard(archive::open(file)?);
                verify::file(file, chunks, level, &progress).await?
            }
            (None, Some(name)) => {
                let repository = global.open().await?;
                let id = repository.resolve(&global.cluster, name).await?;
                // Levels that need no key must not ask for the file that holds one.
                let identities = match level {
                    Level::Manifest | Level::Object => Identities::default(),
                    _ => global.identities()?,
                };
                verify::snapshot(&repository, &global.cluster, &id, level, &identities, &progress)
                    .await?
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
        say_findings(&report.findings);
        if !report.ok {
            output::say(" safe: Looking changed nothing; other snapshots are not affected.");
            output::say(format!(" next: {}", verify::USE_ANOTHER));
        }
        // A file has no manifest and is no stored object: those levels are not shown for it.
        let from = if self.file.is_some() { Level::Content } else { Level::Manifest };
        output::print(global.output, report, |report| human(report, from))?;
        Ok(code)
    }
}

/// Each finding, and once for several of a kind what to do about it.
fn say_findings(findings: &[Finding]) {
    let mut findings = findings.iter().peekable();
    while let Some(finding) = findings.next() {
        output::say(format!("{}: {}: {}", finding.code, finding.place, finding.message));
        if findings.peek().is_none_or(|next| next.code != finding.code) {
            output::say(format!("    {}", finding.advice));
        }
    }
}

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
    lines.extend(report.contents.iter().map(|held| format!("\n{}", contents::human(held))));
    lines.join("\n")
}
