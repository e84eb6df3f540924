//! The read side of an image: the mirror of `seal`, which trusts nothing.
//!
//! ```text
//! ranges -> [sha256, age, frames] -> [zstd xN] -> [sha256 of the content, hold back one] -> chunks
//! ```
//! The seek table is read first and checked against the manifest: it says how large each frame is, so
//! that no image unpacks to more than its manifest says. The last chunk is released only when the stored
//! and the plain digest both matched.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use etcdr_schemas::manifest::{Compression, Image};
use etcdr_schemas::{RunningSha256, Sha256Digest};
use futures_util::StreamExt;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::bridge;
use crate::buffers::Buffers;
use crate::error::{Error, Result};
use crate::image::layers::{ObjectReader, Packed};
use crate::image::pool::{self, Collect, MakeWork, Submit};
use crate::image::random::RandomImage;
use crate::image::seek_table::{Expected, FOOTER, Frame, MAX_FRAME_SIZE, SeekTable};
use crate::keys::Identities;
use crate::store::fetch::Object;

/// Decompression threads: with hashing and writing beside them, two cores are busy.
const WORKERS: usize = 2;

/// Bytes asked for while the end of an image is looked at: a seek table of 8 GiB fits.
const TAIL: u64 = 128 << 10;

/// An image whose header could be opened and whose seek table fits its manifest. Its content is not
/// verified yet: the readers do that.
#[derive(Clone)]
pub struct SealedImage {
    parts: Arc<Parts>,
}

/// What every reader of an image needs.
pub(crate) struct Parts {
    pub(crate) object: Object,
    pub(crate) image: Image,
    pub(crate) identities: Identities,
    pub(crate) table: SeekTable,
    pub(crate) frame_size: u32,
    pub(crate) handle: Handle,
}

impl SealedImage {
    /// Reads both ends of the object.
    pub(crate) async fn open(object: Object, image: Image, identities: Identities) -> Result<Self> {
        let handle = Handle::current();
        let frame_size = frame_size(&image)?;
        let runtime = handle.clone();
        let opening = bridge::blocking(&handle, move || {
            let table = read_table(&object, &image, &identities, frame_size, &runtime)?;
            Ok(Parts { object, image, identities, table, frame_size, handle: runtime })
        });
        Ok(Self { parts: Arc::new(opening.join().await?) })
    }

    /// Bytes of the snapshot file.
    #[must_use]
    pub fn plain_size(&self) -> u64 {
        self.parts.image.plain_size
    }

    /// The snapshot file from the first byte to the last, verified on the way. The iterator blocks: use
    /// it on a thread that may. Errors carry [`Error`] as their inner error.
    #[must_use]
    pub fn chunks(&self) -> PlainChunks {
        let parts = &self.parts;
        // Handed over, not queued: a frame that waits is four megabytes.
        let (chunks, out) = sync_channel(0);
        let spare = Spare { packed: Buffers::new(WORKERS + 3), plain: Buffers::new(WORKERS + 3) };
        let unpack = unpack(&parts.image.key, &spare);
        let (submit, collect) = pool::start(&parts.handle, WORKERS, &unpack);
        let (feed, stored) = mpsc::channel(1);
        let stream = parts.object.stream(&parts.handle);
        let pump = async move {
            let mut stream = std::pin::pin!(stream);
            while let Some(chunk) = stream.next().await {
                if feed.send(chunk).await.is_err() {
                    return;
                }
            }
        };
        let _detached = parts.handle.spawn(pump);
        let (splitting, plain) = (Arc::clone(parts), spare.plain.clone());
        let _detached = bridge::blocking(&parts.handle, move || {
            split_stage(&splitting, stored, submit, &spare.packed);
            Ok(())
        });
        let ordering = Arc::clone(parts);
        let _detached = bridge::blocking(&parts.handle, move || {
            order_stage(&ordering.image, &collect, &chunks, &plain);
            Ok(())
        });
        let sequential = Sequential { out: Some(out), left: parts.image.plain_size };
        PlainChunks::new(Some(parts.image.plain_size), sequential)
    }

    /// The snapshot file at any offset. Frames are authenticated by age (where encrypted) and by their
    /// zstd checksums; the digest of the whole is not checked.
    #[must_use]
    pub fn random(&self) -> RandomImage {
        RandomImage::new(Arc::clone(&self.parts))
    }
}

/// The frame size, in bounds; images are always compressed in format 1.
fn frame_size(image: &Image) -> Result<u32> {
    let Some(Compression::Zstd { frame_size, .. }) = image.codec.compression else {
        return Err(Error::damaged(&image.key, "its manifest names no compression"));
    };
    if (1..=MAX_FRAME_SIZE).contains(&frame_size) {
        return Ok(frame_size);
    }
    let reason = format!(
        "its manifest gives a frame size of {frame_size}, at most {MAX_FRAME_SIZE} is read"
    );
    Err(Error::damaged(&image.key, reason))
}

