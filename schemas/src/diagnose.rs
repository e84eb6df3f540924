//! What every error must be able to answer, and the exit codes of the command line.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io;

/// Exit codes of `etcdr`. They are a contract: see `docs/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// The work is done.
    Done = 0,
    /// The work failed.
    Failed = 1,
    /// The command line is wrong.
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
/// The `Display` text says what happened, [`Diagnose::diagnosis`] what follows from it. Each error
/// enum answers in one exhaustive match, so that a new variant cannot be forgotten.
pub trait Diagnose: Error {
    /// Permanence, exit code, what is safe, and what to do next.
    fn diagnosis(&self) -> Diagnosis;

    /// Whether repeating the attempt can never help.
    fn is_permanent(&self) -> bool {
        self.diagnosis().permanent
    }

    /// The exit code that this error ends the process with.
    fn exit_code(&self) -> ExitCode {
        self.diagnosis().code
    }
}

/// What an error means for the person who reads it, and for the code that may try again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// Whether repeating the attempt can never help.
    pub permanent: bool,
    /// The exit code of a process that ends with it.
    pub code: ExitCode,
    /// What can be relied upon all the same: which data was not touched, what still exists.
    pub safe: Cow<'static, str>,
    /// What to do next.
    pub next: Cow<'static, str>,
}

impl Diagnosis {
    /// Of an error that comes again whenever the same is tried.
    pub fn permanent(
        code: ExitCode,
        safe: impl Into<Cow<'static, str>>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { permanent: true, code, safe: safe.into(), next: next.into() }
    }

    /// Of an error that another try may not meet.
    pub fn transient(
        code: ExitCode,
        safe: impl Into<Cow<'static, str>>,
        next: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { permanent: false, ..Self::permanent(code, safe, next) }
    }

    /// This diagnosis with another answer to what is safe: whoever did the work knows that best.
    #[must_use]
    pub fn with_safe(self, safe: impl Into<Cow<'static, str>>) -> Self {
        Self { safe: safe.into(), ..self }
    }

    /// Of an error that was caused by `source`. Where `source` carries an error of ours, that one
    /// knows permanence, exit code and the next step better; what is safe stays.
    #[must_use]
    pub fn caused_by(self, source: &io::Error) -> Self {
        match carried(source) {
            Some(cause) => cause.diagnosis().with_safe(self.safe),
            None => self,
        }
    }
}

/// An error of ours on its way through a reader or writer, whose methods can only fail with an
/// [`io::Error`]. The crate between the two ends repeats its diagnosis without knowing its type.
struct Carried(Box<dyn Diagnose + Send + Sync>);

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error for Carried {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Wraps an error of ours for a reader or writer; [`uncarry`] gets it back.
pub fn carry(error: impl Diagnose + Send + Sync + 'static) -> io::Error {
    io::Error::other(Carried(Box::new(error)))
}

/// The error of ours that `error` carries, if it does.
#[must_use]
pub fn carried(error: &io::Error) -> Option<&(dyn Diagnose + Send + Sync + 'static)> {
    error.get_ref()?.downcast_ref::<Carried>().map(|carried| carried.0.as_ref())
}

/// Takes an error of type `T` back out.
///
/// # Errors
/// `error` unchanged, when it carries none or one of another type.
pub fn uncarry<T: Diagnose + 'static>(error: io::Error) -> Result<T, io::Error> {
    let is_ours = carried(&error).is_some_and(|inner| (inner as &(dyn Error + 'static)).is::<T>());
    if !is_ours {
        return Err(error);
    }
    let inner: Box<dyn Error + Send + Sync> = error.downcast::<Carried>()?.0;
    inner.downcast::<T>().map(|ours| *ours).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the key is wrong")]
    struct WrongKey;

    #[derive(Debug, thiserror::Error)]
    #[error("the disk is full")]
    struct FullDisk;

    impl Diagnose for WrongKey {
        fn diagnosis(&self) -> Diagnosis {
            Diagnosis::permanent(ExitCode::Key, "All of it.", "Give the right one.")
        }
    }

    impl Diagnose for FullDisk {
        fn diagnosis(&self) -> Diagnosis {
            Diagnosis::transient(ExitCode::Failed, "All of it.", "Free space.")
        }
    }

    #[test]
    fn what_a_reader_carried_speaks_for_itself_but_not_for_what_is_safe() {
        let outer = Diagnosis::transient(ExitCode::Failed, "The target.", "Try again.");
        let diagnosis = outer.clone().caused_by(&carry(WrongKey));
        assert_eq!(
            diagnosis,
            Diagnosis::permanent(ExitCode::Key, "The target.", "Give the right one.")
        );
        assert_eq!(outer.clone().caused_by(&io::Error::other("x")), outer);
    }

    #[test]
    fn an_error_comes_back_as_what_it_was() {
        assert!(uncarry::<WrongKey>(carry(WrongKey)).is_ok());
        let other = uncarry::<FullDisk>(carry(WrongKey)).expect_err("it is another type");
        assert_eq!(other.to_string(), "the key is wrong");
        assert!(carried(&other).is_some_and(|error| error.exit_code() == ExitCode::Key));
        let plain = uncarry::<WrongKey>(io::Error::other("plain")).expect_err("it carries none");
        assert!(carried(&plain).is_none());
    }
}
