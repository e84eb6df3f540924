//! Snapshot files of real etcd, each with the contents of its cluster. They are made once a run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::etcd::Cluster;
use crate::oracle::State;
use crate::versions::EtcdVersion;
use crate::workload::{self, Load};

/// A snapshot file made with `etcdctl snapshot save`, and the contents of its cluster.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file.
    pub file: PathBuf,
    /// A copy of `member/snap/db` of the stopped member.
    pub raw: PathBuf,
    /// Contents of the cluster.
    pub state: State,
    /// Revisions of the load.
    pub load: Load,
    /// HashKV of the live member at the last revision, and the compact revision it depends on.
    pub hash: (u64, i64),
}

impl Source {
    /// The snapshot of this version, shared by all tests of a test binary.
    ///
    /// # Panics
    /// When etcd refuses something.
    #[must_use]
    pub fn of(version: &EtcdVersion) -> Arc<Self> {
        static MADE: OnceLock<Mutex<BTreeMap<String, Arc<Source>>>> = OnceLock::new();
        let made = MADE.get_or_init(Mutex::default);
        // A test that failed here says so itself; the others go on.
        let mut made = made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Arc::clone(made.entry(version.text()).or_insert_with(|| Arc::new(make(version))))
    }

    /// Bytes of the snapshot file.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.file).expect("the snapshot file")
    }
}

fn make(version: &EtcdVersion) -> Source {
    // Shared by a whole process and so never dropped: kept under the target directory, one a
    // binary, and made anew by the next run.
    let test = std::env::current_exe().expect("the path of this test");
    let name = test.file_name().and_then(|name| name.to_str()).unwrap_or("test");
    // Without cargo's hash: a rebuilt test takes the place of the one before.
    let name = name.rsplit_once('-').map_or(name, |(name, _)| name);
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../.cache/tests")
        .join(name)
        .join(version.text());
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("a directory");
    let mut cluster = Cluster::new(version, 1, &dir);
    let load = workload::write(&cluster, 42, 24);
    let file = dir.join("snapshot.db");
    cluster.ctl(&["snapshot", "save", &file.display().to_string()]);
    let hash = cluster.hash_kv(load.revision)[0];
    let state = State::of(&cluster);
    let data = cluster.members[0].data_dir.clone();
    cluster.kill();
    let raw = dir.join("raw.db");
    std::fs::copy(data.join("member/snap/db"), &raw).expect("a copy of the database");
    drop(std::fs::remove_dir_all(data));
    Source { file, raw, state, load, hash }
}
