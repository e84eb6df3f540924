//! Files that a person asked for: there whole, or not there.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use etcdr_schemas::diagnose::carry;

use crate::disk::durable::{Disk, NewFile};
use crate::error::{Error, Result};

/// Writes a small new file with the given mode, synced. An existing one is never overwritten.
///
/// # Errors
/// [`Error::Local`], also when there is a file of that name.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let mut out = OutFile::create(path)?;
    out.file.write(bytes)?;
    std::fs::set_permissions(&out.beside, Permissions::from_mode(mode))
        .map_err(|source| Error::io("set the mode of", path, source))?;
    out.commit()
}

/// A large file on its way: written beside under a name of its own, readable by its owner only, and
/// renamed when it is whole. Dropping it removes what was written.
#[derive(Debug)]
pub struct OutFile {
    disk: Disk,
    file: NewFile,
    beside: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl OutFile {
    /// Begins a file that must not exist.
    ///
    /// # Errors
    /// [`Error::Local`].
    pub fn create(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::io("create", path, io::ErrorKind::AlreadyExists.into()));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // The process id keeps two exports to one name apart.
        let beside = path.with_file_name(format!(".{name}.{}.etcdr-partial", std::process::id()));
        let disk = Disk::default();
        let file = disk.create(&beside)?;
        Ok(Self { disk, file, beside, path: path.to_owned(), committed: false })
    }

    /// Syncs and gives the file its name.
    ///
    /// # Errors
    /// [`Error::Local`]; a file that has appeared under the name meanwhile is not overwritten.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync()?;
        self.disk.rename(&self.beside, &self.path)?;
        self.committed = true;
        let parent = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        self.disk.sync_dir(parent.unwrap_or(Path::new(".")))
    }
}

impl Write for OutFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes).map_err(carry)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutFile {
    fn drop(&mut self) {
        if !self.committed {
            // It is ours, and nothing depends on its going.
            let _ = std::fs::remove_file(&self.beside);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let names = || std::fs::read_dir(dir.path()).unwrap().count();
        let mut out = OutFile::create(&path).unwrap();
        out.write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(out);
        assert_eq!(names(), 0);
        let mut out = OutFile::create(&path).unwrap();
        out.write_all(b"whole").unwrap();
        out.commit().unwrap();
        assert_eq!((std::fs::read(&path).unwrap().as_slice(), names()), (b"whole".as_slice(), 1));
        assert!(OutFile::create(&path).is_err());
        assert!(write_new(&path, b"other", 0o600).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn the_mode_is_what_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o644] {
            let path = dir.path().join(mode.to_string());
            write_new(&path, b"x", mode).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode);
        }
    }
}
