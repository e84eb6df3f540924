//! `etcdr snapshot save`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use etcdr_agent::capture::{self, Always, SaveRequest, Saved};
use etcdr_agent::pace::Pace;
use etcdr_repository::{Recipients, Repository, SealOptions, SigningKey};
use etcdr_schemas::ExitCode;
use etcdr_schemas::config::{BackOff, CaptureConfig};
use etcdr_schemas::report::{SignatureState, SnapshotReport};
use etcdr_schemas::units::{Size, Span};

use crate::context;
use crate::options::{EtcdFlags, Global};
use crate::{output, progress};

/// Take a snapshot of a live cluster and store it
///
/// Streams from one healthy member; digest, compression, encryption and upload happen on the way, nothing is
/// written to etcd's disk. The stored image is read back before the snapshot is recorded. Prints the id.
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    #[command(flatten)]
    etcd: EtcdFlags,

    #[command(flatten)]
    storing: StoringFlags,

    /// Most bytes a second that are taken from etcd, e.g. 50MiB [default: as fast as it goes]
    #[arg(long, value_name = "SIZE", help_heading = "Do no harm", value_parser = rate)]
    rate_limit: Option<Size>,
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
        let repository = global.open().await?;
        let signing_key = self.storing.signing_key()?;
        let signed = signing_key.is_some();
        let request = SaveRequest {
            cluster: global.cluster.clone(),
            endpoints: self.etcd.connect(global.file.as_deref())?,
            stall_timeout: self.etcd.stall_timeout,
            seal: self.storing.seal_options(&repository)?,
            signing_key,
            nonce: u32::from_le_bytes(context::random()?),
            tool_version: context::VERSION.to_owned(),
            trigger: None,
            pace: self.rate_limit.map(pace),
        };
        let progress = progress::for_stderr(global.quiet);
        let saved = capture::save(&repository, request, &context::now, &progress, &Always).await?;
        finish_all(global, saved, signed)
    }
}

/// More than one is the exception: the members hold different data and there is no majority. The report is that of the
/// first, and its warnings name the others.
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

/// A limit that was typed, and no other: nobody who watches a terminal wants to be given up on.
fn pace(rate_limit: Size) -> Arc<Pace> {
    let config = CaptureConfig {
        rate_limit: Some(rate_limit),
        max_hold: Span::days(7),
        back_off: BackOff { enabled: false, ..BackOff::default() },
        ..CaptureConfig::default()
    };
    Pace::new(&config, None)
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
    let (manifest, warnings) = (saved.manifest, saved.warnings);
    let report = SnapshotReport { manifest, signature, warnings, held: None };
    output::print(global.output, report, |report| report.manifest.id.to_string())?;
    Ok(code)
}
