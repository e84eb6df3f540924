//! An image read at any offset, without unpacking what is not asked for.
//!
//! Several threads may read at once: each unpacks another frame, and what one of them unpacks all
//! can use.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use etcdr_schemas::ReadAt;

use crate::error::{Error, Result};
use crate::image::layers::{ObjectReader, PackedReader};
use crate::image::opened::OpenedImage;
use crate::image::seek_table::Frame;
use crate::image::unpacker::Unpacker;

/// Unpacked frames that are cached: 24 MiB of the frames that this version writes.
const CACHED_FRAMES: usize = 6;

/// The plain bytes of an image at any offset. Blocks while it fetches: use it on a thread that may.
/// Errors carry [`crate::Error`] as their inner error.
pub struct RandomImage {
    opened: Arc<OpenedImage>,
    /// Where each frame begins in the packed bytes.
    starts: Vec<u64>,
    state: Mutex<State>,
    /// Signalled when a frame has arrived, or its thread gave up.
    arrived: Condvar,
}

#[derive(Default)]
struct State {
    /// Idle readers: as many as there were threads at once. One that failed is not used again,
    /// because age's reader keeps half-read chunks.
    sources: Vec<Source>,
    /// Most recently used last.
    frames: VecDeque<(usize, Arc<Vec<u8>>)>,
    /// Frames that threads are unpacking.
    in_progress: Vec<usize>,
}

struct Source {
    packed: PackedReader<ObjectReader>,
    ahead: Arc<AtomicU64>,
    unpacker: Unpacker,
}

impl State {
    fn cached(&mut self, index: usize) -> Option<Arc<Vec<u8>>> {
        let at = self.frames.iter().position(|(cached, _)| *cached == index)?;
        let entry = self.frames.remove(at)?;
        let frame = Arc::clone(&entry.1);
        self.frames.push_back(entry);
        Some(frame)
    }
}

/// A frame on its way, until it is there or its thread gave up.
struct FrameInProgress<'a> {
    image: &'a RandomImage,
    index: usize,
}

impl Drop for FrameInProgress<'_> {
    fn drop(&mut self) {
        self.image.lock().in_progress.retain(|in_progress| *in_progress != self.index);
        self.image.arrived.notify_all();
    }
}

impl RandomImage {
    pub(crate) fn new(opened: Arc<OpenedImage>) -> Self {
        let mut at = 0u64;
        let starts = opened.table.frames().iter().map(|frame| {
            let start = at;
            at = at.saturating_add(u64::from(frame.packed));
            start
        });
        let starts = starts.collect();
        Self { opened, starts, state: Mutex::default(), arrived: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn frame(&self, index: usize) -> Result<Arc<Vec<u8>>> {
        let mut state = self.lock();
        loop {
            if let Some(frame) = state.cached(index) {
                return Ok(frame);
            }
            if !state.in_progress.contains(&index) {
                break;
            }
            // Another thread unpacks it. Should that fail, this one tries.
            state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.in_progress.push(index);
        let idle = state.sources.pop();
        drop(state);
        let _in_progress = FrameInProgress { image: self, index };
        let (source, frame) = self.unpack(idle, index)?;
        let mut state = self.lock();
        state.sources.push(source);
        if state.frames.len() >= CACHED_FRAMES {
            state.frames.pop_front();
        }
        state.frames.push_back((index, Arc::clone(&frame)));
        Ok(frame)
    }

    fn unpack(&self, idle: Option<Source>, index: usize) -> Result<(Source, Arc<Vec<u8>>)> {
        let mut source = match idle {
            Some(source) => source,
            None => self.open()?,
        };
        let frame = Arc::new(self.load(&mut source, index)?);
        Ok((source, frame))
    }

    fn open(&self) -> Result<Source> {
        let ahead = Arc::new(AtomicU64::new(0));
        let opened = &self.opened;
        let stored =
            ObjectReader::new(opened.object.clone(), opened.handle.clone(), Arc::clone(&ahead));
        ahead.store(64 << 10, Ordering::Relaxed);
        let packed = PackedReader::open(&opened.image, &opened.identities, stored)?;
        Ok(Source { packed, ahead, unpacker: Unpacker::new()? })
    }

    fn load(&self, source: &mut Source, index: usize) -> Result<Vec<u8>> {
        let key = &self.opened.image.key;
        let failed = |error| Error::from_io(key, error);
        let beyond = || Error::damaged(key, format!("it has no frame {index}"));
        let &Frame { packed, plain } = self.opened.table.frames().get(index).ok_or_else(beyond)?;
        let &start = self.starts.get(index).ok_or_else(beyond)?;
        // One request for the frame, with the chunk borders of age around it.
        source.ahead.store(u64::from(packed).saturating_add(160 << 10), Ordering::Relaxed);
        source.packed.seek(SeekFrom::Start(start)).map_err(failed)?;
        // Bounded: the table was checked when the image was opened.
        let mut bytes = vec![0; packed as usize];
        source.packed.read_exact(&mut bytes).map_err(failed)?;
        let mut frame = Vec::new();
        source.unpacker.unpack(key, &bytes, plain, &mut frame)?;
        Ok(frame)
    }

    fn fill(&self, mut buf: &mut [u8], mut offset: u64) -> Result<()> {
        let frame_size = u64::from(self.opened.frame_size);
        while !buf.is_empty() {
            let index = usize::try_from(offset / frame_size).unwrap_or(usize::MAX);
            let frame = self.frame(index)?;
            let within = usize::try_from(offset % frame_size).unwrap_or(usize::MAX);
            let ready = frame.get(within..).unwrap_or_default();
            let count = ready.len().min(buf.len());
            if count == 0 {
                return Err(Error::damaged(
                    &self.opened.image.key,
                    "a frame is shorter than it says",
                ));
            }
            let (now, rest) = buf.split_at_mut(count);
            now.copy_from_slice(ready.get(..count).unwrap_or_default());
            buf = rest;
            offset = offset.saturating_add(count as u64);
        }
        Ok(())
    }
}

impl ReadAt for RandomImage {
    fn size(&self) -> u64 {
        self.opened.image.plain_size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.size()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.fill(buf, offset).map_err(Error::into_io)
    }
}
