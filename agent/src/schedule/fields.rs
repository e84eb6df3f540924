//! Parses the five fields of a cron expression into sets.

use std::str::FromStr as _;

use cron::TimeUnitSpec;

/// Longest expression that is parsed, in bytes.
const MAX_TEXT: usize = 256;

/// The minutes, hours, days and months that an expression names: bit `n` stands for the number `n`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) minutes: u64,
    pub(super) hours: u64,
    pub(super) days: u64,
    pub(super) months: u64,
    /// 0 is Sunday.
    pub(super) weekdays: u64,
    /// Both kinds of day were given, so either of them is enough: the rule of Vixie's cron. A field
    /// that begins with `*` does not count as given.
    pub(super) either_day: bool,
}

/// Reads five fields. Ranges, lists, steps and names are the cron crate's, for all but the weekday,
/// which that crate counts from 1 and the rest of the world from 0.
pub(super) fn parse(text: &str) -> Result<Fields, String> {
    if text.len() > MAX_TEXT {
        return Err(format!("a cron expression has at most {MAX_TEXT} letters"));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(format!(
            "a cron expression has five fields (minute, hour, day of month, month, day of week), \
             and {text:?} \
             has {}",
            fields.len()
        ));
    };
    fits("minute", minute, false)?;
    fits("hour", hour, false)?;
    fits("day of month", day, false)?;
    fits("month", month, true)?;
    fits("day of week", weekday, true)?;
    let seconds_first = format!("0 {minute} {hour} {day} {month} *");
    let parsed = cron::Schedule::from_str(&seconds_first)
        .map_err(|error| format!("{text:?} is not a cron expression: {}", one_line(&error)))?;
    Ok(Fields {
        minutes: set(parsed.minutes()),
        hours: set(parsed.hours()),
        days: set(parsed.days_of_month()),
        months: set(parsed.months()),
        weekdays: weekdays(weekday)?,
        either_day: !day.starts_with('*') && !weekday.starts_with('*'),
    })
}

fn set(unit: &impl TimeUnitSpec) -> u64 {
    unit.iter().filter(|ordinal| *ordinal < 64).fold(0, |set, ordinal| set | 1 << ordinal)
}

/// Refuses what other crons know and this one does not, by its name.
fn fits(name: &str, field: &str, names: bool) -> Result<(), String> {
    let upper = field.to_ascii_uppercase();
    let digits_and = |letter: char| {
        upper.split(',').any(|part| {
            part == letter.to_string()
                || part
                    .strip_suffix(letter)
                    .is_some_and(|rest| rest.ends_with(|c: char| c.is_ascii_digit()))
        })
    };
    if upper.contains('#') || digits_and('L') || digits_and('W') {
        return Err(format!("{field:?} as {name}: L, W and # are not supported; list the days"));
    }
    if upper.contains('?') {
        return Err(format!("{field:?} as {name}: write * for any"));
    }
    let known = |c: char| c.is_ascii_digit() || matches!(c, '*' | ',' | '-' | '/');
    if let Some(bad) = field.chars().find(|c| !(known(*c) || names && c.is_ascii_alphabetic())) {
        return Err(format!("{field:?} as {name}: {bad:?} cannot be in it"));
    }
    Ok(())
}

/// The crate draws a picture of where it stopped; the first line says it.
fn one_line(error: &cron::error::Error) -> String {
    let text = error.to_string();
    let message = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    message.trim().chars().take(120).collect()
}

const NAMES: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// Days of the week, 0 and 7 being Sunday.
fn weekdays(field: &str) -> Result<u64, String> {
    let mut set = 0;
    for part in field.split(',') {
        let wrong = || {
            format!("{part:?} is not a day of week: 0 to 7, SUN to SAT, ranges, lists and steps")
        };
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, step.parse().map_err(|_| wrong())?),
            None => (part, 1usize),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (0, 6),
            Some((first, last)) => {
                let (first, last) = (day(first).ok_or_else(wrong)?, day(last).ok_or_else(wrong)?);
                // `FRI-SUN` ends with the Sunday that comes then.
                (first, if last == 0 && first > 0 { 7 } else { last })
            }
            None if part.contains('/') => (day(range).ok_or_else(wrong)?, 6),
            None => {
                let day = day(range).ok_or_else(wrong)?;
                (day, day)
            }
        };
        if !(1..=7).contains(&step) || first > last {
            return Err(wrong());
        }
        for day in (first..=last).step_by(step) {
            set |= 1 << (day % 7);
        }
    }
    Ok(set)
}

fn day(text: &str) -> Option<u32> {
    let lower = text.to_ascii_lowercase();
    let named = NAMES.iter().position(|name| *name == lower || name[..3] == lower);
    match named {
        Some(day) => u32::try_from(day).ok(),
        None if lower.len() == 1 => lower.parse().ok().filter(|day| *day <= 7),
        None => None,
    }
}
