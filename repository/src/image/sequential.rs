//! An image read from the first byte to the last: the mirror of `seal`, which trusts nothing.
//!
//! ```text
//! ranges -> [sha256, age, frames] -> [zstd xN] -> [sha256 of the content, hold back one] -> chunks
//! ```
//! The seek table was read and checked against the manifest before: it says how large each frame
//! is, so that no image unpacks to more than its manifest says. The last chunk is released only
//! when the stored and the plain digest both matched.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use etcdr_schemas::manifest::Image;
use etcdr_schemas::{RunningSha256, Sha256Digest};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::bridge;
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::image::chunks::PlainChunks;
use crate::image::layers::PackedReader;
use crate::image::opened::OpenedImage;
use crate::image::pool::{self, Collect, MakeWork, Submit};
use crate::image::seek_table::Frame;
use crate::image::unpacker::Unpacker;

/// Decompression threads: with hashing and writing beside them, two cores are busy.
const WORKERS: usize = 2;

/// Starts the threads that read an image from the first byte to the last.
pub(crate) fn read(opened: &Arc<OpenedImage>) -> PlainChunks {
    // Handed over, not queued: a frame that waits is four megabytes.
    let (chunks, out) = sync_channel(0);
    let buffers =
        FrameBuffers { packed: Buffers::new(WORKERS + 3), plain: Buffers::new(WORKERS + 3) };
    let unpack = unpack(&opened.image.key, &buffers);
    let (submit, collect) = pool::start(&opened.handle, WORKERS, &unpack);
    let (feed, stored) = mpsc::channel(1);
    let stream = opened.object.stream(&opened.handle);
    let pump = async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(chunk) = stream.next().await {
            if feed.send(chunk).await.is_err() {
                return;
            }
        }
    };
    let _detached = opened.handle.spawn(pump);
    let (splitting, plain) = (Arc::clone(opened), buffers.plain.clone());
    let _detached = bridge::blocking(&opened.handle, move || {
        split_stage(&splitting, stored, submit, &buffers.packed);
        Ok(())
    });
    let ordering = Arc::clone(opened);
    let _detached = bridge::blocking(&opened.handle, move || {
        order_stage(&ordering.image, &collect, &chunks, &plain);
        Ok(())
    });
    let sequential = Sequential { out: Some(out), left: opened.image.plain_size };
    PlainChunks::new(Some(opened.image.plain_size), sequential)
}

/// One frame, as it lies in the image.
struct PackedFrame {
    bytes: Vec<u8>,
    plain: u32,
}

/// Buffers of the frames, before and after decompression.
#[derive(Clone)]
struct FrameBuffers {
    packed: Buffers,
    plain: Buffers,
}

fn unpack(key: &str, buffers: &FrameBuffers) -> MakeWork<PackedFrame, Vec<u8>> {
    let (key, buffers) = (key.to_owned(), buffers.clone());
    Arc::new(move || {
        let (key, buffers) = (key.clone(), buffers.clone());
        let mut unpacker = Unpacker::new()?;
        Ok(Box::new(move |frame: PackedFrame| {
            let mut plain = buffers.plain.take(frame.plain as usize);
            unpacker.unpack(&key, &frame.bytes, frame.plain, &mut plain)?;
            buffers.packed.give(frame.bytes);
            Ok(plain)
        }))
    })
}

/// Reads the stored bytes once, in order, and cuts the frames out of them.
fn split_stage(
    opened: &OpenedImage,
    stored: mpsc::Receiver<Result<Bytes>>,
    submit: Submit<PackedFrame, Vec<u8>>,
    buffers: &Buffers,
) {
    let digest = Arc::new(OnceLock::new());
    let reader = StoredReader::new(stored, Arc::clone(&digest));
    match split(opened, reader, &submit, buffers)
        .and_then(|()| check_stored(&opened.image, &digest))
    {
        // A reader that is gone needs no end.
        Ok(()) => drop(submit.done()),
        Err(error) => submit.fail(error),
    }
}

