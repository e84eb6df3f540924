//! Room for sealed bytes on a local disk, for stores that are slower than etcd.
//!
//! Without it the store's pace is etcd's: its read transaction stays open until the last part is on
//! its way. With it the sealing side writes to a file, and another thread feeds the upload from
//! there. The file is a ring of a fixed size. A full ring waits for the store, as without a spool;
//! a disk that refuses bytes (full, or broken) ends the use of the file, and pieces then go
//! straight from the writer to the reader. Neither fails the snapshot.
//!
//! Only sealed bytes are in the file, it has no name once it is open, and what the store holds is
//! read back against the digest that was made before the bytes came here: the spool is trusted with
//! nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::store::upload::{PartWriter, Sink};

/// Most bytes that are written or read at once.
const PIECE: usize = 128 << 10;

/// Names that are tried before the directory counts as unusable.
const TRIES: u32 = 64;

/// Where sealed bytes may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spool {
    /// A directory that exists, not on etcd's disk.
    pub directory: PathBuf,
    /// Most bytes that wait there for one image.
    pub max_size: u64,
}

/// The writing end.
pub(crate) struct SpoolWriter(Arc<Ring>);

/// The reading end, which feeds an upload.
pub(crate) struct SpoolReader(Arc<Ring>);

struct Ring {
    file: File,
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that the disk takes before it is full.
    #[cfg(test)]
    room: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
struct State {
    /// Bytes that were written to the file, from the beginning.
    written: u64,
    /// Bytes of them that were taken out.
    read: u64,
    /// A piece that bypasses the file; it comes after all that is in it.
    bypass: Option<Vec<u8>>,
    /// The file is no longer used.
    file_given_up: bool,
    /// The writer has written all.
    closed: bool,
    /// One end is gone.
    broken: bool,
}

impl Spool {
    /// Opens a file without a name. `None`, with a warning, where there cannot be one: a snapshot
    /// that is slow to take is better than none.
    pub(crate) fn open(&self) -> Option<(SpoolWriter, SpoolReader)> {
        match unnamed(&self.directory) {
            Ok(file) => Some(writer_and_reader(file, self.max_size)),
            Err(error) => {
                let directory = self.directory.display();
                tracing::warn!(%directory, %error, "no spool: etcd has to wait for the store");
                None
            }
        }
    }
}

fn writer_and_reader(file: File, size: u64) -> (SpoolWriter, SpoolReader) {
    let size = size.max(PIECE as u64);
    let ring = Ring {
        file,
        size,
        state: Mutex::default(),
        changed: Condvar::new(),
        #[cfg(test)]
        room: u64::MAX.into(),
    };
    let ring = Arc::new(ring);
    (SpoolWriter(Arc::clone(&ring)), SpoolReader(ring))
}

/// A file of mode 0600 whose name is taken away at once, so that the kernel frees it however this
/// process ends.
fn unnamed(directory: &Path) -> io::Result<File> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..TRIES {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!(".etcdr-spool-{}-{number}", std::process::id()));
        let mut options = OpenOptions::new();
        match options.read(true).write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

impl Ring {
    fn write(&self, data: &[u8], offset: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.room.fetch_sub(data.len() as u64, Ordering::Relaxed) < data.len() as u64 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(data, offset)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until the condition no longer holds, or the other end is gone.
    fn wait(&self, waiting: impl Fn(&State) -> bool) -> Result<MutexGuard<'_, State>> {
        let state = self.changed.wait_while(self.lock(), |state| !state.broken && waiting(state));
        let state = state.unwrap_or_else(PoisonError::into_inner);
        if state.broken { Err(Error::Stopped) } else { Ok(state) }
    }

    /// Place in the file and bytes up to its end.
    fn place(&self, at: u64, most: u64) -> (u64, usize) {
        let offset = at % self.size;
        let length = most.min(self.size - offset).min(PIECE as u64);
        (offset, usize::try_from(length).unwrap_or(PIECE))
    }
}

impl SpoolWriter {
    /// Writes some of the bytes to the file; waits while it is full.
    fn to_file(&self, data: &[u8]) -> Result<io::Result<usize>> {
        let ring = &self.0;
        let state = ring.wait(|state| state.written - state.read >= ring.size)?;
        let (written, free) = (state.written, ring.size - (state.written - state.read));
        drop(state);
        let (offset, length) = ring.place(written, free.min(data.len() as u64));
        let (now, _) = data.split_at(length.min(data.len()));
        if let Err(error) = ring.write(now, offset) {
            return Ok(Err(error));
        }
        ring.change(|state| state.written += now.len() as u64);
        Ok(Ok(now.len()))
    }

    /// Gives a piece to the reader, which first takes what is in the file.
    fn past_the_file(&self, data: &[u8]) -> Result<usize> {
        let (now, _) = data.split_at(data.len().min(PIECE));
        let mut state = self.0.wait(|state| state.bypass.is_some())?;
        state.bypass = Some(now.to_vec());
        drop(state);
        self.0.changed.notify_all();
        Ok(now.len())
    }
}

impl Write for SpoolWriter {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        if !self.0.lock().file_given_up {
            match self.to_file(data).map_err(Error::into_io)? {
                Ok(count) => return Ok(count),
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "the spool takes no more: etcd has to wait for the store"
                    );
                    self.0.change(|state| state.file_given_up = true);
                }
            }
        }
        self.past_the_file(data).map_err(Error::into_io)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for SpoolWriter {
    fn close(self) -> Result<()> {
        self.0.change(|state| state.closed = true);
        Ok(())
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.0.change(|state| state.broken |= !state.closed);
    }
}

