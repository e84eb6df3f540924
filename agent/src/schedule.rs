//! Computes when schedules fire. Pure: the time is an argument, and every agent of a cluster gets
//! the same answers, which is what lets them claim the same tick.
//!
//! A **tick** is the nominal time, e.g. 03:00; it names the work. A tick *fires* a little later
//! where the schedule has splay or jitter.

mod calendar;
mod fields;

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, Utc};
use chrono_tz::Tz;
use etcdr_schemas::config::{Config, Problem, ScheduleConfig};
use etcdr_schemas::units::Span;
use etcdr_schemas::{ClusterName, Sha256Digest};

use calendar::Calendar;

/// Longest period of `@every`.
const MAX_PERIOD: Duration = Duration::from_secs(366 * 86_400);

/// Years in which ticks are computed: beyond them chrono's own arithmetic comes near its ends.
const YEARS: std::ops::Range<i32> = 1970..9000;

/// One schedule, understood.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: String,
    cluster: ClusterName,
    ticks: Ticks,
    splay: Duration,
    jitter: Duration,
}

#[derive(Debug, Clone)]
enum Ticks {
    /// Multiples of so many seconds since 1970, so that agents that were started at different times
    /// agree.
    Every(i64),
    Calendar(Box<Calendar>),
}

impl Schedule {
    /// Reads a schedule of the configuration.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the expression or the zone.
    pub fn parse(config: &ScheduleConfig, cluster: &ClusterName) -> Result<Self, String> {
        let plain = Self::plain(&config.name, &config.cron, &config.time_zone, cluster)?;
        Ok(Self { splay: config.splay.0, jitter: config.jitter.0, ..plain })
    }

    /// A schedule without splay and jitter: pruning, defragmentation, compaction.
    ///
    /// # Errors
    /// As [`Schedule::parse`].
    pub fn plain(
        name: &str,
        cron: &str,
        time_zone: &str,
        cluster: &ClusterName,
    ) -> Result<Self, String> {
        let (name, cluster) = (name.to_owned(), cluster.clone());
        let ticks = ticks(cron, zone(time_zone)?)?;
        Ok(Self { name, cluster, ticks, splay: Duration::ZERO, jitter: Duration::ZERO })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first tick after a moment; `None` when there is none that this program's calendar
    /// reaches.
    #[must_use]
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !YEARS.contains(&after.year()) {
            return None;
        }
        match &self.ticks {
            Ticks::Every(period) => {
                let last = after.timestamp().div_euclid(*period);
                DateTime::from_timestamp(last.checked_add(1)?.checked_mul(*period)?, 0)
            }
            Ticks::Calendar(calendar) => calendar.next_after(after),
        }
    }

    /// The latest tick that is not after `now`: the one to catch up with, however many were missed.
    #[must_use]
    pub fn last_at_or_before(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if !YEARS.contains(&now.year()) {
            return None;
        }
        match &self.ticks {
            Ticks::Every(period) => {
                let last = now.timestamp().div_euclid(*period);
                DateTime::from_timestamp(last.checked_mul(*period)?, 0)
            }
            Ticks::Calendar(calendar) => calendar.last_at_or_before(now),
        }
    }

    /// When a tick fires: splay, which is always the same for one cluster, and jitter, which
    /// differs from tick to tick, are added. All agents of a cluster get the same.
    #[must_use]
    pub fn fires_at(&self, tick: DateTime<Utc>) -> DateTime<Utc> {
        let splay = share(self.splay, &[self.cluster.as_str()]);
        let second = tick.timestamp().to_string();
        let jitter = share(self.jitter, &[self.cluster.as_str(), &self.name, &second]);
        let later = TimeDelta::from_std(splay.saturating_add(jitter)).unwrap_or_default();
        tick.checked_add_signed(later).unwrap_or(tick)
    }
}

/// Ticks that are compared to find the shortest time between two.
const SAMPLE: usize = 200;

