//! Both orders, both at once, and holders that die, on a store in memory and with a clock that does
//! not cost time.

use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use etcdr_schemas::claim::ClaimStage;

use super::*;
use crate::claims::MAX_POLL;
use crate::claims::tests::{GRACE, agent, repository};
use crate::claims::{self, Identity, Terms};

/// One second for all, and never twice the same time: two claims of one agent differ.
fn clock() -> DateTime<Utc> {
    static ASKED: AtomicI64 = AtomicI64::new(0);
    let asked = ASKED.fetch_add(1, Ordering::Relaxed);
    claims::tests::clock() + TimeDelta::nanoseconds(asked)
}

fn slot(schedule: &str) -> Slot {
    Slot { cluster: ClusterName::default(), schedule: schedule.to_owned(), tick: clock() }
}

fn terms() -> Terms {
    Terms { rank: 0, silent_since: Instant::now(), member: None, grace: GRACE }
}

async fn hold<'a>(store: &'a Repository, who: &'a Identity, schedule: &str) -> HeldClaim<'a> {
    claims::hold(store, slot(schedule), who, terms(), &clock).await.unwrap()
}

/// Keeps a claim for so long, then says that it is done.
async fn work(held: &HeldClaim<'_>, long: Duration) {
    tokio::select! {
        () = sleep(long) => {}
        () = held.keep() => panic!("lost"),
    }
    held.done(Vec::new()).await.unwrap();
}

/// Asks as a round does before it has a claim.
async fn asked(store: &Repository, liveness: &mut Liveness) -> Option<Refusal> {
    obstacle(store, &slot(ROUNDS), liveness, GRACE).await.unwrap()
}

/// Waits as a capture does; gives whose round it waited for.
async fn waited(store: &Repository, liveness: &Mutex<Liveness>) -> Option<String> {
    let mut whose = None;
    let hears = |record: &ClaimRecord| whose = Some(record.agent.clone());
    rounds_over(store, &ClusterName::default(), liveness, GRACE, hears).await.unwrap();
    whose
}

fn by(agent: &str, schedule: Option<&str>) -> Option<Refusal> {
    Some(Refusal::CapturingBy(agent.to_owned(), schedule.map(str::to_owned)))
}

#[tokio::test(start_paused = true)]
async fn a_capture_waits_for_a_round_that_was_first_and_says_whose_it_is() {
    let (store, one, two) = (repository().await, agent(1), agent(2));
    let round = hold(&store, &one, ROUNDS).await;
    let admitted = admit(&store, &round, &mut Liveness::default()).await.unwrap();
    assert_eq!(admitted, None);
    let began = Instant::now();
    let capture = async {
        let held = hold(&store, &two, "hourly").await;
        let whose = tokio::select! {
            whose = async { waited(&store, &Mutex::default()).await } => whose,
            () = held.keep() => panic!("lost"),
        };
        (whose, began.elapsed())
    };
    let ((whose, after), ()) = tokio::join!(capture, work(&round, GRACE * 5));
    assert_eq!(whose.as_deref(), Some("a1"));
    assert!(after >= GRACE * 5 && after <= GRACE * 5 + MAX_POLL, "{after:?}");
    assert_eq!(waited(&store, &Mutex::default()).await, None, "it is over");
}

