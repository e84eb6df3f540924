//! Local files as [`ReadAt`].

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use etcdr_schemas::ReadAt;

use crate::{Error, Result};

/// A local file of a fixed size, read at any offset.
#[derive(Debug)]
pub struct LocalFile {
    file: File,
    size: u64,
}

impl LocalFile {
    /// Opens a file for reading. Its size is taken now and does not follow later growth.
    ///
    /// # Errors
    /// [`Error::Local`] when it cannot be opened.
    pub fn open(path: &Path) -> Result<Self> {
        let at = |source| Error::Local { action: "open", path: PathBuf::from(path), source };
        let file = File::open(path).map_err(at)?;
        let size = file.metadata().map_err(at)?.len();
        Ok(Self { file, size })
    }
}

impl ReadAt for LocalFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}