impl Ticks {
    /// The shortest time between two ticks that follow one another; `None` when there are not two.
    fn shortest(&self) -> Option<Duration> {
        let calendar = match self {
            Self::Every(period) => return u64::try_from(*period).ok().map(Duration::from_secs),
            Self::Calendar(calendar) => calendar,
        };
        // Any beginning will do; the answer must not depend on when it is asked.
        let first = calendar.next_after(DateTime::from_timestamp(1_700_000_000, 0)?)?;
        let ticks = std::iter::successors(Some(first), |tick| calendar.next_after(*tick));
        let ticks: Vec<_> = ticks.take(SAMPLE).collect();
        let gaps = ticks.windows(2).filter_map(|pair| match pair {
            [one, next] => (*next - *one).to_std().ok(),
            _ => None,
        });
        gaps.min()
    }
}

/// What is wrong with the jitter of a schedule: ticks that fire after the next one are never taken.
fn jitter(config: &ScheduleConfig) -> Option<String> {
    let ticks = ticks(&config.cron, zone(&config.time_zone).ok()?).ok()?;
    let shortest = ticks.shortest()?;
    (config.jitter.0 > shortest).then(|| {
        format!(
            "it is longer than the shortest time between two ticks of {:?}, {}: ticks would fire \
             after the next one",
            config.cron,
            Span(shortest)
        )
    })
}

/// A part of `most` that only the texts decide. SHA-256, since it must be the same in every later
/// version.
fn share(most: Duration, texts: &[&str]) -> Duration {
    let most = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
    if most == 0 {
        return Duration::ZERO;
    }
    let digest = Sha256Digest::of(texts.join("\0").as_bytes());
    let number =
        digest.as_bytes().iter().take(8).fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    Duration::from_millis(number % most)
}

fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        format!("{name:?} is not a time zone of the IANA database, such as UTC or Europe/Berlin")
    })
}

fn ticks(cron: &str, zone: Tz) -> Result<Ticks, String> {
    let cron = cron.trim();
    let five = match cron {
        "@hourly" => "0 * * * *",
        "@daily" | "@midnight" => "0 0 * * *",
        "@weekly" => "0 0 * * 0",
        "@monthly" => "0 0 1 * *",
        "@yearly" | "@annually" => "0 0 1 1 *",
        other => other,
    };
    if let Some(period) = five.strip_prefix("@every") {
        return every(period).map(Ticks::Every);
    }
    if five.starts_with('@') {
        return Err(format!(
            "{five:?} is none of @hourly, @daily, @midnight, @weekly, @monthly, @yearly, \
             @annually and \
             @every 10s"
        ));
    }
    Ok(Ticks::Calendar(Box::new(Calendar::new(fields::parse(five)?, zone)?)))
}

fn every(text: &str) -> Result<i64, String> {
    let Span(period) = text.parse()?;
    let whole = period.subsec_nanos() == 0 && !period.is_zero();
    match i64::try_from(period.as_secs()) {
        Ok(seconds) if whole && period <= MAX_PERIOD => Ok(seconds),
        _ => Err("@every takes whole seconds, from 1s to a year".to_owned()),
    }
}

/// What is wrong with the times of day and the zones of a whole configuration, by the paths of
/// their keys.
#[must_use]
pub fn check(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut check_key = |path: &str, cron: Option<&str>, time_zone: &str| {
        if let Err(what) = zone(time_zone) {
            problems.push(Problem::new(format!("{path}.time_zone"), what));
        }
        if let Some(Err(what)) = cron.map(|cron| ticks(cron, Tz::UTC)) {
            problems.push(Problem::new(format!("{path}.cron"), what));
        }
    };
    for (at, schedule) in config.schedules.iter().enumerate() {
        check_key(&format!("schedules[{at}]"), Some(&schedule.cron), &schedule.time_zone);
    }
    if let Some(time_zone) = &config.retention.time_zone {
        check_key("retention", None, time_zone);
    }
    check_key("prune", config.prune.cron.as_deref(), &config.prune.time_zone);
    if let Some(defragment) = &config.maintenance.defragment {
        check_key("maintenance.defragment", Some(&defragment.cron), &defragment.time_zone);
    }
    if let Some(compact) = &config.maintenance.compact {
        check_key("maintenance.compact", Some(&compact.cron), &compact.time_zone);
    }
    for (at, schedule) in config.schedules.iter().enumerate() {
        let problem = jitter(schedule);
        problems.extend(problem.map(|what| Problem::new(format!("schedules[{at}].jitter"), what)));
    }
    problems
}

#[cfg(test)]
mod tests;
