//! Reading an object by ranges: a broken read is resumed where it broke, a bounded number of times.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use tokio::runtime::Handle;

use crate::bridge::joined;
use crate::error::{Error, Result, StoreFault};
use crate::store::Store;
use crate::store::retry::retried;
use crate::store::sizes::RangeSize;

/// Requests of a sequential read that are on their way at once: with the range size, the bound of
/// its memory.
const AHEAD: usize = 4;

/// An object of known size.
#[derive(Clone)]
pub(crate) struct Object {
    store: Store,
    key: Path,
    size: u64,
    pause: Duration,
    step: u64,
}

impl Object {
    /// Asks for the size and refuses another one than `expected`.
    pub(crate) async fn open(
        store: Store,
        key: Path,
        expected: u64,
        pause: Duration,
        range_size: RangeSize,
    ) -> Result<Self> {
        let head = retried(pause, || async {
            store.head(&key).await.map_err(|source| Error::store("look at", &key, source))
        });
        let found = match head.await {
            Err(error) if error.store_fault() == Some(StoreFault::Missing) => {
                return Err(Error::ImageMissing { key: key.to_string() });
            }
            other => other?.size,
        };
        if found != expected {
            return Err(Error::SizeMismatch { key: key.to_string(), expected, found });
        }
        Ok(Self { store, key, size: expected, pause, step: range_size.bytes() })
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// Exactly the bytes of a range.
    pub(crate) async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        retried(self.pause, || async {
            let bytes = self.store.get_range(&self.key, range.clone()).await;
            let bytes = bytes.map_err(|source| Error::store("read", &self.key, source))?;
            if bytes.len() as u64 == range.end.saturating_sub(range.start) {
                return Ok(bytes);
            }
            // A body that was cut is a broken read like any other: it is tried again.
            let source = object_store::Error::Generic {
                store: "etcdr",
                source: format!("the answer for bytes {range:?} has {}", bytes.len()).into(),
            };
            Err(Error::store("read", &self.key, source))
        })
        .await
    }

    /// All bytes in order. Requests run in tasks of their own, so that they progress while the
    /// reader works on what it has.
    pub(crate) fn stream(
        &self,
        handle: &Handle,
    ) -> impl Stream<Item = Result<Bytes>> + Send + 'static + use<> {
        let (object, handle) = (self.clone(), handle.clone());
        let step = self.step;
        let starts = (0..self.size.div_ceil(step)).map(move |index| index.saturating_mul(step));
        stream::iter(starts)
            .map(move |start| {
                let object = object.clone();
                let end = start.saturating_add(step).min(object.size);
                let task = handle.spawn(async move { object.range(start..end).await });
                async { joined(task.await) }
            })
            .buffered(AHEAD)
    }
}
