//! Taking in a snapshot as a stream: recognised by its first pages, bounded by what they say, hashed
//! on a second thread while the first one writes.
//!
//! A file of zeroes, of noise or of nothing is refused after its first pages; an archive that unpacks to more
//! than its database can be is refused soon after. Only the database itself is handed on: what a raw copy
//! has behind its high-water mark is garbage, and what a snapshot has behind it is its digest.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use bytes::{Bytes, BytesMut};
use etcdr_schemas::{RunningSha256, Sha256Digest};

use super::form::{Expected, Form};
use crate::error::{Error, Result};
use crate::format::bolt::meta::{self, Meta};
use crate::format::bolt::page::MAX_PAGE_SIZE;

/// Bytes that hold both meta pages at any page size.
const HEAD: usize = 2 * MAX_PAGE_SIZE as usize;

/// Chunks on their way to the hashing thread. A chunk is at most a few MiB.
const QUEUE: usize = 2;

/// Bytes that may follow the database in a raw copy, besides as many as it has: bbolt grows files ahead.
const GROWTH: u64 = 64 << 20;

const TRAILER: usize = Sha256Digest::LEN;

/// What the meta pages say of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of a page.
    pub(crate) page_size: u32,
    /// Bytes of the database.
    pub(crate) db_size: u64,
}

/// Where the database goes.
pub(crate) trait Sink {
    /// The meta pages are there; nothing is written yet.
    fn begin(&mut self, shape: Shape) -> Result<()>;

    /// The next bytes of the database.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;
}

/// What has come in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Bytes of the whole file.
    pub(crate) size: u64,
    /// SHA-256 of the whole file.
    pub(crate) sha256: Sha256Digest,
    /// The last 32 bytes, and SHA-256 of all before them; absent when the reader has vouched for both.
    trailer: Option<(Sha256Digest, Sha256Digest)>,
    shape: Shape,
}

/// A stream that is being taken in.
#[derive(Debug)]
pub(crate) struct Intake {
    head: BytesMut,
    shape: Option<Shape>,
    limit: u64,
    taken: u64,
    handed_on: u64,
    digest: Digest,
}

/// Who knows the stream's digest.
#[derive(Debug)]
enum Digest {
    /// It is computed here.
    Here(Hasher),
    /// The reader of the stream ends in an error unless it is this one.
    ByReader(Sha256Digest),
}

impl Intake {
    /// A stream of `expected` length, or of unknown length.
    pub(crate) fn new(expected: Option<Expected>) -> Self {
        Self {
            head: BytesMut::new(),
            shape: None,
            limit: expected.map_or(u64::MAX, |expected| expected.size),
            taken: 0,
            handed_on: 0,
            digest: match expected {
                Some(Expected { sha256, by_reader: true, .. }) => Digest::ByReader(sha256),
                _ => Digest::Here(Hasher::start()),
            },
        }
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// For a stream that is no database or too long, and whatever the sink says.
    pub(crate) fn push(&mut self, mut chunk: Bytes, sink: &mut dyn Sink) -> Result<()> {
        self.taken = self.taken.saturating_add(chunk.len() as u64);
        if self.taken > self.limit {
            return Err(Error::Length { expected: self.limit, actual: self.taken });
        }
        if let Digest::Here(hasher) = &self.digest {
            hasher.feed(chunk.clone())?;
        }
        if self.shape.is_none() {
            let part = chunk.split_to(chunk.len().min(HEAD - self.head.len()));
            self.head.extend_from_slice(&part);
            if self.head.len() < HEAD {
                return Ok(());
            }
            self.recognise(sink)?;
        }
        self.hand_on(&chunk, sink)
    }

    /// Reads the meta pages out of the head and hands it on.
    fn recognise(&mut self, sink: &mut dyn Sink) -> Result<()> {
        let head = std::mem::take(&mut self.head);
        let meta = newest_meta(&head)?;
        let size = meta.database_size().unwrap_or(u64::MAX);
        let shape = Shape { page_size: meta.page_size, db_size: size };
        self.limit = self.limit.min(size.saturating_mul(2).saturating_add(GROWTH));
        self.shape = Some(shape);
        sink.begin(shape)?;
        self.hand_on(&head, sink)
    }

    fn hand_on(&mut self, bytes: &[u8], sink: &mut dyn Sink) -> Result<()> {
        let left = self.shape.map_or(0, |shape| shape.db_size.saturating_sub(self.handed_on));
        let part = bytes.get(..usize::try_from(left).unwrap_or(usize::MAX)).unwrap_or(bytes);
        self.handed_on += part.len() as u64;
        if part.is_empty() { Ok(()) } else { sink.write(part) }
    }

    /// The stream is over.
    ///
    /// # Errors
    /// For a stream that is no database, or that is cut short.
    pub(crate) fn finish(mut self, sink: &mut dyn Sink) -> Result<Received> {
        if self.shape.is_none() {
            self.recognise(sink)?;
        }
        let shape = self.shape.unwrap_or(Shape { page_size: 0, db_size: u64::MAX });
        let size = self.taken;
        if size < shape.db_size {
            let expected = shape.db_size.saturating_add(TRAILER as u64);
            return Err(Error::Length { expected, actual: size });
        }
        let (sha256, trailer) = match self.digest {
            Digest::ByReader(sha256) => (sha256, None),
            Digest::Here(hasher) => {
                let digests = hasher.finish()?;
                (digests.whole, Some((digests.trailer, digests.but_trailer)))
            }
        };
        Ok(Received { size, sha256, trailer, shape })
    }
}

/// The meta that counts, from the first bytes of a file.
fn newest_meta(head: &BytesMut) -> Result<Meta> {
    let meta = meta::discover(&head[..])?.chosen;
    meta.check(None).map_err(|problem| Error::NotBolt { problem })?;
    Ok(meta)
}

impl Received {
    /// Whether the file ends with etcd's digest.
    pub(crate) const fn form(&self) -> Form {
        Form::of_size(self.size)
    }

