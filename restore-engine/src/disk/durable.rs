//! Durable local writes: the only module here that changes the file system.
//!
//! A file is on disk when its bytes are synced and the directory that names it is synced too; a
//! rename is on disk when both directories are. Nothing below relies on the order in which a kernel
//! writes back by itself. Every operation asks the watcher of its [`Disk`] first, so that a test
//! can stop between any two of them and examine what is on disk.

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use etcdr_schemas::diagnose::carry;
use rustix::fs::{CWD, FlockOperation, RenameFlags};

use crate::error::{Error, Result};

/// One change of the file system, about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A directory is made.
    CreateDir(&'a Path),
    /// A file is made.
    Create(&'a Path),
    /// Bytes are written to a file.
    Write(&'a Path),
    /// A file's bytes are synced.
    Sync(&'a Path),
    /// A directory's names are synced.
    SyncDir(&'a Path),
    /// Something is renamed.
    Rename(&'a Path, &'a Path),
    /// Something of our own is removed.
    Remove(&'a Path),
}

/// Asked before every step; its error is the step's.
pub type Watcher = dyn Fn(Step<'_>) -> io::Result<()> + Send + Sync;

/// The local disk, and who watches it. Cloning shares the watcher.
#[derive(Clone)]
pub struct Disk(Arc<Watcher>);

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self(Arc::new(|_| Ok(())))
    }
}

impl Disk {
    /// A disk whose every change is announced to `watcher` first. An error of the watcher keeps the
    /// change from happening.
    pub fn watched(watcher: impl Fn(Step<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(watcher))
    }

    fn announce(&self, step: Step<'_>) -> io::Result<()> {
        (self.0)(step)
    }

    /// Makes a directory that only its owner can enter.
    pub(crate) fn create_dir(&self, path: &Path) -> Result<()> {
        self.announce(Step::CreateDir(path))
            .and_then(|()| DirBuilder::new().mode(0o700).create(path))
            .map_err(|source| Error::io("create the directory", path, source))
    }

    /// Makes `path` and the directories above it that are missing, and appends them to `made`, the
    /// topmost first.
    pub(crate) fn create_dirs(
        &self,
        path: &Path,
        mode: u32,
        made: &mut Vec<PathBuf>,
    ) -> Result<()> {
        let missing =
            path.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists());
        let missing: Vec<_> = missing.map(Path::to_path_buf).collect();
        for dir in missing.into_iter().rev() {
            self.announce(Step::CreateDir(&dir))
                .and_then(|()| DirBuilder::new().mode(mode).create(&dir))
                .map_err(|source| Error::io("create the directory", &dir, source))?;
            made.push(dir);
        }
        Ok(())
    }

    /// A new file, readable by its owner only. It must not exist.
    pub(crate) fn create(&self, path: &Path) -> Result<NewFile> {
        let file = self
            .announce(Step::Create(path))
            .and_then(|()| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path))
            .map_err(|source| Error::io("create", path, source))?;
        Ok(NewFile { file, path: path.to_owned(), disk: self.clone(), behind: None })
    }

    /// A new small file, synced.
    pub(crate) fn write_new(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let mut file = self.create(path)?;
        file.write(bytes)?;
        file.sync()
    }

    /// Replaces or creates a small file of ours. It is written beside and synced before the rename,
    /// so that a crash leaves the old content or the new one.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let beside = sibling(path, ".", ".etcdr-partial");
        if beside.exists() {
            self.remove_file(&beside)?;
        }
        self.write_new(&beside, bytes)?;
        self.announce(Step::Rename(&beside, path))
            .and_then(|()| std::fs::rename(&beside, path))
            .map_err(|source| Error::io("rename to", path, source))?;
        self.sync_dir(parent(path))
    }

    /// Syncs a directory's names.
    pub(crate) fn sync_dir(&self, path: &Path) -> Result<()> {
        self.announce(Step::SyncDir(path))
            .and_then(|()| File::open(path))
            .and_then(|dir| dir.sync_all())
            .map_err(|source| Error::io("sync", path, source))
    }

    /// Renames to a name that must be free. Neither directory is synced.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.announce(Step::Rename(from, to))
            .and_then(|()| rename_to_free(from, to))
            .map_err(|source| Error::io("rename to", to, source))
    }

    /// Copies a file's bytes to a new file and syncs it.
    pub(crate) fn copy(&self, from: &Path, to: &Path) -> Result<u64> {
        let at = |source| Error::io("copy to", to, source);
        let mut new = self.create(to)?;
        self.announce(Step::Write(to)).map_err(at)?;
        let mut source = File::open(from).map_err(|source| Error::io("open", from, source))?;
        let copied = io::copy(&mut source, &mut new.file).map_err(at)?;
        new.sync()?;
        Ok(copied)
    }

    /// Removes a directory of our own with all that is in it.
    pub(crate) fn remove_tree(&self, path: &Path) -> Result<()> {
        self.announce(Step::Remove(path))
            .and_then(|()| std::fs::remove_dir_all(path))
            .map_err(|source| Error::io("remove", path, source))
    }

    /// Removes a directory of our own that must be empty.
    pub(crate) fn remove_empty_dir(&self, path: &Path) -> Result<()> {
        self.announce(Step::Remove(path))
            .and_then(|()| std::fs::remove_dir(path))
            .map_err(|source| Error::io("remove", path, source))
    }

    /// Removes a file of our own.
    pub(crate) fn remove_file(&self, path: &Path) -> Result<()> {
        self.announce(Step::Remove(path))
            .and_then(|()| std::fs::remove_file(path))
            .map_err(|source| Error::io("remove", path, source))
    }
}

