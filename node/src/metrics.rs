//! The few of a member's Prometheus metrics that show how fast its disk is, and whether it streams
//! a snapshot. Names and units are facts of etcd.

use std::time::Duration;

/// Most buckets that a histogram is read with; etcd has fourteen.
const MAX_BUCKETS: usize = 64;
/// Longest line, in bytes: etcd's labels are short.
const MAX_LINE: usize = 16 << 10;

const WAL_FSYNC: &str = "etcd_disk_wal_fsync_duration_seconds_bucket";
const BACKEND_COMMIT: &str = "etcd_disk_backend_commit_duration_seconds_bucket";
const QUOTA: &str = "etcd_server_quota_backend_bytes";
/// Calls that began and calls that ended, in all versions from 3.4 on, with any `--metrics`. Both
/// begin at 0 with the process.
const STARTED: &str = "grpc_server_started_total";
const HANDLED: &str = "grpc_server_handled_total";
/// The label of the one call that is counted.
const SNAPSHOT: &str = "grpc_method=\"Snapshot\"";

/// What a member's metrics say at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics {
    /// Times of the write-ahead log's fsync, since the member started.
    pub wal_fsync: Histogram,
    /// Times of the database's commits, since the member started.
    pub backend_commit: Histogram,
    /// The database's quota in bytes; absent where the member does not report it.
    pub quota: Option<u64>,
    /// Snapshot streams that it has open, to any client; absent where the member does not report
    /// them. One that has just ended may still be counted for a moment.
    pub snapshot_streams: Option<u64>,
}

/// Counts of times, by upper bounds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound in seconds, and the number of all times up to it. Both rise.
    buckets: Vec<(f64, u64)>,
}

impl Metrics {
    /// Reads Prometheus' text format. Other metrics are skipped.
    ///
    /// # Errors
    /// What is wrong with a line that is needed.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let mut metrics = Self::default();
        let (mut started, mut handled) = (None::<u64>, 0u64);
        for line in text.split(|byte| *byte == b'\n') {
            if line.len() > MAX_LINE {
                return Err("a line of the metrics is too long".to_owned());
            }
            let Ok(line) = std::str::from_utf8(line) else { continue };
            let line = line.trim();
            let name = line.split(['{', ' ', '\t']).next().unwrap_or_default();
            let wrong = || format!("the metric {name} is malformed");
            match name {
                WAL_FSYNC => metrics.wal_fsync.add(bucket(line).ok_or_else(wrong)?)?,
                BACKEND_COMMIT => metrics.backend_commit.add(bucket(line).ok_or_else(wrong)?)?,
                QUOTA => {
                    let quota = whole(value(line).ok_or_else(wrong)?);
                    metrics.quota = quota.filter(|quota| *quota > 0);
                }
                STARTED | HANDLED if line.contains(SNAPSHOT) => {
                    let count = value(line).and_then(whole).ok_or_else(wrong)?;
                    match name {
                        STARTED => started = Some(started.unwrap_or(0).saturating_add(count)),
                        _ => handled = handled.saturating_add(count),
                    }
                }
                _ => {}
            }
        }
        // The lines are not read at one instant: more may have ended than had begun.
        metrics.snapshot_streams = started.map(|started| started.saturating_sub(handled));
        Ok(metrics)
    }
}

impl Histogram {
    fn add(&mut self, (bound, count): (f64, u64)) -> Result<(), String> {
        if self.buckets.len() == MAX_BUCKETS {
            return Err("a histogram of the metrics has too many buckets".to_owned());
        }
        if let Some((last_bound, last_count)) = self.buckets.last()
            && (bound <= *last_bound || count < *last_count)
        {
            return Err("the buckets of a histogram of the metrics do not rise".to_owned());
        }
        self.buckets.push((bound, count));
        Ok(())
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// What was counted since an earlier reading of the same member; `None` when it was restarted
    /// in between.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        if self.buckets.len() != earlier.buckets.len() {
            return None;
        }
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        let rest = pairs.map(|((bound, now), (old, before))| {
            if (bound - old).abs() > f64::EPSILON && bound != old {
                return None;
            }
            Some((*bound, now.checked_sub(*before)?))
        });
        rest.collect::<Option<Vec<_>>>().map(|buckets| Self { buckets })
    }

    /// The time that a share of all, e.g. 0.99, did not exceed, evenly spread within its bucket, as
    /// Prometheus computes it; `None` when nothing was counted. Times above the last bound count as
    /// that bound.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * total as f64;
        let (mut low, mut below) = (0.0f64, 0u64);
        for (bound, count) in &self.buckets {
            if *count as f64 >= rank && *count > below {
                if bound.is_infinite() {
                    break;
                }
                let part = (rank - below as f64) / (*count - below) as f64;
                return Duration::try_from_secs_f64(low + (bound - low) * part.clamp(0.0, 1.0))
                    .ok();
            }
            if bound.is_finite() {
                (low, below) = (*bound, *count);
            }
        }
        Duration::try_from_secs_f64(low).ok()
    }
}

