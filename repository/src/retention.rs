//! Which snapshots stay and which go, and why. Pure: a policy, a time, what there is, what is held.
//!
//! Every rule picks from all snapshots, and once more from the sound ones alone, so that suspect
//! and damaged snapshots take no place from sound ones. What any rule picks stays. Then, if there
//! is a limit of size, the oldest go until the rest fits. Three things are never deleted: what is
//! held, the newest sound snapshot, and the newest one that an audit found good.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike, Duration, Offset, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use etcdr_schemas::SnapshotId;
use etcdr_schemas::config::Retention;
use etcdr_schemas::report::{PruneAction, PruneReason, PruneRule};

use crate::error::{Error, Result};
use crate::holds::HoldState;

/// Clocks differ: a time that is ahead of ours by no more than this counts as now.
pub const SKEW: Duration = Duration::minutes(5);

/// A retention that was checked: its time zone exists, and its size limit is not zero.
#[derive(Debug, Clone)]
pub struct Policy {
    retention: Retention,
    zone: Tz,
}

/// What is known of whether a snapshot can be restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Proof {
    /// The last audit of it found damage.
    Damaged,
    /// Its manifest lists reasons not to trust it.
    Suspect,
    /// It was read back when it was taken: level `object`, at that time.
    ReadBack,
    /// An audit found it good at level `object` or deeper.
    Audited,
}

impl Proof {
    /// Whether nothing speaks against it.
    #[must_use]
    pub const fn is_sound(self) -> bool {
        matches!(self, Self::ReadBack | Self::Audited)
    }
}

/// A snapshot as the decision needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its id: its time is the one that counts.
    pub id: SnapshotId,
    /// Bytes of its image as stored.
    pub stored_size: u64,
    /// What is known of it.
    pub proof: Proof,
}

/// What is decided about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The snapshot.
    pub candidate: Candidate,
    /// Whether it stays.
    pub action: PruneAction,
    /// Why: one at least.
    pub reasons: Vec<PruneReason>,
}

impl Verdict {
    /// Whether it stays.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.action == PruneAction::Keep
    }
}

impl Policy {
    /// Checks a retention. A count or a time of zero is no rule.
    ///
    /// # Errors
    /// [`Error::BadPolicy`] for a time zone that does not exist and for a limit of no bytes.
    pub fn new(retention: &Retention) -> Result<Self> {
        let bad = |what: String| Error::BadPolicy { what };
        let name = retention.time_zone.as_deref().unwrap_or("UTC");
        let zone = name.parse::<Tz>().map_err(|_| {
            bad(format!("{name:.60} is not a time zone such as UTC or Europe/Berlin"))
        })?;
        if retention.max_total_size.is_some_and(|size| size.0 == 0) {
            return Err(bad("a max_total_size of nothing would keep nothing".to_owned()));
        }
        Ok(Self { retention: retention.clone(), zone })
    }

    /// Whether it can delete anything at all.
    #[must_use]
    pub fn has_rules(&self) -> bool {
        self.retention.max_total_size.is_some() || self.keeps_by_rule()
    }

    /// Whether there is a rule that picks what stays; without one, all stay.
    fn keeps_by_rule(&self) -> bool {
        self.counted().iter().any(|(count, _)| *count > 0) || self.within().is_some()
    }

    fn counted(&self) -> [(usize, PruneRule); 6] {
        let rules = &self.retention;
        [
            (rules.keep_last, PruneRule::Last),
            (rules.keep_hourly, PruneRule::Hourly),
            (rules.keep_daily, PruneRule::Daily),
            (rules.keep_weekly, PruneRule::Weekly),
            (rules.keep_monthly, PruneRule::Monthly),
            (rules.keep_yearly, PruneRule::Yearly),
        ]
        .map(|(count, rule)| (count.unwrap_or(0).try_into().unwrap_or(usize::MAX), rule))
    }

    fn within(&self) -> Option<Duration> {
        let span = self.retention.keep_within?.0;
        let longest = || Duration::try_days(365_000).unwrap_or(Duration::MAX);
        (!span.is_zero()).then(|| Duration::from_std(span).unwrap_or_else(|_| longest()))
    }
}

