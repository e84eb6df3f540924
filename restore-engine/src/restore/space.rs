//! Whether there is room, checked before anything is written.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::plan::{Plan, SLACK_PER_MEMBER};

/// The bytes that one file system must have free.
struct Need {
    path: PathBuf,
    databases: u64,
    rest: u64,
}

/// Refuses a plan whose directories do not fit. Directories on one file system are counted
/// together. A database that is written anew needs its room twice while that is done, and before
/// the others are.
pub(super) fn require(plan: &Plan) -> Result<()> {
    let mut needs: BTreeMap<u64, Need> = BTreeMap::new();
    let size = plan.source.facts.db_size;
    for target in &plan.targets {
        let need = need(&mut needs, &target.data_dir)?;
        need.databases = need.databases.saturating_add(size);
        let wal = target.wal_dir.as_ref().unwrap_or(&target.data_dir);
        let need = self::need(&mut needs, wal)?;
        need.rest = need.rest.saturating_add(SLACK_PER_MEMBER);
    }
    if let (Some(_), Some(first)) = (&plan.report.rebuild, plan.targets.first()) {
        let need = need(&mut needs, &first.data_dir)?;
        need.databases = need.databases.max(size.saturating_mul(2));
    }
    for Need { path, databases, rest } in needs.into_values() {
        let needed = databases.saturating_add(rest);
        let stat = rustix::fs::statvfs(&path).map_err(|e| Error::io("look at", &path, e.into()))?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        if available < needed {
            return Err(Error::NoSpace { path, needed, available });
        }
    }
    Ok(())
}

fn need<'a>(needs: &'a mut BTreeMap<u64, Need>, path: &Path) -> Result<&'a mut Need> {
    let path = existing_ancestor(path);
    let device = path.metadata().map_err(|e| Error::io("look at", &path, e))?.dev();
    Ok(needs.entry(device).or_insert(Need { path, databases: 0, rest: 0 }))
}

/// The nearest directory at or above `path` that exists.
pub(super) fn existing_ancestor(path: &Path) -> PathBuf {
    path.ancestors()
        .find(|dir| !dir.as_os_str().is_empty() && dir.exists())
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}
