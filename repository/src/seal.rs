//! The write side of an image: frames, zstd, age, digest, parts.
//!
//! ```text
//! chunks -> [tap, frames] -> [zstd xN] -> [seek table, age, sha256, parts] -> upload
//! ```
//! Each bracket is a thread, so that the caller's digest, compression and encryption overlap. The end of
//! the stream is a message, never a closed channel: a source that dies cannot look like one that is
//! done, at any stage.

use std::io::{self, Write};
use std::sync::Arc;

use age::Encryptor;
use age::stream::StreamWriter;
use bytes::Bytes;
use etcdr_schemas::{RunningSha256, Sha256Digest};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use zstd::zstd_safe::CParameter;

use crate::bridge::{self, Blocking};
use crate::error::{BoxError, Error, Result};
use crate::pool::{self, Collect, MakeWork, Submit};
use crate::seek_table::{FRAME_SIZE, Frame, SeekTable};
use crate::upload::Sink;

/// Chunks between the caller and the framing thread.
const INPUT_QUEUE: usize = 16;

/// A look at the plain bytes as they pass, on the framing thread: where the caller's own digest and
/// checks are made.
pub trait Tap: Send + 'static {
    /// Sees the next bytes.
    ///
    /// # Errors
    /// Any error stops the upload.
    fn feed(&mut self, bytes: &[u8]) -> Result<(), BoxError>;

    /// All bytes were seen. The upload is completed only when this succeeds.
    ///
    /// # Errors
    /// Any error stops the upload.
    fn finish(&mut self) -> Result<(), BoxError>;
}

/// Sees nothing and agrees.
impl Tap for () {
    fn feed(&mut self, _: &[u8]) -> Result<(), BoxError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

/// What goes into the pipeline.
pub(crate) enum Input {
    Chunk(Bytes),
    End,
}

/// One frame, packed.
pub(crate) struct Packed {
    bytes: Vec<u8>,
    plain: u32,
}

/// How to pack.
pub(crate) struct Recipe {
    pub(crate) workers: usize,
    pub(crate) compress: MakeWork<Vec<u8>, Packed>,
    pub(crate) encryptor: Option<Encryptor>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) stored_size: u64,
    pub(crate) stored_sha256: Sha256Digest,
}

/// The running stages.
pub(crate) struct Pipeline<T> {
    pub(crate) input: mpsc::Sender<Input>,
    pub(crate) framing: Blocking<(T, u64)>,
    pub(crate) sealing: Blocking<Sealed>,
}

/// Starts the stages; the sealed bytes go to `sink`.
pub(crate) fn start<T: Tap, S: Sink + Send + 'static>(
    handle: &Handle,
    recipe: Recipe,
    tap: T,
    sink: S,
) -> Pipeline<T> {
    let (input, chunks) = mpsc::channel(INPUT_QUEUE);
    let (submit, collect) = pool::start(handle, recipe.workers, &recipe.compress);
    let framing = bridge::blocking(handle, move || frame_stage(chunks, tap, submit));
    let sealing = bridge::blocking(handle, move || seal_stage(&collect, recipe.encryptor, sink));
    Pipeline { input, framing, sealing }
}

/// Compression with frame checksums and sizes, one context per worker.
pub(crate) fn zstd(level: i32) -> MakeWork<Vec<u8>, Packed> {
    Arc::new(move || {
        let mut context = zstd::bulk::Compressor::new(level).map_err(Error::Compress)?;
        for parameter in [CParameter::ChecksumFlag(true), CParameter::ContentSizeFlag(true)] {
            context.set_parameter(parameter).map_err(Error::Compress)?;
        }
        Ok(Box::new(move |plain: Vec<u8>| {
            let mut bytes = Vec::with_capacity(zstd::zstd_safe::compress_bound(plain.len()));
            context.compress_to_buffer(&plain, &mut bytes).map_err(Error::Compress)?;
            let plain = u32::try_from(plain.len())
                .map_err(|_| Error::Worker("a frame is too large".to_owned()))?;
            Ok(Packed { bytes, plain })
        }))
    })
}

fn frame_stage<T: Tap>(
    mut chunks: mpsc::Receiver<Input>,
    mut tap: T,
    submit: Submit<Vec<u8>, Packed>,
) -> Result<(T, u64)> {
    let full = FRAME_SIZE as usize;
    let mut size = 0u64;
    let mut frame = Vec::with_capacity(full);
    loop {
        let chunk = match chunks.blocking_recv() {
            Some(Input::Chunk(chunk)) => chunk,
            Some(Input::End) => break,
            None => return Err(Error::Stopped),
        };
        tap.feed(&chunk).map_err(Error::Tap)?;
        size = size.saturating_add(chunk.len() as u64);
        let mut rest = chunk.as_ref();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(full - frame.len()));
            frame.extend_from_slice(now);
            rest = later;
            if frame.len() == full {
                submit.give(std::mem::replace(&mut frame, Vec::with_capacity(full)))?;
            }
        }
    }
    tap.finish().map_err(Error::Tap)?;
    if !frame.is_empty() {
        submit.give(frame)?;
    }
    submit.done()?;
    Ok((tap, size))
}

fn seal_stage<S: Sink>(
    frames: &Collect<Packed>,
    encryptor: Option<Encryptor>,
    sink: S,
) -> Result<Sealed> {
    let failed = |error| Error::from_io("the image", error);
    let sink = Hashing { inner: sink, hasher: RunningSha256::new(), size: 0 };
    let mut outer = Outer::open(encryptor, sink).map_err(failed)?;
    let mut table = SeekTable::default();
    while let Some(packed) = frames.next()? {
        let too_large = || Error::Worker("the database has too many frames".to_owned());
        let size = u32::try_from(packed.bytes.len()).map_err(|_| too_large())?;
        if !table.push(Frame { packed: size, plain: packed.plain }) {
            return Err(too_large());
        }
        outer.write_all(&packed.bytes).map_err(failed)?;
    }
    outer.write_all(&table.encode()).map_err(failed)?;
    let sink = outer.finish().map_err(failed)?;
    let sealed = Sealed { stored_size: sink.size, stored_sha256: sink.hasher.finish() };
    sink.inner.close()?;
    Ok(sealed)
}

/// The outermost layer of an image.
enum Outer<S: Sink> {
    Age(Box<StreamWriter<Hashing<S>>>),
    Plain(Hashing<S>),
}

impl<S: Sink> Outer<S> {
    fn open(encryptor: Option<Encryptor>, sink: Hashing<S>) -> io::Result<Self> {
        match encryptor {
            Some(encryptor) => Ok(Self::Age(Box::new(encryptor.wrap_output(sink)?))),
            None => Ok(Self::Plain(sink)),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Age(writer) => writer.write_all(bytes),
            Self::Plain(writer) => writer.write_all(bytes),
        }
    }

    /// Writes the last chunk of the age file: without it the file does not decrypt.
    fn finish(self) -> io::Result<Hashing<S>> {
        match self {
            Self::Age(writer) => writer.finish(),
            Self::Plain(writer) => Ok(writer),
        }
    }
}

/// Digest and size of what is stored.
struct Hashing<S> {
    inner: S,
    hasher: RunningSha256,
    size: u64,
}

impl<S: Write> Write for Hashing<S> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(data)?;
        self.hasher.update(data.get(..written).unwrap_or(data));
        self.size = self.size.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
