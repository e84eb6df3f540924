//! Agents beside the members of a cluster: their configurations, processes and snapshots.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backup::Backup;
use crate::etcd::{Cluster, free_port};
use crate::process::{Running, wrapped};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(90);
/// Longest wait for one of its pages.
const ANSWER: Duration = Duration::from_secs(10);

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// Its configuration; written to its file by [`Agent::write`].
    pub config: Value,
    /// The port of its pages.
    pub port: u16,
    file: PathBuf,
    log: PathBuf,
    running: Option<Running>,
}

impl Agent {
    /// An agent beside `endpoint` with the repository of the place and one schedule `often`; not
    /// yet started.
    ///
    /// # Panics
    /// When its file cannot be written.
    #[must_use]
    pub fn new(place: &Backup, name: &str, endpoint: &str, cron: &str) -> Self {
        let port = free_port();
        let config = json!({
            "etcd": {"endpoint": endpoint},
            "repository": {"url": place.repository},
            "schedules": [{"name": "often", "cron": cron}],
            "capture": {"retry_pause": "200ms"},
            "maintenance": {"every": "2s"},
            "agent": {
                "name": name,
                "http": format!("127.0.0.1:{port}"),
                "admin": {"listen": format!("unix://{}", place.path(&format!("{name}.sock")))},
                "takeover": "3s",
                "grace": "10s",
            },
        });
        let file = PathBuf::from(place.path(&format!("{name}.yaml")));
        let log = PathBuf::from(place.path(&format!("{name}.log")));
        let agent = Self { name: name.to_owned(), config, port, file, log, running: None };
        agent.write();
        agent
    }

    /// Writes the configuration.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self) {
        let text = serde_json::to_vec_pretty(&self.config).expect("JSON, and so YAML");
        std::fs::write(&self.file, text).expect("a configuration file");
    }

    /// The file of the configuration.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Starts it, or starts it again; its output is appended to its log.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&mut self, place: &Backup) {
        self.start_by(place, &[]);
    }

    /// Starts the agent through a program that becomes the agent: `words` stand before its command.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_by(&mut self, place: &Backup, words: &[&str]) {
        self.stop_and_keep_log();
        let file = self.file.display().to_string();
        let mut command = place.command(&["agent", "--config", &file]);
        // Settings of the other commands of this place are not for the agent.
        for name in ["ETCDR_REPOSITORY", "ETCDR_IDENTITY", "ETCDCTL_ENDPOINTS"] {
            command.env_remove(name);
        }
        if !words.is_empty() {
            command = wrapped(&command, words);
        }
        self.running = Some(Running::start(&mut command, &self.log));
    }

    fn stop_and_keep_log(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill();
            let old = std::fs::read(&self.log).unwrap_or_default();
            let kept = self.log.with_extension("old");
            let mut all = std::fs::read(&kept).unwrap_or_default();
            all.extend(old);
            std::fs::write(kept, all).expect("a log file");
        }
    }

    /// Its process.
    ///
    /// # Panics
    /// When it was not started.
    pub fn process(&mut self) -> &mut Running {
        self.running.as_mut().expect("the agent was started")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.stop_and_keep_log();
    }

    /// Its whole log since it was made.
    #[must_use]
    pub fn said(&self) -> String {
        let old = std::fs::read_to_string(self.log.with_extension("old")).unwrap_or_default();
        old + &std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A page of it: status code, and the answer with its head. The code is 0 while nobody listens.
    ///
    /// # Panics
    /// When it does not answer in time.
    #[must_use]
    #[track_caller]
    pub fn get(&self, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return (0, String::new());
        };
        stream.set_read_timeout(Some(ANSWER)).expect("a timeout");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer in time");
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        (code.expect("a status"), text)
    }

    /// Waits until its log contains this text.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn says(&self, part: &str) {
        until(
            &format!("{} says {part:?}", self.name),
            || self.said().contains(part),
            || self.said(),
        );
    }
}

/// Waits until a condition holds.
///
/// # Panics
/// When it does not hold in time; the message ends with what `state` returns.
#[track_caller]
pub fn until(what: &str, mut so: impl FnMut() -> bool, state: impl Fn() -> String) {
    let began = Instant::now();
    while !so() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}\n{}", state());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// One agent beside each member, on one schedule.
#[must_use]
pub fn beside_each(place: &Backup, cluster: &Cluster, cron: &str) -> Vec<Agent> {
    let endpoints = cluster.endpoints.iter().enumerate();
    endpoints.map(|(n, endpoint)| Agent::new(place, &format!("a{n}"), endpoint, cron)).collect()
}

/// Snapshots by the tick that they were taken for; those without one are left out.
///
/// # Panics
/// When the repository cannot be listed.
#[must_use]
#[track_caller]
pub fn by_tick(place: &Backup) -> BTreeMap<String, Vec<String>> {
    let mut ticks: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for id in place.ids() {
        let shown = place.json(&["snapshot", "show", &id]);
        if let Some(tick) = shown["manifest"]["trigger"]["tick"].as_str() {
            ticks.entry(tick.to_owned()).or_default().push(id);
        }
    }
    ticks
}