/// Decides about each snapshot; the answer is newest first. `holds` are those of the repository, as
/// of `now`.
#[must_use]
pub fn decide(
    policy: &Policy,
    now: DateTime<Utc>,
    candidates: &[Candidate],
    holds: &BTreeMap<SnapshotId, HoldState>,
) -> Vec<Verdict> {
    let mut all = candidates.to_vec();
    all.sort_unstable_by_key(|candidate| std::cmp::Reverse(candidate.id));
    all.dedup_by_key(|candidate| candidate.id);
    let mut reasons: Reasons = BTreeMap::new();
    let protected = protect(&mut reasons, now, &all, holds);
    let limit = now.checked_add_signed(SKEW).unwrap_or(now);
    let (future, past): (Vec<_>, Vec<_>) = all.iter().copied().partition(|c| c.id.time() > limit);
    for candidate in &future {
        let detail = "its time is in the future: a clock was wrong".to_owned();
        add(&mut reasons, candidate.id, PruneRule::Future, detail);
    }
    if policy.keeps_by_rule() {
        pick(&mut reasons, policy, &past);
        let sound: Vec<_> = past.iter().copied().filter(|c| c.proof.is_sound()).collect();
        pick(&mut reasons, policy, &sound);
    } else {
        for candidate in &past {
            add(&mut reasons, candidate.id, PruneRule::NoRule, "no rule deletes it".to_owned());
        }
    }
    let kept: BTreeSet<SnapshotId> = reasons.keys().copied().collect();
    let oversize = oversize(policy, &all, &kept, &protected);
    all.into_iter()
        .map(|candidate| judge(policy, candidate, &mut reasons, &oversize, holds))
        .collect()
}

type Reasons = BTreeMap<SnapshotId, Vec<PruneReason>>;

fn add(reasons: &mut Reasons, id: SnapshotId, rule: PruneRule, detail: String) {
    let list = reasons.entry(id).or_default();
    if list.iter().all(|reason| reason.rule != rule) {
        list.push(PruneReason { rule, detail });
    }
}

/// What nothing overrules.
fn protect(
    reasons: &mut Reasons,
    now: DateTime<Utc>,
    all: &[Candidate],
    holds: &BTreeMap<SnapshotId, HoldState>,
) -> BTreeSet<SnapshotId> {
    for candidate in all {
        if let Some(detail) = holds.get(&candidate.id).and_then(HoldState::holding) {
            add(reasons, candidate.id, PruneRule::Held, detail);
        }
    }
    for (id, detail) in newest_restorable(now, all) {
        add(reasons, id, PruneRule::NewestVerified, detail.to_owned());
    }
    reasons.keys().copied().collect()
}

/// The snapshots that a restore would use: the newest sound one, and the newest that an
/// audit found good. Where none is sound, the newest that is not known to be damaged, else the
/// newest. One that is dated in the future counts only when there is no other. `all` are newest
/// first.
#[must_use]
pub fn newest_restorable(now: DateTime<Utc>, all: &[Candidate]) -> Vec<(SnapshotId, &'static str)> {
    let limit = now.checked_add_signed(SKEW).unwrap_or(now);
    let newest = |fits: &dyn Fn(Proof) -> bool| {
        let past = all.iter().find(|c| c.id.time() <= limit && fits(c.proof));
        past.or_else(|| all.iter().find(|c| fits(c.proof))).map(|c| c.id)
    };
    let audited =
        newest(&|proof| proof == Proof::Audited).map(|id| (id, "newest that an audit found good"));
    let sound =
        newest(&Proof::is_sound).map(|id| (id, "newest that was read back and is not suspect"));
    let any = || newest(&|proof| proof != Proof::Damaged).or_else(|| newest(&|_| true));
    let sound = sound.or_else(|| any().map(|id| (id, "newest, and none is known to be good")));
    audited.into_iter().chain(sound).collect()
}

