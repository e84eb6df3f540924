//! Whether there is room, asked before anything is written.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::plan::{Plan, SLACK_PER_MEMBER};

/// Refuses a plan whose directories do not fit. Directories on one file system are counted together.
pub(super) fn require(plan: &Plan) -> Result<()> {
    let mut needs: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    for target in &plan.targets {
        add(&mut needs, &target.data_dir, plan.source.facts.db_size)?;
        let wal = target.wal_dir.as_ref().unwrap_or(&target.data_dir);
        add(&mut needs, wal, SLACK_PER_MEMBER)?;
    }
    for (path, needed) in needs.into_values() {
        let stat = rustix::fs::statvfs(&path).map_err(|e| Error::io("look at", &path, e.into()))?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        if available < needed {
            return Err(Error::NoSpace { path, needed, available });
        }
    }
    Ok(())
}

fn add(needs: &mut BTreeMap<u64, (PathBuf, u64)>, path: &Path, bytes: u64) -> Result<()> {
    let existing = existing_ancestor(path);
    let device = existing.metadata().map_err(|e| Error::io("look at", &existing, e))?.dev();
    let need = needs.entry(device).or_insert((existing, 0));
    need.1 = need.1.saturating_add(bytes);
    Ok(())
}

/// The nearest directory at or above `path` that exists.
pub(super) fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|dir| !dir.as_os_str().is_empty() && dir.exists())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
