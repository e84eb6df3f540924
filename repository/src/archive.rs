//! Snapshots in local files: plain, compressed, or inside an archive.
//!
//! The first bytes of a file decide what it is, never its name. Layers are unwrapped one by one (a
//! few at most) until the content is no known layer. That content is handed out as it is; the
//! restore engine decides whether it is a snapshot. Names inside archives choose an entry and are
//! never used as paths. Nothing is unpacked to disk; memory is bounded, and the caller bounds the
//! size.

mod entries;

use std::fs::File;
use std::io::{self, BufReader, Chain, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use etcdr_schemas::diagnose::uncarry;
use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};
use crate::image::chunks::PlainChunks;
use crate::keys::Identities;

use entries::ArchiveEntry;

/// Layers that are unwrapped: `snapshot.db.zst.age` inside a tar.gz has four.
const MAX_LAYERS: usize = 5;

/// First bytes that are enough to recognise a layer: the magic of a tar lies at byte 257.
const SNIFF: usize = 512;

/// Bytes of one chunk.
const CHUNK: usize = 1 << 20;

/// Largest zstd window, as a power of two: what the `zstd` program accepts by default (128 MiB). A
/// decoder allocates as much as the file asks for, so there must be a limit.
const ZSTD_WINDOW: u32 = 27;

type Stream = Box<dyn Read + Send>;

/// Opens a file for reading: a snapshot or raw database, or one inside `.gz`, `.zst`, `.zip`,
/// `.tar` or `.tar.gz`.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Archive`] when it is not clear which
/// entry is the snapshot, [`Error::NoIdentity`] when it is an age file.
pub fn open(path: &Path) -> Result<PlainChunks> {
    open_with(path, &Identities::none())
}

/// Whether a file is not packed at all, and so can be read at random where it is.
///
/// # Errors
/// [`Error::File`] when it cannot be read.
pub fn is_plain(path: &Path) -> Result<bool> {
    let source = Source { path, identities: &Identities::none() };
    let head = sniff(&mut source.file()?).map_err(|error| source.failed(error))?;
    Ok(matches!(detect_layer(&head), Layer::None))
}

/// Opens a file as [`open`] does, with identities for files that are encrypted with age, such as a
/// repository's images.
///
/// # Errors
/// As [`open`], and [`Error::WrongIdentity`].
pub fn open_with(path: &Path, identities: &Identities) -> Result<PlainChunks> {
    let source = Source { path, identities };
    let mut file = source.file()?;
    let head = sniff(&mut file).map_err(|error| source.failed(error))?;
    let stream: Stream = match detect_layer(&head) {
        Layer::Zip => return zip(&source, file),
        Layer::None => {
            let size = file.metadata().map(|data| data.len()).ok();
            file.rewind().map_err(|error| source.failed(error))?;
            return Ok(PlainChunks::new(size, Chunked::new(Box::new(file))));
        }
        _ => source.unwrap_all()?,
    };
    Ok(PlainChunks::new(None, Chunked::new(stream)))
}

/// The file, which is opened again for every pass over it.
struct Source<'a> {
    path: &'a Path,
    identities: &'a Identities,
}