/// Gives every rule its choice of these snapshots, which are newest first.
fn pick(reasons: &mut Reasons, policy: &Policy, from: &[Candidate]) {
    for (count, rule) in policy.counted() {
        let (mut left, mut last) = (count, None);
        for (at, candidate) in from.iter().enumerate() {
            if left == 0 {
                break;
            }
            let (bucket, detail) = bucket(rule, policy.zone, candidate.id.time(), at);
            if last.replace(bucket) != Some(bucket) {
                left -= 1;
                add(reasons, candidate.id, rule, detail);
            }
        }
    }
    let (Some(within), Some(newest)) = (policy.within(), from.first()) else { return };
    // Back from the newest and not from now: when backups have stopped, the last ones do not run
    // out.
    for candidate in from {
        if newest.id.time().signed_duration_since(candidate.id.time()) <= within {
            let span = policy.retention.keep_within.unwrap_or_default();
            add(reasons, candidate.id, PruneRule::Within, format!("within {span} of the newest"));
        }
    }
}

/// The bucket that a time falls into, as two numbers that distinguish it from its neighbours, and
/// its name.
fn bucket(rule: PruneRule, zone: Tz, time: DateTime<Utc>, at: usize) -> ((i64, i64), String) {
    let local = zone.from_utc_datetime(&time.naive_utc());
    let day = i64::from(local.num_days_from_ce());
    let name = |format: &str| local.format(format).to_string();
    match rule {
        PruneRule::Hourly => {
            // The hour that a change of clocks repeats is two hours.
            let offset = i64::from(local.offset().fix().local_minus_utc());
            let bucket = (day * 24 + i64::from(local.hour()), offset);
            (bucket, format!("newest of hour {}", name("%Y-%m-%d %H:00%:z")))
        }
        PruneRule::Daily => ((day, 0), format!("newest of day {}", name("%Y-%m-%d"))),
        PruneRule::Weekly => {
            let week = local.iso_week();
            let bucket = (i64::from(week.year()), i64::from(week.week()));
            (bucket, format!("newest of week {}", name("%G-W%V")))
        }
        PruneRule::Monthly => {
            let bucket = (i64::from(local.year()), i64::from(local.month()));
            (bucket, format!("newest of month {}", name("%Y-%m")))
        }
        PruneRule::Yearly => {
            ((i64::from(local.year()), 0), format!("newest of year {}", name("%Y")))
        }
        _ => {
            let place = i64::try_from(at).unwrap_or(i64::MAX).saturating_add(1);
            ((place, 0), format!("number {place} of the newest"))
        }
    }
}

/// What must go, oldest first, so that the rest fits the limit of size.
fn oversize(
    policy: &Policy,
    all: &[Candidate],
    kept: &BTreeSet<SnapshotId>,
    protected: &BTreeSet<SnapshotId>,
) -> BTreeSet<SnapshotId> {
    let mut gone = BTreeSet::new();
    let Some(limit) = policy.retention.max_total_size else { return gone };
    let rest = || all.iter().filter(|candidate| kept.contains(&candidate.id));
    let mut total = rest().fold(0u128, |sum, candidate| sum + u128::from(candidate.stored_size));
    for candidate in rest().rev() {
        if total <= u128::from(limit.0) {
            break;
        }
        if !protected.contains(&candidate.id) {
            total -= u128::from(candidate.stored_size);
            gone.insert(candidate.id);
        }
    }
    gone
}

fn judge(
    policy: &Policy,
    candidate: Candidate,
    reasons: &mut Reasons,
    oversize: &BTreeSet<SnapshotId>,
    holds: &BTreeMap<SnapshotId, HoldState>,
) -> Verdict {
    let mut found = reasons.remove(&candidate.id).unwrap_or_default();
    let mut action = PruneAction::Keep;
    if oversize.contains(&candidate.id) {
        let size = policy.retention.max_total_size.unwrap_or_default();
        let detail = format!("all images together are larger than {size}");
        found = vec![PruneReason { rule: PruneRule::MaxTotalSize, detail }];
        action = PruneAction::Delete;
    } else if found.is_empty() {
        let detail = "no rule keeps it".to_owned();
        found.push(PruneReason { rule: PruneRule::Unneeded, detail });
        action = PruneAction::Delete;
    }
    if let Some(detail) = holds.get(&candidate.id).and_then(HoldState::expired) {
        found.push(PruneReason { rule: PruneRule::HoldExpired, detail });
    }
    Verdict { candidate, action, reasons: found }
}

#[cfg(test)]
mod tests;
