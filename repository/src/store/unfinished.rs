//! Uploads that were begun and neither completed nor aborted. Their parts take room, and no listing
//! of objects shows them.
//!
//! A process that fails aborts its upload; one that is killed cannot. S3 lists what was begun
//! (`ListMultipartUploads`), a local directory has the files. Azure drops what was not committed
//! within a week by itself; Google's needs a lifecycle rule of the bucket.

mod local;
mod s3;

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use etcdr_schemas::ClusterName;
use object_store::aws::AmazonS3;
use object_store::client::HttpClient;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::bridge::blocking;
use crate::error::Result;
use crate::layout::{self, KeyKind};

/// Most uploads of one listing; a later sweep finds the rest.
const MAX_LISTED: usize = 100_000;

/// Where unfinished uploads are searched.
#[derive(Clone)]
pub(crate) enum Uploads {
    /// The store cannot list them, or removes them by itself.
    Unlisted,
    /// The directory of a local repository.
    Local(PathBuf),
    /// A bucket that speaks S3.
    S3(Arc<Bucket>),
}

/// How a bucket is asked.
pub(crate) struct Bucket {
    pub(crate) store: AmazonS3,
    pub(crate) http: HttpClient,
    /// Prefix of the repository in the bucket.
    pub(crate) prefix: Path,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Upload {
    /// Key under the repository's root that it was to become.
    pub(crate) key: Path,
    /// What the store calls it; of a local file: what its name has after the key.
    pub(crate) id: String,
    /// When it was begun; of a local file: when it was last written.
    pub(crate) at: DateTime<Utc>,
    /// Bytes, where the store says so.
    pub(crate) size: u64,
}

impl Uploads {
    /// All unfinished uploads under a cluster's prefix whose keys are of this format; uploads of
    /// other programs are left alone.
    ///
    /// # Errors
    /// [`crate::Error::Store`], with [`crate::StoreFault::Unsupported`] and
    /// [`crate::StoreFault::Denied`] where the store does not list them.
    pub(crate) async fn list(&self, cluster: &ClusterName) -> Result<Vec<Upload>> {
        let mut found = match self {
            Self::Unlisted => Vec::new(),
            Self::Local(root) => {
                let (root, folder) = (root.clone(), root.join(cluster.as_str()));
                blocking(&Handle::current(), move || local::list(&root, &folder)).join().await?
            }
            Self::S3(bucket) => bucket.list(&layout::cluster(cluster)).await?,
        };
        found.retain(|upload| {
            !matches!(layout::classify(cluster, &upload.key), KeyKind::Unknown | KeyKind::Reserved)
        });
        Ok(found)
    }

    /// Removes one upload and its parts.
    ///
    /// # Errors
    /// [`crate::Error::Store`], with [`crate::StoreFault::Missing`] where it is gone.
    pub(crate) async fn abort(&self, upload: &Upload) -> Result<()> {
        match self {
            // It lists none.
            Self::Unlisted => Ok(()),
            Self::Local(root) => local::remove(root, upload),
            Self::S3(bucket) => bucket.abort(upload).await,
        }
    }
}
