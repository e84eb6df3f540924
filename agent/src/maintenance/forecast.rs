//! Forecasts when the database reaches its quota: a straight line through the sizes that were seen.
//! Pure.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// Samples that are kept. When they are full every second one goes and the others stand further
/// apart, so that a month takes as much memory as an hour.
const MAX_SAMPLES: usize = 256;

/// Fewer samples give no forecast.
const MIN_SAMPLES: usize = 8;

/// Shortest time that a forecast is made from.
const MIN_SECONDS: i64 = 600;

/// A file that is smaller by this share was defragmented: the line starts again.
const SHRUNK: f64 = 0.05;

/// Forecasts further away than this are not given.
const MAX_FORECAST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What is remembered of the size of the database.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// Seconds since 1970, and bytes. Times rise.
    samples: Vec<(i64, u64)>,
    /// Shortest time between two samples that are kept.
    spacing: i64,
    latest: Option<u64>,
}

impl Forecast {
    /// Takes note of the size of the largest member's database file. A clock that is set back drops
    /// all samples.
    pub fn observe(&mut self, now: DateTime<Utc>, size: u64) {
        let now = now.timestamp();
        let shrunk = self.latest.is_some_and(|last| (size as f64) < last as f64 * (1.0 - SHRUNK));
        let back = self.samples.last().is_some_and(|(last, _)| now < *last);
        if shrunk || back {
            self.samples.clear();
            self.spacing = 0;
        }
        self.latest = Some(size);
        if self.samples.last().is_some_and(|(last, _)| now - last < self.spacing.max(1)) {
            return;
        }
        self.samples.push((now, size));
        if self.samples.len() >= MAX_SAMPLES {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
            let span = self.seconds();
            self.spacing = span / i64::try_from(self.samples.len()).unwrap_or(1);
        }
    }

    /// The size that was seen last.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.latest
    }

    /// Time until the quota is reached. `None` when the database does not grow, when its growth is
    /// not more than noise, and while too little was seen.
    #[must_use]
    pub fn left(&self, quota: u64) -> Option<Duration> {
        let size = self.latest?;
        if size >= quota {
            return Some(Duration::ZERO);
        }
        let slope = self.slope()?;
        let seconds = (quota - size) as f64 / slope;
        Duration::try_from_secs_f64(seconds).ok().filter(|left| *left <= MAX_FORECAST)
    }

    fn seconds(&self) -> i64 {
        match (self.samples.first(), self.samples.last()) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0,
        }
    }

    /// Bytes a second by least squares, when that is more than twice its own standard error.
    fn slope(&self) -> Option<f64> {
        let ((first, base), count) = (*self.samples.first()?, self.samples.len());
        if count < MIN_SAMPLES || self.seconds() < MIN_SECONDS {
            return None;
        }
        let n = count as f64;
        let points = || {
            let point = |(at, size): &(i64, u64)| ((at - first) as f64, *size as f64 - base as f64);
            self.samples.iter().map(point)
        };
        let (sum_x, sum_y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0, y + point.1));
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (xx, xy) = points().fold((0.0, 0.0), |(xx, xy), (x, y)| {
            (xx + (x - mean_x).powi(2), xy + (x - mean_x) * (y - mean_y))
        });
        let slope = xy / xx;
        let error: f64 = points().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).powi(2)).sum();
        let error = (error / (n - 2.0) / xx).sqrt();
        (slope > 0.0 && slope > 2.0 * error).then_some(slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
    }

    fn seen(seconds: i64, every: usize, size: impl Fn(i64) -> u64) -> Forecast {
        let mut forecast = Forecast::default();
        (0..seconds).step_by(every).for_each(|second| forecast.observe(at(second), size(second)));
        forecast
    }

    fn hours(forecast: &Forecast, quota: u64) -> Option<f64> {
        forecast.left(quota).map(|left| left.as_secs_f64() / 3600.0)
    }

    #[test]
    fn growth_is_followed_to_the_quota() {
        // 100 MiB an hour, in steps of 16 MiB as bbolt allocates.
        for step in [1, 16 << 20] {
            let size =
                |second: i64| (second.unsigned_abs() * (100 << 20) / 3600) / step * step + GIB;
            let left = hours(&seen(86_400, 15, size), 8 * GIB).unwrap();
            let wanted = (7.0 * 1024.0 - 2400.0) / 100.0;
            assert!((left - wanted).abs() < 1.0, "{step}: {left} of {wanted}");
        }
    }

    #[test]
    fn too_little_says_nothing_and_full_is_full() {
        let grows = |second: i64| GIB + second.unsigned_abs() * 1000;
        assert_eq!(seen(500, 15, grows).left(8 * GIB), None);
        assert_eq!(seen(86_400, 43_000, grows).left(8 * GIB), None);
        assert_eq!(Forecast::default().left(1), None);
        assert_eq!(seen(10, 15, grows).left(GIB), Some(Duration::ZERO));
    }

    #[test]
    fn noise_and_a_flat_line_are_no_growth() {
        assert_eq!(seen(86_400, 15, |_| GIB).left(8 * GIB), None);
        let noise = |second: i64| {
            let mixed = second.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let digest = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 44;
            GIB + digest
        };
        let forecasts = (0..40).filter(|run| {
            let found = seen(7200, 15, |second| noise(second + run * 1_000_003));
            found.left(GIB + (8 << 20)).is_some()
        });
        // Twice the standard error is passed by chance once in forty times.
        let forecasts = forecasts.count();
        assert!(forecasts <= 4, "{forecasts} of 40");
        assert_eq!(
            seen(86_400, 15, |second| GIB - second.unsigned_abs() * 100).left(8 * GIB),
            None
        );
    }

    #[test]
    fn a_defragmentation_begins_a_new_line() {
        let size = |second: i64| match second {
            0..43_200 => 4 * GIB + second.unsigned_abs() * 10_000,
            _ => GIB + (second.unsigned_abs() - 43_200) * 1000,
        };
        assert_eq!(seen(43_300, 15, size).left(8 * GIB), None);
        let left = hours(&seen(86_400, 15, size), 8 * GIB).unwrap();
        let wanted = (7 * GIB - 43_200_000) as f64 / 1000.0 / 3600.0;
        assert!((left / wanted - 1.0).abs() < 0.01, "{left} of {wanted}");
    }

    #[test]
    fn memory_is_bounded_and_a_clock_that_jumps_does_no_harm() {
        let mut forecast = seen(30 * 86_400, 15, |second| GIB + second.unsigned_abs());
        assert!(forecast.samples.len() < MAX_SAMPLES && forecast.samples.len() >= MAX_SAMPLES / 2);
        assert!(forecast.seconds() > 29 * 86_400);
        forecast.observe(at(0), GIB + 5);
        assert_eq!((forecast.samples.len(), forecast.left(8 * GIB)), (1, None));
        forecast.observe(DateTime::<Utc>::MAX_UTC, u64::MAX);
        forecast.observe(DateTime::<Utc>::MIN_UTC, 0);
        assert_eq!(forecast.left(1), None);
    }
}
