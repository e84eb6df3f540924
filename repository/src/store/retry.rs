//! Trying a request again, after a failure that may pass.

use std::time::Duration;

use etcdr_schemas::Diagnose;

use crate::error::Result;

/// How often one request is made, above the repetitions of the store's own client.
const TRIES: u32 = 4;

/// Runs `work` until it succeeds, fails for good, or was tried [`TRIES`] times.
pub(crate) async fn retried<T, F: Future<Output = Result<T>>>(
    pause: Duration,
    work: impl Fn() -> F,
) -> Result<T> {
    let mut pause = pause;
    for _ in 1..TRIES {
        match work().await {
            Err(error) if !error.is_permanent() => {
                tracing::debug!(%error, "trying again");
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2);
            }
            outcome => return outcome,
        }
    }
    work().await
}
