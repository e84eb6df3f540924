use chrono::{TimeZone as _, Timelike as _, Weekday};
use etcdr_schemas::config::{CompactConfig, DefragmentConfig};
use proptest::prelude::*;

use super::*;

fn cluster() -> ClusterName {
    ClusterName::default()
}

fn schedule(cron: &str, zone: &str) -> Schedule {
    Schedule::plain("s", cron, zone, &cluster()).unwrap_or_else(|what| panic!("{cron}: {what}"))
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The ticks after a moment as local text, and the way back as `last_at_or_before` sees it.
fn check(cron: &str, zone: &str, after: &str, wanted: &[&str]) {
    let schedule = schedule(cron, zone);
    let tz: Tz = zone.parse().unwrap();
    let (mut now, mut seen) = (at(after), Vec::new());
    for _ in wanted {
        let tick = schedule.next_after(now).unwrap();
        assert_eq!(schedule.last_at_or_before(tick), Some(tick), "{cron} {tick}");
        let before = schedule.last_at_or_before(tick - TimeDelta::seconds(1));
        assert!(before.is_some_and(|before| before <= now), "{cron} {tick} {before:?}");
        seen.push(tick.with_timezone(&tz).format("%m-%d %H:%M%:z").to_string());
        now = tick;
    }
    assert_eq!(seen, wanted, "{cron} in {zone}");
}

#[test]
fn every_weekday_is_the_one_that_people_mean() {
    use Weekday::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    let table: [(&str, &[Weekday]); 16] = [
        ("0", &[Sun]),
        ("1", &[Mon]),
        ("2", &[Tue]),
        ("3", &[Wed]),
        ("4", &[Thu]),
        ("5", &[Fri]),
        ("6", &[Sat]),
        ("7", &[Sun]),
        ("sun,WED", &[Sun, Wed]),
        ("Tuesday", &[Tue]),
        ("1-5", &[Mon, Tue, Wed, Thu, Fri]),
        ("5-7", &[Sun, Fri, Sat]),
        ("FRI-SUN", &[Sun, Fri, Sat]),
        ("*/2", &[Sun, Tue, Thu, Sat]),
        ("1/3", &[Mon, Thu]),
        ("sun-sun", &[Sun]),
    ];
    for (field, wanted) in table {
        let schedule = schedule(&format!("0 0 * * {field}"), "UTC");
        // 2026-11-21 is a Saturday.
        let (mut now, mut seen) = (at("2026-11-21T12:00:00Z"), Vec::new());
        while let Some(tick) = schedule.next_after(now).filter(|t| *t < at("2026-11-28T12:00:00Z"))
        {
            seen.push(tick.weekday());
            now = tick;
        }
        seen.sort_by_key(Weekday::num_days_from_sunday);
        assert_eq!(seen, wanted, "{field}");
    }
}

#[test]
fn five_fields_mean_what_they_mean_elsewhere() {
    let from = "2026-01-30T23:59:30Z";
    check("*/20 * * * *", "UTC", from, &["01-31 00:00+00:00", "01-31 00:20+00:00"]);
    check("5 4 * * *", "UTC", from, &["01-31 04:05+00:00", "02-01 04:05+00:00"]);
    check("0 0 31 * *", "UTC", from, &["01-31 00:00+00:00", "03-31 00:00+00:00"]);
    check("0 0 1 JAN,jul *", "UTC", from, &["07-01 00:00+00:00", "01-01 00:00+00:00"]);
    // Either day: the 13th, and every Friday.
    check("0 0 13 * 5", "UTC", "2026-02-07T00:00:00Z", &["02-13 00:00+00:00", "02-20 00:00+00:00"]);
    check("0 0 12 * 5", "UTC", "2026-02-07T00:00:00Z", &["02-12 00:00+00:00", "02-13 00:00+00:00"]);
    // A star, even with a step, does not count as given: both must fit.
    check(
        "0 0 */2 * 5",
        "UTC",
        "2026-02-07T00:00:00Z",
        &["02-13 00:00+00:00", "02-27 00:00+00:00"],
    );
    check("0 0 29 2 *", "UTC", from, &["02-29 00:00+00:00", "02-29 00:00+00:00"]);
    check("@hourly", "Asia/Kolkata", from, &["01-31 06:00+05:30"]);
    check("@daily", "Asia/Kolkata", from, &["02-01 00:00+05:30"]);
    check("@midnight", "UTC", from, &["01-31 00:00+00:00"]);
    check("@weekly", "UTC", from, &["02-01 00:00+00:00"]);
    check("@monthly", "UTC", from, &["02-01 00:00+00:00"]);
    check("@yearly", "UTC", from, &["01-01 00:00+00:00"]);
    check("@annually", "UTC", from, &["01-01 00:00+00:00"]);
    check("@every 90m", "UTC", "1970-01-01T00:00:00Z", &["01-01 01:30+00:00", "01-01 03:00+00:00"]);
    assert_eq!(
        schedule("@every 10s", "UTC").next_after(at("2026-01-01T00:00:03Z")),
        Some(at("2026-01-01T00:00:10Z"))
    );
}

#[test]
fn a_time_that_does_not_exist_ticks_once_after_the_gap() {
    let night = "2026-03-28T12:00:00Z";
    let wanted = ["03-29 03:00+02:00", "03-30 02:30+02:00"];
    check("30 2 * * *", "Europe/Berlin", night, &wanted);
    let wanted = ["03-29 03:00+02:00", "03-30 02:00+02:00", "03-30 02:20+02:00"];
    check("*/20 2 * * *", "Europe/Berlin", night, &wanted);
    let wanted = ["03-29 01:30+01:00", "03-29 03:30+02:00", "03-29 04:30+02:00"];
    check("30 * * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", &wanted);
    let wanted = ["03-08 03:00-04:00", "03-09 02:15-04:00"];
    check("15 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", &wanted);
    // Half an hour: 02:00 to 02:30.
    let wanted = ["10-04 02:30+11:00", "10-05 02:10+11:00"];
    check("10 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", &wanted);
    check("15 2 * * *", "Asia/Kolkata", night, &["03-29 02:15+05:30", "03-30 02:15+05:30"]);
    // A day that never was: Samoa went from the 29th to the 31st.
    let wanted = ["12-29 12:00-10:00", "12-31 00:00+14:00", "12-31 12:00+14:00"];
    check("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", &wanted);
}

#[test]
fn a_time_that_exists_twice_ticks_the_first_time_and_every_hour_ticks_every_hour() {
    let wanted = ["10-25 02:30+02:00", "10-26 02:30+01:00"];
    check("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", &wanted);
    let wanted =
        ["10-25 01:30+02:00", "10-25 02:30+02:00", "10-25 02:30+01:00", "10-25 03:30+01:00"];
    check("30 * * * *", "Europe/Berlin", "2026-10-24T23:00:00Z", &wanted);
    let wanted = ["11-01 01:15-04:00", "11-02 01:15-05:00"];
    check("15 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", &wanted);
    let wanted = ["11-01 01:45-04:00", "11-01 01:00-05:00", "11-01 01:15-05:00"];
    check("*/15 * * * *", "America/New_York", "2026-11-01T05:30:00Z", &wanted);
    // 02:00 goes back to 01:30.
    let wanted = ["04-05 01:45+11:00", "04-06 01:45+10:30"];
    check("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00:00Z", &wanted);
    let wanted = ["04-05 01:45+11:00", "04-05 01:45+10:30", "04-05 02:45+10:30"];
    check("45 * * * *", "Australia/Lord_Howe", "2026-04-04T14:00:00Z", &wanted);
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_reason() {
    let table = [
        ("0 0 * * * *", "five fields"),
        ("0 0 * *", "five fields"),
        ("", "five fields"),
        ("0 0 L * *", "L, W and #"),
        ("0 0 15W * *", "L, W and #"),
        ("0 0 * * 5L", "L, W and #"),
        ("0 0 * * 5#2", "L, W and #"),
        ("0 0 ? * 1", "write *"),
        ("60 0 * * *", "not a cron expression"),
        ("0 24 * * *", "not a cron expression"),
        ("0 0 0 * *", "not a cron expression"),
        ("5-1 0 * * *", "not a cron expression"),
        ("*/0 0 * * *", "not a cron expression"),
        ("0 0 * FOO *", "not a cron expression"),
        ("0 0 * * 8", "not a day of week"),
        ("0 0 * * 5-2", "not a day of week"),
        ("0 0 * * 1/0", "not a day of week"),
        ("0 0 * * 1,", "not a day of week"),
        ("0 0 30 2 *", "no such day"),
        ("0 x * * *", "cannot be in it"),
        ("@fortnightly", "none of"),
        ("@every 0s", "whole seconds"),
        ("@every 100ms", "whole seconds"),
        ("@every 2y", "whole seconds"),
        ("@every soon", "not a time"),
    ];
    for (cron, wanted) in table {
        let message = Schedule::plain("s", cron, "UTC", &cluster()).map(|_| ()).unwrap_err();
        assert!(message.contains(wanted) && !message.contains('\n'), "{cron}: {message}");
    }
    let message = Schedule::plain("s", "@daily", "Mars/Base", &cluster()).unwrap_err();
    assert!(message.contains("IANA"), "{message}");
    assert!(Schedule::plain("s", &"1,".repeat(1000), "UTC", &cluster()).is_err());
}

#[test]
fn all_problems_of_a_file_are_told_with_their_keys() {
    let mut config = Config::default();
    config.schedules[0].cron = "x".into();
    config
        .schedules
        .push(ScheduleConfig { time_zone: "Nowhere".into(), ..ScheduleConfig::default() });
    config.retention.time_zone = Some("Nowhere".into());
    config.prune.cron = Some("@never".into());
    config.maintenance.defragment =
        Some(DefragmentConfig { cron: "1".into(), ..DefragmentConfig::default() });
    config.maintenance.compact =
        Some(CompactConfig { time_zone: String::new(), ..CompactConfig::default() });
    let paths: Vec<_> = super::check(&config).into_iter().map(|problem| problem.path).collect();
    let wanted = [
        "schedules[0].cron",
        "schedules[1].time_zone",
        "retention.time_zone",
        "prune.cron",
        "maintenance.defragment.cron",
        "maintenance.compact.time_zone",
    ];
    assert_eq!(paths, wanted);
    assert_eq!(super::check(&Config::default()), []);
}

#[test]
fn agents_agree_on_splay_and_jitter_and_clusters_differ() {
    let config = ScheduleConfig {
        splay: Span::minutes(10),
        jitter: Span::seconds(30),
        ..ScheduleConfig::default()
    };
    let of = |name: &str| Schedule::parse(&config, &name.parse().unwrap()).unwrap();
    let tick = at("2026-01-01T00:00:00Z");
    let delays: Vec<_> = (0..24)
        .map(|hour| {
            let tick = tick + TimeDelta::hours(hour);
            assert_eq!(of("a").fires_at(tick), of("a").fires_at(tick));
            of("a").fires_at(tick) - tick
        })
        .collect();
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(*most - *least < TimeDelta::seconds(30) && most > least, "{delays:?}");
    let splays: std::collections::BTreeSet<_> =
        (0..50).map(|n| (of(&format!("c{n}")).fires_at(tick) - tick).num_minutes()).collect();
    assert!(
        splays.len() > 7 && splays.iter().all(|minutes| (0..=10).contains(minutes)),
        "{splays:?}"
    );
    // Fixed for ever: other versions run beside this one.
    assert_eq!(of("a").fires_at(tick), at("2026-01-01T00:02:45.118Z"));
}

#[test]
fn the_ends_of_time_are_no_ticks_and_no_crash() {
    for moment in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
        for cron in ["@every 1s", "* * * * *"] {
            assert_eq!(schedule(cron, "Asia/Tokyo").next_after(moment), None);
            assert_eq!(schedule(cron, "Asia/Tokyo").last_at_or_before(moment), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn ticks_only_go_forward_a_minute_at_least(
        minute in prop::sample::select(vec!["*", "0", "30", "*/7", "15,45"]),
        hour in prop::sample::select(vec!["*", "2", "*/3", "0,23", "1-3"]),
        day in prop::sample::select(vec!["*", "31", "*/5"]),
        weekday in prop::sample::select(vec!["*", "0", "1-5"]),
        zone in prop::sample::select(vec![
            "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
            "America/Havana", "Africa/Cairo", "Asia/Beirut", "Pacific/Apia",
        ]),
        second in 1_200_000_000i64..2_000_000_000,
    ) {
        let schedule = schedule(&format!("{minute} {hour} {day} * {weekday}"), zone);
        let mut now = Utc.timestamp_opt(second, 0).unwrap();
        let mut last = None;
        for _ in 0..12 {
            let tick = schedule.next_after(now).unwrap();
            prop_assert!(tick > now);
            prop_assert_eq!(tick.second(), 0);
            if let Some(last) = last {
                prop_assert!(tick - last >= TimeDelta::minutes(1));
            }
            prop_assert_eq!(schedule.last_at_or_before(tick), Some(tick));
            prop_assert_eq!(schedule.next_after(tick - TimeDelta::seconds(1)), Some(tick));
            last = Some(tick);
            now = tick;
        }
    }
}

#[test]
fn a_jitter_that_is_longer_than_the_period_is_refused() {
    let message = |cron: &str, zone: &str, seconds| {
        let schedule = ScheduleConfig {
            cron: cron.to_owned(),
            time_zone: zone.to_owned(),
            jitter: Span::seconds(seconds),
            ..ScheduleConfig::default()
        };
        let config = Config { schedules: vec![schedule], ..Config::default() };
        super::check(&config).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let table = [
        ("@hourly", "UTC", 3600),
        ("@every 10s", "UTC", 10),
        ("0,50 8 * * *", "UTC", 3000),
        ("0 0 1 1 *", "UTC", 365 * 86_400),
        // The first day of a month and a Monday after it.
        ("0 0 1 * 1", "UTC", 86_400),
        // The day on which the clock is put forward.
        ("30 12 * * *", "Europe/Berlin", 23 * 3600),
    ];
    for (cron, zone, most) in table {
        assert_eq!(message(cron, zone, most), Vec::<String>::new(), "{cron}");
        let refused = message(cron, zone, most + 1);
        assert!(refused.len() == 1 && refused[0].contains("schedules[0].jitter"), "{refused:?}");
        assert!(refused[0].contains("the shortest time between two ticks"), "{refused:?}");
    }
}
