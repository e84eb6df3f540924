//! The renames of a restore, which are undone unless all of them succeed.

use std::path::{Path, PathBuf};

use crate::disk::durable::Disk;
use crate::error::Result;

/// Renames, and their undoing when this is dropped before [`RenameLog::commit`].
pub(super) struct RenameLog {
    disk: Disk,
    renames: Vec<(PathBuf, PathBuf)>,
    committed: bool,
}

impl RenameLog {
    pub(super) fn new(disk: &Disk) -> Self {
        Self { disk: disk.clone(), renames: Vec::new(), committed: false }
    }

    /// Renames to a free name and remembers it.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        self.disk.rename(from, to)?;
        self.renames.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// All renames succeeded: they stay.
    pub(super) fn commit(mut self) {
        self.committed = true;
    }
}

impl Drop for RenameLog {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // The last one first: what was built leaves a target before what was there returns.
        for (from, to) in self.renames.iter().rev() {
            // What cannot be renamed back stays under its other name; nothing is deleted.
            let _ = self.disk.rename(to, from);
        }
    }
}
