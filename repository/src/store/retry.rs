//! Trying a request again, after a failure that may pass.

use std::time::Duration;

use etcdr_schemas::Diagnose;

use crate::error::Result;

/// How often work is tried, above the repetitions of the store's own client, which repeats single
/// requests and cannot begin a listing or a body again. A store that stays down must fail the work
/// and not hold it for ever.
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