impl Source<'_> {
    fn file(&self) -> Result<File> {
        File::open(self.path).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: io::Error) -> Error {
        let path = self.path.display().to_string();
        uncarry(error).unwrap_or_else(|source| Error::File { path, source })
    }

    fn refused(&self, reason: impl Into<String>) -> Error {
        Error::Archive { path: self.path.display().to_string(), reason: reason.into() }
    }

    /// Unwraps layers until none is left.
    fn unwrap_all(&self) -> Result<Stream> {
        let mut entry: Option<ArchiveEntry> = None;
        // A tar takes a second pass: the first finds the entry, and then the stream is past it.
        for _ in 0..2 {
            match self.unwrap_until(Box::new(self.file()?), entry.take())? {
                Unwrapped::Plain(stream) => return Ok(stream),
                Unwrapped::Tar(choice) => entry = Some(choice),
            }
        }
        Err(self.refused("an archive inside an archive is not looked into"))
    }

    fn unwrap_until(&self, stream: Stream, mut entry: Option<ArchiveEntry>) -> Result<Unwrapped> {
        let mut stream = stream;
        for _ in 0..MAX_LAYERS {
            let (layer, whole) = sniffed(stream).map_err(|error| self.failed(error))?;
            stream = match layer {
                Layer::None => return Ok(Unwrapped::Plain(whole)),
                Layer::Tar => match entry.take() {
                    Some(choice) => choice.cut(whole).map_err(|error| self.failed(error))?,
                    None => return self.choose(whole).map(Unwrapped::Tar),
                },
                Layer::Zip => return Err(self.refused("a zip inside another layer is not read")),
                other => self.unwrap_layer(other, whole)?,
            };
        }
        Err(self.refused(format!("it has more than {MAX_LAYERS} layers")))
    }

    fn unwrap_layer(&self, layer: Layer, stream: Stream) -> Result<Stream> {
        match layer {
            Layer::Gzip => Ok(Box::new(MultiGzDecoder::new(BufReader::new(stream)))),
            Layer::Zstd => {
                let decoder = zstd::Decoder::new(stream).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW)?;
                    Ok(decoder)
                });
                Ok(Box::new(decoder.map_err(|error| self.failed(error))?))
            }
            Layer::Age => {
                let name = self.path.display().to_string();
                Ok(Box::new(self.identities.decrypt(stream, &name, &[])?))
            }
            Layer::Tar | Layer::Zip | Layer::None => Ok(stream),
        }
    }

    fn choose(&self, stream: Stream) -> Result<ArchiveEntry> {
        let candidates = entries::tar(stream).map_err(|error| self.failed(error))?;
        entries::choose(candidates).map_err(|reason| self.refused(reason))
    }
}

enum Unwrapped {
    Plain(Stream),
    Tar(ArchiveEntry),
}

/// The directory of a zip is at the end of its file, so a zip cannot be read from a stream. The
/// chosen entry is then read by itself, because a reader that borrows the archive could not be
/// handed out.
fn zip(source: &Source<'_>, file: File) -> Result<PlainChunks> {
    let candidates = entries::zip(&file).map_err(|reason| source.refused(reason))?;
    let choice = entries::choose(candidates).map_err(|reason| source.refused(reason))?;
    let stream = choice.open_zip(file).map_err(|error| source.failed(error))?;
    match source.unwrap_until(stream, None)? {
        Unwrapped::Plain(stream) => Ok(PlainChunks::new(None, Chunked::new(stream))),
        Unwrapped::Tar(_) => Err(source.refused("an archive inside an archive is not looked into")),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    Gzip,
    Zstd,
    Age,
    Zip,
    Tar,
    None,
}

/// Recognises a layer by its first bytes (RFC 1952, RFC 8878 with skippable frames,
/// age-encryption.org/v1, APPNOTE 4.3.7, POSIX ustar).
fn detect_layer(head: &[u8]) -> Layer {
    let skippable = head.get(1..4) == Some(&[0x2a, 0x4d, 0x18])
        && head.first().is_some_and(|first| first & 0xf0 == 0x50);
    if head.starts_with(&[0x1f, 0x8b, 0x08]) {
        Layer::Gzip
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || skippable {
        Layer::Zstd
    } else if head.starts_with(b"age-encryption.org/") {
        Layer::Age
    } else if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        Layer::Zip
    } else if head.get(257..262) == Some(b"ustar") {
        Layer::Tar
    } else {
        Layer::None
    }
}

fn sniff(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(SNIFF);
    stream.take(SNIFF as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn sniffed(mut stream: Stream) -> io::Result<(Layer, Stream)> {
    let head = sniff(&mut stream)?;
    let layer = detect_layer(&head);
    let whole: Chain<Cursor<Vec<u8>>, Stream> = Cursor::new(head).chain(stream);
    Ok((layer, Box::new(whole)))
}

/// A reader as chunks; after an error it is at its end.
struct Chunked(Option<Stream>);

impl Chunked {
    fn new(stream: Stream) -> Self {
        Self(Some(stream))
    }
}

impl Iterator for Chunked {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        let stream = self.0.as_mut()?;
        let mut chunk = Vec::with_capacity(CHUNK);
        let outcome = stream.take(CHUNK as u64).read_to_end(&mut chunk);
        if outcome.is_err() || chunk.is_empty() {
            self.0 = None;
        }
        match outcome {
            Err(error) => Some(Err(error)),
            Ok(0) => None,
            Ok(_) => Some(Ok(chunk.into())),
        }
    }
}

/// Positions a file; kept here beside the other uses of `Seek`.
fn seek_to(mut file: File, start: u64) -> io::Result<File> {
    file.seek(SeekFrom::Start(start))?;
    Ok(file)
}

#[cfg(test)]
mod tests;