    /// Holds the stream against what is known of it: the manifest, etcd's digest, or only its length.
    ///
    /// # Errors
    /// [`Error::NotAsPlanned`], [`Error::Digest`], [`Error::NoDigest`].
    pub(crate) fn check(&self, expected: Option<Expected>, skip_hash_check: bool) -> Result<()> {
        if let Some(expected) = expected {
            let differs = |what, expected: String, actual: String| {
                let same = expected == actual;
                if same { Ok(()) } else { Err(Error::NotAsPlanned { what, expected, actual }) }
            };
            differs("the size", expected.size.to_string(), self.size.to_string())?;
            differs("the SHA-256", expected.sha256.to_string(), self.sha256.to_string())?;
        }
        let Some((expected, actual)) = self.trailer.filter(|_| !skip_hash_check) else {
            return Ok(());
        };
        match self.form() {
            Form::Snapshot if expected == actual => Ok(()),
            Form::Snapshot => Err(Error::Digest { expected, actual }),
            Form::RawDatabase if self.size.is_multiple_of(self.shape.page_size.into()) => Ok(()),
            Form::RawDatabase => Err(Error::NoDigest { size: self.size }),
        }
    }
}

struct Digests {
    whole: Sha256Digest,
    but_trailer: Sha256Digest,
    trailer: Sha256Digest,
}

/// The hashing thread and the queue before it.
#[derive(Debug)]
struct Hasher {
    queue: Option<SyncSender<Bytes>>,
    worker: Option<JoinHandle<TailedSha256>>,
}

impl Hasher {
    fn start() -> Self {
        let (queue, chunks) = sync_channel::<Bytes>(QUEUE);
        let worker = std::thread::spawn(move || {
            let mut sha = TailedSha256::default();
            chunks.iter().for_each(|chunk| sha.update(&chunk));
            sha
        });
        Self { queue: Some(queue), worker: Some(worker) }
    }

    fn feed(&self, chunk: Bytes) -> Result<()> {
        let sent = self.queue.as_ref().is_some_and(|queue| queue.send(chunk).is_ok());
        if sent { Ok(()) } else { Err(gone()) }
    }

