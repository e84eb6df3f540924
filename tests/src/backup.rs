//! A user's working place: the `etcdr` binary, a repository, keys, and room for files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

use crate::etcd::Cluster;
use crate::process::{self, Running, Said, finish};

/// Path of the binary under test: `ETCDR_BIN`, or built now, in the target directory and profile
/// that the tests themselves were built in.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn etcdr() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| match std::env::var_os("ETCDR_BIN") {
        Some(path) => PathBuf::from(path),
        None => build(),
    })
}

fn build() -> PathBuf {
    // …/<target>/<profile>/deps/<test>
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("a profile directory");
    let target = profile.parent().expect("a target directory");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = process::command(cargo);
    // cargo finds its toolchain through these variables.
    build.envs(std::env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name == "HOME" || name.starts_with("CARGO_HOME") || name.starts_with("RUSTUP")
    }));
    build.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    // `--workspace` chooses features as `cargo test --workspace` did, so that little is built
    // again.
    build.args(["build", "--quiet", "--workspace", "--bin", "etcdr", "--target-dir"]).arg(target);
    if profile.ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().expect("cargo can be run");
    assert!(status.success(), "cargo could not build the etcdr binary");
    profile.join("etcdr")
}

/// A place to work in; removed when dropped.
#[derive(Debug)]
pub struct Backup {
    dir: TempDir,
    env: Vec<(String, String)>,
    /// The repository's URL.
    pub repository: String,
}

impl Backup {
    /// A place with keys and no repository yet.
    ///
    /// # Panics
    /// When keys cannot be made.
    #[must_use]
    pub fn without_repository() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let repository = format!("file://{}/repository", dir.path().display());
        let mut place = Self { dir, env: Vec::new(), repository: repository.clone() };
        let keys = place.path("keys");
        place.run(&["keygen", "--dir", &keys]).ok();
        place.set("ETCDR_REPOSITORY", &repository);
        place.set("ETCDR_IDENTITY", &format!("{keys}/identity.txt"));
        place
    }

    /// A place with keys and an encrypted local repository.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let place = Self::without_repository();
        place.init();
        place
    }

    /// A place with keys whose encrypted repository is at this URL.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn at(url: &str, env: &[(&str, String)]) -> Self {
        let mut place = Self::without_repository();
        url.clone_into(&mut place.repository);
        place.set("ETCDR_REPOSITORY", url);
        for (name, value) in env {
            place.set(name, value);
        }
        place.init();
        place
    }

    fn init(&self) {
        let recipient = self.recipient();
        self.run(&["init", "--recipient", &recipient]).ok();
    }

    /// The public key that images are encrypted to.
    ///
    /// # Panics
    /// When its file is missing.
    #[must_use]
    pub fn recipient(&self) -> String {
        let text = std::fs::read_to_string(self.path("keys/recipient.txt")).expect("recipient.txt");
        let line = text.lines().find(|line| line.starts_with("age1")).expect("a recipient");
        line.trim().to_owned()
    }

    /// Sets an environment variable for every command from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// Removes an environment variable.
    pub fn unset(&mut self, name: &str) {
        self.env.retain(|(known, _)| known != name);
    }

    /// Commands speak to this cluster from now on.
    pub fn watch(&mut self, cluster: &Cluster) {
        self.set("ETCDCTL_ENDPOINTS", &cluster.endpoints.join(","));
        if let Some(user) = cluster.user() {
            self.set("ETCDCTL_USER", user);
        }
    }

    /// A path under this place.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The command `etcdr` with these arguments, not yet run.
    #[must_use]
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = process::command(etcdr());
        command.args(args).envs(self.env.iter().map(|(name, value)| (name, value)));
        command.env("HOME", self.dir.path()).env("TMPDIR", self.dir.path());
        command.current_dir(self.dir.path());
        command
    }

    /// Runs `etcdr` to its end.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Said {
        finish(&mut self.command(args), &[])
    }

    /// Runs it with JSON output, successfully, and checks what it prints against the committed
    /// schema.
    ///
    /// # Panics
    /// When it fails or prints something else.
    #[track_caller]
    pub fn json(&self, args: &[&str]) -> Value {
        let said = self.run(&[args, &["--output", "json"]].concat());
        let said = if said.code == 3 { said } else { said.ok() };
        let value = said.json();
        assert_valid(&value);
        value
    }

    /// Starts `etcdr` in the background.
    #[must_use]
    pub fn spawn(&self, args: &[&str]) -> Running {
        let log = self.dir.path().join("spawned.log");
        Running::start(&mut self.command(args), &log)
    }

    /// Saves a snapshot and returns its id.
    ///
    /// # Panics
    /// When that fails, or stdout is anything but the id.
    #[track_caller]
    pub fn save(&self) -> String {
        let said = self.run(&["snapshot", "save"]).ok();
        let id = said.stdout_text().trim().to_owned();
        assert!(id.parse::<etcdr_schemas::SnapshotId>().is_ok(), "not an id: {id:?}");
        id
    }

    /// Ids of all snapshots, newest first; none of the manifests may be unusable.
    ///
    /// # Panics
    /// When they cannot be listed.
    #[must_use]
    #[track_caller]
    pub fn ids(&self) -> Vec<String> {
        let list = self.json(&["snapshot", "list"]);
        assert_eq!(list["unusable"].as_array().map(Vec::len), Some(0), "{list}");
        let rows = list["snapshots"].as_array().expect("snapshots");
        rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()).collect()
    }

    /// Every file of a local repository, as paths under its root.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        files_under(Path::new(self.repository.trim_start_matches("file://")))
    }

    /// The file of an object in a local repository.
    #[must_use]
    pub fn object(&self, key: &str) -> PathBuf {
        Path::new(self.repository.trim_start_matches("file://")).join(key)
    }
}

impl Default for Backup {
    fn default() -> Self {
        Self::new()
    }
}

/// Every file under a directory, as sorted relative paths.
#[must_use]
pub fn files_under(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in dir.read_dir().into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(name) = path.strip_prefix(root) {
                found.push(name.display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Fails unless the report matches its committed JSON Schema.
///
/// # Panics
/// When it is not.
#[track_caller]
pub fn assert_valid(report: &Value) {
    let name = report["schema"].as_str().unwrap_or_else(|| panic!("no schema in {report}"));
    let parts: Vec<_> = name.split('/').collect();
    let [_, thing, version] = parts.as_slice() else { panic!("not a schema's name: {name}") };
    let file = format!("{}/../schemas/json/{thing}.{version}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let schema: Value = serde_json::from_slice(&text).expect("a schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema is valid");
    let errors: Vec<_> = validator.iter_errors(report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{name}: {errors:?}\n{report}");
}
