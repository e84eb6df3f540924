use etcdr_schemas::Revision;
use etcdr_schemas::hold::Hold;
use etcdr_schemas::units::{Size, Span};
use proptest::prelude::*;

use super::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn candidate(time: DateTime<Utc>, nonce: u32, proof: Proof) -> Candidate {
    let id = SnapshotId::new(time, Revision(1), nonce);
    Candidate { id, stored_size: 10, proof }
}

fn good(time: &str) -> Candidate {
    candidate(at(time), 0, Proof::ReadBack)
}

fn hold(id: SnapshotId, expires_at: Option<DateTime<Utc>>) -> Hold {
    let reason = "an incident".to_owned();
    let extra = serde_json::Map::new();
    Hold { snapshot: id, reason, by: None, created_at: id.time(), expires_at, extra }
}

fn kept(verdicts: &[Verdict]) -> BTreeSet<SnapshotId> {
    verdicts.iter().filter(|verdict| verdict.keeps()).map(|verdict| verdict.candidate.id).collect()
}

/// Times of what stays, oldest first.
#[track_caller]
fn check(retention: Retention, now: &str, all: &[Candidate], expected: &[&str]) {
    let verdicts = decide(&Policy::new(&retention).unwrap(), at(now), all, &BTreeMap::new());
    let times: Vec<_> = kept(&verdicts).iter().map(SnapshotId::time).collect();
    let expected: Vec<_> = expected.iter().map(|text| at(text)).collect();
    assert_eq!(times, expected, "{retention:?}\n{verdicts:#?}");
    assert!(verdicts.iter().all(|verdict| !verdict.reasons.is_empty()));
}

