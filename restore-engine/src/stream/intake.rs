//! Receives a source of a restore or of a check: it is split, and hashed on a second thread while
//! the first one writes.

use bytes::Bytes;
use etcdr_schemas::Sha256Digest;

use super::digest::{Digests, Hasher};
use super::form::{Expected, Form};
use super::splitter::{Shape, Sink, Splitter};
use crate::error::{Error, Result};

/// A stream that was received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    /// Bytes of the whole file.
    pub(crate) size: u64,
    /// SHA-256 of the whole file.
    pub(crate) sha256: Sha256Digest,
    /// The last 32 bytes, and SHA-256 of all before them; absent when the reader has vouched for
    /// both.
    trailer: Option<(Sha256Digest, Sha256Digest)>,
    shape: Shape,
}

/// A stream that is being taken in.
#[derive(Debug)]
pub(crate) struct Intake {
    splitter: Splitter,
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
        let limit = expected.map_or(u64::MAX, |expected| expected.size);
        let digest = match expected {
            Some(Expected { sha256, by_reader: true, .. }) => Digest::ByReader(sha256),
            _ => Digest::Here(Hasher::start()),
        };
        Self { splitter: Splitter::any_form(limit), digest }
    }

    /// Takes a chunk.
    ///
    /// # Errors
    /// For a stream that is no database or too long, and whatever the sink says.
    pub(crate) fn push(&mut self, chunk: Bytes, sink: &mut dyn Sink) -> Result<()> {
        if let Digest::Here(hasher) = &self.digest {
            hasher.feed(chunk.clone())?;
        }
        self.splitter.push(&chunk, sink)
    }

    /// The stream is over.
    ///
    /// # Errors
    /// For a stream that is no database, or that is cut short.
    pub(crate) fn finish(self, sink: &mut dyn Sink) -> Result<Received> {
        let (size, shape) = self.splitter.finish(sink)?;
        Ok(match self.digest {
            Digest::ByReader(sha256) => Received { size, sha256, trailer: None, shape },
            Digest::Here(hasher) => Received::hashed(size, shape, hasher.finish()?),
        })
    }
}

impl Received {
    /// A whole stream and its digests.
    pub(super) fn hashed(size: u64, shape: Shape, digests: Digests) -> Self {
        let Digests { whole, but_trailer, trailer } = digests;
        Self { size, sha256: whole, trailer: Some((trailer, but_trailer)), shape }
    }

    /// Whether the file ends with etcd's digest.
    pub(crate) const fn form(&self) -> Form {
        Form::of_size(self.size)
    }

    /// Compares the stream with the manifest, with etcd's digest, or only with its length.
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
            Form::RawDatabase if self.size.is_multiple_of(self.shape.meta.page_size.into()) => {
                Ok(())
            }
            Form::RawDatabase => Err(Error::NoDigest { size: self.size }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::bolt::{Meta, Problem};

    #[derive(Default)]
    struct Collect(Vec<u8>, Option<Shape>);

    impl Sink for Collect {
        fn begin(&mut self, shape: &Shape) -> Result<()> {
            self.1 = Some(*shape);
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
        let nothing = Intake::new(None).finish(&mut Collect::default());
        assert!(matches!(nothing, Err(Error::NotBolt { problem: Problem::TooShort { .. } })));
    }
}
