//! Computes ticks by local time, through changes of daylight saving time.
//!
//! A schedule that names its hours (`30 2 * * *`) means a time of day: when that time does not
//! exist (the clock jumps over it) it ticks once at the first moment after the gap, and when it
//! exists twice it ticks the first time only. A schedule for every hour (`*`) means real time: it
//! ticks at every moment whose clock matches, in both of two equal hours and in none that does not
//! exist.

use chrono::{DateTime, Datelike as _, LocalResult, NaiveDate, NaiveDateTime, TimeZone as _, Utc};
use chrono_tz::{GapInfo, Tz};

use super::fields::Fields;

/// Days that are searched for the next tick: nine years, since 29 February may be eight years
/// away.
const MAX_DAYS: usize = 9 * 366;

const EVERY_HOUR: u64 = (1 << 24) - 1;

/// Five fields in a time zone.
#[derive(Debug, Clone)]
pub(super) struct Calendar {
    fields: Fields,
    zone: Tz,
}

impl Calendar {
    /// Refuses what never ticks, such as 30 February.
    pub(super) fn new(fields: Fields, zone: Tz) -> Result<Self, String> {
        let calendar = Self { fields, zone };
        // Four years hold every day that there can be.
        let all = NaiveDate::from_ymd_opt(2024, 1, 1).into_iter().flat_map(|date| date.iter_days());
        if all.take(4 * 366).any(|date| calendar.has(date)) {
            Ok(calendar)
        } else {
            Err("there is no such day in any year".to_owned())
        }
    }

    pub(super) fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let today = after.with_timezone(&self.zone).date_naive();
        let mut dates = today.pred_opt()?.iter_days().take(MAX_DAYS);
        let of = |date: NaiveDate| {
            let passes = self.passes();
            passes
                .iter()
                .filter_map(|pass| self.ticks(date, *pass).find(|tick| *tick > after))
                .min()
        };
        while let Some(date) = dates.next() {
            if let Some(tick) = of(date) {
                // Where the clock goes back over midnight, the day after may begin before this one
                // is over.
                return dates.next().and_then(of).into_iter().chain([tick]).min();
            }
        }
        None
    }

    pub(super) fn last_at_or_before(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let today = now.with_timezone(&self.zone).date_naive();
        let mut date = today.succ_opt()?;
        let of = |date: NaiveDate| {
            let all = self.passes().iter().flat_map(|pass| self.ticks(date, *pass));
            all.filter(|tick| *tick <= now).max()
        };
        for _ in 0..MAX_DAYS {
            let found = of(date);
            date = date.pred_opt()?;
            if let Some(tick) = found {
                return of(date).into_iter().chain([tick]).max();
            }
        }
        None
    }

    /// Whether the fields name this day.
    fn has(&self, date: NaiveDate) -> bool {
        let fields = &self.fields;
        let in_set = |set: u64, number: u32| set & (1 << number) != 0;
        let day = in_set(fields.days, date.day());
        let weekday = in_set(fields.weekdays, date.weekday().num_days_from_sunday());
        let days = if fields.either_day { day || weekday } else { day && weekday };
        days && in_set(fields.months, date.month())
    }

    /// How the times of a day become moments.
    const fn passes(&self) -> &'static [Pass] {
        if self.fields.hours == EVERY_HOUR {
            &[Pass::First, Pass::Second]
        } else {
            &[Pass::Shifted]
        }
    }

    /// The ticks of one pass whose clock shows this date, in order; a few may be equal.
    fn ticks(&self, date: NaiveDate, pass: Pass) -> impl Iterator<Item = DateTime<Utc>> {
        let Fields { minutes, hours, .. } = self.fields;
        let (hours, zone) = (if self.has(date) { hours } else { 0 }, self.zone);
        let hours = (0..24).filter(move |hour| hours & (1 << hour) != 0);
        let times = hours.flat_map(move |hour| {
            let minutes = (0..60).filter(move |minute| minutes & (1 << minute) != 0);
            minutes.filter_map(move |minute| date.and_hms_opt(hour, minute, 0))
        });
        times.filter_map(move |time| moment(&zone, time, pass))
    }
}

#[derive(Clone, Copy)]
enum Pass {
    /// The only or first moment with that clock.
    First,
    /// The only or first moment with that clock, or the end of the gap that the clock is in.
    Shifted,
    /// The second moment with that clock.
    Second,
}

fn moment(zone: &Tz, time: NaiveDateTime, pass: Pass) -> Option<DateTime<Utc>> {
    let found = match (zone.from_local_datetime(&time), pass) {
        (LocalResult::Ambiguous(_, second), Pass::Second) => Some(second),
        (_, Pass::Second) => None,
        (LocalResult::Single(one), _) => Some(one),
        (LocalResult::Ambiguous(first, _), _) => Some(first),
        (LocalResult::None, Pass::Shifted) => GapInfo::new(&time, zone)?.end,
        (LocalResult::None, Pass::First) => None,
    };
    found.map(|moment| moment.with_timezone(&Utc))
}
