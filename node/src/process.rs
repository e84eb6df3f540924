//! The only place that starts processes.
//!
//! Each is killed when its handle is dropped. Should this process be killed itself with SIGKILL,
//! its children go on: to tie them to our life takes `PR_SET_PDEATHSIG` between fork and exec,
//! which safe Rust cannot say. They listen on loopback only, and end with the container or service
//! of which they are a part.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::error::Error;

/// The most that a tool may print.
const MAX_OUTPUT: u64 = 64 << 20;

/// What a tool printed, and how it ended.
#[derive(Debug, Clone)]
pub struct ToolOutput {
    /// Whether it ended with 0.
    pub success: bool,
    /// Its standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error; what is not UTF-8 is replaced.
    pub stderr: String,
}

/// Runs a program to its end.
pub(crate) async fn run<I, S>(program: &Path, args: I, limit: Duration) -> Result<ToolOutput, Error>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let failed = |reason: String| Error::Run { program: program.to_owned(), reason };
    let mut child = command(program, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let ended = tokio::time::timeout(limit, async {
        tokio::try_join!(read_all(stdout), read_all(stderr), child.wait())
    });
    let ended = ended.await.map_err(|_| failed(format!("it took more than {limit:?}")))?;
    let (stdout, stderr, status) = ended.map_err(|error| failed(error.to_string()))?;
    Ok(ToolOutput { success: status.success(), stdout, stderr })
}

/// A long-running child and the end of what it printed.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    tail: Tail,
}

impl Process {
    pub(crate) fn spawn<I, S>(program: &Path, args: I) -> Result<Self, Error>
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut child =
            command(program, args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(
                |error| Error::Run { program: program.to_owned(), reason: error.to_string() },
            )?;
        let tail = Tail::default();
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(tail.clone().follow(stderr));
        }
        Ok(Self { child, tail })
    }

    /// Its id, until it has ended.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines that it printed.
    pub(crate) fn last_lines(&self) -> String {
        self.tail.lines()
    }

    /// Asks it to end, waits for `grace`, then ends it.
    pub(crate) async fn stop(&mut self, grace: Duration) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        match tokio::time::timeout(grace, self.child.wait()).await {
            Ok(ended) => ended
                .map(drop)
                .map_err(|source| Error::System { action: "cannot wait for a process", source }),
            Err(_) => self.kill().await,
        }
    }

    /// Ends it as a power failure would, without a chance to tidy up.
    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        let killed = self.child.kill().await;
        killed.map_err(|source| Error::System { action: "cannot kill a process", source })
    }

    /// The id is the child's until `wait` has seen it end, which needs the same `&mut self`.
    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        rustix::process::kill_process(pid, signal).map_err(|error| Error::System {
            action: "cannot signal a process",
            source: error.into(),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the place that starts processes")]
fn command<I, S>(program: &Path, args: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    // kill_on_drop: no etcd of ours outlives a caller that fails, panics or is cancelled.
    // Every flag of etcd and etcdctl has an environment variable; those of the caller are for the
    // cluster that is backed up, and must not reach one that we run.
    command.args(args).env_clear().env("ETCDCTL_API", "3").stdin(Stdio::null()).kill_on_drop(true);
    if cfg!(target_arch = "aarch64") {
        // etcd 3.4 refuses to start on this architecture without it.
        command.env("ETCD_UNSUPPORTED_ARCH", "arm64");
    }
    command
}

async fn read_all<R: AsyncRead + Unpin>(pipe: Option<R>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        let read = pipe.take(MAX_OUTPUT + 1).read_to_end(&mut bytes).await?;
        if read as u64 > MAX_OUTPUT {
            return Err(std::io::Error::other("it prints more than 64 MiB"));
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last bytes of a stream of text, however long its lines are.
#[derive(Debug, Clone, Default)]
struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    const BYTES: usize = 32 << 10;
    const LINES: usize = 50;

    async fn follow<R: AsyncRead + Unpin>(self, mut pipe: R) {
        let mut buffer = vec![0; 4096];
        while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
            self.push(buffer.get(..read).unwrap_or_default());
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(Self::BYTES);
        kept.drain(..excess);
    }

    fn lines(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(Self::LINES)..).unwrap_or_default().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: &str = "/bin/sh";

    fn alive(id: u32) -> bool {
        Path::new(&format!("/proc/{id}")).exists()
    }

    #[tokio::test]
    async fn output_and_failure_are_reported() {
        let args = ["-c", "echo out; echo err >&2; exit 3"];
        let output = run(Path::new(SHELL), args, Duration::from_secs(10)).await.unwrap();
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("out\n", "err\n"));
        assert!(!output.success);
    }

    #[tokio::test]
    async fn one_that_hangs_is_given_up() {
        let args = ["-c", "exec sleep 1000"];
        let error = run(Path::new(SHELL), args, Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    #[tokio::test]
    async fn the_environment_of_the_caller_stays_here() {
        let args = ["-c", "echo $HOME$CARGO_PKG_NAME"];
        let output = run(Path::new(SHELL), args, Duration::from_secs(10)).await.unwrap();
        assert_eq!(output.stdout, "\n");
    }

    #[tokio::test]
    async fn dropping_the_handle_kills() {
        let process = Process::spawn(Path::new(SHELL), ["-c", "exec sleep 1000"]).unwrap();
        let id = process.id().unwrap();
        assert!(alive(id));
        drop(process);
        for _ in 0..100 {
            if !alive(id) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("process {id} lives on");
    }

    #[tokio::test]
    async fn one_that_ignores_the_request_to_end_is_killed() {
        let args = ["-c", "trap '' TERM; echo up >&2; while :; do sleep 0.05; done"];
        let mut process = Process::spawn(Path::new(SHELL), args).unwrap();
        while process.last_lines().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.stop(Duration::from_millis(200)).await.unwrap();
        assert!(process.ended().is_some());
    }

    #[test]
    fn the_tail_is_bounded_whatever_the_lines_are() {
        let tail = Tail::default();
        for n in 0..10_000 {
            tail.push(format!("line {n}\n").as_bytes());
        }
        let lines = tail.lines();
        assert_eq!(lines.lines().count(), Tail::LINES);
        assert!(lines.ends_with("line 9999"));
        tail.push(&[b'x'; 1 << 20]);
        assert_eq!(tail.lines().len(), Tail::BYTES);
    }
}
