//! Where a restore builds, and how the result is renamed into place.
//!
//! A directory that does not exist yet is built in a hidden stage beside it and renamed as a whole.
//! One that exists and is empty, which is what a mounted volume is, cannot be renamed over: its
//! content is built in a hidden stage inside it and moved up entry by entry. Several members'
//! directories that are new children of one new directory are built and renamed together, so that
//! the cluster appears at once. In all cases there is nothing at the target before the last rename,
//! and all of it after.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use etcdr_schemas::report::MovedAside;

use super::rename_log::RenameLog;
use super::space::existing_ancestor;
use crate::disk::durable::{Disk, Lock, MOVED, aside_name, aside_name_in, parent, sibling};
use crate::error::{Error, Result};
use crate::plan::Plan;

/// Part of a stage's name. A directory with it that is not locked was left by a restore that was
/// killed.
const STAGE: &str = ".etcdr-partial-";

/// Mode of directories above the target that had to be made.
const SHARED: u32 = 0o755;

/// Entries that do not make a directory occupied: what ext file systems put at their root.
const HARMLESS: &str = "lost+found";

/// One directory of the target.
#[derive(Debug)]
struct StagedDir {
    /// The final path.
    target: PathBuf,
    /// What is at that path before the restore.
    state: TargetState,
    /// Whether it is a WAL directory of its own.
    log: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TargetState {
    Absent,
    /// An empty directory.
    Empty,
    /// A directory with content, to be moved aside as a whole.
    Occupied,
    /// A mount point with content. It cannot be renamed: its entries are moved aside one by one.
    OccupiedMount,
}

#[derive(Debug)]
struct Stage {
    root: PathBuf,
    /// Becomes the target, or holds the entries that go into it.
    content: PathBuf,
    _lock: Lock,
}

/// Where one member is built.
#[derive(Debug, Clone)]
pub(super) struct MemberStage {
    /// Its data directory in the stage.
    pub(super) data: PathBuf,
    /// Its WAL directory in the stage.
    pub(super) wal: PathBuf,
}

/// All staged directories of a restore. Dropped before [`Staging::install`] has finished, it
/// removes them.
#[derive(Debug)]
pub(super) struct Staging {
    disk: Disk,
    stamp: String,
    dirs: Vec<StagedDir>,
    made: Vec<PathBuf>,
    /// In the order of the plan's targets.
    pub(super) members: Vec<MemberStage>,
    /// What interrupted restores had left and was removed.
    pub(super) notices: Vec<String>,
}

/// Name of a copy of the source that is only read from, beside what is built.
const SCRATCH: &str = "source";

impl Staging {
    /// Where a copy of the source may lie: in the stage of the first member's data, and never in
    /// what becomes its directory.
    pub(super) fn scratch(&self) -> Option<PathBuf> {
        let first = &self.members.first()?.data;
        let dir = self.dirs.iter().find(|dir| first.starts_with(&dir.stage.content))?;
        Some(dir.stage.root.join(SCRATCH))
    }

    /// Examines the targets, refuses what must not be touched, and makes the stages.
    pub(super) fn prepare(disk: &Disk, plan: &Plan) -> Result<Self> {
        let mut staging = Self {
            disk: disk.clone(),
            stamp: plan.stamp(),
            dirs: Vec::new(),
            made: Vec::new(),
            members: Vec::new(),
            notices: Vec::new(),
        };
        let found = examine_targets(plan)?;
        if let Some(common) = common_parent(plan, &found) {
            staging.stage_together(plan, &common)?;
        } else {
            staging.stage_each(plan, found)?;
        }
        Ok(staging)
    }

    fn stage_together(&mut self, plan: &Plan, common: &Path) -> Result<()> {
        let content = self.stage(common.to_owned(), TargetState::Absent, false)?;
        for target in &plan.targets {
            let data = content.join(target.data_dir.file_name().unwrap_or_default());
            let wal = inner_wal(&data, &target.data_dir, target.wal_dir.as_deref());
            self.members.push(MemberStage { data, wal });
        }
        Ok(())
    }

    fn stage_each(&mut self, plan: &Plan, found: Vec<Occupancy>) -> Result<()> {
        for (target, occupancy) in plan.targets.iter().zip(found) {
            let outer = match occupancy.wal {
                Some((path, state)) => Some(self.stage(path, state, true)?),
                None => None,
            };
            let data = self.stage(occupancy.data.0, occupancy.data.1, false)?;
            let inner = inner_wal(&data, &target.data_dir, target.wal_dir.as_deref());
            self.members.push(MemberStage { data, wal: outer.unwrap_or(inner) });
        }
        // Every log before every data directory: one without its log must never be seen.
        self.dirs.sort_by_key(|dir| !dir.log);
        Ok(())
    }

