//! Uploads that were begun, and whose process is gone.

use etcdr_schemas::ClusterName;
use etcdr_schemas::report::{PruneOutcome, SweptKind, SweptObject};

use super::objects::outcome;
use super::{SweepOptions, Swept};
use crate::error::{Result, StoreFault};
use crate::inventory::ClusterObjects;
use crate::repository::Repository;
use crate::store::retry::retried;
use crate::store::unfinished::Upload;

impl Repository {
    /// Aborts uploads that are older than the grace. A store that cannot list them is no error: the
    /// log says so, and a lifecycle rule of the bucket can remove them.
    pub(super) async fn sweep_uploads(
        &self,
        cluster: &ClusterName,
        objects: &ClusterObjects,
        options: SweepOptions,
        swept: &mut Swept,
    ) -> Result<()> {
        let grace = options.grace();
        let listed = retried(self.pause, || self.uploads.list(cluster)).await;
        let uploads = match listed {
            Err(error) if unlisted(&error) => {
                tracing::warn!(
                    %error,
                    "uploads that never ended cannot be listed; a lifecycle rule can end them"
                );
                return Ok(());
            }
            uploads => uploads?,
        };
        for upload in uploads.into_iter().filter(|upload| grace.passed(objects, upload.at)) {
            let outcome = match options.dry_run {
                true => None,
                false => Some(self.abort_upload(&upload).await?),
            };
            let (key, kind, size) = (upload.key.to_string(), SweptKind::Part, upload.size);
            swept.count(SweptObject { key, kind, size, outcome });
        }
        Ok(())
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<PruneOutcome> {
        outcome(retried(self.pause, || self.uploads.abort(upload)).await)
    }
}

fn unlisted(error: &crate::Error) -> bool {
    let fault = error.store_fault();
    matches!(fault, Some(StoreFault::Denied | StoreFault::Unsupported | StoreFault::Missing))
}
