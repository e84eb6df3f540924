//! Decides which snapshots are checked, in which order, and when the budget is used up. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use etcdr_schemas::report::{AuditOrder, AuditSample, AuditSettings, Level};
use etcdr_schemas::{Sha256Digest, SnapshotId};

/// What the user asked for; what is not said is taken from the audit that is resumed, or is the
/// default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Selection {
    /// How deep; `object` when not said.
    pub level: Option<Level>,
    /// Newest first when not said.
    pub order: Option<AuditOrder>,
    /// All when not said.
    pub sample: Option<AuditSample>,
    /// A fresh one when not said.
    pub seed: Option<u64>,
}

impl Selection {
    /// Settings of a new audit.
    pub(super) fn settings(&self, fresh_seed: u64) -> AuditSettings {
        AuditSettings {
            level: self.level.unwrap_or(Level::Object),
            order: self.order.unwrap_or(AuditOrder::Newest),
            sample: self.sample.unwrap_or(AuditSample::All),
            seed: seed_text(self.seed.unwrap_or(fresh_seed)),
        }
    }

    /// Whether an audit with these settings is one that was asked for.
    pub(super) fn fits(&self, settings: &AuditSettings) -> bool {
        self.level.is_none_or(|level| level == settings.level)
            && self.order.is_none_or(|order| order == settings.order)
            && self.sample.is_none_or(|sample| sample == settings.sample)
            && self.seed.is_none_or(|seed| seed_text(seed) == settings.seed)
    }
}

fn seed_text(seed: u64) -> String {
    format!("{seed:016x}")
}

/// How many of `all` a sample holds.
pub(super) fn size(sample: AuditSample, all: usize) -> usize {
    match sample {
        AuditSample::All => all,
        AuditSample::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).min(all),
        AuditSample::PerMille(share) => {
            let part = (all as u128).saturating_mul(u128::from(share)).div_ceil(1_000);
            usize::try_from(part).unwrap_or(usize::MAX).min(all)
        }
    }
}

/// The snapshots to check, in order. `verified` has the time at which each was last found good.
///
/// A sample is drawn by the hash of seed and id: it depends on nothing else, so that the seed
/// repeats it, and a snapshot more or less changes little.
pub(super) fn choose(
    ids: &[SnapshotId],
    settings: &AuditSettings,
    verified: &BTreeMap<SnapshotId, DateTime<Utc>>,
) -> Vec<SnapshotId> {
    let count = size(settings.sample, ids.len());
    let mut chosen = ids.to_vec();
    if count < chosen.len() {
        chosen.sort_by_cached_key(|id| lot(&settings.seed, id));
        chosen.truncate(count);
    }
    match settings.order {
        AuditOrder::Newest => chosen.sort_unstable_by(|a, b| b.cmp(a)),
        // `None`, never verified, is less than any time; among equals the newest come first.
        AuditOrder::OldestVerified => chosen
            .sort_unstable_by(|a, b| verified.get(a).cmp(&verified.get(b)).then_with(|| b.cmp(a))),
    }
    chosen
}

fn lot(seed: &str, id: &SnapshotId) -> Sha256Digest {
    Sha256Digest::of(format!("{seed} {id}").as_bytes())
}

/// Stored bytes that a check of an image at this level reads: all of it once for each level above
/// `manifest`.
pub(super) fn cost(level: Level, stored_size: u64) -> u64 {
    let readers = Level::ALL.iter().filter(|one| **one > Level::Manifest && **one <= level).count();
    stored_size.saturating_mul(readers as u64)
}

/// What may still be spent, over all clusters of a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Budget {
    /// Stored bytes to read.
    pub bytes: Option<u64>,
    /// No snapshot is begun after this time.
    pub until: Option<DateTime<Utc>>,
    /// Bytes that were read, whether there is a limit or not.
    pub used: u64,
}

impl Budget {
    /// Whether a snapshot of this cost may be begun now.
    pub(super) fn allows(&self, cost: u64, now: DateTime<Utc>) -> bool {
        self.bytes.is_none_or(|left| cost <= left) && self.until.is_none_or(|until| now < until)
    }

    /// Whether anything was done with it.
    pub(super) const fn was_used(&self) -> bool {
        self.used > 0
    }

