//! The only place where asynchronous and blocking code meet.
//!
//! zstd, age, SHA-256 and the restore engine block; object stores are asynchronous. Blocking work
//! runs on threads of the runtime that are made for it and never on the ones that drive requests;
//! every channel between the two is bounded, and a side that ends takes its neighbours with it by
//! dropping its end.

use std::future::Future;
use std::sync::mpsc::sync_channel;

use bytes::Bytes;
use etcdr_schemas::{RunningSha256, Sha256Digest};
use futures_util::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

/// Work on a thread that may block.
pub(crate) struct Blocking<T>(JoinHandle<Result<T>>);

/// Starts blocking work on a runtime's blocking threads.
pub(crate) fn blocking<T: Send + 'static>(
    handle: &Handle,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Blocking<T> {
    Blocking(handle.spawn_blocking(work))
}

impl<T> Blocking<T> {
    /// Waits for the outcome; a panic is an error like any other.
    pub(crate) async fn join(self) -> Result<T> {
        joined(self.0.await)
    }
}

/// Flattens what a task came back with.
pub(crate) fn joined<T>(outcome: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    outcome.unwrap_or_else(|error| Err(Error::Worker(error.to_string())))
}

/// Waits, from a blocking thread, for asynchronous work. A runtime that shuts down drops the work,
/// and the wait ends with [`Error::Stopped`]; it never panics.
pub(crate) fn wait<T: Send + 'static>(
    handle: &Handle,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (reply, answer) = sync_channel(1);
    handle.spawn(async move {
        // The asker may have gone; then nobody needs the answer.
        let _ = reply.send(work.await);
    });
    answer.recv().unwrap_or(Err(Error::Stopped))
}

/// Size and SHA-256 of a stream, hashed off the asynchronous threads.
pub(crate) async fn digest(
    stream: impl Stream<Item = Result<Bytes>>,
) -> Result<(u64, Sha256Digest)> {
    let handle = Handle::current();
    let mut stream = std::pin::pin!(stream);
    let mut hasher = RunningSha256::new();
    let mut size = 0u64;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk?;
        size = size.saturating_add(chunk.len() as u64);
        let update = move || {
            hasher.update(&chunk);
            Ok(hasher)
        };
        hasher = blocking(&handle, update).join().await?;
    }
    Ok((size, hasher.finish()))
}
