//! Limits how fast a capture takes bytes from etcd, and for how long.
//!
//! Three limits, all on the side of the stream: bytes a second; pauses while the member's own disk
//! is slow; and the longest time for which etcd's read transaction may be open. What decides
//! ([`limit`]) is apart from what waits and asks ([`Pace`] and its watch).

mod limit;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcdr_schemas::config::{BackOff, CaptureConfig};
use tokio::time::Instant;

use crate::Error;
use limit::{Brake, Rate};

/// Longest sleep before the limits are checked again: a pause may end early.
const MAX_SLEEP: Duration = Duration::from_millis(50);

/// The pace of one capture. Shared by the stream, which asks it, and the watch, which slows it
/// down.
#[derive(Debug)]
pub struct Pace {
    back_off: BackOff,
    metrics_url: Option<String>,
    max_hold: Duration,
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rate: Option<Rate>,
    brake: Brake,
    /// When the stream was opened, and how many bytes it has.
    opened: Option<(Instant, u64)>,
    taken: u64,
    /// For how long it was open, once it is over.
    held: Option<Duration>,
}

impl Pace {
    /// The pace of one capture; each capture has its own. `metrics_url` is where the member's
    /// metrics are, when not at its endpoint.
    #[must_use]
    pub fn new(config: &CaptureConfig, metrics_url: Option<String>) -> Arc<Self> {
        let max_hold = config.max_hold.0;
        let state = State {
            rate: config.rate_limit.map(|limit| Rate::new(limit.0)),
            // Half of the longest hold: pauses alone must not use up the time that the stream
            // needs.
            brake: Brake::new(&config.back_off, max_hold / 2),
            opened: None,
            taken: 0,
            held: None,
        };
        let back_off = config.back_off.clone();
        let state = Mutex::new(state);
        Arc::new(Self { back_off, metrics_url, max_hold, began: Instant::now(), state })
    }

    /// For how long the stream was open, or is: so long was etcd's read transaction. Zero before it
    /// is opened.
    #[must_use]
    pub fn held(&self) -> Duration {
        let state = self.lock();
        let so_far = || state.opened.map(|(since, _)| since.elapsed());
        state.held.or_else(so_far).unwrap_or_default()
    }

    /// For how long in all the capture gave way to etcd.
    #[must_use]
    pub fn paused(&self) -> Duration {
        self.lock().brake.spent(self.began.elapsed())
    }

    /// The stream is going to be opened: from now on its time counts.
    pub(crate) fn opening(&self) {
        let mut state = self.lock();
        state.opened = Some((Instant::now(), u64::MAX));
        (state.taken, state.held) = (0, None);
    }

    /// The stream says how many bytes it has.
    pub(crate) fn opened(&self, total: u64) {
        let mut state = self.lock();
        let since = state.opened.map_or_else(Instant::now, |(since, _)| since);
        state.opened = Some((since, total));
    }

    /// Counts bytes that came, and waits until more may be taken.
    pub(crate) async fn taken(&self, bytes: u64) {
        let allowed = {
            let (mut state, now) = (self.lock(), self.began.elapsed());
            state.taken = state.taken.saturating_add(bytes);
            if let Some((since, total)) = state.opened
                && state.taken >= total
            {
                // etcd is done with it; what is left to wait for is ours.
                state.held = Some(since.elapsed());
                return;
            }
            state.rate.as_mut().map_or(now, |rate| rate.take(bytes, now))
        };
        loop {
            let now = self.began.elapsed();
            // Read again each time: a pause may end early.
            let until = self.lock().brake.until().max(allowed);
            let Some(wait) = until.checked_sub(now).filter(|wait| !wait.is_zero()) else { return };
            tokio::time::sleep(wait.min(MAX_SLEEP)).await;
        }
    }

    /// Does the work of the stream, unless etcd's read transaction is held too long by it.
    ///
    /// # Errors
    /// [`Error::HeldTooLong`], and those of the work.
    pub(crate) async fn bound<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::select! {
            // Work that is done counts, also when the time is over in the same moment.
            biased;
            done = work => done,
            error = self.too_long() => Err(error),
        }
    }

    /// Comes only when the stream is still open after the longest time.
    async fn too_long(&self) -> Error {
        let opened = self.lock().opened.map_or(self.began, |(since, _)| since);
        let left = self.max_hold.saturating_sub(opened.elapsed());
        tokio::time::sleep(left).await;
        let (taken, total) = {
            let state = self.lock();
            (state.taken, state.opened.map_or(0, |(_, total)| total))
        };
        if taken >= total {
            std::future::pending::<()>().await;
        }
        Error::HeldTooLong { limit: self.max_hold, taken, total }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