#[tokio::test(start_paused = true)]
async fn a_round_refuses_while_any_agent_captures_and_names_it() {
    let (store, one, two) = (repository().await, agent(1), agent(2));
    for (schedule, named) in [("hourly", Some("hourly")), (ON_DEMAND, None)] {
        let capture = hold(&store, &one, schedule).await;
        let round = async {
            let began = Instant::now();
            let refused = asked(&store, &mut Liveness::default()).await;
            assert_eq!(refused, by("a1", named));
            assert!(began.elapsed() < GRACE / 2, "{:?}", began.elapsed());
            // Nobody was held up meanwhile.
            assert_eq!(waited(&store, &Mutex::default()).await, None);
        };
        tokio::join!(round, work(&capture, GRACE * 2));
        let mut liveness = Liveness::default();
        assert_eq!(asked(&store, &mut liveness).await, None, "it is over");
        let round = hold(&store, &two, ROUNDS).await;
        assert_eq!(admit(&store, &round, &mut liveness).await.unwrap(), None);
        round.done(Vec::new()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn of_both_at_once_the_capture_goes_and_the_round_comes_afterwards() {
    let (store, one, two) = (repository().await, agent(1), agent(2));
    let mut liveness = Liveness::default();
    assert_eq!(asked(&store, &mut liveness).await, None);
    let (round, capture) = (hold(&store, &one, ROUNDS).await, hold(&store, &two, "hourly").await);
    let goes = async {
        let whose = waited(&store, &Mutex::default()).await;
        assert_eq!(whose.as_deref(), Some("a1"));
        work(&capture, GRACE).await;
    };
    let gives_up = async {
        sleep(Duration::from_secs(1)).await;
        let refused = admit(&store, &round, &mut liveness).await.unwrap();
        assert_eq!(refused, by("a2", Some("hourly")));
        let claim = store.newest_claim(round.slot()).await.unwrap().unwrap();
        assert!(matches!(claim.record.stage, ClaimStage::Failed { .. }), "{claim:?}");
    };
    let began = Instant::now();
    tokio::join!(goes, gives_up);
    assert!(began.elapsed() <= GRACE + MAX_POLL, "{:?}", began.elapsed());
    assert_eq!(asked(&store, &mut liveness).await, None);
    let round = hold(&store, &one, ROUNDS).await;
    assert_eq!(admit(&store, &round, &mut liveness).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_capture_of_a_dead_agent_holds_rounds_up_for_one_grace() {
    let (store, one, two) = (repository().await, agent(1), agent(2));
    drop(hold(&store, &one, "hourly").await);
    let (began, mut liveness) = (Instant::now(), Liveness::default());
    assert_eq!(asked(&store, &mut liveness).await, None);
    let after = began.elapsed();
    assert!(after >= GRACE && after <= GRACE + MAX_POLL, "{after:?}");
    let round = hold(&store, &two, ROUNDS).await;
    assert_eq!(admit(&store, &round, &mut liveness).await.unwrap(), None);
    // One that was never observed is not known to be dead.
    let refused = admit(&store, &round, &mut Liveness::default()).await.unwrap();
    assert_eq!(refused, by("a1", Some("hourly")));
}

#[tokio::test(start_paused = true)]
async fn a_round_of_a_dead_agent_holds_captures_up_for_one_grace_and_once() {
    let (store, one) = (repository().await, agent(1));
    drop(hold(&store, &one, ROUNDS).await);
    let (began, liveness) = (Instant::now(), Mutex::default());
    assert_eq!(waited(&store, &liveness).await.as_deref(), Some("a1"));
    let after = began.elapsed();
    assert!(after >= GRACE && after <= GRACE + MAX_POLL, "{after:?}");
    assert_eq!(waited(&store, &liveness).await, None, "known to be dead");
    assert!(began.elapsed() == after, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_capture_that_newer_ticks_have_overtaken_and_another_round_count_too() {
    let (store, one, two) = (repository().await, agent(1), agent(2));
    let long = hold(&store, &one, "hourly").await;
    let mut newest = hold(&store, &two, "daily").await;
    newest.done(Vec::new()).await.unwrap();
    for _ in 1..CAPTURE_TICKS {
        // Each in its own second: they are newer ticks.
        newest = hold(&store, &two, "hourly").await;
        newest.done(Vec::new()).await.unwrap();
        hold(&store, &two, "_prune").await;
    }
    assert_eq!(newest.slot().tick - long.slot().tick, TimeDelta::seconds(31), "32 ticks");
    let mut liveness = Liveness::default();
    let (refused, ()) = tokio::join!(asked(&store, &mut liveness), work(&long, GRACE));
    assert_eq!(refused, by("a1", Some("hourly")));
    let round = hold(&store, &one, ROUNDS).await;
    let mut liveness = Liveness::default();
    let other = Slot { tick: clock() - TimeDelta::hours(1), ..slot(ROUNDS) };
    let second = obstacle(&store, &other, &mut liveness, GRACE);
    let (refused, ()) = tokio::join!(second, work(&round, GRACE));
    assert_eq!(refused.unwrap(), Some(Refusal::NotMine));
    assert_eq!(ticks_of("_compact"), None);
}

/// An agent that was stopped for longer than the others wait does not go on where they have gone
/// past it.
#[tokio::test(start_paused = true)]
async fn a_round_that_showed_no_sign_of_life_for_a_grace_does_not_go_on() {
    let (store, one) = (repository().await, agent(1));
    let round = hold(&store, &one, ROUNDS).await;
    let kept = tokio::time::timeout(GRACE * 10, round.keep_unbroken()).await;
    assert!(kept.is_err(), "it shows signs of life");
    tokio::time::advance(GRACE).await;
    tokio::time::timeout(GRACE, round.keep_unbroken()).await.unwrap();
    assert!(matches!(round.done(Vec::new()).await, Err(Error::ClaimLost { .. })));
}

/// Goal: whatever the order in which two sides write and read, no round runs beside a capture.
/// Method: three agents that capture and two that defragment, again and again, with a store that
/// answers when it likes; what runs is counted.
#[tokio::test(start_paused = true)]
async fn captures_and_rounds_never_overlap_whatever_the_timing() {
    let (mut captures, mut rounds) = (0, 0);
    for seed in 1..=60u64 {
        let store = repository().await;
        let agents: Vec<_> = (0..5).map(agent).collect();
        let (capturing, defragmenting) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut pause = move |most: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            Duration::from_millis(random % most)
        };
        let plans: Vec<[Duration; 4]> = (0..5)
            .map(|_| [pause(20_000), pause(3_000), pause(3_000), pause(90_000) + GRACE / 4])
            .collect();
        let sides = agents.iter().zip(&plans).enumerate().map(|(number, (who, plan))| {
            let (store, capturing, defragmenting) = (&store, &capturing, &defragmenting);
            async move {
                let mut done = 0;
                for _ in 0..4 {
                    // Captures leave room for rounds.
                    sleep(plan[0] * if number < 3 { 10 } else { 1 }).await;
                    let held = match number < 3 {
                        true => hold(store, who, &format!("s{number}")).await,
                        false => hold(store, who, ROUNDS).await,
                    };
                    let side = async {
                        sleep(plan[1]).await;
                        let (mine, other) = match number < 3 {
                            true => {
                                waited(store, &Mutex::default()).await;
                                (capturing, defragmenting)
                            }
                            false => {
                                let looked = admit(store, &held, &mut Liveness::default()).await;
                                if looked.unwrap().is_some() {
                                    return 0;
                                }
                                (defragmenting, capturing)
                            }
                        };
                        sleep(plan[2]).await;
                        mine.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(other.load(Ordering::Relaxed), 0, "seed {seed}, side {number}");
                        sleep(plan[3]).await;
                        assert_eq!(other.load(Ordering::Relaxed), 0, "seed {seed}, side {number}");
                        mine.fetch_sub(1, Ordering::Relaxed);
                        held.done(Vec::new()).await.unwrap();
                        1
                    };
                    done += tokio::select! {
                        done = side => done,
                        () = held.keep() => panic!("lost"),
                    };
                }
                done
            }
        });
        let done = futures_util::future::join_all(sides).await;
        captures += done.iter().take(3).sum::<usize>();
        rounds += done.iter().skip(3).sum::<usize>();
    }
    assert_eq!(captures, 60 * 3 * 4, "no capture is lost");
    assert!(rounds > 20, "{rounds} rounds went");
}
