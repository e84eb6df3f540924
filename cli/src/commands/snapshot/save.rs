//! `etcdr snapshot save`: saves by itself, or asks a running agent to save.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use etcdr_operations::capture::Pace;
use etcdr_operations::capture::Stages;
use etcdr_operations::capture::{self, Always, SaveRequest, Saved};
use etcdr_repository::{Recipients, Repository, SealOptions, SigningKey};
use etcdr_schemas::ExitCode;
use etcdr_schemas::config::{BackOff, CaptureConfig};
use etcdr_schemas::report::{SignatureState, SnapshotReport};
use etcdr_schemas::units::{Size, Span};
use tokio::task::JoinSet;

use crate::commands::status::AgentFiles;
use crate::context;
use crate::options::{EtcdFlags, Global};
use crate::{output, progress};

/// Take a snapshot of a live cluster and store it
///
/// Streams from one healthy member; digest, compression, encryption and upload happen on the way,
/// nothing is written to etcd's disk. The stored image is read back before the snapshot is
/// recorded. Prints the id.
///
/// With --agent, a running agent does it, with its own configuration; the snapshot is taken even if
/// this command ends.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    #[command(flatten)]
    etcd: EtcdFlags,

    #[command(flatten)]
    storing: StoringFlags,

    /// Most bytes a second that are taken from etcd, e.g. 50MiB [default: as fast as it goes]
    #[arg(long, value_name = "SIZE", help_heading = "Do no harm", value_parser = rate)]
    rate_limit: Option<Size>,

    /// Let a running agent do it: unix:///path/to/agent.sock, or https://HOST:PORT. etcd,
    /// repository and keys are those of its configuration
    #[arg(long, value_name = "URL")]
    agent: Option<String>,

    #[command(flatten)]
    agent_files: AgentFiles,
}

/// How an image is stored: shared by `save` and `import`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Storing")]
pub(super) struct StoringFlags {
    /// age recipient, or a file with one a line (repeatable) [default: those of the repository]
    #[arg(long, value_name = "AGE", env = "ETCDR_RECIPIENT")]
    recipient: Vec<String>,

    /// minisign secret key (without password) that signs the manifest
    #[arg(long, value_name = "FILE", env = "ETCDR_SIGNING_KEY")]
    signing_key: Option<PathBuf>,

    /// zstd level [default: that of the configuration, else 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression_level: Option<i32>,
}

impl StoringFlags {
    /// The one that was typed, else that of the configuration.
    pub(super) fn signing_key(&self, global: &Global) -> anyhow::Result<Option<SigningKey>> {
        let configured =
            || global.file.as_ref()?.repository.signing_key.as_ref().map(PathBuf::from);
        let path = self.signing_key.clone().or_else(configured);
        Ok(path.as_deref().map(SigningKey::read).transpose()?)
    }

    /// Recipients that were typed, else those of the configuration, else those of the repository;
    /// none only where `init --no-encryption` was said.
    pub(super) fn seal_options(
        &self,
        repository: &Repository,
        global: &Global,
    ) -> anyhow::Result<SealOptions> {
        let configured = global.file.as_ref().map(|file| &file.repository);
        let recipients = match (self.recipient.as_slice(), configured) {
            ([], Some(config)) if !config.recipients.is_empty() => {
                Some(Recipients::parse_or_read(&config.recipients)?)
            }
            ([], _) => repository.default_recipients()?,
            (typed, _) => Some(Recipients::parse_or_read(typed)?),
        };
        let level = self.compression_level.or(configured.map(|config| config.compression_level));
        let options = SealOptions::new(recipients);
        Ok(SealOptions { level: level.unwrap_or(options.level), ..options })
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if let Some(address) = &self.agent {
            return by_agent(address, &self.agent_files, global).await;
        }
        let repository = global.open().await?;
        let signing_key = self.storing.signing_key(global)?;
        let signed = signing_key.is_some();
        let request = SaveRequest {
            cluster: global.cluster.clone(),
            endpoints: self.etcd.connect(global.file.as_deref())?,
            stall_timeout: self.etcd.stall_timeout,
            seal: self.storing.seal_options(&repository, global)?,
            signing_key,
            nonce: u32::from_le_bytes(context::random()?),
            tool_version: context::VERSION.to_owned(),
            trigger: None,
            pace: self.rate_limit.map(pace),
        };
        let progress = progress::for_stderr(global.quiet);
        // On a worker, beside the connection that feeds it, and not on the main thread, which would
        // have to be woken for every message. Dropping the set stops it.
        let mut work = JoinSet::new();
        work.spawn(async move {
            capture::save(&repository, request, &context::now, &progress, &Always).await
        });
        let saved = work.join_next().await.context("the capture ended early")??;
        finish_all(global, saved?, signed)
    }
}

