//! The repository itself: made once, opened often.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use etcdr_schemas::repository::{FORMAT, RepositoryInfo};
use object_store::path::Path;
use serde::Deserialize;

use crate::error::{Error, Result, StoreFault};
use crate::keys::Recipients;
use crate::layout;
use crate::sign::PublicKey;
use crate::store::location::{Location, StoreOptions};
use crate::store::objects::{create, read_small};
use crate::store::retry::retried;
use crate::store::unfinished::Uploads;
use crate::store::{self, Opened, Store};

/// Most snapshots of one cluster that are listed, and most objects of each kind that belong to
/// them.
pub const MAX_SNAPSHOTS: usize = 200_000;

/// Upper bound of `etcdr.json`, in bytes.
const MAX_INFO: u64 = 1 << 20;

/// An opened repository. Cloning it is cheap.
#[derive(Clone)]
pub struct Repository {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    pub(crate) location: Location,
    pub(crate) info: Arc<RepositoryInfo>,
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) pause: Duration,
}

impl Repository {
    /// Makes a repository: writes `etcdr.json` where there is none. The directory of a `file:`
    /// repository is made when its parent exists.
    ///
    /// # Errors
    /// [`Error::AlreadyRepository`] when there is one; [`Error::NoRecipients`] when `info` neither
    /// names a recipient nor says that images are unencrypted; what the store reports.
    pub async fn init(
        location: &Location,
        options: &StoreOptions,
        info: RepositoryInfo,
    ) -> Result<Self> {
        check(&info)?;
        store::create(location)?;
        let Opened { store, uploads } = store::connect(location, options)?;
        let made = Self::init_on(store, location, options.retry_pause, info).await?;
        Ok(Self { uploads, ..made })
    }

    /// Makes a repository on a store that the caller has opened; keys are relative to it.
    ///
    /// # Errors
    /// As [`Repository::init`].
    pub async fn init_on(
        store: Store,
        location: &Location,
        pause: Duration,
        info: RepositoryInfo,
    ) -> Result<Self> {
        check(&info)?;
        let mut json = serde_json::to_vec_pretty(&info)
            .map_err(|error| Error::Worker(format!("cannot write etcdr.json: {error}")))?;
        json.push(b'\n');
        let written = create(store.as_ref(), &key(), &Bytes::from(json), pause).await;
        match written.map_err(|error| missing(location, error)) {
            Ok(()) => Ok(Self::assemble(store, location, info, pause)),
            Err(Error::Claimed { .. }) => Err(Error::AlreadyRepository {
                location: location.to_string(),
                id: Self::open_on(store, location, pause).await?.info.repository_id.clone(),
            }),
            Err(error) => Err(error),
        }
    }

    /// Opens a repository that exists.
    ///
    /// # Errors
    /// [`Error::RepositoryMissing`] when there is none, with the part that is missing;
    /// [`Error::UnknownFormat`] for a later format; [`Error::Store`] when the store cannot be
    /// reached or refuses.
    pub async fn open(location: &Location, options: &StoreOptions) -> Result<Self> {
        let Opened { store, uploads } = store::connect(location, options)?;
        let opened = Self::open_on(store, location, options.retry_pause).await?;
        Ok(Self { uploads, ..opened })
    }

    /// Opens a repository on a store that the caller has opened; keys are relative to it. A sweep
    /// does not search it for unfinished uploads.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub async fn open_on(store: Store, location: &Location, pause: Duration) -> Result<Self> {
        let key = key();
        let read = retried(pause, || read_small(store.as_ref(), &key, MAX_INFO)).await;
        let bytes = read.map_err(|error| missing(location, error))?;
        let info = parse(location, &bytes)?;
        Ok(Self::assemble(store, location, info, pause))
    }

    fn assemble(store: Store, location: &Location, info: RepositoryInfo, pause: Duration) -> Self {
        let location = location.clone();
        let (info, uploads) = (Arc::new(info), Uploads::Unlisted);
        Self { store, uploads, location, info, public_key: None, pause }
    }

    /// From now on refuses manifests that are not signed by this key's secret half.
    #[must_use]
    pub fn with_public_key(mut self, key: PublicKey) -> Self {
        self.public_key = Some(key);
        self
    }

    /// Whether a public key is configured.
    #[must_use]
    pub const fn checks_signatures(&self) -> bool {
        self.public_key.is_some()
    }

    /// Content of `etcdr.json`.
    #[must_use]
    pub fn info(&self) -> &RepositoryInfo {
        &self.info
    }

    /// Where it is.
    #[must_use]
    pub const fn location(&self) -> &Location {
        &self.location
    }

    /// Who images are encrypted to when a save says nothing; `None` when the repository was made
    /// with `--no-encryption`.
    ///
    /// # Errors
    /// [`Error::BadRecipient`] or [`Error::NoRecipients`] when `etcdr.json` is not as `init` wrote
    /// it.
    pub fn default_recipients(&self) -> Result<Option<Recipients>> {
        if self.info.unencrypted && self.info.recipients.is_empty() {
            return Ok(None);
        }
        Recipients::parse(&self.info.recipients).map(Some)
    }
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Repository({})", self.location)
    }
}

fn key() -> Path {
    Path::from(layout::REPOSITORY)
}

fn check(info: &RepositoryInfo) -> Result<()> {
    if info.unencrypted && info.recipients.is_empty() {
        return Ok(());
    }
    Recipients::parse(&info.recipients).map(drop)
}

/// Format first: a later version's file is called that, and not malformed.
fn parse(location: &Location, bytes: &[u8]) -> Result<RepositoryInfo> {
    #[derive(Deserialize)]
    struct Probe {
        format: u64,
    }
    let malformed =
        |error: serde_json::Error| Error::damaged(layout::REPOSITORY, error.to_string());
    let Probe { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != u64::from(FORMAT) {
        return Err(Error::UnknownFormat { location: location.to_string(), found: format });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

/// Distinguishes a missing bucket from a missing repository. Stores say which only in the text of
/// their answer.
fn missing(location: &Location, error: Error) -> Error {
    if error.store_fault() != Some(StoreFault::Missing) {
        return error;
    }
    let text = error.to_string();
    let bucket = ["NoSuchBucket", "ContainerNotFound", "specified bucket does not exist"];
    let detail = if bucket.iter().any(|code| text.contains(code)) {
        "the bucket does not exist".to_owned()
    } else {
        format!("there is no {}", layout::REPOSITORY)
    };
    Error::RepositoryMissing { location: location.to_string(), detail }
}
