//! Decides how long to wait. Pure: times are counted from the beginning of the capture and are
//! arguments.

use std::time::Duration;

use etcdr_schemas::config::BackOff;

/// Time that may be made up for after a wait that was too long.
const BURST: Duration = Duration::from_millis(100);

/// So many bytes a second: in any time `t`, at most `rate * (t + 0.1 s)` and one piece.
#[derive(Debug, Clone)]
pub(super) struct Rate {
    bytes_per_second: u64,
    /// When what was taken so far has been paid for.
    paid: Duration,
}

impl Rate {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid: Duration::ZERO }
    }

    /// Counts bytes that were taken and says when the next may be.
    pub(super) fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        // Unused time counts for at most BURST: after a long rest the stream must not run at full
        // speed.
        self.paid = self.paid.max(now.saturating_sub(BURST)).saturating_add(cost);
        self.paid
    }
}

/// How a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// 99th percentile of the fsync times of its write-ahead log since the last reading; `None`
    /// when there were none.
    Fsync(Option<Duration>),
    /// Time that a linearizable read took; `None` when it was not answered in time.
    Read(Option<Duration>),
}

impl Reading {
    /// Whether the capture should give way.
    pub(super) fn is_worse(self, limits: &BackOff) -> bool {
        match self {
            Self::Fsync(None) => false,
            Self::Fsync(Some(time)) => time > limits.wal_fsync.0,
            Self::Read(None) => true,
            Self::Read(Some(time)) => time > limits.latency.0,
        }
    }
}

/// Pauses of bounded length, with time to get on between them, and a bound on all together: a read
/// transaction that is open for longer harms etcd too.
#[derive(Debug, Clone)]
pub(super) struct Brake {
    longest: Duration,
    /// Time between the end of a pause and the next one.
    between: Duration,
    budget: Duration,
    spent: Duration,
    until: Duration,
}

impl Brake {
    pub(super) fn new(limits: &BackOff, budget: Duration) -> Self {
        Self {
            longest: limits.max_pause.0,
            between: limits.every.0,
            budget,
            spent: Duration::ZERO,
            until: Duration::ZERO,
        }
    }

    /// Takes note of how the member does. Says whether a pause begins.
    pub(super) fn observe(&mut self, worse: bool, now: Duration) -> bool {
        if now < self.until {
            if !worse {
                // A pause that ends early gives back the time that it did not use.
                self.spent = self.spent.saturating_sub(self.until - now);
                self.until = now;
            }
            return false;
        }
        // Between two pauses the stream gets on: otherwise a member that is always slow would let
        // no backup end.
        let rested = self.spent.is_zero() || now >= self.until.saturating_add(self.between);
        let pause = self.longest.min(self.budget.saturating_sub(self.spent));
        if !worse || !rested || pause.is_zero() {
            return false;
        }
        self.spent += pause;
        self.until = now.saturating_add(pause);
        true
    }

    /// When the pause ends; a time that is past when there is none.
    pub(super) const fn until(&self) -> Duration {
        self.until
    }

    /// Length of all pauses until now.
    pub(super) fn spent(&self, now: Duration) -> Duration {
        self.spent.saturating_sub(self.until.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::units::Span;
    use proptest::prelude::*;

    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    proptest! {
        #[test]
        fn a_rate_is_kept_over_any_time(
            rate in 1_000u64..100_000_000,
            pieces in prop::collection::vec((1u64..200_000, 0u64..300), 1..60),
        ) {
            let mut limit = Rate::new(rate);
            let (mut now, mut times) = (Duration::ZERO, Vec::new());
            for (bytes, idle) in pieces {
                now += ms(idle);
                times.push((now, bytes));
                now = now.max(limit.take(bytes, now));
            }
            for (first, (from, _)) in times.iter().enumerate() {
                let mut sum = 0;
                for (at, bytes) in &times[first..] {
                    // What was taken before the last piece fits the time.
                    let most = (*at - *from + BURST).as_secs_f64() * rate as f64 + 1.0;
                    prop_assert!(sum as f64 <= most, "{sum} in {:?}", *at - *from);
                    sum += bytes;
                }
            }
        }

        #[test]
        fn all_pauses_together_are_bounded(
            worse in prop::collection::vec(any::<bool>(), 1..200),
            budget in 0u64..3000,
        ) {
            let (max_pause, every) = (Span(ms(300)), Span(ms(100)));
            let limits = BackOff { max_pause, every, ..BackOff::default() };
            let mut brake = Brake::new(&limits, ms(budget));
            let (mut waited, mut before) = (Duration::ZERO, Duration::ZERO);
            for (step, worse) in worse.into_iter().enumerate() {
                let now = ms(40 * step as u64);
                if before < brake.until() {
                    waited += brake.until().min(now).saturating_sub(before);
                }
                brake.observe(worse, now);
                prop_assert!(brake.until() <= now + ms(300));
                prop_assert_eq!(brake.spent(now), waited);
                before = now;
            }
            prop_assert!(waited <= ms(budget));
        }
    }

    #[test]
    fn a_rate_is_reached_and_not_only_kept() {
        let mut limit = Rate::new(1 << 20);
        let mut now = Duration::ZERO;
        for _ in 0..320 {
            now = now.max(limit.take(32 << 10, now));
        }
        assert!(now <= Duration::from_secs(10) && now >= ms(9_900), "{now:?}");
        // An hour of rest is not saved up.
        let later = now + Duration::from_secs(3600);
        assert!(limit.take(1 << 20, later) >= later + ms(900));
    }

    #[test]
    fn a_pause_ends_when_the_member_is_well_and_the_stream_gets_on_between_two() {
        let limits =
            BackOff { max_pause: Span(ms(500)), every: Span(ms(100)), ..BackOff::default() };
        let mut brake = Brake::new(&limits, ms(10_000));
        assert!(!brake.observe(false, ms(0)));
        assert!(brake.observe(true, ms(100)));
        assert_eq!(brake.until(), ms(600));
        assert!(!brake.observe(true, ms(200)));
        assert!(!brake.observe(false, ms(300)));
        assert_eq!((brake.until(), brake.spent(ms(300))), (ms(300), ms(200)));
        assert!(!brake.observe(true, ms(350)), "too soon");
        assert!(brake.observe(true, ms(400)));
        assert!(
            !brake.observe(true, ms(900)),
            "it goes on for a while, even if nothing gets better"
        );
        assert!(brake.observe(true, ms(1000)));
    }

    #[test]
    fn limits_decide_what_is_worse() {
        let limits = BackOff::default();
        let table = [
            (Reading::Fsync(None), false),
            (Reading::Fsync(Some(ms(250))), false),
            (Reading::Fsync(Some(ms(251))), true),
            (Reading::Read(Some(ms(500))), false),
            (Reading::Read(Some(ms(501))), true),
            (Reading::Read(None), true),
        ];
        for (reading, worse) in table {
            assert_eq!(reading.is_worse(&limits), worse, "{reading:?}");
        }
    }
}
