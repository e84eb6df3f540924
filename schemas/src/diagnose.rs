//! What every error must be able to answer, and the exit codes of the command line.

use std::borrow::Cow;

/// Exit codes of `etcdr`. They are a contract: see `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// The work is done.
    Done = 0,
    /// The work failed.
    Failed = 1,
    /// The command line does not make sense.
    Usage = 2,
    /// The work is done, and something needs a look.
    Warnings = 3,
    /// There is no repository at that URL.
    RepositoryMissing = 10,
    /// Someone else has claimed this.
    Claimed = 11,
    /// A key is wrong or missing: identity, recipient or signing key.
    Key = 12,
    /// Stored data is damaged.
    Damaged = 20,
    /// The repository does not hold what was asked for.
    NotCovered = 21,
    /// The configuration is invalid.
    Config = 64,
    /// Stopped by a signal.
    Interrupted = 130,
}

/// An error that can be explained to someone who was paged at 3 am.
///
/// The `Display` text says what happened; `safe` what can be relied upon all the same; `next` what to
/// do. Each crate's error enum implements it.
pub trait Diagnose: std::error::Error {
    /// Whether trying the same again can never help.
    fn is_permanent(&self) -> bool;

    /// The exit code that this error ends the process with.
    fn exit_code(&self) -> ExitCode;

    /// What is safe: which data was not touched, what still exists.
    fn safe(&self) -> Cow<'static, str>;

    /// What to do next.
    fn next(&self) -> Cow<'static, str>;
}
