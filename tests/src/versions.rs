//! Every etcd that can be found here.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::process;

/// One etcd: its version and the directory with its `etcd`, `etcdctl` and, from 3.5 on, `etcdutl`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdVersion {
    /// Major, minor, patch.
    pub number: (u32, u32, u32),
    /// Where its programs are.
    pub dir: PathBuf,
}

impl EtcdVersion {
    /// `3.5.30`.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}.{}.{}", self.number.0, self.number.1, self.number.2)
    }

    /// `3.5`.
    #[must_use]
    pub fn minor(&self) -> String {
        format!("{}.{}", self.number.0, self.number.1)
    }

    /// Path of one of its programs.
    #[must_use]
    pub fn tool(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The official tool that restores a snapshot file: `etcdutl`, or `etcdctl` where that is
    /// older.
    #[must_use]
    pub fn restorer(&self) -> PathBuf {
        let utl = self.tool("etcdutl");
        if utl.exists() { utl } else { self.tool("etcdctl") }
    }
}

/// All of them, oldest first: those in `.cache/etcd`, those of `ETCDR_TEST_ETCD` (directories
/// separated by colons), and, when there are none, the one of `ETCD_BIN_DIR` or `PATH`.
///
/// # Panics
/// When there is none, and under `CI=true` when there is not both a 3.4 and a 3.5: a green run that
/// tested nothing must not be possible.
#[must_use]
pub fn versions() -> &'static [EtcdVersion] {
    static FOUND: OnceLock<Vec<EtcdVersion>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let found = find();
        assert!(
            !found.is_empty(),
            "no etcd was found: run `make setup`, or name one in ETCD_BIN_DIR"
        );
        if env::var("CI").as_deref() == Ok("true") {
            let has = |minor| found.iter().any(|version| version.number.1 == minor);
            assert!(has(4) && has(5), "CI needs etcd 3.4 and 3.5; found only {found:?}");
        }
        found
    })
}

/// The newest of them.
#[must_use]
pub fn newest() -> &'static EtcdVersion {
    &versions()[versions().len() - 1]
}

/// The oldest of them.
#[must_use]
pub fn oldest() -> &'static EtcdVersion {
    &versions()[0]
}

fn find() -> Vec<EtcdVersion> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/etcd");
    let cached = cache.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
    let named = env::var_os("ETCDR_TEST_ETCD").unwrap_or_default();
    let mut found: Vec<_> =
        cached.chain(env::split_paths(&named)).filter_map(|dir| look(&dir)).collect();
    if found.is_empty() {
        let path = env::var_os("PATH").unwrap_or_default();
        let own = env::var_os("ETCD_BIN_DIR").map(PathBuf::from);
        found.extend(own.into_iter().chain(env::split_paths(&path)).find_map(|dir| look(&dir)));
    }
    found.sort();
    found.dedup_by(|a, b| a.number == b.number);
    found
}

fn look(dir: &Path) -> Option<EtcdVersion> {
    let etcd = dir.join("etcd");
    if !etcd.exists() || !dir.join("etcdctl").exists() {
        return None;
    }
    let said = process::run(&etcd, &["--version"]);
    let text = said.stdout_text();
    let digits = text.lines().find_map(|line| line.strip_prefix("etcd Version: "))?;
    let mut parts = digits.split(['.', '-', '+']).map_while(|part| part.trim().parse().ok());
    let number = (parts.next()?, parts.next()?, parts.next()?);
    Some(EtcdVersion { number, dir: dir.to_owned() })
}
