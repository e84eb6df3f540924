//! `ETCDR_BENCH_ONLY=harm`: what a save costs those who write meanwhile.
//!
//! An open loop puts 1 KiB at a steady rate; the time of each put counts from the moment it was
//! meant to begin, so that a server which stands still is not flattered by the puts that were not
//! sent meanwhile. Rounds go around the contestants (nothing, etcdctl, etcdr, etcdr with a rate
//! limit); medians over rounds are compared.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use etcdr_node::{Client, ConnectOptions, EtcdBinary};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::measure::measure;
use crate::{Keys, Settings, fill, start};

const VALUE: usize = 1 << 10;
/// Puts are spread over so many keys.
const KEYS: u64 = 10_000;
/// Shortest time that a contestant is watched for.
const LEAST: Duration = Duration::from_secs(5);

/// The four contestants, by their names in the report.
const NAMES: [&str; 4] = ["nothing", "etcdctl", "etcdr", "etcdr_limited"];

/// One database size.
pub(crate) async fn run(settings: &Settings, megabytes: u64) -> anyhow::Result<Value> {
    let variable = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
    let rate: u32 = variable("ETCDR_BENCH_PUTS", "200").parse()?;
    let limit = variable("ETCDR_BENCH_RATE_LIMIT", "50MiB");
    let folder = tempfile::tempdir()?;
    let binary = EtcdBinary::locate(Some(&settings.etcd), None).await?;
    println!("\n== harm: {megabytes} MB, {rate} puts a second, etcd {} ==", binary.version());
    let cluster = start(&binary, &folder.path().join("source")).await?;
    let endpoint = cluster.endpoints().first().context("no endpoint")?.clone();
    let client = Client::connect(&ConnectOptions::new(&endpoint)).await?;
    fill(&client, megabytes << 20).await?;
    let keys = Keys::make(settings, folder.path())?;
    let mut rounds: [Vec<Round>; 4] = Default::default();
    for _ in 0..settings.rounds {
        for (name, rounds) in NAMES.iter().zip(&mut rounds) {
            let command = command(name, settings, &keys, &endpoint, &limit);
            let round = contest(&client, rate, command).await?;
            println!("{name:<14} {round}");
            rounds.push(round);
        }
    }
    let report = NAMES.iter().zip(&rounds).map(|(name, rounds)| ((*name).to_owned(), json(rounds)));
    Ok(json!({
        "megabytes": megabytes,
        "puts_a_second": rate,
        "rate_limit": limit,
        "contestants": report.collect::<serde_json::Map<_, _>>(),
    }))
}

/// What runs beside the puts; `None` for nothing.
fn command(
    name: &str,
    settings: &Settings,
    keys: &Keys,
    endpoint: &str,
    limit: &str,
) -> Option<Command> {
    let save = ["snapshot", "save", "--endpoints", endpoint];
    match name {
        "etcdctl" => {
            let mut command = Command::new(settings.tool("etcdctl"));
            let flags = ["--endpoints", endpoint, "--command-timeout", "600s", "snapshot", "save"];
            command.env("ETCDCTL_API", "3").args(flags).arg(keys.dir.join("plain.db"));
            Some(command)
        }
        "etcdr" => {
            let mut command = keys.etcdr(settings);
            command.args(save);
            Some(command)
        }
        "etcdr_limited" => {
            let mut command = keys.etcdr(settings);
            command.args(save).args(["--rate-limit", limit]);
            Some(command)
        }
        _ => None,
    }
}

/// Times of puts in milliseconds, sorted, and how long the contestant took.
struct Round {
    millis: Vec<f64>,
    failed: u64,
    seconds: f64,
}

impl Round {
    /// The time that so many of a thousand puts did not exceed.
    fn quantile(&self, permille: usize) -> f64 {
        let at = self.millis.len().saturating_sub(1) * permille / 1000;
        self.millis.get(at).copied().unwrap_or(f64::NAN)
    }
}

impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [p50, p99, most] = [500, 990, 1000].map(|permille| self.quantile(permille));
        write!(
            f,
            "p50 {p50:>7.2} ms  p99 {p99:>8.2} ms  max {most:>8.2} ms  {} puts, {} failed, {:.1} s",
            self.millis.len(),
            self.failed,
            self.seconds
        )
    }
}

fn json(rounds: &[Round]) -> Value {
    let median = |of: &dyn Fn(&Round) -> f64| {
        let mut all: Vec<_> = rounds.iter().map(of).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    json!({
        "p50_ms": median(&|round| round.quantile(500)),
        "p99_ms": median(&|round| round.quantile(990)),
        "max_ms": median(&|round| round.quantile(1000)),
        "seconds": median(&|round| round.seconds),
        "puts": rounds.iter().map(|round| round.millis.len()).sum::<usize>(),
        "failed": rounds.iter().map(|round| round.failed).sum::<u64>(),
    })
}

/// Puts while a command runs, and only then: puts after its end would hide what it did.
async fn contest(client: &Client, rate: u32, command: Option<Command>) -> anyhow::Result<Round> {
    let over = Arc::new(AtomicBool::new(false));
    let puts = tokio::spawn(load(client.clone(), rate, Arc::clone(&over)));
    let began = Instant::now();
    match command {
        Some(mut command) => {
            tokio::task::spawn_blocking(move || measure(&mut command)).await??;
        }
        None => tokio::time::sleep(LEAST).await,
    }
    let seconds = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let (mut millis, failed) = puts.await?;
    millis.sort_by(f64::total_cmp);
    Ok(Round { millis, failed, seconds })
}

async fn load(client: Client, rate: u32, over: Arc<AtomicBool>) -> (Vec<f64>, u64) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut flying, mut millis, mut failed, mut number) = (JoinSet::new(), Vec::new(), 0, 0u64);
    let mut count = |done: Result<Option<f64>, _>| match done {
        Ok(Some(time)) => millis.push(time),
        _ => failed += 1,
    };
    while !over.load(Ordering::Relaxed) {
        let meant = ticks.tick().await;
        let (client, key) = (client.clone(), format!("/harm/{:05}", number % KEYS));
        number += 1;
        flying.spawn(async move {
            client.writer().put(key, vec![b'v'; VALUE], 0).await.ok()?;
            Some(meant.elapsed().as_secs_f64() * 1000.0)
        });
        while let Some(done) = flying.try_join_next() {
            count(done);
        }
    }
    while let Some(done) = flying.join_next().await {
        count(done);
    }
    (millis, failed)
}