impl SpoolReader {
    /// Takes everything out and gives it to the upload; returns when the upload has been closed.
    pub(crate) fn drain(self, mut parts: PartWriter) -> Result<()> {
        let (ring, mut buffer) = (&self.0, vec![0; PIECE]);
        let failed = |error| Error::from_io("the spool", error);
        loop {
            let mut state = ring.wait(|state| {
                state.read == state.written && state.bypass.is_none() && !state.closed
            })?;
            if state.read < state.written {
                let (read, waiting) = (state.read, state.written - state.read);
                drop(state);
                let (offset, length) = ring.place(read, waiting);
                let (piece, _) = buffer.split_at_mut(length);
                ring.file.read_exact_at(piece, offset).map_err(failed)?;
                parts.write_all(piece).map_err(failed)?;
                ring.change(|state| state.read += length as u64);
            } else if let Some(piece) = state.bypass.take() {
                drop(state);
                ring.changed.notify_all();
                parts.write_all(&piece).map_err(failed)?;
            } else {
                break;
            }
        }
        parts.close()
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        self.0.change(|state| state.broken |= !state.closed || state.read < state.written);
    }
}

/// How sealed bytes get to their upload.
pub(crate) enum UploadRoute {
    /// Straight.
    Straight(PartWriter),
    /// Through a spool.
    Spooled(SpoolWriter),
}

impl Write for UploadRoute {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Straight(parts) => parts.write(data),
            Self::Spooled(spool) => spool.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for UploadRoute {
    fn close(self) -> Result<()> {
        match self {
            Self::Straight(parts) => parts.close(),
            Self::Spooled(spool) => spool.close(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::{Duration, Instant};

    use tokio::runtime::Runtime;

    use super::*;
    use crate::store::sizes::PartSize;
    use crate::store::upload::{Part, parts};

    const TOTAL: usize = 9 << 20;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[2]).collect()
    }

    /// Sends `TOTAL` bytes through a spool of that size to a store that takes so long for each
    /// part. Gives the time that the writer took and what arrived.
    fn send(file: File, size: u64, slow: Duration) -> (Duration, Vec<u8>) {
        send_with(file, size, slow, u64::MAX)
    }

    fn send_with(file: File, size: u64, slow: Duration, room: u64) -> (Duration, Vec<u8>) {
        let runtime = Runtime::new().unwrap();
        let (writer, mut reader) = parts(PartSize::REMOTE);
        let (mut spool, rest) = writer_and_reader(file, size);
        spool.0.room.store(room, Ordering::Relaxed);
        let pump = thread::spawn(move || rest.drain(writer));
        let (reported, writing) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let began = Instant::now();
            // Odd lengths, so that pieces cross the end of the ring.
            for chunk in pattern(TOTAL).chunks(70_001) {
                spool.write_all(chunk).unwrap();
            }
            spool.close().unwrap();
            reported.send(began.elapsed()).unwrap();
        });
        let arrived = runtime.block_on(async {
            let mut all = Vec::new();
            while let Some(part) = reader.next().await {
                tokio::time::sleep(slow).await;
                let (Part::More(bytes) | Part::Last(bytes)) = part;
                all.extend_from_slice(&bytes);
                reader.release();
            }
            all
        });
        pump.join().unwrap().unwrap();
        (writing.recv().unwrap(), arrived)
    }

    fn file() -> File {
        unnamed(tempfile::tempdir().unwrap().path()).unwrap()
    }

    #[test]
    fn a_slow_store_does_not_hold_up_the_writer() {
        let (took, arrived) = send(file(), 64 << 20, Duration::from_millis(700));
        assert!(took < Duration::from_millis(600), "{took:?}");
        assert!(arrived == pattern(TOTAL));
    }

    #[test]
    fn a_full_spool_waits_for_the_store() {
        for size in [0, 200_003, 1 << 20] {
            let (_, arrived) = send(file(), size, Duration::from_millis(20));
            assert!(arrived == pattern(TOTAL), "{size}");
        }
    }

    #[test]
    fn a_disk_that_is_full_is_done_without() {
        let full = OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let (_, arrived) = send(full, 64 << 20, Duration::ZERO);
        assert!(arrived == pattern(TOTAL));
        // It fills up on the way, while bytes wait in it.
        for room in [1, 300_000, 7 << 20] {
            let (_, arrived) = send_with(file(), 64 << 20, Duration::from_millis(300), room);
            assert!(arrived == pattern(TOTAL), "{room}");
        }
    }

    #[test]
    fn the_file_has_no_name_and_is_nobody_elses() {
        use std::os::unix::fs::MetadataExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = unnamed(dir.path()).unwrap();
        assert_eq!(dir.path().read_dir().unwrap().count(), 0);
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(file.metadata().unwrap().nlink(), 0);
        let missing = Spool { directory: dir.path().join("no"), max_size: 1 };
        assert!(missing.open().is_none());
    }

    #[test]
    fn an_end_that_dies_takes_the_other_with_it() {
        let (writer, reader) = writer_and_reader(file(), 1 << 20);
        let (parts_writer, _parts) = parts(PartSize::REMOTE);
        drop(writer);
        assert!(matches!(reader.drain(parts_writer), Err(Error::Stopped)));
        let (mut writer, reader) = writer_and_reader(file(), 1 << 20);
        drop(reader);
        assert!(writer.write_all(b"x").is_err());
        // A store that is gone while the ring is full.
        let (mut writer, reader) = writer_and_reader(file(), 1 << 20);
        let waiting = thread::spawn(move || writer.write_all(&pattern(8 << 20)));
        thread::sleep(Duration::from_millis(50));
        drop(reader);
        assert!(waiting.join().unwrap().is_err());
    }
}