/// Upper bound and count of a line such as `name_bucket{le="0.001"} 12`.
fn bucket(line: &str) -> Option<(f64, u64)> {
    let (_, rest) = line.split_once("le=\"")?;
    let (bound, _) = rest.split_once('"')?;
    let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
    let fits = !bound.is_nan() && bound > 0.0;
    fits.then_some((bound, whole(value(line)?)?))
}

/// The value of a line; a time stamp may follow it.
fn value(line: &str) -> Option<f64> {
    let after = line.rsplit_once('}').map_or_else(|| line.split_once([' ', '\t']), Some)?.1;
    after.split_whitespace().next()?.parse().ok()
}

/// Counts are printed as floating point numbers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn whole(value: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (0.0..=EXACT).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP etcd_disk_wal_fsync_duration_seconds The latency.
# TYPE etcd_disk_wal_fsync_duration_seconds histogram
etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 90
etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 98
etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 100
etcd_disk_wal_fsync_duration_seconds_bucket{le=\"+Inf\"} 100
etcd_disk_wal_fsync_duration_seconds_sum 1.25
etcd_disk_wal_fsync_duration_seconds_count 100
etcd_server_quota_backend_bytes 2.147483648e+09
go_info{version=\"a } b\"} 1
";

    #[test]
    fn what_is_asked_for_is_read() {
        let metrics = Metrics::parse(TEXT.as_bytes()).unwrap();
        assert_eq!(metrics.quota, Some(2 << 30));
        assert_eq!(metrics.wal_fsync.count(), 100);
        let near = |share, wanted: f64| {
            let seconds = metrics.wal_fsync.quantile(share).unwrap().as_secs_f64();
            assert!((seconds - wanted).abs() < 1e-9, "{share}: {seconds}");
        };
        near(0.99, 0.003);
        near(0.5, 0.001 * 50.0 / 90.0);
        near(1.0, 0.004);
        assert_eq!(metrics.backend_commit.quantile(0.99), None);
    }

    #[test]
    fn snapshot_streams_that_have_not_ended_are_counted() {
        let line = |name: &str, code: &str, method: &str, count: u64| {
            let service = "grpc_service=\"etcdserverpb.Maintenance\",grpc_type=\"server_stream\"";
            format!("{name}{{{code}grpc_method=\"{method}\",{service}}} {count}\n")
        };
        let (ok, canceled) = ("grpc_code=\"OK\",", "grpc_code=\"Canceled\",");
        let streams = |lines: &[String]| Metrics::parse(lines.concat().as_bytes()).unwrap();
        let handled = [line(HANDLED, ok, "Snapshot", 2), line(HANDLED, canceled, "Snapshot", 1)];
        let [two, one] = handled;
        let began = |count| line(STARTED, "", "Snapshot", count);
        let others = [line(STARTED, "", "Watch", 9), line(HANDLED, ok, "Watch", 1)].concat();
        let all = |count| streams(&[others.clone(), two.clone(), one.clone(), began(count)]);
        assert_eq!(all(3).snapshot_streams, Some(0));
        assert_eq!(all(5).snapshot_streams, Some(2));
        assert_eq!(all(2).snapshot_streams, Some(0), "read between two counts");
        assert_eq!(streams(&[others.clone(), two.clone()]).snapshot_streams, None);
        let bad = format!("{STARTED}{{{SNAPSHOT}}} x");
        assert!(Metrics::parse(bad.as_bytes()).is_err());
    }

    #[test]
    fn only_what_came_since_counts() {
        let histogram = |counts: [u64; 3]| {
            let bounds = [0.1, 1.0, f64::INFINITY];
            Histogram { buckets: bounds.into_iter().zip(counts).collect() }
        };
        let (before, now) = (histogram([1000, 1000, 1000]), histogram([1000, 1010, 1010]));
        assert!(now.quantile(0.99).unwrap() < Duration::from_millis(100));
        assert!(now.since(&before).unwrap().quantile(0.99).unwrap() > Duration::from_millis(900));
        assert_eq!(before.since(&now), None, "it was restarted");
        assert_eq!(now.since(&Histogram::default()), None);
        assert_eq!(now.since(&now).unwrap().quantile(0.99), None);
        // Above the last bound.
        assert_eq!(histogram([0, 0, 7]).quantile(0.99), Some(Duration::from_secs(1)));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let name = "etcd_disk_wal_fsync_duration_seconds_bucket";
        let bad = [
            format!("{name} 3"),
            format!("{name}{{le=\"x\"}} 3"),
            format!("{name}{{le=\"NaN\"}} 3"),
            format!("{name}{{le=\"1\"}} -3"),
            format!("{name}{{le=\"1\"}}"),
            format!("{name}{{le=\"1\"}} 3\n{name}{{le=\"1\"}} 3"),
            format!("{name}{{le=\"1\"}} 3\n{name}{{le=\"2\"}} 2"),
            "x".repeat(MAX_LINE + 1),
            (1..100).map(|n| format!("{name}{{le=\"{n}\"}} {n}\n")).collect(),
        ];
        for text in bad {
            assert!(Metrics::parse(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(Metrics::parse(b"\xff\xfe\n{}{ \n").unwrap(), Metrics::default());
    }
}
