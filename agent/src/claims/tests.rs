//! Ticks that many contend for, on a store in memory and with a clock that does not cost time.

use etcdr_repository::{Location, StoreOptions};
use etcdr_schemas::repository::RepositoryInfo;

use super::*;

pub(crate) const GRACE: Duration = Duration::from_secs(60);

pub(crate) async fn repository() -> Repository {
    let info = RepositoryInfo {
        format: etcdr_schemas::repository::FORMAT,
        repository_id: "x".to_owned(),
        created_at: clock(),
        recipients: Vec::new(),
        unencrypted: true,
        extra: serde_json::Map::new(),
    };
    Repository::init(&Location::memory(), &StoreOptions::default(), info).await.unwrap()
}

pub(crate) fn clock() -> DateTime<Utc> {
    "2026-11-22T07:00:00Z".parse().unwrap()
}

pub(crate) fn agent(number: usize) -> Identity {
    Identity { instance: format!("i{number}"), agent: format!("a{number}") }
}

fn slot() -> Slot {
    let cluster = ClusterName::default();
    Slot { cluster, schedule: "hourly".to_owned(), tick: clock() }
}

async fn contend_as<'a>(store: &'a Repository, who: &'a Identity, rank: usize) -> ClaimResult<'a> {
    let terms = Terms { rank, silent_since: Instant::now(), member: None, grace: GRACE };
    contend(store, slot(), who, terms, &clock, |_| {}).await.unwrap()
}

fn id() -> SnapshotId {
    SnapshotId::new(clock(), etcdr_schemas::Revision(1), 7)
}

#[tokio::test(start_paused = true)]
async fn many_agents_of_one_rank_take_a_tick_once() {
    let store = repository().await;
    let agents: Vec<_> = (0..16).map(agent).collect();
    let contests = agents.iter().map(|who| async {
        match contend_as(&store, who, 0).await {
            ClaimResult::Held(held, _) => {
                held.may_commit(id()).await.unwrap();
                held.done(vec![id()]).await.unwrap();
                1
            }
            ClaimResult::Done(_) => 0,
        }
    });
    let taken: usize = futures_util::future::join_all(contests).await.into_iter().sum();
    assert_eq!(taken, 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_takes_over_after_the_grace_and_the_first_finds_out() {
    let store = repository().await;
    let (first, second) = (agent(1), agent(2));
    let ClaimResult::Held(held, ClaimOutcome::Won) = contend_as(&store, &first, 0).await else {
        panic!()
    };
    let began = Instant::now();
    let ClaimResult::Held(other, ClaimOutcome::TakenOver) = contend_as(&store, &second, 1).await
    else {
        panic!()
    };
    assert!(began.elapsed() >= GRACE, "{:?}", began.elapsed());
    assert!(began.elapsed() < GRACE * 2, "{:?}", began.elapsed());
    let refused = held.may_commit(id()).await;
    assert!(matches!(refused, Err(Error::ClaimLost { .. })), "{refused:?}");
    other.may_commit(id()).await.unwrap();
    assert!(matches!(held.done(vec![]).await, Err(Error::ClaimLost { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_shows_signs_of_life_keeps_it() {
    let store = repository().await;
    let (first, second) = (agent(1), agent(2));
    let ClaimResult::Held(held, _) = contend_as(&store, &first, 0).await else { panic!() };
    let work = async {
        tokio::select! {
            () = sleep(GRACE * 10) => {}
            () = held.keep() => panic!("lost"),
        }
        held.done(vec![id()]).await.unwrap();
    };
    let (other, ()) = tokio::join!(contend_as(&store, &second, 1), work);
    let ClaimResult::Done(record) = other else { panic!("taken from a holder that is alive") };
    assert_eq!(record.agent, "a1");
}

#[tokio::test(start_paused = true)]
async fn what_is_given_up_goes_to_the_next_without_waiting() {
    let store = repository().await;
    let (first, second) = (agent(1), agent(2));
    let ClaimResult::Held(held, _) = contend_as(&store, &first, 0).await else { panic!() };
    held.give_up(&etcdr_operations::Error::NoEndpoint).await.unwrap();
    let began = Instant::now();
    let ClaimResult::Held(..) = contend_as(&store, &second, 1).await else { panic!() };
    assert!(began.elapsed() < GRACE / 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_own_claim_whose_answer_was_lost_is_gone_on_with() {
    let store = repository().await;
    let first = agent(1);
    let ClaimResult::Held(held, _) = contend_as(&store, &first, 0).await else { panic!() };
    drop(held);
    let began = Instant::now();
    let ClaimResult::Held(..) = contend_as(&store, &first, 0).await else { panic!() };
    assert!(began.elapsed() < GRACE / 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn the_second_waits_one_grace_for_the_first() {
    let store = repository().await;
    let second = agent(2);
    let began = Instant::now();
    let ClaimResult::Held(_, ClaimOutcome::Won) = contend_as(&store, &second, 1).await else {
        panic!()
    };
    assert!(began.elapsed() >= GRACE, "{:?}", began.elapsed());
}
