//! Small objects: read whole with a limit, written once.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use crate::error::{Error, Result, StoreFault};
use crate::store::retry::retried;

/// Reads a whole object of at most `limit` bytes, whatever size the store claims it has.
pub(crate) async fn read_small(store: &dyn ObjectStore, key: &Path, limit: u64) -> Result<Bytes> {
    let fail = |source| Error::store("read", key, source);
    let too_large = || Error::damaged(key, format!("it is larger than {limit} bytes"));
    let object = store.get(key).await.map_err(fail)?;
    if object.meta.size > limit {
        return Err(too_large());
    }
    let mut stream = object.into_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(fail)?);
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
    }
    Ok(bytes.into())
}

/// Writes an object that must not exist yet: of several writers exactly one succeeds. The commit of
/// a manifest and every claim rest on this.
///
/// A request whose answer was lost may have written it; the repetition then finds the object. What
/// is there is compared, so that only somebody else's object counts as [`Error::Claimed`], and an
/// object that is there as it should be is never reported as a failure.
pub(crate) async fn create(
    store: &dyn ObjectStore,
    key: &Path,
    bytes: &Bytes,
    pause: Duration,
) -> Result<()> {
    retried(pause, || async {
        let options = PutOptions::from(PutMode::Create);
        let put = store.put_opts(key, PutPayload::from(bytes.clone()), options).await;
        let Err(source) = put else { return Ok(()) };
        let error = Error::store("write", key, source);
        let fault = error.store_fault();
        if !matches!(fault, Some(StoreFault::Exists | StoreFault::Unavailable)) {
            return Err(error);
        }
        match read_small(store, key, bytes.len() as u64).await {
            Ok(found) if found == bytes => Ok(()),
            _ if fault == Some(StoreFault::Exists) => Err(Error::Claimed { key: key.to_string() }),
            _ => Err(error),
        }
    })
    .await
}
