//! `etcdr snapshot show`: everything that is recorded of one snapshot.

use std::fmt::Write as _;

use chrono::{DateTime, Utc};
use etcdr_repository::{HoldState, LoadedManifest, SnapshotName};
use etcdr_schemas::ExitCode;
use etcdr_schemas::manifest::{Encryption, Manifest};
use etcdr_schemas::report::{SignatureState, SnapshotReport};

use crate::context;
use crate::options::Global;
use crate::output;

/// Show all that is recorded of one snapshot
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {
    /// latest, latest~N, an id or an unambiguous part of one, @TIME, @rREVISION
    #[arg(default_value = "latest")]
    name: SnapshotName,
}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let repository = global.open().await?;
        let id = repository.resolve(&global.cluster, &self.name).await?;
        let LoadedManifest { manifest, signature, .. } =
            repository.manifest(&global.cluster, &id).await?;
        let warnings = manifest.suspect.clone();
        let hold = repository.hold_of(&global.cluster, &id, context::now()).await?;
        let held = hold.as_ref().and_then(HoldState::holding);
        let report = SnapshotReport { manifest, signature, warnings, held };
        output::print(global.output, report, human)?;
        Ok(ExitCode::Done)
    }
}

fn human(report: &SnapshotReport) -> String {
    let manifest = &report.manifest;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<18}{value}");
    };
    row("id", manifest.id.to_string());
    row("cluster", manifest.cluster.to_string());
    row("etcd cluster id", or_dash(manifest.cluster_id));
    row("taken", taken(manifest));
    row("from", manifest.source.endpoint.clone());
    row("etcd", manifest.source.server_version.clone().unwrap_or_else(|| "-".into()));
    row("revision", manifest.revision.to_string());
    row("compact revision", or_dash(manifest.compact_revision));
    row("size", output::bytes(manifest.image.plain_size));
    row(
        "stored",
        format!("{} at {}", output::bytes(manifest.image.stored_size), manifest.image.key),
    );
    row("sha256", manifest.image.plain_sha256.to_string());
    row("encrypted to", encryption(manifest));
    row("signature", signature(report.signature).into());
    row("HashKV", hash_kv(manifest));
    if let Some(held) = &report.held {
        row("hold", held.clone());
    }
    for member in &manifest.members {
        let role = if member.learner { " (learner)" } else { "" };
        row(
            "member",
            format!("{} {}{role} {}", member.id, member.name, member.peer_urls.join(",")),
        );
    }
    for alarm in &manifest.alarms {
        row("alarm", format!("{} on member {}", alarm.kind, alarm.member_id));
    }
    for reason in &manifest.suspect {
        row("SUSPECT", reason.clone());
    }
    text
}

fn taken(manifest: &Manifest) -> String {
    let seconds = |time: DateTime<Utc>| time.format("%Y-%m-%d %H:%M:%S UTC").to_string();
    format!("{} to {}", seconds(manifest.started_at), seconds(manifest.finished_at))
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn encryption(manifest: &Manifest) -> String {
    match &manifest.image.codec.encryption {
        Some(Encryption::Age { recipients }) => recipients.join(", "),
        None => "nobody: stored in the clear".to_owned(),
    }
}

const fn signature(state: SignatureState) -> &'static str {
    match state {
        SignatureState::Unsigned => "none",
        SignatureState::NotChecked => "present, not checked (give --public-key)",
        SignatureState::Verified => "good",
    }
}

fn hash_kv(manifest: &Manifest) -> String {
    manifest.hash_kv.as_ref().map_or_else(
        || "-".to_owned(),
        |hash| {
            format!(
                "{} at revision {} ({} agreed, {} dissented, {} not compared)",
                hash.hash,
                hash.revision,
                hash.agreed.len(),
                hash.dissented.len(),
                hash.unknown.len()
            )
        },
    )
}