/// Renames only to a free name. The kernel refuses atomically where the file system supports it.
/// Elsewhere the name is checked beforehand, which leaves a short race.
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(from, to)
        }
        done => Ok(done?),
    }
}

/// A new file that is being written.
#[derive(Debug)]
pub(crate) struct NewFile {
    file: File,
    path: PathBuf,
    disk: Disk,
    behind: Option<WriteBehind>,
}

impl NewFile {
    /// Appends bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.disk
            .announce(Step::Write(&self.path))
            .and_then(|()| bytes.chunks(WRITE).try_for_each(|piece| self.file.write_all(piece)))
            .map_err(|source| Error::io("write", &self.path, source))?;
        if let Some(behind) = &mut self.behind {
            behind.advance(bytes.len() as u64);
        }
        Ok(())
    }

    /// Syncs the bytes. The name is safe only after [`Disk::sync_dir`].
    pub(crate) fn sync(&self) -> Result<()> {
        self.disk
            .announce(Step::Sync(&self.path))
            .and_then(|()| self.file.sync_all())
            .map_err(|source| Error::io("sync", &self.path, source))
    }

    /// From now on a second thread syncs what was written while more is, so that the final sync
    /// finds little left to do.
    pub(crate) fn write_behind(&mut self) -> Result<()> {
        // Opened anew and not cloned: Linux reports a failed write-back once to each open file
        // description, and a clone would share ours and swallow what the final sync must see.
        let file = File::open(&self.path).map_err(|e| Error::io("open", &self.path, e))?;
        let (nudge, nudges) = sync_channel::<()>(1);
        let worker = std::thread::spawn(move || {
            // Its errors need no care: the final sync reports them too, and is the one that
            // decides.
            while nudges.recv().is_ok() && file.sync_data().is_ok() {}
        });
        self.behind = Some(WriteBehind { nudge: Some(nudge), worker: Some(worker), unsynced: 0 });
        Ok(())
    }
}

/// For writers that go back: pages are written in order, and the first two last.
impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::write(self, bytes).map_err(carry)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for NewFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// Largest single write. A write of megabytes gets page-cache memory in blocks of megabytes, and in
/// a virtual machine those are the ones whose memory the host has taken back: touching them costs
/// five times what the copy does. Small ones come from what was freed last.
const WRITE: usize = 128 << 10;

/// Bytes between two requests to write back.
const WRITE_BEHIND: u64 = 64 << 20;

/// A thread that syncs a file while it grows.
#[derive(Debug)]
struct WriteBehind {
    nudge: Option<SyncSender<()>>,
    worker: Option<JoinHandle<()>>,
    unsynced: u64,
}

