//! Shows what a snapshot of a repository holds, as far as it can be read.

use std::io;
use std::sync::Arc;

use etcdr_repository::{Identities, Repository};
use etcdr_restore_engine::inspect::{self as engine, Options};
use etcdr_schemas::diagnose::carried;
use etcdr_schemas::report::InspectReport;
use etcdr_schemas::report::inspect::Form;
use etcdr_schemas::{ClusterName, ExitCode, Progress, SnapshotId};
use tokio::task::spawn_blocking;

use crate::verify::Error;

/// Inspects the image of a snapshot where it is: frames are fetched and opened as they are wanted,
/// and nothing is written to disk. Frames that do not open are findings.
///
/// # Errors
/// When the image as a whole cannot be opened, or the store cannot be reached.
pub async fn snapshot(
    repository: &Repository,
    cluster: &ClusterName,
    id: &SnapshotId,
    identities: &Identities,
    options: Options,
    progress: &Arc<dyn Progress>,
) -> Result<InspectReport, Error> {
    let manifest = repository.manifest(cluster, id).await?.manifest;
    let image = repository.open_image(&manifest.image, identities).await?.random();
    let (subject, shown) = (id.to_string(), Arc::clone(progress));
    let form = Form::RepositoryImage;
    let inspected = spawn_blocking(move || {
        engine::database(subject, form, image, is_damage, options, shown.as_ref())
    });
    let mut report = inspected.await??;
    if let Some(cluster_id) = manifest.cluster_id {
        report.cluster.id = Some(cluster_id);
        report.cluster.id_from = Some("manifest".to_owned());
    }
    Ok(report)
}

/// Whether bytes of the image are damaged, and not merely out of reach.
fn is_damage(error: &io::Error) -> bool {
    carried(error).is_some_and(|error| error.exit_code() == ExitCode::Damaged)
}
