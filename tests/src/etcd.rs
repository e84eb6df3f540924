//! Real etcd clusters on free ports, asked through their own `etcdctl`.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::certs::Certs;
use crate::process::{Running, Said, command, finish};
use crate::versions::EtcdVersion;

/// A port that nobody listens on, below the range that outgoing connections take theirs from.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries run side by side: each begins somewhere else.
    let start = u64::from(std::process::id()) * 7919 % 20_000;
    for _ in 0..20_000 {
        let step = u64::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(10_000 + (start + step) % 20_000).expect("below 30000");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Extra settings of a cluster.
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// More flags for each etcd.
    pub server_args: Vec<String>,
    /// Whether clients speak TLS.
    pub tls: bool,
    /// More flags for `etcdctl`.
    pub client_args: Vec<String>,
}

impl Extra {
    /// Clients must show a certificate of the CA.
    #[must_use]
    pub fn mutual_tls(certs: &Certs) -> Self {
        let flags = |rows: &[(&str, &Path)]| {
            rows.iter().map(|(flag, path)| format!("{flag}={}", path.display())).collect::<Vec<_>>()
        };
        let mut server_args = flags(&[
            ("--cert-file", &certs.server.cert),
            ("--key-file", &certs.server.key),
            ("--trusted-ca-file", &certs.ca),
        ]);
        server_args.push("--client-cert-auth".to_owned());
        let client_args = flags(&[
            ("--cacert", &certs.ca),
            ("--cert", &certs.client.cert),
            ("--key", &certs.client.key),
        ]);
        Self { server_args, tls: true, client_args }
    }
}

/// A member to start.
#[derive(Debug, Clone)]
pub struct MemberAt {
    /// Its name.
    pub name: String,
    /// Its peer URL.
    pub peer: String,
    /// Its data directory; made by etcd when missing.
    pub data_dir: PathBuf,
    /// Its WAL directory when outside.
    pub wal_dir: Option<PathBuf>,
}

impl MemberAt {
    /// A member of that name on a free peer port.
    #[must_use]
    pub fn new(name: &str, data_dir: PathBuf) -> Self {
        let peer = format!("http://127.0.0.1:{}", free_port());
        Self { name: name.to_owned(), peer, data_dir, wal_dir: None }
    }
}

/// The text of `--initial-cluster` for these members.
#[must_use]
pub fn initial_cluster(members: &[MemberAt]) -> String {
    members.iter().map(|m| format!("{}={}", m.name, m.peer)).collect::<Vec<_>>().join(",")
}

/// A running cluster; dropping it kills its members.
#[derive(Debug)]
pub struct Cluster {
    /// What it runs.
    pub version: EtcdVersion,
    /// Its client endpoints, one a member.
    pub endpoints: Vec<String>,
    /// Its members.
    pub members: Vec<MemberAt>,
    processes: Vec<Running>,
    extra: Extra,
    user: Option<String>,
    logs: TempDir,
}

