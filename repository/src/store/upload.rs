//! Bounded multipart upload: a blocking writer on one side, a task that sends parts on the other.
//!
//! At most [`PARTS`] parts exist at a time, the one being filled included. The object appears only
//! when the writer was closed; whatever ends early (the source, a stage, the caller) drops its
//! channel end, and the task aborts the upload, so that nothing is left behind to pay for.

use std::io::{self, Write};
use std::sync::mpsc as blocking_mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::bridge::joined;
use crate::buffers::Buffers;
use crate::error::{Error, Result, StoreFault};
use crate::store::Store;
use crate::store::sizes::PartSize;

/// Parts in memory: one being filled, the others on their way.
const PARTS: usize = 3;

/// Time in which one try to abort must be done.
const ABORT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the uploader waits for the abort. If the program ends after that, a sweep removes the
/// parts.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// For how long a process that goes on tries to abort, with pauses that double up to
/// [`ABORT_PAUSE_MOST`].
const ABORT_TRIES_FOR: Duration = Duration::from_secs(3600);
const ABORT_PAUSE_MOST: Duration = Duration::from_secs(60);

/// How long the abort waits for parts that are still on their way: a request that is given up here
/// may have reached the store already.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// A part on its way from the writer to the task.
pub(crate) enum Part {
    /// There are more.
    More(Bytes),
    /// The object ends with this one.
    Last(Bytes),
}

/// A destination that must be closed to count.
pub(crate) trait Sink: Write {
    /// All bytes were written.
    fn close(self) -> Result<()>;
}

/// The blocking half: cuts a byte stream into parts.
pub(crate) struct PartWriter {
    parts: mpsc::Sender<Part>,
    permits: blocking_mpsc::Receiver<()>,
    buffer: Vec<u8>,
    size: PartSize,
    limit: usize,
    sent: u64,
    spare: Buffers,
}

/// The asynchronous half's end of the channels.
pub(crate) struct PartReader {
    parts: mpsc::Receiver<Part>,
    permits: blocking_mpsc::SyncSender<()>,
}

/// Makes the two halves.
pub(crate) fn parts(size: PartSize) -> (PartWriter, PartReader) {
    let (parts, incoming) = mpsc::channel(1);
    let (release, permits) = blocking_mpsc::sync_channel(PARTS);
    for _ in 0..PARTS {
        // The channel has room for all of them.
        let _ = release.try_send(());
    }
    let spare = Buffers::new(PARTS);
    let writer = PartWriter { parts, permits, buffer: Vec::new(), size, limit: 0, sent: 0, spare };
    (writer, PartReader { parts: incoming, permits: release })
}

#[cfg(test)]
impl PartReader {
    /// The next part, for tests that are the store.
    pub(crate) async fn next(&mut self) -> Option<Part> {
        self.parts.recv().await
    }

    /// A part is done.
    pub(crate) fn release(&self) {
        let _ = self.permits.try_send(());
    }
}

impl PartWriter {
    fn begin_part(&mut self) -> Result<()> {
        self.permits.recv().map_err(|_| Error::Stopped)?;
        self.limit = self.size.after(self.sent);
        self.buffer = self.spare.take(self.limit);
        Ok(())
    }

    fn send(&mut self, part: fn(Bytes) -> Part) -> Result<()> {
        let body = std::mem::take(&mut self.buffer);
        self.sent = self.sent.saturating_add(body.len() as u64);
        self.limit = 0;
        self.parts.blocking_send(part(self.spare.lend(body))).map_err(|_| Error::Stopped)
    }
}

impl Write for PartWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.limit != 0 && self.buffer.len() == self.limit {
            self.send(Part::More).map_err(Error::into_io)?;
        }
        if self.limit == 0 {
            self.begin_part().map_err(Error::into_io)?;
        }
        let take = data.len().min(self.limit - self.buffer.len());
        let (now, _) = data.split_at(take);
        self.buffer.extend_from_slice(now);
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for PartWriter {
    fn close(mut self) -> Result<()> {
        self.send(Part::Last)
    }
}