#[test]
fn each_bucket_keeps_its_newest_in_the_time_zone_of_the_policy() {
    let daily = |zone: &str| Retention {
        keep_daily: Some(2),
        time_zone: Some(zone.to_owned()),
        ..Retention::default()
    };
    let all = ["2026-11-20T22:30:00Z", "2026-11-20T23:30:00Z", "2026-11-21T10:00:00Z"].map(good);
    let now = "2026-11-21T12:00:00Z";
    check(daily("UTC"), now, &all, &["2026-11-20T23:30:00Z", "2026-11-21T10:00:00Z"]);
    // In Berlin the second one is of the 21st already.
    check(daily("Europe/Berlin"), now, &all, &["2026-11-20T22:30:00Z", "2026-11-21T10:00:00Z"]);
    // Weeks begin on Mondays, and the first days of a year may be of the week of the one before.
    let all = ["2026-12-27T23:00:00Z", "2026-12-28T01:00:00Z", "2027-01-03T01:00:00Z"].map(good);
    let weekly = Retention { keep_weekly: Some(5), ..Retention::default() };
    let stay = ["2026-12-27T23:00:00Z", "2027-01-03T01:00:00Z"];
    check(weekly, "2027-01-04T00:00:00Z", &all, &stay);
    // A bucket without a snapshot uses up no place.
    let all = ["2020-01-01T00:00:00Z", "2023-05-05T00:00:00Z", "2026-01-01T00:00:00Z"].map(good);
    let yearly = Retention { keep_yearly: Some(2), ..Retention::default() };
    check(yearly, "2026-02-01T00:00:00Z", &all, &["2023-05-05T00:00:00Z", "2026-01-01T00:00:00Z"]);
    let monthly = Retention { keep_monthly: Some(9), ..Retention::default() };
    let all = ["2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "2026-02-28T00:00:00Z"].map(good);
    let stay = ["2026-01-31T23:59:59Z", "2026-02-28T00:00:00Z"];
    check(monthly, "2026-03-01T00:00:00Z", &all, &stay);
}

#[test]
fn the_hour_that_a_change_of_clocks_repeats_is_two_hours() {
    let hourly = Retention {
        keep_hourly: Some(9),
        time_zone: Some("Europe/Berlin".to_owned()),
        ..Retention::default()
    };
    // 02:10 and 02:50 of summer time, 02:20 of winter time.
    let all = ["2026-10-25T00:10:00Z", "2026-10-25T00:50:00Z", "2026-10-25T01:20:00Z"].map(good);
    let stay = ["2026-10-25T00:50:00Z", "2026-10-25T01:20:00Z"];
    check(hourly, "2026-10-25T03:00:00Z", &all, &stay);
}

#[test]
fn within_counts_back_from_the_newest_that_is_not_in_the_future() {
    let within = Retention { keep_within: Some(Span::hours(2)), ..Retention::default() };
    let all = ["2026-11-20T01:00:00Z", "2026-11-20T03:00:00Z", "2026-11-20T05:00:00Z"].map(good);
    let stay = ["2026-11-20T03:00:00Z", "2026-11-20T05:00:00Z"];
    // Backups stopped long ago; the last ones stay.
    check(within.clone(), "2027-11-20T05:00:00Z", &all, &stay);
    let jumped = [&all[..], &[good("2036-11-20T05:00:00Z")]].concat();
    let stay = ["2026-11-20T03:00:00Z", "2026-11-20T05:00:00Z", "2036-11-20T05:00:00Z"];
    check(within.clone(), "2026-11-20T05:30:00Z", &jumped, &stay);
    // A clock that is behind by a little is no future.
    check(within, "2026-11-20T04:56:00Z", &all, &["2026-11-20T03:00:00Z", "2026-11-20T05:00:00Z"]);
}

#[test]
fn suspect_and_damaged_ones_take_no_place_from_sound_ones() {
    let last = Retention { keep_last: Some(2), ..Retention::default() };
    let bad = |time: &str, proof| candidate(at(time), 0, proof);
    let all = [
        good("2026-11-20T00:00:00Z"),
        good("2026-11-20T01:00:00Z"),
        good("2026-11-20T02:00:00Z"),
        bad("2026-11-20T03:00:00Z", Proof::Suspect),
        bad("2026-11-20T04:00:00Z", Proof::Damaged),
        bad("2026-11-20T04:30:00Z", Proof::Damaged),
    ];
    let stay = [
        "2026-11-20T01:00:00Z",
        "2026-11-20T02:00:00Z",
        "2026-11-20T04:00:00Z",
        "2026-11-20T04:30:00Z",
    ];
    check(last, "2026-11-20T05:00:00Z", &all, &stay);
    // With nothing sound the newest that is not damaged is better than nothing.
    let one = Retention { keep_last: Some(1), ..Retention::default() };
    let stay = ["2026-11-20T03:00:00Z", "2026-11-20T04:30:00Z"];
    check(one, "2026-11-20T05:00:00Z", &all[3..], &stay);
}

#[test]
fn no_rules_keep_all_and_nonsense_is_refused() {
    let all = ["2026-11-20T01:00:00Z", "2026-11-20T03:00:00Z"].map(good);
    let none = Retention {
        keep_last: Some(0),
        keep_within: Some(Span::seconds(0)),
        ..Retention::default()
    };
    check(
        none.clone(),
        "2027-01-01T00:00:00Z",
        &all,
        &["2026-11-20T01:00:00Z", "2026-11-20T03:00:00Z"],
    );
    assert!(!Policy::new(&none).unwrap().has_rules());
    let size = Retention { max_total_size: Some(Size(15)), ..Retention::default() };
    assert!(Policy::new(&size).unwrap().has_rules());
    check(size, "2027-01-01T00:00:00Z", &all, &["2026-11-20T03:00:00Z"]);
    let nowhere = Retention { time_zone: Some("Mars/Olympus".to_owned()), ..Retention::default() };
    let nothing = Retention { max_total_size: Some(Size(0)), ..Retention::default() };
    for retention in [nowhere, nothing] {
        let error = Policy::new(&retention).unwrap_err();
        assert!(matches!(error, Error::BadPolicy { .. }), "{error}");
    }
}

#[test]
fn holds_keep_until_they_expire_and_unreadable_ones_keep() {
    let last = Policy::new(&Retention { keep_last: Some(1), ..Retention::default() }).unwrap();
    let all: Vec<_> = (1..=5).map(|hour| good(&format!("2026-11-20T0{hour}:00:00Z"))).collect();
    let now = at("2026-11-21T00:00:00Z");
    let holds = BTreeMap::from([
        (all[0].id, HoldState::Holds(hold(all[0].id, None))),
        (all[1].id, HoldState::Unreadable("not JSON".to_owned())),
        (all[2].id, HoldState::Expired(hold(all[2].id, Some(now)))),
    ]);
    let verdicts = decide(&last, now, &all, &holds);
    let expected: BTreeSet<_> = [all[0].id, all[1].id, all[4].id].into();
    assert_eq!(kept(&verdicts), expected);
    let expired = verdicts.iter().find(|verdict| verdict.candidate.id == all[2].id).unwrap();
    let rules: Vec<_> = expired.reasons.iter().map(|reason| reason.rule).collect();
    assert_eq!(rules, [PruneRule::Unneeded, PruneRule::HoldExpired]);
    assert!(expired.reasons[1].detail.contains("an incident"));
    assert!(hold(all[0].id, Some(now)).holds(now - Duration::seconds(1)));
    assert!(!hold(all[0].id, Some(now)).holds(now));
}

const NOW: i64 = 1_795_000_000;

fn proofs() -> impl Strategy<Value = Proof> {
    prop_oneof![
        1 => Just(Proof::Damaged),
        1 => Just(Proof::Suspect),
        4 => Just(Proof::ReadBack),
        2 => Just(Proof::Audited),
    ]
}

/// Mostly of the last days, some older, a few in the future.
fn snapshots() -> impl Strategy<Value = Vec<Candidate>> {
    let ago = prop_oneof![
        6 => 0..200_000i64,
        3 => 0..40_000_000i64,
        1 => -90_000_000..0i64,
    ];
    let one = (ago, 0u32..3, 0u64..1000, proofs()).prop_map(|(ago, nonce, size, proof)| {
        let time = DateTime::from_timestamp(NOW - ago, 0).unwrap();
        Candidate { stored_size: size, ..candidate(time, nonce, proof) }
    });
    let all = prop::collection::vec(one, 0..60);
    all.prop_map(|mut all| {
        all.sort_by_key(|candidate| candidate.id);
        all.dedup_by_key(|candidate| candidate.id);
        all
    })
}

fn retentions() -> impl Strategy<Value = Retention> {
    let count = || prop::option::weighted(0.4, 0u32..6);
    let counts = (count(), count(), count(), count(), count(), count());
    let within = prop::option::weighted(0.3, 0u64..400_000);
    let size = prop::option::weighted(0.3, 1u64..20_000);
    let zone = prop::option::of(prop::sample::select(vec!["Europe/Berlin", "Asia/Kolkata", "UTC"]));
    (counts, within, size, zone).prop_map(
        |((last, hour, day, week, month, year), within, size, zone)| Retention {
            keep_last: last,
            keep_hourly: hour,
            keep_daily: day,
            keep_weekly: week,
            keep_monthly: month,
            keep_yearly: year,
            keep_within: within.map(Span::seconds),
            max_total_size: size.map(Size),
            time_zone: zone.map(str::to_owned),
        },
    )
}

/// What the rule keeps, found in another way: groups first, then the last ones.
fn by_groups(all: &[Candidate], count: usize, format: &str, zone: &str) -> BTreeSet<SnapshotId> {
    let zone: Tz = zone.parse().unwrap();
    let mut groups: BTreeMap<String, SnapshotId> = BTreeMap::new();
    for candidate in all {
        let name = candidate.id.time().with_timezone(&zone).format(format).to_string();
        let newest = groups.entry(name).or_insert(candidate.id);
        *newest = candidate.id.max(*newest);
    }
    let mut newest: Vec<_> = groups.into_values().collect();
    newest.sort_by(|a, b| b.cmp(a));
    newest.into_iter().take(count).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn what_may_never_go_never_goes(
        all in snapshots(),
        retention in retentions(),
        held in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let policy = Policy::new(&retention).unwrap();
        let mut holds = BTreeMap::new();
        if !all.is_empty() {
            for (n, index) in held.iter().enumerate() {
                let id = index.get(&all).id;
                let state = match n {
                    0 => HoldState::Unreadable("torn".to_owned()),
                    _ => HoldState::Holds(hold(id, None)),
                };
                holds.insert(id, state);
            }
        }
        let verdicts = decide(&policy, now, &all, &holds);
        prop_assert_eq!(verdicts.len(), all.len());
        prop_assert!(verdicts.is_sorted_by(|a, b| a.candidate.id > b.candidate.id));
        prop_assert!(verdicts.iter().all(|verdict| !verdict.reasons.is_empty()));
        let stay = kept(&verdicts);
        prop_assert!(holds.keys().all(|id| stay.contains(id)));
        let past = || all.iter().rev().filter(|c| c.id.time() <= now + SKEW);
        for fits in [
            (|c: &&Candidate| c.proof.is_sound()) as fn(&&Candidate) -> bool,
            |c| c.proof == Proof::Audited,
        ] {
            if let Some(newest) = past().find(fits) {
                prop_assert!(stay.contains(&newest.id), "{} goes", newest.id);
            }
        }
        prop_assert_eq!(stay.is_empty(), all.is_empty());
        if retention.max_total_size.is_none() {
            let future = all.iter().filter(|c| c.id.time() > now + SKEW);
            prop_assert!(future.into_iter().all(|c| stay.contains(&c.id)));
        }
        if !policy.has_rules() {
            prop_assert_eq!(stay.len(), all.len());
        }
        // Carried out and decided again: nothing more goes.
        let left: Vec<_> = all.iter().copied().filter(|c| stay.contains(&c.id)).collect();
        prop_assert_eq!(kept(&decide(&policy, now, &left, &holds)), stay);
    }

    #[test]
    fn another_rule_never_deletes_more(
        all in snapshots(), retention in retentions(), more in 1u32..5, which in 0usize..6,
    ) {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let keep_last = retention.keep_last.or(Some(1)).map(|n| n.max(1));
        let before = Retention { keep_last, max_total_size: None, ..retention };
        let mut after = before.clone();
        let rule = [
            &mut after.keep_hourly, &mut after.keep_daily, &mut after.keep_weekly,
            &mut after.keep_monthly, &mut after.keep_yearly, &mut after.keep_last,
        ].into_iter().nth(which).unwrap();
        *rule = Some(rule.unwrap_or(0) + more);
        let [before, after] = [before, after].map(|retention| {
            kept(&decide(&Policy::new(&retention).unwrap(), now, &all, &BTreeMap::new()))
        });
        prop_assert!(before.is_subset(&after));
    }

    #[test]
    fn a_snapshot_from_the_future_changes_nothing_for_the_others(
        all in snapshots(), retention in retentions(), ahead in 400i64..900_000_000,
    ) {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let all: Vec<_> = all.into_iter().filter(|c| c.id.time() <= now + SKEW).collect();
        prop_assume!(all.iter().any(|c| c.proof == Proof::Audited));
        let retention = Retention { max_total_size: None, ..retention };
        let policy = Policy::new(&retention).unwrap();
        let alone = kept(&decide(&policy, now, &all, &BTreeMap::new()));
        let jumped = candidate(now + Duration::seconds(ahead), 9, Proof::Audited);
        let with_it = [&all[..], &[jumped]].concat();
        let mut together = kept(&decide(&policy, now, &with_it, &BTreeMap::new()));
        prop_assert!(together.remove(&jumped.id));
        prop_assert_eq!(alone, together);
    }

    #[test]
    fn a_limit_of_size_is_kept_or_only_the_protected_are_left(
        all in snapshots(), retention in retentions(), limit in 1u64..30_000,
    ) {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let retention = Retention { max_total_size: Some(Size(limit)), ..retention };
        let policy = Policy::new(&retention).unwrap();
        let verdicts = decide(&policy, now, &all, &BTreeMap::new());
        let stay: Vec<_> = verdicts.iter().filter(|verdict| verdict.keeps()).collect();
        let total: u64 = stay.iter().map(|verdict| verdict.candidate.stored_size).sum();
        let protected = |verdict: &&Verdict| {
            verdict.reasons.iter().any(|reason| reason.rule == PruneRule::NewestVerified)
        };
        prop_assert!(total <= limit || stay.iter().all(protected));
        // The oldest go: of what is not protected, what stays is newer than what had to go by size.
        let by_size = verdicts.iter().filter(|verdict| {
            verdict.reasons.iter().any(|reason| reason.rule == PruneRule::MaxTotalSize)
        });
        let newest_gone = by_size.map(|verdict| verdict.candidate.id).max();
        let oldest_free = stay.iter().filter(|v| !protected(v)).map(|v| v.candidate.id).min();
        if let (Some(gone), Some(left)) = (newest_gone, oldest_free) {
            prop_assert!(gone < left);
        }
    }

    #[test]
    fn buckets_are_those_that_grouping_gives(
        all in snapshots(), count in 1usize..6, which in 0usize..4,
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata"]),
    ) {
        let now = DateTime::from_timestamp(NOW, 0).unwrap();
        let all: Vec<_> = all.into_iter()
            .filter(|c| c.id.time() <= now)
            .map(|c| Candidate { proof: Proof::Audited, ..c })
            .collect();
        let number = Some(u32::try_from(count).unwrap());
        let zone_of = Some(zone.to_owned());
        let base = Retention { time_zone: zone_of, ..Retention::default() };
        let (retention, format) = match which {
            0 => (Retention { keep_daily: number, ..base }, "%Y-%m-%d"),
            1 => (Retention { keep_weekly: number, ..base }, "%G-%V"),
            2 => (Retention { keep_monthly: number, ..base }, "%Y-%m"),
            _ => (Retention { keep_yearly: number, ..base }, "%Y"),
        };
        let found = kept(&decide(&Policy::new(&retention).unwrap(), now, &all, &BTreeMap::new()));
        prop_assert_eq!(found, by_groups(&all, count, format, zone));
    }
}
