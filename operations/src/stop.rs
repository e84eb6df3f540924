//! How running work is asked to stop early.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use etcdr_schemas::diagnose::carry;
use etcdr_schemas::{Diagnose, Diagnosis, ExitCode};
use tokio::sync::watch;

/// Raised by a signal, and checked by blocking work between two chunks.
#[derive(Debug, Clone, Default)]
pub struct StopFlag(Arc<Stopping>);

#[derive(Debug, Default)]
struct Stopping {
    raised: AtomicBool,
    /// Milliseconds that the command gets to end by itself; 0: it is dropped at once.
    winds_up: AtomicU64,
    /// Becomes `true` when the work is to end.
    ends: watch::Sender<bool>,
    /// SIGHUP was seen so often; a command that listens is not stopped by it.
    hangups: watch::Sender<u64>,
}

impl StopFlag {
    /// From now on the work is to end.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::Relaxed);
        self.0.ends.send_replace(true);
    }

    /// Whether the work is to end.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed)
    }

    /// Announces that the command ends by itself within `grace` of the signal and has a result
    /// then: it is not dropped at once. The receiver becomes `true` when it should end.
    #[must_use]
    pub fn wind_up(&self, grace: Duration) -> watch::Receiver<bool> {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.0.winds_up.store(millis, Ordering::Relaxed);
        self.0.ends.subscribe()
    }

    /// The time that the command wants to end by itself.
    #[must_use]
    pub fn grace(&self) -> Option<Duration> {
        let millis = self.0.winds_up.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// From now on SIGHUP is for the command.
    #[must_use]
    pub fn hangups(&self) -> watch::Receiver<u64> {
        self.0.hangups.subscribe()
    }

    /// SIGHUP: `false` when nobody listens and it ends the command.
    #[must_use]
    pub fn hang_up(&self) -> bool {
        self.0.hangups.send_modify(|count| *count += 1);
        self.0.hangups.receiver_count() > 0
    }

    /// Passes items on until the flag is raised; then one error, so that the consumer cleans up.
    pub fn guard<I, T>(&self, items: I) -> impl Iterator<Item = io::Result<T>> + use<I, T>
    where
        I: Iterator<Item = io::Result<T>>,
    {
        let flag = self.clone();
        items.map(move |item| if flag.is_raised() { Err(carry(Interrupted)) } else { item })
    }
}

/// The work was stopped before it was done.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

impl Diagnose for Interrupted {
    fn diagnosis(&self) -> Diagnosis {
        Diagnosis::permanent(
            ExitCode::Interrupted,
            "Nothing was published: a snapshot exists only with its manifest, a restore only after \
             its last rename.",
            "Run the same command again.",
        )
    }
}
