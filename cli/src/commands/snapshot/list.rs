//! `etcdr snapshot list`: a table of the snapshots of a cluster.

use std::collections::BTreeMap;

use etcdr_repository::{HoldState, Repository};
use etcdr_schemas::manifest::Manifest;
use etcdr_schemas::report::{SnapshotList, SnapshotSummary, Unusable};
use etcdr_schemas::{ExitCode, SnapshotId};

use crate::context;
use crate::options::Global;
use crate::output;

/// List the snapshots of the cluster, newest first
#[derive(Debug, clap::Args)]
pub(in crate::commands) struct Args {}

impl Args {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<ExitCode> {
        let repository = global.open().await?;
        let listing = repository.list(&global.cluster).await?;
        let (loaded, mut unusable) = repository.manifests(&global.cluster, &listing.ids).await;
        unusable.extend(
            listing.unknown_keys.into_iter().map(|key| Unusable {
                key,
                reason: "its name is not that of a manifest".to_owned(),
            }),
        );
        let holds = held(&repository, global).await;
        let report = SnapshotList {
            cluster: global.cluster.clone(),
            snapshots: loaded.iter().map(|loaded| summary(&loaded.manifest, &holds)).collect(),
            unusable,
        };
        for unusable in &report.unusable {
            output::say(format!("warning: {}: {}", unusable.key, unusable.reason));
        }
        if report.snapshots.is_empty() && !global.quiet {
            output::say(format!(
                "no snapshots of cluster {} in {}",
                global.cluster,
                repository.location()
            ));
        }
        let code = if report.unusable.is_empty() { ExitCode::Done } else { ExitCode::Warnings };
        output::print(global.output, report, human)?;
        Ok(code)
    }
}

/// Which snapshots are held, and why. A list without holds is better than no list.
async fn held(repository: &Repository, global: &Global) -> BTreeMap<SnapshotId, HoldState> {
    match repository.holds(&global.cluster, context::now()).await {
        Ok(holds) => holds,
        Err(error) => {
            output::say(format!("note: what is held cannot be read: {error}"));
            BTreeMap::new()
        }
    }
}

fn summary(manifest: &Manifest, holds: &BTreeMap<SnapshotId, HoldState>) -> SnapshotSummary {
    SnapshotSummary {
        id: manifest.id,
        time: manifest.id.time(),
        revision: manifest.revision,
        plain_size: manifest.image.plain_size,
        stored_size: manifest.image.stored_size,
        server_version: manifest.source.server_version.clone(),
        encrypted: manifest.image.codec.encryption.is_some(),
        suspect: !manifest.suspect.is_empty(),
        held: holds.get(&manifest.id).and_then(HoldState::holding),
    }
}

fn human(report: &SnapshotList) -> String {
    let rows = report.snapshots.iter().map(|snapshot| {
        [
            snapshot.id.to_string(),
            snapshot.time.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            snapshot.revision.to_string(),
            output::bytes(snapshot.plain_size),
            output::bytes(snapshot.stored_size),
            snapshot.server_version.clone().unwrap_or_else(|| "-".into()),
            remarks(snapshot),
        ]
    });
    output::table(["ID", "TAKEN", "REVISION", "SIZE", "STORED", "ETCD", "REMARKS"], rows.collect())
}

fn remarks(snapshot: &SnapshotSummary) -> String {
    let mut remarks = Vec::new();
    if snapshot.suspect {
        remarks.push("SUSPECT");
    }
    if !snapshot.encrypted {
        remarks.push("not encrypted");
    }
    if snapshot.held.is_some() {
        remarks.push("held");
    }
    remarks.join(", ")
}
