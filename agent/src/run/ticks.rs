//! Decides which tick of a schedule is due, by a clock that may jump.

use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_schemas::config::OnStart;
use tokio::time::sleep;

use super::Shared;
use crate::schedule::Schedule;

/// Ticks of one schedule, by the wall clock, which may jump either way.
#[derive(Debug, Default)]
pub(super) struct Ticks {
    handled: Option<DateTime<Utc>>,
    started: bool,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This tick is due.
    Now(DateTime<Utc>),
    /// Nothing before this time.
    At(DateTime<Utc>),
    /// Nothing at all.
    Never,
}

impl Ticks {
    /// The latest tick that fired and was not handled; however many were missed, it is one.
    pub(super) fn next(&mut self, schedule: &Schedule, start: OnStart, now: DateTime<Utc>) -> Next {
        let latest = schedule.last_at_or_before(now);
        if !self.started {
            self.started = true;
            if start == OnStart::Wait {
                self.handled = latest;
            }
        }
        // A clock that was set back: what it says was handled lies ahead, and claims know what is
        // done.
        if self.handled > latest {
            self.handled = latest;
        }
        match latest {
            Some(tick) if self.handled < Some(tick) && schedule.fires_at(tick) <= now => {
                Next::Now(tick)
            }
            Some(tick) if self.handled < Some(tick) => Next::At(schedule.fires_at(tick)),
            _ => schedule
                .next_after(now)
                .map_or(Next::Never, |tick| Next::At(schedule.fires_at(tick))),
        }
    }

    /// This tick, and all before it, need nothing more.
    pub(super) fn handled(&mut self, tick: DateTime<Utc>) {
        self.handled = self.handled.max(Some(tick));
    }
}

/// Returns when a later tick has fired: two of them are not caught up.
pub(super) async fn superseded(shared: &Shared, schedule: &Schedule, tick: DateTime<Utc>) {
    loop {
        sleep(Duration::from_secs(1)).await;
        let now = (shared.clock)();
        let later = schedule.last_at_or_before(now).filter(|later| *later > tick);
        if later.is_some_and(|later| schedule.fires_at(later) <= now) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::ClusterName;
    use etcdr_schemas::config::ScheduleConfig;

    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-11-22T{text}Z").parse().unwrap()
    }

    #[test]
    fn missed_ticks_are_caught_up_once_and_clock_jumps_repeat_nothing() {
        let schedule =
            Schedule::parse(&ScheduleConfig::default(), &ClusterName::default()).unwrap();
        let mut ticks = Ticks::default();
        let next = |ticks: &mut Ticks, now| ticks.next(&schedule, OnStart::Overdue, at(now));
        assert_eq!(next(&mut ticks, "07:30:00"), Next::Now(at("07:00:00")), "overdue at start");
        assert_eq!(next(&mut ticks, "07:31:00"), Next::Now(at("07:00:00")), "until it is handled");
        ticks.handled(at("07:00:00"));
        assert_eq!(next(&mut ticks, "07:31:00"), Next::At(at("08:00:00")));
        assert_eq!(
            next(&mut ticks, "11:10:00"),
            Next::Now(at("11:00:00")),
            "three missed, one taken"
        );
        ticks.handled(at("11:00:00"));
        assert_eq!(next(&mut ticks, "09:59:00"), Next::At(at("10:00:00")), "set back");
        assert_eq!(next(&mut ticks, "10:00:00"), Next::Now(at("10:00:00")));
        let mut waiting = Ticks::default();
        let first = waiting.next(&schedule, OnStart::Wait, at("07:30:00"));
        assert_eq!(first, Next::At(at("08:00:00")));
    }
}
