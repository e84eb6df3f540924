//! Runs programs: to their end with a deadline, or in the background until dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Longest that any one program may take.
pub const DEADLINE: Duration = Duration::from_secs(180);

/// The outcome of a program that has ended.
#[derive(Debug, Clone)]
pub struct Said {
    /// The command line, for messages.
    pub command: String,
    /// Exit code; -1 for one that a signal ended.
    pub code: i32,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

impl Said {
    /// Standard output as text.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Gives it back after checking that the program succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.ends_with(0)
    }

    /// Gives it back after checking that the program ended with this exit code.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            code,
            "`{}` ended with {}, not {code}\nstdout: {}\nstderr: {}",
            self.command,
            self.code,
            self.stdout_text(),
            self.stderr
        );
        self
    }

    /// Gives it back after checking that standard error contains this text, in upper or lower case.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn saying(self, part: &str) -> Self {
        let text = self.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.to_lowercase().contains(&part.to_lowercase()),
            "`{}` did not say {part:?} but:\n{}",
            self.command,
            self.stderr
        );
        self
    }

    /// Standard output as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| {
            panic!("`{}` did not print JSON ({error}): {}", self.command, self.stdout_text())
        })
    }
}

/// A command for a test to run: a clean environment but for `PATH`.
///
/// # Panics
/// When the current directory or `PATH` is unusable.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the tests' one place that starts processes")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

/// A command whose program, arguments, environment and directory stay, but which another program
/// starts: `words` come before it.
#[must_use]
pub fn wrapped(inner: &Command, words: &[&str]) -> Command {
    let (first, rest) = words.split_first().expect("a program that starts it");
    let mut outer = command(first);
    outer.args(rest).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(dir) = inner.get_current_dir() {
        outer.current_dir(dir);
    }
    outer
}

/// Runs a program to its end.
///
/// # Panics
/// When it cannot be started or takes longer than [`DEADLINE`].
pub fn run<A: AsRef<OsStr>>(program: &Path, args: &[A]) -> Said {
    let mut command = command(program);
    command.args(args);
    finish(&mut command, &[])
}

/// Runs a prepared command to its end, feeding it `input`.
///
/// # Panics
/// When it cannot be started or takes longer than [`DEADLINE`].
pub fn finish(command: &mut Command, input: &[u8]) -> Said {
    let name = name(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot run `{name}`: {error}"));
    let mut stdin = child.stdin.take().expect("stdin is piped");
    let input = input.to_vec();
    // A program may end without reading all of its input.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    let status = wait(&mut child, DEADLINE);
    let said = Said {
        code: status.and_then(|status| status.code()).unwrap_or(-1),
        stdout: stdout.join().unwrap_or_default(),
        stderr: String::from_utf8_lossy(&stderr.join().unwrap_or_default()).into_owned(),
        command: name,
    };
    drop(writer.join());
    assert!(status.is_some(), "`{}` took too long; it said:\n{}", said.command, said.stderr);
    said
}

fn name(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        drop(from.read_to_end(&mut all));
        all
    })
}

/// Waits for the end; after the deadline the child is killed and nothing is returned.
fn wait(child: &mut Child, deadline: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    while start.elapsed() < deadline {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
    drop(child.kill());
    drop(child.wait());
    None
}

/// A program in the background, killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts it; both its outputs are written to the file `log`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).expect("a log file can be made");
        let twin = file.try_clone().expect("a log file can be shared");
        command.stdin(Stdio::null()).stdout(file).stderr(twin);
        let name = name(command);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot run `{name}`: {error}"));
        Self { child, log: log.to_owned() }
    }

    /// Whether it still runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its output so far.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end and returns its exit code; -1 for a signal.
    ///
    /// # Panics
    /// When it takes longer than [`DEADLINE`].
    pub fn wait(&mut self) -> i32 {
        let status = wait(&mut self.child, DEADLINE);
        status.unwrap_or_else(|| panic!("too slow; it said:\n{}", self.log())).code().unwrap_or(-1)
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Sends a signal by its name, such as `INT`.
    pub fn signal(&self, name: &str) {
        run(Path::new("/bin/kill"), &[format!("-{name}"), self.id().to_string()]).ok();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
