//! From a location to an object store, with every timeout, retry and limit explicit.

pub(crate) mod fetch;
pub(crate) mod location;
pub(crate) mod objects;
pub(crate) mod retry;
pub(crate) mod sizes;
pub(crate) mod unfinished;
pub(crate) mod upload;

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::client::{HttpConnector as _, ReqwestConnector};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};

use crate::error::{Error, Result};
use location::{Bucket, Location, StoreKind, StoreOptions};
use unfinished::Uploads;

/// A store whose keys are relative to the repository's root.
pub(crate) type Store = Arc<dyn ObjectStore>;

/// A store, and how it is asked for uploads that never ended.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
}

/// Upper bound of a file of CA certificates, in bytes.
const MAX_CA_BUNDLE: u64 = 4 << 20;

/// Opens the store. A local directory must exist.
pub(crate) fn connect(location: &Location, options: &StoreOptions) -> Result<Opened> {
    let unlisted = |store| Opened { store, uploads: Uploads::Unlisted };
    match location.kind() {
        StoreKind::Memory => Ok(unlisted(Arc::new(InMemory::new()))),
        StoreKind::File(path) => {
            Ok(Opened { store: local(location, path)?, uploads: Uploads::Local(path.clone()) })
        }
        StoreKind::S3(at) => s3(at, options),
        StoreKind::Gcs(at) => Ok(unlisted(prefixed(gcs(at, options)?, at))),
        StoreKind::Azure(at) => Ok(unlisted(prefixed(azure(at, options)?, at))),
    }
}

/// Makes the directory of a local repository, readable by its owner only; other stores have nothing
/// to make. The parent must exist: a mistyped or unmounted path is not silently created.
pub(crate) fn create(location: &Location) -> Result<()> {
    let StoreKind::File(path) = location.kind() else { return Ok(()) };
    if path.is_dir() {
        return Ok(());
    }
    let shown = || path.display().to_string();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    if parent.is_some_and(|parent| !parent.is_dir()) {
        return Err(Error::ParentMissing { path: shown() });
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(|source| Error::File { path: shown(), source })
}

fn local(location: &Location, path: &std::path::Path) -> Result<Store> {
    if !path.is_dir() {
        return Err(Error::RepositoryMissing {
            location: location.to_string(),
            detail: "the directory does not exist".to_owned(),
        });
    }
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| Error::store("open", path.display(), source))?;
    // fsync, because a manifest that survives a power failure without its image would be a snapshot
    // that cannot be restored. Empty folders are removed: claims have one folder for each tick.
    Ok(Arc::new(store.with_fsync(true).with_automatic_cleanup(true)))
}

fn prefixed<S: ObjectStore>(store: S, at: &Bucket) -> Store {
    if at.prefix.is_empty() {
        Arc::new(store)
    } else {
        Arc::new(PrefixStore::new(store, Path::from(at.prefix.as_str())))
    }
}

/// Path style is the default: it works with every S3-compatible endpoint and needs no wildcard
/// certificate. `AWS_VIRTUAL_HOSTED_STYLE_REQUEST=true` changes it.
fn s3(at: &Bucket, options: &StoreOptions) -> Result<Opened> {
    let mut builder = AmazonS3Builder::new().with_region("us-east-1");
    let mut plain_http = false;
    for (key, value) in recognised::<AmazonS3ConfigKey>(options) {
        let endpoint = matches!(key, AmazonS3ConfigKey::Endpoint | AmazonS3ConfigKey::S3Endpoint);
        plain_http |= endpoint && value.starts_with("http://");
        builder = builder.with_config(key, value);
    }
    let client = client(options, plain_http)?;
    let fail = |source| Error::store("open", format_args!("s3://{}", at.name), source);
    let http = ReqwestConnector::default().connect(&client).map_err(fail)?;
    let store = builder
        .with_bucket_name(&at.name)
        .with_client_options(client)
        .with_retry(retry(options))
        .build()
        .map_err(fail)?;
    let prefix = Path::from(at.prefix.as_str());
    let bucket = unfinished::Bucket { store: store.clone(), http, prefix };
    Ok(Opened { store: prefixed(store, at), uploads: Uploads::S3(Arc::new(bucket)) })
}

fn gcs(at: &Bucket, options: &StoreOptions) -> Result<impl ObjectStore + use<>> {
    let mut builder = GoogleCloudStorageBuilder::new();
    let mut plain_http = false;
    for (key, value) in recognised::<GoogleConfigKey>(options) {
        plain_http |= matches!(key, GoogleConfigKey::BaseUrl) && value.starts_with("http://");
        builder = builder.with_config(key, value);
    }
    builder
        .with_bucket_name(&at.name)
        .with_client_options(client(options, plain_http)?)
        .with_retry(retry(options))
        .build()
        .map_err(|source| Error::store("open", format_args!("gs://{}", at.name), source))
}

fn azure(at: &Bucket, options: &StoreOptions) -> Result<impl ObjectStore + use<>> {
    let mut builder = MicrosoftAzureBuilder::new();
    let mut plain_http = false;
    for (key, value) in recognised::<AzureConfigKey>(options) {
        plain_http |= matches!(key, AzureConfigKey::Endpoint) && value.starts_with("http://");
        builder = builder.with_config(key, value);
    }
    builder
        .with_container_name(&at.name)
        .with_client_options(client(options, plain_http)?)
        .with_retry(retry(options))
        .build()
        .map_err(|source| Error::store("open", format_args!("az://{}", at.name), source))
}

/// The variables that this kind of store knows. Unknown ones are somebody else's.
fn recognised<K: std::str::FromStr>(
    options: &StoreOptions,
) -> impl Iterator<Item = (K, String)> + '_ {
    options.variables.iter().filter_map(|(name, value)| {
        let key = name.to_ascii_lowercase().parse().ok()?;
        Some((key, value.clone()))
    })
}

fn client(options: &StoreOptions, plain_http: bool) -> Result<ClientOptions> {
    let client = ClientOptions::new()
        .with_connect_timeout(options.connect_timeout)
        .with_timeout(options.request_timeout)
        // Only where the configured endpoint itself says http://.
        .with_allow_http(plain_http);
    let Some(path) = &options.ca_bundle else { return Ok(client) };
    let bad = |reason: String| Error::BadKey { origin: path.display().to_string(), reason };
    let pem = crate::files::read_bounded(path, MAX_CA_BUNDLE)?;
    let certificates =
        Certificate::from_pem_bundle(&pem).map_err(|error| bad(error.to_string()))?;
    if certificates.is_empty() {
        return Err(bad("it holds no PEM certificate".to_owned()));
    }
    Ok(certificates.into_iter().fold(client, ClientOptions::with_root_certificate))
}

/// Bounds of the client's own repetitions: a store that is down fails a request after about two
/// request timeouts, and is not asked in a tight loop meanwhile.
fn retry(options: &StoreOptions) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: options.retry_pause,
            max_backoff: options.retry_pause.saturating_mul(32),
            base: 2.0,
        },
        max_retries: options.retries,
        retry_timeout: options.request_timeout.saturating_mul(2),
    }
}
