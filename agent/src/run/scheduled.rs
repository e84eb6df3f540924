//! One schedule: waits for its ticks and takes each once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use super::ticks::{Next, Ticks};
use super::{Shared, capturing};
use crate::schedule::Schedule;

/// Longest sleep: the clock of the machine may jump, a configuration may change.
const MAX_SLEEP: Duration = Duration::from_secs(1);
/// Pauses after a failure; they double.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Follows one schedule as long as the configuration has it.
pub(super) async fn follow(shared: Arc<Shared>, name: String, mut stop: watch::Receiver<bool>) {
    let mut ticks = Ticks::default();
    let mut pause = PAUSES.0;
    while !*stop.borrow() {
        let settings = shared.settings();
        let Some(config) = settings.schedule(&name) else { return };
        let Ok(schedule) = Schedule::parse(config, &settings.config.cluster) else { return };
        let now = (shared.clock)();
        let next = match shared.is_paused(&name) {
            true => Next::Never,
            false => ticks.next(&schedule, config.on_start, now),
        };
        let wait = match next {
            Next::Now(tick) => {
                let done = capturing::tick(&shared, &schedule, tick, stop.clone()).await;
                if done {
                    ticks.handled(tick);
                    pause = PAUSES.0;
                    continue;
                }
                pause = (pause * 2).min(PAUSES.1);
                pause
            }
            Next::At(time) => (time - now).to_std().unwrap_or_default().min(MAX_SLEEP),
            Next::Never => MAX_SLEEP,
        };
        tokio::select! {
            () = sleep(wait.max(Duration::from_millis(1))) => {}
            _ = stop.changed() => {}
        }
    }
}