fn read_table(
    object: &Object,
    image: &Image,
    identities: &Identities,
    frame_size: u32,
    handle: &Handle,
) -> Result<SeekTable> {
    let failed = |error| Error::from_io(&image.key, error);
    let ahead = Arc::new(AtomicU64::new(TAIL));
    let stored = ObjectReader::new(object.clone(), handle.clone(), ahead);
    let mut packed = Packed::open(image, identities, stored)?;
    // For an age file this authenticates the last chunk, and with it the length.
    let packed_size = packed.seek(SeekFrom::End(0)).map_err(failed)?;
    let plain_size = image.plain_size;
    let expected = Expected { key: &image.key, plain_size, frame_size, packed_size };
    let mut read_last = |size: u64| -> Result<Vec<u8>> {
        let at = packed_size.checked_sub(size);
        let at =
            at.ok_or_else(|| Error::damaged(&image.key, "it is too short for a seek table"))?;
        packed.seek(SeekFrom::Start(at)).map_err(failed)?;
        // Bounded: the footer is 9 bytes, and the table was checked against the limit on frames.
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        packed.read_exact(&mut bytes).map_err(failed)?;
        Ok(bytes)
    };
    let size = SeekTable::size_from_footer(&read_last(FOOTER)?, expected)?;
    SeekTable::parse(&read_last(size)?, expected)
}

/// One frame, as it lies in the image.
struct PackedFrame {
    bytes: Vec<u8>,
    plain: u32,
}

/// Buffers of the frames, before and after decompression.
#[derive(Clone)]
struct Spare {
    packed: Buffers,
    plain: Buffers,
}

fn unpack(key: &str, spare: &Spare) -> MakeWork<PackedFrame, Vec<u8>> {
    let (key, spare) = (key.to_owned(), spare.clone());
    Arc::new(move || {
        let (key, spare) = (key.clone(), spare.clone());
        let mut unpacker = Unpacker::new()?;
        Ok(Box::new(move |frame: PackedFrame| {
            let mut plain = spare.plain.take(frame.plain as usize);
            unpacker.unpack(&key, &frame.bytes, frame.plain, &mut plain)?;
            spare.packed.give(frame.bytes);
            Ok(plain)
        }))
    })
}

/// Decompresses single frames to exactly the size that the seek table gives.
pub(crate) struct Unpacker(zstd::bulk::Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        zstd::bulk::Decompressor::new().map(Self).map_err(Error::Compress)
    }

    /// Replaces the content of `out`. zstd writes no byte beyond the capacity, which is bounded: it is
    /// that of some frame of a checked seek table.
    pub(crate) fn unpack(
        &mut self,
        key: &str,
        packed: &[u8],
        plain: u32,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        out.clear();
        out.reserve_exact(plain as usize);
        let done = self.0.decompress_to_buffer(packed, out);
        done.map_err(|error| Error::damaged(key, format!("a frame does not unpack: {error}")))?;
        if out.len() == plain as usize {
            return Ok(());
        }
        let reason = format!("a frame unpacks to {} bytes instead of {plain}", out.len());
        Err(Error::damaged(key, reason))
    }
}

/// Reads the stored bytes once, in order, and cuts the frames out of them.
fn split_stage(
    parts: &Parts,
    stored: mpsc::Receiver<Result<Bytes>>,
    submit: Submit<PackedFrame, Vec<u8>>,
    spare: &Buffers,
) {
    let digest = Arc::new(OnceLock::new());
    let reader = StoredReader::new(stored, Arc::clone(&digest));
    match split(parts, reader, &submit, spare).and_then(|()| check_stored(&parts.image, &digest)) {
        // A reader that is gone needs no end.
        Ok(()) => drop(submit.done()),
        Err(error) => submit.fail(error),
    }
}

fn split(
    parts: &Parts,
    reader: StoredReader,
    submit: &Submit<PackedFrame, Vec<u8>>,
    spare: &Buffers,
) -> Result<()> {
    let failed = |error| Error::from_io(&parts.image.key, error);
    let mut packed = Packed::open(&parts.image, &parts.identities, reader)?;
    for &Frame { packed: size, plain } in parts.table.frames() {
        let mut bytes = spare.take(size as usize);
        let read = (&mut packed).take(size.into()).read_to_end(&mut bytes).map_err(failed)?;
        if read != size as usize {
            return Err(Error::damaged(&parts.image.key, "it ends inside a frame"));
        }
        submit.give(PackedFrame { bytes, plain })?;
    }
    // The rest is the seek table, read before; reading to the end authenticates the age file and
    // completes the digest.
    let table = io::copy(&mut packed, &mut io::sink()).map_err(failed)?;
    if table == parts.table.encode().len() as u64 {
        Ok(())
    } else {
        Err(Error::damaged(&parts.image.key, "it changed while it was being read"))
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

/// Puts frames out in order, one behind, and the last one only when everything matched.
fn order_stage(
    image: &Image,
    frames: &Collect<Vec<u8>>,
    out: &SyncSender<io::Result<Bytes>>,
    spare: &Buffers,
) {
    let mut hasher = RunningSha256::new();
    let mut held: Option<Bytes> = None;
    loop {
        let next = match frames.next() {
            Ok(Some(frame)) => {
                hasher.update(&frame);
                held.replace(spare.lend(frame)).map(Ok)
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

/// The bytes of a snapshot file, in order, in chunks. After the first error it is at its end.
pub struct PlainChunks {
    size: Option<u64>,
    inner: Box<dyn Iterator<Item = io::Result<Bytes>> + Send>,
}

impl PlainChunks {
    pub(crate) fn new(
        size: Option<u64>,
        inner: impl Iterator<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Self {
        Self { size, inner: Box::new(inner) }
    }

    /// Number of bytes to come in all, where it is known beforehand.
    #[must_use]
    pub const fn total(&self) -> Option<u64> {
        self.size
    }
}

impl Iterator for PlainChunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.inner.next()
    }
}

impl std::fmt::Debug for PlainChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlainChunks({:?})", self.size)
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
