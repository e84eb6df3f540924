//! What is known of a running agent, made of [`Event`]s and nothing else.
//!
//! The loop applies events; the page, the admin interface and the metrics read reports. Nothing
//! here waits for anything but its own lock, which is held for copies only, so an event costs the
//! loop next to nothing. Its memory is bounded, however long the agent runs.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use etcdr_schemas::ClusterName;
use etcdr_schemas::config::Config;
use etcdr_schemas::report::StatusReport;

use crate::event::Event;

mod conditions;
mod history;
mod report;
mod state;

use state::State;

/// What does not change while an agent runs.
#[derive(Debug, Clone)]
pub struct About {
    /// How the agent is called.
    pub name: String,
    /// The cluster that it saves.
    pub cluster: ClusterName,
    /// Its version.
    pub version: String,
    /// When it was started.
    pub started_at: DateTime<Utc>,
}

/// What counts as good. Another configuration brings others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Age of the newest restorable snapshot above which the agent fails its purpose.
    pub target_age: Duration,
    /// Time to the quota below which there is a warning.
    pub quota_warning: Duration,
    /// Time without an answer of its own member after which the agent cannot save. The loop asks at
    /// least twice as often.
    pub member_timeout: Duration,
    /// Time without an answer of the store after which the agent cannot save.
    pub store_timeout: Duration,
}

impl Limits {
    /// Those of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        // Twice what the monitor takes, and a little more.
        let member_timeout = config.maintenance.every.0 * 2 + Duration::from_secs(10);
        Self {
            target_age: config.watch.target_age.0,
            quota_warning: config.maintenance.quota_warning.0,
            member_timeout,
            store_timeout: Duration::from_secs(660),
        }
    }
}

/// Time without a turn of the loop after which the agent counts as dead.
const LOOP_TIMEOUT: Duration = Duration::from_secs(60);

/// The state of one agent. Shared behind an `Arc`.
#[derive(Debug)]
pub struct AgentStatus {
    about: About,
    state: Mutex<State>,
    /// Not wall time: that may jump.
    turned: Mutex<Instant>,
}

impl AgentStatus {
    /// That of an agent of which nothing has been seen yet.
    #[must_use]
    pub fn new(about: About, limits: Limits) -> Self {
        Self { about, state: Mutex::new(State::new(limits)), turned: Mutex::new(Instant::now()) }
    }

    /// Takes in what happened. An event is a sign of life too.
    pub fn apply(&self, event: &Event, now: DateTime<Utc>) {
        self.tick();
        self.state().apply(event, now);
    }

    /// Other limits, of a configuration that was read again.
    pub fn set_limits(&self, limits: Limits) {
        self.state().limits = limits;
    }

    /// The loop turned.
    pub fn tick(&self) {
        *self.turned.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the loop turned within the last minute.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.alive_at(Instant::now())
    }

    fn alive_at(&self, now: Instant) -> bool {
        let turned = *self.turned.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(turned) <= LOOP_TIMEOUT
    }

    /// All that is known, as of `now`.
    #[must_use]
    pub fn report(&self, now: DateTime<Utc>) -> StatusReport {
        report::report(&self.about, &self.state(), self.is_alive(), now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_hangs_is_dead_after_a_minute() {
        let about = About {
            name: "a".into(),
            cluster: ClusterName::default(),
            version: "1".into(),
            started_at: DateTime::UNIX_EPOCH,
        };
        let long = Duration::from_secs(3600);
        let limits = Limits {
            target_age: long,
            quota_warning: long,
            member_timeout: long,
            store_timeout: long,
        };
        let status = AgentStatus::new(about, limits);
        let now = Instant::now();
        assert!(status.alive_at(now + Duration::from_secs(59)));
        assert!(!status.alive_at(now + Duration::from_secs(61)));
        status.tick();
        assert!(status.is_alive());
    }
}