    pub(super) fn spend(&mut self, cost: u64) {
        self.used = self.used.saturating_add(cost);
        self.bytes = self.bytes.map(|left| left.saturating_sub(cost));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use etcdr_schemas::Revision;
    use proptest::prelude::*;

    use super::*;

    fn ids(count: u32) -> Vec<SnapshotId> {
        let at = |n: u32| DateTime::from_timestamp(1_700_000_000 + i64::from(n) * 60, 0).unwrap();
        (0..count).rev().map(|n| SnapshotId::new(at(n), Revision(n.into()), n)).collect()
    }

    fn settings(order: AuditOrder, sample: AuditSample, seed: u64) -> AuditSettings {
        let wanted = Selection { order: Some(order), sample: Some(sample), ..Selection::default() };
        wanted.settings(seed)
    }

    #[test]
    fn samples_have_the_size_that_was_asked_for() {
        let cases = [
            (AuditSample::All, 7, 7),
            (AuditSample::PerMille(100), 100, 10),
            (AuditSample::PerMille(100), 101, 11),
            (AuditSample::PerMille(1), 5, 1),
            (AuditSample::PerMille(1_000), 5, 5),
            (AuditSample::PerMille(100), 0, 0),
            (AuditSample::PerMille(u32::MAX), 5, 5),
            (AuditSample::Count(3), 7, 3),
            (AuditSample::Count(u64::MAX), 7, 7),
        ];
        for (sample, all, expected) in cases {
            assert_eq!(size(sample, all), expected, "{sample:?} of {all}");
        }
    }

    /// Each of 50 snapshots should be in one sample of 10 out of five. Over 2,000 seeds that is 400
    /// times with a standard deviation of 18; six of them is a bound that luck does not break, and
    /// a bias does.
    #[test]
    fn a_sample_is_uniform_and_the_seed_repeats_it() {
        let ids = ids(50);
        let mut hits: BTreeMap<SnapshotId, i64> = BTreeMap::new();
        for seed in 0..2_000 {
            let settings = settings(AuditOrder::Newest, AuditSample::Count(10), seed);
            let chosen = choose(&ids, &settings, &BTreeMap::new());
            let mut shuffled = ids.clone();
            shuffled.reverse();
            assert_eq!(chosen, choose(&shuffled, &settings, &BTreeMap::new()));
            assert_eq!(chosen.len(), 10);
            chosen.into_iter().for_each(|id| *hits.entry(id).or_default() += 1);
        }
        assert_eq!(hits.len(), 50);
        assert!(hits.values().all(|hits| (hits - 400).abs() < 108), "{hits:?}");
    }

    #[test]
    fn the_level_decides_what_an_image_costs() {
        assert_eq!(cost(Level::Manifest, 100), 0);
        assert_eq!(cost(Level::Object, 100), 100);
        assert_eq!(cost(Level::Content, 100), 200);
        assert_eq!(cost(Level::Structure, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_resumed_audit_must_be_the_one_that_was_asked_for() {
        let kept = settings(AuditOrder::Newest, AuditSample::Count(3), 7);
        assert!(Selection::default().fits(&kept));
        assert!(
            Selection { seed: Some(7), level: Some(Level::Object), ..Selection::default() }
                .fits(&kept)
        );
        for other in [
            Selection { level: Some(Level::Content), ..Selection::default() },
            Selection { order: Some(AuditOrder::OldestVerified), ..Selection::default() },
            Selection { sample: Some(AuditSample::All), ..Selection::default() },
            Selection { seed: Some(8), ..Selection::default() },
        ] {
            assert!(!other.fits(&kept), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn orders_hold_and_nothing_is_chosen_twice(
            count in 0u32..60,
            share in 0u32..1_100,
            seed: u64,
            times in prop::collection::btree_map(0usize..60, 0i64..1_000, 0..60),
        ) {
            let ids = ids(count);
            let verified: BTreeMap<_, _> = times
                .into_iter()
                .filter_map(|(at, time)| Some((*ids.get(at)?, DateTime::from_timestamp(time, 0)?)))
                .collect();
            let sample = AuditSample::PerMille(share);
            let newest = choose(&ids, &settings(AuditOrder::Newest, sample, seed), &verified);
            let by_age = settings(AuditOrder::OldestVerified, sample, seed);
            let oldest = choose(&ids, &by_age, &verified);
            prop_assert!(newest.is_sorted_by(|a, b| a > b));
            let in_order = |a: &SnapshotId, b: &SnapshotId| {
                match (verified.get(a), verified.get(b)) {
                    (None, Some(_)) => true,
                    (Some(_), None) => false,
                    (left, right) => left < right || (left == right && a > b),
                }
            };
            prop_assert!(oldest.is_sorted_by(in_order));
            let set: BTreeSet<_> = newest.iter().copied().collect();
            prop_assert_eq!(&set, &oldest.iter().copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(set.len(), size(sample, ids.len()));
            prop_assert!(set.iter().all(|id| ids.contains(id)));
        }

        #[test]
        fn a_budget_is_never_overdrawn(
            limit in 0u64..1_000,
            costs in prop::collection::vec(0u64..300, 0..20),
        ) {
            let mut budget = Budget { bytes: Some(limit), ..Budget::default() };
            let mut spent = 0;
            for cost in costs {
                if !budget.allows(cost, DateTime::UNIX_EPOCH) {
                    break;
                }
                budget.spend(cost);
                spent += cost;
            }
            prop_assert!(spent <= limit);
        }
    }
}