/// More than one is the exception: the members hold different data and there is no majority. The
/// report is that of the first, and its warnings name the others.
fn finish_all(global: &Global, saved: Vec<Saved>, signed: bool) -> anyhow::Result<ExitCode> {
    let mut saved = saved.into_iter();
    let mut first = saved.next().context("a save made no snapshot and no error")?;
    first.warnings.extend(saved.map(|other| {
        format!(
            "there is no majority: {} holds the data of member {}",
            other.manifest.id,
            other.manifest.source.member_id.map_or("?".to_owned(), |id| id.to_string())
        )
    }));
    finish(global, first, signed)
}

fn rate(text: &str) -> Result<Size, String> {
    match text.parse()? {
        Size(0) => Err("nothing would ever come".to_owned()),
        size => Ok(size),
    }
}

/// A limit that was typed, and no other: whoever watches a terminal can end the save, and does not
/// expect it to give up.
fn pace(rate_limit: Size) -> Arc<Pace> {
    let config = CaptureConfig {
        rate_limit: Some(rate_limit),
        max_hold: Span::days(7),
        back_off: BackOff { enabled: false, ..BackOff::default() },
        ..CaptureConfig::default()
    };
    Pace::new(&config, None)
}

/// Asks a running agent for a snapshot.
async fn by_agent(address: &str, files: &AgentFiles, global: &Global) -> anyhow::Result<ExitCode> {
    let client = files.connect(Some(address)).await?;
    let progress = progress::for_stderr(global.quiet);
    let saved = client.save(progress.as_ref()).await?;
    let signed = saved.snapshots.iter().any(|(_, signed)| *signed);
    let mut warnings = Some(saved.warnings);
    let all = saved.snapshots.into_iter().map(|(manifest, _)| {
        let warnings = warnings.take().unwrap_or_default();
        Saved { manifest, warnings, stages: Stages::default() }
    });
    finish_all(global, all.collect(), signed)
}

/// Prints the id on stdout, and remarks on stderr.
pub(super) fn finish(global: &Global, saved: Saved, signed: bool) -> anyhow::Result<ExitCode> {
    let manifest = &saved.manifest;
    if !global.quiet {
        output::say(format!(
            "saved revision {} of cluster {}: {} stored as {}",
            manifest.revision,
            manifest.cluster,
            output::bytes(manifest.image.plain_size),
            output::bytes(manifest.image.stored_size),
        ));
    }
    for warning in &saved.warnings {
        output::say(format!("warning: {warning}"));
    }
    let code = if saved.warnings.is_empty() { ExitCode::Done } else { ExitCode::Warnings };
    // Only the secret key is known here: whether the signature is good, the public key shows.
    let signature = if signed { SignatureState::NotChecked } else { SignatureState::Unsigned };
    let (manifest, warnings) = (saved.manifest, saved.warnings);
    let report = SnapshotReport { manifest, signature, warnings, held: None };
    output::print(global.output, report, |report| report.manifest.id.to_string())?;
    Ok(code)
}