fn split(
    opened: &OpenedImage,
    reader: StoredReader,
    submit: &Submit<PackedFrame, Vec<u8>>,
    buffers: &Buffers,
) -> Result<()> {
    let failed = |error| Error::from_io(&opened.image.key, error);
    let mut packed = PackedReader::open(&opened.image, &opened.identities, reader)?;
    for &Frame { packed: size, plain } in opened.table.frames() {
        let mut bytes = buffers.take(size as usize);
        let read = (&mut packed).take(size.into()).read_to_end(&mut bytes).map_err(failed)?;
        if read != size as usize {
            return Err(Error::damaged(&opened.image.key, "it ends inside a frame"));
        }
        submit.give(PackedFrame { bytes, plain })?;
    }
    // The rest is the seek table, read before; reading to the end authenticates the age file and
    // completes the digest.
    let table = io::copy(&mut packed, &mut io::sink()).map_err(failed)?;
    if table == opened.table.encode().len() as u64 {
        Ok(())
    } else {
        Err(Error::damaged(&opened.image.key, "it changed while it was being read"))
    }
}

fn check_stored(image: &Image, digest: &OnceLock<Sha256Digest>) -> Result<()> {
    let cut = || Error::damaged(&image.key, "it was not read to its end");
    let found = *digest.get().ok_or_else(cut)?;
    matching(image, "the stored bytes", image.stored_sha256, found)
}

fn matching(
    image: &Image,
    what: &'static str,
    expected: Sha256Digest,
    found: Sha256Digest,
) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    Err(Error::DigestMismatch { key: image.key.clone(), what, expected, found })
}

/// Puts frames out in order, one behind, and the last one only when everything matched: a reader
/// cannot take back what it has passed on, but without the last frame nothing looks complete.
fn order_stage(
    image: &Image,
    frames: &Collect<Vec<u8>>,
    out: &SyncSender<io::Result<Bytes>>,
    buffers: &Buffers,
) {
    let mut hasher = RunningSha256::new();
    let mut held: Option<Bytes> = None;
    loop {
        let next = match frames.next() {
            Ok(Some(frame)) => {
                hasher.update(&frame);
                held.replace(buffers.lend(frame)).map(Ok)
            }
            Ok(None) => break,
            Err(error) => {
                // A reader that is gone needs no error.
                let _ = out.send(Err(error.into_io()));
                return;
            }
        };
        if next.is_some_and(|chunk| out.send(chunk).is_err()) {
            return;
        }
    }
    let matched = matching(image, "the content", image.plain_sha256, hasher.finish());
    let last = matched.map(|()| held).map_err(Error::into_io).transpose();
    if let Some(last) = last {
        let _ = out.send(last);
    }
}

/// The stored bytes as a blocking reader that hashes what passes.
struct StoredReader {
    chunks: mpsc::Receiver<Result<Bytes>>,
    current: Bytes,
    hasher: RunningSha256,
    digest: Arc<OnceLock<Sha256Digest>>,
}

impl StoredReader {
    fn new(chunks: mpsc::Receiver<Result<Bytes>>, digest: Arc<OnceLock<Sha256Digest>>) -> Self {
        Self { chunks, current: Bytes::new(), hasher: RunningSha256::new(), digest }
    }
}

impl Read for StoredReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => {
                    self.current = chunk.map_err(Error::into_io)?;
                    self.hasher.update(&self.current);
                }
                None => {
                    self.digest.get_or_init(|| self.hasher.clone().finish());
                    return Ok(0);
                }
            }
        }
        let now = self.current.split_to(self.current.len().min(buf.len()));
        if let Some(target) = buf.get_mut(..now.len()) {
            target.copy_from_slice(&now);
        }
        Ok(now.len())
    }
}

/// The reading end of the pipeline. One that dies is an error and never an end: the end is known by
/// the number of bytes.
struct Sequential {
    out: Option<Receiver<io::Result<Bytes>>>,
    left: u64,
}

impl Iterator for Sequential {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.out.as_ref()?.recv();
        if let Ok(Ok(chunk)) = &next {
            self.left = self.left.saturating_sub(chunk.len() as u64);
        } else {
            self.out = None;
        }
        let died = || Error::Worker("reading the image ended early".to_owned()).into_io();
        next.ok().or_else(|| (self.left > 0).then(|| Err(died())))
    }
}
