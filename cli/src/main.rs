//! `etcdr`: backup, restore and disaster recovery for etcd.
//!
//! This crate parses, renders and exits; the work is done by the libraries. Only here are arguments
//! and environment read, the clock and randomness asked, and text printed.

mod commands;
mod config;
mod context;
mod exit;
mod malloc_settings;
mod options;
mod output;
mod progress;

use std::io::IsTerminal as _;
use std::process;
use std::time::Duration;

use clap::{CommandFactory as _, FromArgMatches as _};
use etcdr_operations::stop::{Interrupted, StopFlag};
use etcdr_schemas::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

use crate::commands::Cli;
use crate::options::LogFormat;

fn main() -> process::ExitCode {
    malloc_settings::apply();
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let format = cli.global.output;
    if let Err(error) = cli.refuse_ignored(&matches) {
        return exit::report(&error.into(), format);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let nice = cli.nice();
    if nice > 0 {
        // Linux gives each thread a priority of its own.
        builder.on_thread_start(move || be_nice(nice));
    }
    if let Some(threads) = cli.network_threads() {
        builder.worker_threads(threads);
    }
    if !cli.logs_itself() {
        start_logging(cli.global.log_format, "warn", false);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(&error.into(), format),
    };
    let result = runtime.block_on(until_signal(cli));
    // Blocking threads that a signal cut off notice it at their next chunk and clean up after
    // themselves.
    runtime.shutdown_timeout(GRACE);
    match result {
        Ok(code) => process::ExitCode::from(code as u8),
        Err(error) => exit::report(&error, format),
    }
}

/// Time that work gets to clean up after a signal.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// Runs the command; SIGINT, SIGTERM and SIGHUP drop it, and dropping aborts uploads, stops
/// processes and removes what is half made. A command that has something to write down first gets
/// the time for it.
async fn until_signal(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let stop = StopFlag::default();
    // On the heap: what it needs is large, and dropped in one place.
    let mut work = Box::pin(cli.run(stop.clone()));
    loop {
        tokio::select! {
            result = &mut work => return result,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => if !stop.hang_up() { break },
        }
    }
    stop.raise();
    if let Some(grace) = stop.grace()
        && let Ok(result) = tokio::time::timeout(grace, &mut work).await
    {
        return result;
    }
    drop(work);
    settle().await;
    Err(Interrupted.into())
}

/// Waits until what was dropped has been undone: aborting an upload takes requests of its own.
async fn settle() {
    let tasks = tokio::runtime::Handle::current().metrics();
    let all_done = async {
        while tasks.num_alive_tasks() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // Whoever is left after the grace is a peer that does not answer.
    let _ = tokio::time::timeout(GRACE, all_done).await;
}

/// Gives way to others; a refusal is no reason not to work.
fn be_nice(nice: u8) {
    let _ = rustix::process::setpriority_process(None, i32::from(nice));
}

/// Log lines go to stderr; `ETCDR_LOG` takes the usual directives. What runs for years wants to
/// know `when`.
pub(crate) fn start_logging(format: LogFormat, default: &str, when: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ETCDR_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match format {
        LogFormat::Text if when => builder.init(),
        LogFormat::Text => builder.without_time().init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