    /// Makes a stage for `target` and returns the directory to build in.
    fn stage(&mut self, target: PathBuf, state: TargetState, log: bool) -> Result<PathBuf> {
        let inside = matches!(state, TargetState::Empty | TargetState::OccupiedMount);
        let root = if inside {
            target.join(format!("{STAGE}{}", self.stamp))
        } else {
            sibling(&target, ".", &format!("{STAGE}{}", self.stamp))
        };
        let home = parent(&root).to_owned();
        self.disk.create_dirs(&home, SHARED, &mut self.made)?;
        self.clear_stale(&home, &root)?;
        self.disk.create_dir(&root)?;
        let lock = Lock::try_exclusive(&root)?;
        let lock = lock.ok_or(Error::Busy { path: target.clone(), by: "another restore" })?;
        let content = root.join("content");
        self.dirs.push(StagedDir {
            target,
            state,
            log,
            stage: Stage { root, content: content.clone(), _lock: lock },
        });
        Ok(content)
    }

    /// Removes stages of the same target that no living process holds.
    fn clear_stale(&mut self, home: &Path, root: &Path) -> Result<()> {
        let root = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let prefix = root.strip_suffix(&self.stamp).unwrap_or(&root);
        let io = |source| Error::io("read", home, source);
        for entry in fs::read_dir(home).map_err(io)? {
            let entry = entry.map_err(io)?;
            if !entry.file_name().to_string_lossy().starts_with(prefix) {
                continue;
            }
            let stale = entry.path();
            if !stale.is_dir() {
                continue;
            }
            let Some(lock) = Lock::try_exclusive(&stale)? else {
                return Err(Error::Busy { path: stale, by: "another restore is writing it" });
            };
            self.disk.remove_tree(&stale)?;
            drop(lock);
            self.notices
                .push(format!("removed {}, left by an interrupted restore", stale.display()));
        }
        Ok(())
    }

    /// Makes what is built durable, moves aside what is in the way and renames everything into
    /// place.
    pub(super) fn install(mut self) -> Result<(Vec<MovedAside>, Vec<String>)> {
        for dir in &self.dirs {
            // Everything is on disk before the first rename: a file system may write a rename back
            // before the content that it names.
            sync_tree(&self.disk, &dir.stage.root)?;
            self.disk.sync_dir(parent(&dir.stage.root))?;
        }
        let mut renames = RenameLog::new(&self.disk);
        let mut moved = Vec::new();
        for dir in &self.dirs {
            // First all targets are cleared, then all are filled: a target that cannot be moved
            // aside ends the restore before anything new is visible.
            moved.extend(dir.move_aside(&self.disk, &self.stamp, &mut renames)?);
        }
        for dir in &self.dirs {
            dir.rename_into_place(&mut renames)?;
        }
        for dir in &self.dirs {
            // A rename is durable when both directories are synced. The stage lies in the parent of
            // the target or in the target itself.
            self.disk.sync_dir(parent(&dir.target))?;
            if dir.target.exists() {
                self.disk.sync_dir(&dir.target)?;
            }
        }
        for dir in &self.made {
            self.disk.sync_dir(parent(dir))?;
        }
        renames.commit();
        // From here on the restore has happened. Empty stages are no reason to say otherwise: the
        // next restore of this target removes them.
        for dir in &self.dirs {
            let _ = self.disk.remove_tree(&dir.stage.root);
        }
        self.dirs.clear();
        self.made.clear();
        Ok((moved, std::mem::take(&mut self.notices)))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for dir in &self.dirs {
            // What cannot be removed now is removed by the next restore of this target.
            let _ = self.disk.remove_tree(&dir.stage.root);
        }
        for dir in self.made.iter().rev() {
            let _ = self.disk.remove_empty_dir(dir);
        }
    }
}

impl StagedDir {
    /// Moves aside what is in the way.
    fn move_aside(
        &self,
        disk: &Disk,
        stamp: &str,
        renames: &mut RenameLog,
    ) -> Result<Option<MovedAside>> {
        let to = match self.state {
            TargetState::Absent | TargetState::Empty => return Ok(None),
            TargetState::Occupied => {
                let aside = aside_name(&self.target, stamp);
                renames.rename(&self.target, &aside)?;
                aside
            }
            TargetState::OccupiedMount => {
                let aside = aside_name_in(&self.target, stamp);
                disk.create_dir(&aside)?;
                for entry in entries(&self.target)? {
                    renames.rename(&entry, &aside.join(entry.file_name().unwrap_or_default()))?;
                }
                aside
            }
        };
        let text = |path: &Path| path.display().to_string();
        Ok(Some(MovedAside { from: text(&self.target), to: text(&to) }))
    }