/// The asynchronous half: sends parts until the last, then completes the object.
pub(crate) async fn run(store: Store, key: Path, mut incoming: PartReader) -> Result<()> {
    let first = match incoming.parts.recv().await {
        None => return Err(Error::Stopped),
        Some(Part::Last(whole)) => return put_whole(&store, &key, whole).await,
        Some(Part::More(first)) => first,
    };
    let upload = store.put_multipart(&key).await;
    let mut upload = upload.map_err(|source| Error::store("upload", &key, source))?;
    let mut in_flight = JoinSet::new();
    let mut outcome = send_parts(upload.as_mut(), &mut in_flight, first, incoming, &key).await;
    if outcome.is_ok() {
        let completed = upload.complete().await;
        outcome = completed.map(drop).map_err(|source| Error::store("complete", &key, source));
    }
    if outcome.is_err() {
        let shown = key.clone();
        // A task of its own, so that the abort goes on after the wait below has ended.
        let ended = tokio::spawn(clean_up(upload, in_flight, store, key));
        if tokio::time::timeout(ABORT_PATIENCE, ended).await.is_err() {
            tracing::warn!(
                key = %shown,
                "the upload is not aborted yet; its parts may remain in the store"
            );
        }
    }
    outcome
}

/// Largest slice of a part that a store is given at once. The local store writes each slice by
/// itself, and small writes get page-cache memory that is at hand; see the engine's durable writes.
const SLICE: usize = 128 << 10;

/// A part in slices, none of them copied.
fn payload(body: &Bytes) -> PutPayload {
    let starts = (0..body.len()).step_by(SLICE);
    starts.map(|start| body.slice(start..body.len().min(start + SLICE))).collect()
}

/// An object of one part needs no multipart upload; the staging key is this run's own, so that a
/// repeated request does no harm.
async fn put_whole(store: &Store, key: &Path, body: Bytes) -> Result<()> {
    let put = store.put(key, payload(&body)).await;
    put.map(drop).map_err(|source| Error::store("upload", key, source))
}

async fn send_parts(
    upload: &mut dyn MultipartUpload,
    in_flight: &mut JoinSet<Result<()>>,
    first: Bytes,
    mut incoming: PartReader,
    key: &Path,
) -> Result<()> {
    let mut put = |in_flight: &mut JoinSet<Result<()>>, body: Bytes| {
        let (part, key) = (upload.put_part(payload(&body)), key.clone());
        in_flight.spawn(async move {
            part.await.map_err(|source| Error::store("upload", &key, source))
        });
    };
    put(in_flight, first);
    let mut open = true;
    loop {
        tokio::select! {
            part = incoming.parts.recv(), if open => match part {
                None => return Err(Error::Stopped),
                Some(Part::More(body)) => put(in_flight, body),
                Some(Part::Last(body)) => {
                    put(in_flight, body);
                    open = false;
                }
            },
            Some(done) = in_flight.join_next() => {
                joined(done)?;
                // The writer may be done and gone; then the permit is not needed.
                let _ = incoming.permits.try_send(());
            }
            else => return Ok(()),
        }
    }
}

/// Ends an upload that failed. What made it fail often makes the abort fail too, and parts that
/// nobody aborts are paid for, so it is tried until the store is back. A `complete` whose answer
/// was lost may have made the object, so the key is deleted as well; without the right to delete,
/// the sweep does that.
async fn clean_up(
    mut upload: Box<dyn MultipartUpload>,
    mut in_flight: JoinSet<Result<()>>,
    store: Store,
    key: Path,
) {
    // No request of this upload may be on its way when it is aborted: a part that comes later
    // stays.
    let settled = async { while in_flight.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(SETTLE_TIME, settled).await;
    in_flight.shutdown().await;
    let (began, mut pause) = (Instant::now(), Duration::from_secs(1));
    loop {
        let why = match tokio::time::timeout(ABORT_TIMEOUT, upload.abort()).await {
            Ok(Ok(())) => break,
            // It is gone already.
            Ok(Err(error)) if StoreFault::of(&error) == StoreFault::Missing => break,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if began.elapsed() > ABORT_TRIES_FOR {
            tracing::warn!(
                %key,
                error = why,
                "cannot abort the upload; its parts remain in the store"
            );
            break;
        }
        tracing::debug!(%key, error = why, "cannot abort the upload yet");
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(ABORT_PAUSE_MOST);
    }
    let deleted = tokio::time::timeout(ABORT_TIMEOUT, store.delete(&key)).await;
    if deleted.is_err() {
        tracing::warn!(%key, "the store did not answer while an upload was being cleaned up");
    }
}
