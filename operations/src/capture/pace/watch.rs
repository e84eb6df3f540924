//! Watches how the member does while a stream is open, and slows the stream down.

use std::sync::Arc;
use std::time::Duration;

use etcdr_node::{Client, ConnectOptions, Metrics};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Pace;
use super::limit::Reading;

/// The share of fsync times that the limit is about.
const FSYNC_QUANTILE: f64 = 0.99;

/// A watch; it ends when it is dropped.
pub(crate) struct Watching(JoinHandle<()>);

impl Drop for Watching {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pace {
    /// Begins to watch a member, where the configuration asks for it.
    pub(crate) fn watch(
        self: &Arc<Self>,
        client: &Client,
        options: &ConnectOptions,
    ) -> Option<Watching> {
        let watch = Watch {
            pace: Arc::clone(self),
            client: client.clone(),
            options: options.clone(),
            last: None,
        };
        self.back_off.enabled.then(|| Watching(tokio::spawn(watch.run())))
    }
}

struct Watch {
    pace: Arc<Pace>,
    client: Client,
    options: ConnectOptions,
    last: Option<Metrics>,
}

impl Watch {
    async fn run(mut self) {
        let every = self.pace.back_off.every.0.max(Duration::from_millis(10));
        loop {
            if let Some(reading) = self.probe().await {
                let worse = reading.is_worse(&self.pace.back_off);
                let began = {
                    let now = self.pace.began.elapsed();
                    self.pace.lock().brake.observe(worse, now)
                };
                if began {
                    tracing::info!(?reading, "the capture gives way to etcd");
                }
            }
            tokio::time::sleep(every).await;
        }
    }

    /// The first metrics say nothing yet: they count since the member started.
    async fn probe(&mut self) -> Option<Reading> {
        match Metrics::read(&self.options, self.pace.metrics_url.as_deref()).await {
            Ok(now) => {
                let last = self.last.replace(now.clone())?;
                let since = now.wal_fsync.since(&last.wal_fsync)?;
                Some(Reading::Fsync(since.quantile(FSYNC_QUANTILE)))
            }
            Err(error) => {
                tracing::debug!(%error, "no metrics; a linearizable read is timed");
                self.last = None;
                Some(Reading::Read(self.time_a_read().await))
            }
        }
    }

    /// A read that is not answered within the longest pause is as slow as need be. One that fails
    /// says nothing of the disk (no quorum, no right): it does not hold up what may be the last
    /// chance of a backup.
    async fn time_a_read(&self) -> Option<Duration> {
        let began = Instant::now();
        let patience = self.pace.back_off.latency.0.saturating_mul(4).max(Duration::from_secs(1));
        match tokio::time::timeout(patience, self.client.current_revision()).await {
            Ok(Ok(_)) => Some(began.elapsed()),
            Ok(Err(_)) => Some(Duration::ZERO),
            Err(_) => None,
        }
    }
}