impl Cluster {
    /// A new, empty cluster of `count` members under `dir`.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn new(version: &EtcdVersion, count: usize, dir: &Path) -> Self {
        Self::new_with(version, count, dir, Extra::default())
    }

    /// Starts a cluster with more settings.
    ///
    /// # Panics
    /// When it does not become ready.
    #[must_use]
    pub fn new_with(version: &EtcdVersion, count: usize, dir: &Path, extra: Extra) -> Self {
        let members: Vec<_> = (0..count)
            .map(|n| MemberAt::new(&format!("m{n}"), dir.join(format!("m{n}.etcd"))))
            .collect();
        Self::boot(version, members, extra)
    }

    /// Starts members on the data directories that they name, and waits for a leader and answers.
    ///
    /// # Panics
    /// When they do not.
    #[must_use]
    pub fn boot(version: &EtcdVersion, members: Vec<MemberAt>, extra: Extra) -> Self {
        let logs = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self {
            version: version.clone(),
            endpoints: Vec::new(),
            members,
            processes: Vec::new(),
            extra,
            user: None,
            logs,
        };
        for number in 0..cluster.members.len() {
            cluster.start(number);
        }
        cluster.wait_ready();
        cluster
    }

    fn start(&mut self, number: usize) {
        let member = &self.members[number];
        let scheme = if self.extra.tls { "https" } else { "http" };
        let client = format!("{scheme}://127.0.0.1:{}", free_port());
        let mut etcd = command(self.version.tool("etcd"));
        etcd.args(["--name", &member.name, "--initial-cluster", &initial_cluster(&self.members)]);
        etcd.arg("--data-dir").arg(&member.data_dir);
        etcd.args([
            "--listen-peer-urls",
            &member.peer,
            "--initial-advertise-peer-urls",
            &member.peer,
        ]);
        etcd.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        // A test cluster has nothing to lose, and elections need not be patient on one machine.
        etcd.arg("--unsafe-no-fsync");
        if self.members.len() == 1 {
            etcd.args(["--heartbeat-interval", "20", "--election-timeout", "200"]);
        }
        if let Some(wal) = &member.wal_dir {
            etcd.arg("--wal-dir").arg(wal);
        }
        etcd.args(&self.extra.server_args);
        let log = self.logs.path().join(format!("{}.log", member.name));
        self.processes.push(Running::start(&mut etcd, &log));
        self.endpoints.push(client);
    }

    fn wait_ready(&mut self) {
        let start = Instant::now();
        loop {
            // Linearizable, so it needs a leader; asked of each member.
            let answers = self.endpoints.iter().all(|endpoint| {
                let said = self.ctl_at(endpoint, &["--command-timeout=3s", "get", "no-such-key"]);
                said.code == 0 || said.stderr.contains("user name is empty")
            });
            if answers {
                return;
            }
            let died = self.processes.iter_mut().any(|process| !process.alive());
            if died || start.elapsed() > Duration::from_secs(60) {
                let logs: Vec<_> =
                    self.processes.iter().map(|p| tail(&p.log(), 4000).to_owned()).collect();
                panic!("etcd {} is not ready:\n{}", self.version.text(), logs.join("\n----\n"));
            }
            thread::sleep(Duration::from_millis(30));
        }
    }

    /// From now on `etcdctl` speaks as this user, `name:password`.
    pub fn login(&mut self, user: &str) {
        self.user = Some(user.to_owned());
    }

    /// The user that was given to [`Cluster::login`].
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The first endpoint.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoints[0]
    }

    /// Runs `etcdctl` against one endpoint.
    pub fn ctl_at(&self, endpoint: &str, args: &[&str]) -> Said {
        self.ctl_fed(endpoint, args, &[])
    }

    fn ctl_fed(&self, endpoint: &str, args: &[&str], input: &[u8]) -> Said {
        let mut ctl = command(self.version.tool("etcdctl"));
        ctl.env("ETCDCTL_API", "3").args(["--endpoints", endpoint]).args(&self.extra.client_args);
        if let Some(user) = &self.user {
            ctl.args(["--user", user]);
        }
        finish(ctl.args(args), input)
    }

    /// Runs `etcdctl` against the first endpoint, successfully. (Against one only: a token that one
    /// member gave is not yet known to the others.)
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ctl(&self, args: &[&str]) -> String {
        self.ctl_with(args, &[])
    }

    /// Runs etcdctl with `input` on standard input.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ctl_with(&self, args: &[&str], input: &[u8]) -> String {
        self.ctl_fed(self.endpoint(), args, input).ok().stdout_text()
    }

    /// What the first endpoint answers, as JSON.
    ///
    /// # Panics
    /// When it fails or does not print JSON.
    #[must_use]
    #[track_caller]
    pub fn ask(&self, args: &[&str]) -> Value {
        self.ask_at(self.endpoint(), args)
    }

    /// What one endpoint answers, as JSON.
    ///
    /// # Panics
    /// When it fails or does not print JSON.
    #[must_use]
    #[track_caller]
    pub fn ask_at(&self, endpoint: &str, args: &[&str]) -> Value {
        self.ctl_at(endpoint, &[args, &["-w", "json"]].concat()).ok().json()
    }

    /// HashKV of each member at a revision, 0 for the current one: hash and compact revision.
    ///
    /// # Panics
    /// When a member does not answer.
    #[must_use]
    #[track_caller]
    pub fn hash_kv(&self, revision: i64) -> Vec<(u64, i64)> {
        let at = revision.to_string();
        let hash = |endpoint: &String| {
            let answer = self.ask_at(endpoint, &["endpoint", "hashkv", "--rev", &at]);
            let kv = &answer[0]["HashKV"];
            let value = kv["hash"].as_u64().unwrap_or_else(|| panic!("no hash in {answer}"));
            (value, kv["compact_revision"].as_i64().unwrap_or(0))
        };
        self.endpoints.iter().map(hash).collect()
    }

    /// The revision that the cluster is at.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.ask(&["get", "no-such-key"])["header"]["revision"].as_i64().expect("a revision")
    }

    /// SIGKILL for all members.
    pub fn kill(&mut self) {
        self.processes.iter_mut().for_each(Running::kill);
    }

    /// SIGKILL for one member.
    pub fn kill_member(&mut self, number: usize) {
        self.processes[number].kill();
    }

    /// Sends a signal to one member by its name, such as `STOP`.
    pub fn signal_member(&self, number: usize, name: &str) {
        self.processes[number].signal(name);
    }

    /// Process id of the first member.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.processes[0].id()
    }

    /// What the first member logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.processes[0].log()
    }
}

fn tail(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}
