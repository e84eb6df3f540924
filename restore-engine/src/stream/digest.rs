//! SHA-256 of a stream whose last 32 bytes may be a digest of the rest.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::Bytes;
use etcdr_schemas::{RunningSha256, Sha256Digest};

use crate::error::{Error, Result};

/// Chunks on their way to the hashing thread. A chunk is at most a few MiB.
const QUEUE: usize = 2;

const TRAILER: usize = Sha256Digest::LEN;

/// The digests of a stream that is over.
pub(super) struct Digests {
    /// Of all of it.
    pub(super) whole: Sha256Digest,
    /// Of all but the last 32 bytes.
    pub(super) but_trailer: Sha256Digest,
    /// The last 32 bytes, which are a digest in a snapshot file.
    pub(super) trailer: Sha256Digest,
}

/// The hashing thread and the queue before it.
#[derive(Debug)]
pub(super) struct Hasher {
    queue: Option<SyncSender<Bytes>>,
    worker: Option<JoinHandle<TailedSha256>>,
}

impl Hasher {
    pub(super) fn start() -> Self {
        let (queue, chunks) = sync_channel::<Bytes>(QUEUE);
        let worker = std::thread::spawn(move || {
            let mut sha = TailedSha256::default();
            chunks.iter().for_each(|chunk| sha.update(&chunk));
            sha
        });
        Self { queue: Some(queue), worker: Some(worker) }
    }

    pub(super) fn feed(&self, chunk: Bytes) -> Result<()> {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(chunk).is_ok());
        if sent { Ok(()) } else { Err(gone()) }
    }

    pub(super) fn finish(mut self) -> Result<Digests> {
        self.queue = None;
        let worker = self.worker.take().ok_or_else(gone)?;
        worker.join().map(TailedSha256::finish).map_err(|_| gone())
    }
}

fn gone() -> Error {
    Error::Source { source: std::io::Error::other("the hashing thread has stopped") }
}

/// SHA-256 of a stream, and of the stream without its last 32 bytes, in one pass.
#[derive(Debug, Default)]
pub(super) struct TailedSha256 {
    sha: RunningSha256,
    tail: Vec<u8>,
}

impl TailedSha256 {
    pub(super) fn update(&mut self, chunk: &[u8]) {
        match chunk.len().checked_sub(TRAILER) {
            Some(body) => {
                self.sha.update(&self.tail);
                let (body, tail) = chunk.split_at(body);
                self.sha.update(body);
                self.tail.clear();
                self.tail.extend_from_slice(tail);
            }
            None => {
                self.tail.extend_from_slice(chunk);
                let excess = self.tail.len().saturating_sub(TRAILER);
                self.sha.update(self.tail.get(..excess).unwrap_or_default());
                self.tail.drain(..excess);
            }
        }
    }

    pub(super) fn finish(self) -> Digests {
        let but_trailer = self.sha.clone().finish();
        let mut whole = self.sha;
        whole.update(&self.tail);
        let mut trailer = [0; TRAILER];
        // Shorter only when the stream is, and then no trailer is asked for.
        trailer.iter_mut().zip(&self.tail).for_each(|(to, from)| *to = *from);
        Digests { whole: whole.finish(), but_trailer, trailer: Sha256Digest::from_bytes(trailer) }
    }
}
