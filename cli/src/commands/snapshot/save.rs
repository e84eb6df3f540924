//! `etcdr snapshot save`.

use std::path::PathBuf;

use etcdr_agent::capture::{self, SaveRequest, Saved};
use etcdr_repository::{Recipients, Repository, SealOptions, SigningKey};
use etcdr_schemas::ExitCode;
use etcdr_schemas::report::{SignatureState, SnapshotReport};

use crate::commands::status::AgentFiles;
use crate::context;
use crate::options::{EtcdFlags, Global};
use crate::{output, progress};

/// Take a snapshot of a live cluster and store it
///
/// Streams from one healthy member; digest, compression, encryption and upload happen on the way, nothing is
/// written to etcd's disk. The stored image is read back before the snapshot is recorded. Prints the id.
///
/// With --agent, a running agent does it, with its own configuration; the snapshot is taken even if this command ends.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    #[command(flatten)]
    etcd: EtcdFlags,

    #[command(flatten)]
    storing: StoringFlags,

    /// Let a running agent do it: unix:///path/to/agent.sock, or https://HOST:PORT. etcd, repository and keys are
    /// those of its configuration
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

    /// zstd level
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    compression_level: i32,
}

impl StoringFlags {
    pub(super) fn signing_key(&self) -> anyhow::Result<Option<SigningKey>> {
        Ok(self.signing_key.as_deref().map(SigningKey::read).transpose()?)
    }

    /// Recipients that were typed, else those of the repository; none only where `init --no-encryption` was said.
    pub(super) fn seal_options(&self, repository: &Repository) -> anyhow::Result<SealOptions> {
        let recipients = match context::recipients(&self.recipient)?.as_slice() {
            [] => repository.default_recipients()?,
            typed => Some(Recipients::parse(typed)?),
        };
        Ok(SealOptions { level: self.compression_level, ..SealOptions::new(recipients) })
    }
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        if let Some(address) = &self.agent {
            return by_agent(address, &self.agent_files, global).await;
        }
        let repository = global.open().await?;
        let endpoints = self.etcd.endpoints.iter().map(|endpoint| self.etcd.connect(endpoint));
        let signing_key = self.storing.signing_key()?;
        let signed = signing_key.is_some();
        let request = SaveRequest {
            cluster: global.cluster.clone(),
            endpoints: endpoints.collect::<anyhow::Result<_>>()?,
            stall_timeout: self.etcd.stall_timeout,
            seal: self.storing.seal_options(&repository)?,
            signing_key,
            nonce: u32::from_le_bytes(context::random()?),
            tool_version: context::VERSION.to_owned(),
        };
        let progress = progress::for_stderr(global.quiet);
        let saved = capture::save(&repository, request, &context::now, &progress).await?;
        finish(global, saved, signed)
    }
}

/// Asks a running agent for a snapshot.
async fn by_agent(address: &str, files: &AgentFiles, global: &Global) -> anyhow::Result<ExitCode> {
    let client = files.connect(Some(address)).await?;
    let progress = progress::for_stderr(global.quiet);
    let saved = client.save(progress.as_ref()).await?;
    let mut warnings = Some(saved.warnings);
    let mut code = ExitCode::Done;
    for (manifest, signed) in saved.snapshots {
        let warnings = warnings.take().unwrap_or_default();
        let one = finish(global, Saved { manifest, warnings }, signed)?;
        code = if code == ExitCode::Done { one } else { code };
    }
    Ok(code)
}

/// Prints the id on stdout and the talk on stderr.
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
    // We hold the secret key only: that the signature is good is for the public key to say.
    let signature = if signed { SignatureState::NotChecked } else { SignatureState::Unsigned };
    let report = SnapshotReport { manifest: saved.manifest, signature, warnings: saved.warnings };
    output::print(global.output, report, |report| report.manifest.id.to_string())?;
    Ok(code)
}