    /// Renames what was built into place.
    fn rename_into_place(&self, renames: &mut RenameLog) -> Result<()> {
        if matches!(self.state, TargetState::Absent | TargetState::Occupied) {
            return renames.rename(&self.stage.content, &self.target);
        }
        for entry in entries(&self.stage.content)? {
            renames.rename(&entry, &self.target.join(entry.file_name().unwrap_or_default()))?;
        }
        Ok(())
    }
}

/// What is at the directories of one target.
pub(super) struct Occupancy {
    data: (PathBuf, TargetState),
    /// Only for a WAL directory outside the data directory.
    wal: Option<(PathBuf, TargetState)>,
}

pub(super) fn examine_targets(plan: &Plan) -> Result<Vec<Occupancy>> {
    let probe = |path: &Path| probe(path, plan.replace);
    let examine = |target: &crate::plan::Target| {
        let outer = target.wal_dir.as_deref().filter(|wal| !wal.starts_with(&target.data_dir));
        Ok(Occupancy { data: probe(&target.data_dir)?, wal: outer.map(probe).transpose()? })
    };
    plan.targets.iter().map(examine).collect()
}

/// Follows a symbolic link, so that what is behind it is replaced and not the link.
fn probe(path: &Path, replace: bool) -> Result<(PathBuf, TargetState)> {
    let io = |source| Error::io("look at", path, source);
    let target = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok((path.to_owned(), TargetState::Absent));
        }
        Err(error) => return Err(io(error)),
        Ok(link) if link.is_symlink() => path.canonicalize().map_err(io)?,
        Ok(_) => path.to_owned(),
    };
    if !target.is_dir() {
        return Err(Error::request(format!("{} is not a directory", target.display())));
    }
    if entries(&target)?.is_empty() {
        return Ok((target, TargetState::Empty));
    }
    if !replace {
        return Err(Error::Occupied { path: target });
    }
    refuse_running(&target)?;
    let device = |path: &Path| path.metadata().map(|m| m.dev()).map_err(io);
    let mounted = device(&target)? != device(&existing_ancestor(parent(&target)))?;
    Ok((target, if mounted { TargetState::OccupiedMount } else { TargetState::Occupied }))
}

/// An etcd holds a lock on its database for as long as it runs.
fn refuse_running(data_dir: &Path) -> Result<()> {
    let db = data_dir.join("member/snap/db");
    if db.is_file() && Lock::try_exclusive(&db)?.is_none() {
        return Err(Error::Busy { path: db, by: "an etcd runs on it" });
    }
    Ok(())
}

/// What is in a directory, apart from our own stages, what was moved aside before, and
/// `lost+found`.
fn entries(dir: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::io("read", dir, source);
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let text = name.to_string_lossy();
        if text != HARMLESS && !text.starts_with(STAGE) && !text.starts_with(MOVED) {
            found.push(dir.join(&name));
        }
    }
    found.sort();
    Ok(found)
}

/// The new directory whose new children all targets are.
fn common_parent(plan: &Plan, found: &[Occupancy]) -> Option<PathBuf> {
    let fresh = found
        .iter()
        .all(|occupancy| occupancy.data.1 == TargetState::Absent && occupancy.wal.is_none());
    let first = parent(&plan.targets.first()?.data_dir);
    let shared = plan.targets.iter().all(|target| parent(&target.data_dir) == first);
    let absent = first.file_name().is_some() && first.symlink_metadata().is_err();
    (plan.targets.len() > 1 && fresh && shared && absent).then(|| first.to_owned())
}

/// The WAL directory in a staged data directory.
fn inner_wal(staged: &Path, data_dir: &Path, wal_dir: Option<&Path>) -> PathBuf {
    let inner = wal_dir.and_then(|wal| wal.strip_prefix(data_dir).ok());
    staged.join(inner.unwrap_or(Path::new("member/wal")))
}

/// Syncs every directory of a tree; the files in it were synced when they were written.
fn sync_tree(disk: &Disk, dir: &Path) -> Result<()> {
    let io = |source| Error::io("read", dir, source);
    for entry in fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        if entry.file_type().map_err(io)?.is_dir() {
            sync_tree(disk, &entry.path())?;
        }
    }
    disk.sync_dir(dir)
}