impl WriteBehind {
    /// Asks for a sync after every [`WRITE_BEHIND`] bytes, unless one is already waiting.
    fn advance(&mut self, bytes: u64) {
        self.unsynced += bytes;
        if self.unsynced < WRITE_BEHIND {
            return;
        }
        self.unsynced = 0;
        if let Some(nudge) = &self.nudge {
            let _ = nudge.try_send(());
        }
    }
}

impl Drop for WriteBehind {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

/// An advisory lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Locks a file or directory, or returns `None` when another process holds it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let at = |source| Error::io("lock", path, source);
        let file = File::open(path).map_err(at)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            // On a file system without locks no other process can hold one either.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOLCK) => {
                Ok(Some(Self { _file: file }))
            }
            Err(error) => Err(at(error.into())),
        }
    }
}

/// The directory that holds `path`; `.` for a bare name.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

/// `path` with something before and after its last part.
pub(crate) fn sibling(path: &Path, before: &str, after: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(before);
    name.push(path.file_name().unwrap_or_default());
    name.push(after);
    path.with_file_name(name)
}

/// Part of the name of what was moved aside.
pub(crate) const MOVED: &str = ".etcdr-moved-";

/// Most things that are moved aside in one second.
const MAX_MOVED: u32 = 100;

/// A free name beside `path` to move it to. When all that are tried are taken the first is
/// returned, and the rename, which never overwrites, fails.
pub(crate) fn aside_name(path: &Path, stamp: &str) -> PathBuf {
    free(stamp, |ending| sibling(path, "", ending))
}

/// A free name inside `dir` to move its entries to.
pub(crate) fn aside_name_in(dir: &Path, stamp: &str) -> PathBuf {
    free(stamp, |ending| dir.join(ending))
}

fn free(stamp: &str, name: impl Fn(&str) -> PathBuf) -> PathBuf {
    let first = name(&format!("{MOVED}{stamp}"));
    let others = (2..=MAX_MOVED).map(|n| name(&format!("{MOVED}{stamp}-{n}")));
    let mut names = std::iter::once(first.clone()).chain(others);
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_moved_aside_in_the_same_second_gets_names_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let names: Vec<_> = (0..3)
            .map(|_| {
                let name = aside_name(&path, "now");
                std::fs::create_dir(&name).unwrap();
                name.file_name().unwrap().to_owned()
            })
            .collect();
        assert_eq!(names, ["m.etcdr-moved-now", "m.etcdr-moved-now-2", "m.etcdr-moved-now-3"]);
        assert_eq!(aside_name_in(dir.path(), "now"), dir.path().join(".etcdr-moved-now"));
    }

    #[test]
    fn a_rename_never_overwrites() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let disk = Disk::default();
        disk.write_new(&at("a"), b"a").unwrap();
        disk.write_new(&at("b"), b"b").unwrap();
        assert!(disk.rename(&at("a"), &at("b")).is_err());
        assert_eq!(std::fs::read(at("b")).unwrap(), b"b");
        disk.create_dir(&at("empty")).unwrap();
        assert!(disk.rename(&at("a"), &at("empty")).is_err());
        assert!(disk.create(&at("b")).is_err());
    }

    #[test]
    fn a_replaced_file_is_old_or_new_at_every_step() {
        for stop in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("receipt");
            Disk::default().replace(&path, b"old").unwrap();
            let steps = std::sync::atomic::AtomicUsize::new(0);
            let disk = Disk::watched(move |_| {
                let step = steps.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                if step >= stop { Err(io::Error::other("stopped")) } else { Ok(()) }
            });
            let done = disk.replace(&path, b"new");
            let now = std::fs::read(&path).unwrap();
            assert!(now == b"old" || now == b"new");
            if done.is_ok() {
                assert_eq!(now, b"new");
                return;
            }
        }
    }

    #[test]
    fn a_lock_keeps_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let held = Lock::try_exclusive(dir.path()).unwrap().unwrap();
        assert!(Lock::try_exclusive(dir.path()).unwrap().is_none());
        drop(held);
        assert!(Lock::try_exclusive(dir.path()).unwrap().is_some());
    }
}