    fn finish(mut self) -> Result<Digests> {
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
struct TailedSha256 {
    sha: RunningSha256,
    tail: Vec<u8>,
}

impl TailedSha256 {
    fn update(&mut self, chunk: &[u8]) {
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

    fn finish(self) -> Digests {
        let but_trailer = self.sha.clone().finish();
        let mut whole = self.sha;
        whole.update(&self.tail);
        let mut trailer = [0; TRAILER];
        // Shorter only when the stream is, and then no trailer is asked for.
        trailer.iter_mut().zip(&self.tail).for_each(|(to, from)| *to = *from);
        Digests { whole: whole.finish(), but_trailer, trailer: Sha256Digest::from_bytes(trailer) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bolt::Problem;

    #[derive(Default)]
    struct Collect(Vec<u8>, Option<Shape>);

    impl Sink for Collect {
        fn begin(&mut self, shape: Shape) -> Result<()> {
            self.1 = Some(shape);
            Ok(())
        }
        fn write(&mut self, bytes: &[u8]) -> Result<()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }
    }

    fn database(pages: u64) -> Vec<u8> {
        let mut db = vec![7; usize::try_from(pages).unwrap() * 4096];
        for id in [0, 1] {
            let at = usize::try_from(id).unwrap() * 4096;
            let meta = Meta {
                page_size: 4096,
                root: 2,
                freelist: None,
                high_water_mark: pages,
                txid: 5 + id,
            };
            let bytes = meta.encode(id);
            db[at..at + bytes.len()].copy_from_slice(&bytes);
        }
        db
    }

    fn snapshot(pages: u64) -> Vec<u8> {
        let mut file = database(pages);
        let digest = Sha256Digest::of(&file);
        file.extend_from_slice(digest.as_bytes());
        file
    }

    fn take(file: &[u8], chunk: usize, skip: bool) -> Result<(Received, Vec<u8>)> {
        let mut sink = Collect::default();
        let mut intake = Intake::new(None);
        for chunk in file.chunks(chunk) {
            intake.push(Bytes::copy_from_slice(chunk), &mut sink)?;
        }
        let received = intake.finish(&mut sink)?;
        received.check(None, skip)?;
        Ok((received, sink.0))
    }

    #[test]
    fn snapshots_and_raw_copies_give_the_database_however_they_are_cut() {
        for pages in [3, 31, 40, 100] {
            let db = database(pages);
            let mut grown = db.clone();
            grown.resize(db.len() + 8192, 0);
            let mut grown_snapshot = grown.clone();
            grown_snapshot.extend_from_slice(Sha256Digest::of(&grown).as_bytes());
            for file in [&db, &snapshot(pages), &grown, &grown_snapshot] {
                for chunk in [1000, 4096, 131_073, 1 << 20] {
                    let (received, got) = take(file, chunk, false).unwrap();
                    assert!(got == db);
                    assert_eq!(received.sha256, Sha256Digest::of(file));
                    assert_eq!(received.size, file.len() as u64);
                }
            }
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let file = snapshot(5);
        for length in (0..file.len()).filter(|length| *length != 5 * 4096) {
            assert!(take(&file[..length], 4096, false).is_err(), "{length}");
        }
        // Without its digest it is what a raw copy looks like; the structural check then decides.
        assert!(take(&file[..5 * 4096], 4096, false).is_ok());
    }

    #[test]
    fn a_flipped_bit_is_a_wrong_digest_unless_skipped() {
        let mut file = snapshot(5);
        file[9000] ^= 1;
        assert!(matches!(take(&file, 999, false), Err(Error::Digest { .. })));
        assert_eq!(take(&file, 999, true).unwrap().1.len(), 5 * 4096);
    }

    #[test]
    fn noise_and_bombs_are_refused_early() {
        for file in [&[][..], &[0; 10], &[0; 300_000], &[0x55; 300_000]] {
            assert!(matches!(take(file, 4096, true), Err(Error::NotBolt { .. })));
        }
        let mut sink = Collect::default();
        let mut intake = Intake::new(None);
        intake.push(Bytes::from(database(40)), &mut sink).unwrap();
        let zeroes = Bytes::from(vec![0; 1 << 20]);
        let fed = (0..1000).take_while(|_| intake.push(zeroes.clone(), &mut sink).is_ok()).count();
        assert!(fed < 70, "{fed} MiB");
        assert_eq!(sink.0.len(), 40 * 4096);
    }

    #[test]
    fn a_stream_that_is_not_the_one_of_the_manifest_is_refused() {
        let file = snapshot(40);
        let good =
            Expected { size: file.len() as u64, sha256: Sha256Digest::of(&file), by_reader: false };
        let (received, _) = take(&file, 4096, false).unwrap();
        received.check(Some(good), false).unwrap();
        let other = Expected { sha256: Sha256Digest::of(b""), ..good };
        assert!(received.check(Some(other), true).is_err());
        let mut intake = Intake::new(Some(Expected { size: 100, ..good }));
        let long = intake.push(Bytes::from(file), &mut Collect::default());
        assert!(matches!(long, Err(Error::Length { expected: 100, .. })));
        assert!(matches!(
            newest_meta(&BytesMut::new()),
            Err(Error::NotBolt { problem: Problem::TooShort { .. } })
        ));
    }
}
