//! The agent: one process beside each etcd member, for years.
//!
//! It follows schedules, contends with the agents beside the other members for each tick, and
//! carries the operations out ([`etcdr_operations`]). It also watches members and store, maintains
//! the members' database files, and shows how all of them are. Nothing is written into etcd: the
//! agents agree through claims, which are small objects in the repository that the store creates
//! only where there is none.
//!
//! Modules in reading order:
//!
//! - [`schedule`] computes when a schedule fires; [`candidates`] the order in which agents may take
//!   a tick. Both are pure, so that all agents come to the same result.
//! - `claims` takes a tick, renews the claim, takes it over from an agent that died, and is the
//!   gate that a capture asks before it commits. `interlock` keeps captures and rounds of
//!   defragmentation apart, across all agents.
//! - [`run`] is the loop: a task for each schedule and each duty, the monitor, and requests
//!   ([`command`]). [`maintenance`] decides and does what etcd itself needs.
//! - [`event`] lists everything that can happen. [`log`], [`metrics`] and [`status`] are made of
//!   events and of nothing else; [`pages`] shows them over HTTP, and [`admin`] answers requests.
//! - `serve` wires all of this for the program around it ([`serve()`]).
//!
//! What always holds:
//!
//! - **One snapshot a tick.** The store decides who has a claim; a claim is asked for again right
//!   before the manifest is written, and the write must end before another agent may take over.
//! - **Nobody trusts another's clock.** Whether a holder is alive is decided by the observer's own
//!   monotonic clock: a claim that was not renewed for the grace is dead.
//! - **A capture goes before a round of defragmentation**, and no member is defragmented while it
//!   streams a snapshot or another member is not well.
//! - **Ticks that were missed are caught up once**, however many there were.
//! - **The loop never waits for an observer**, and what is remembered has a bound: an agent that
//!   runs for years needs no more memory than one that runs for a day.
//! - A configuration that cannot be used changes nothing: the old one stays in use.
//!
//! To begin, follow one tick: `run::scheduled`, `run::capturing`, `claims`, and from there
//! [`etcdr_operations::capture`].
//!
//! All agents of a cluster name the same ticks, whatever their own clocks say:
//!
//! ```
//! use etcdr_agent::schedule::Schedule;
//! use etcdr_schemas::ClusterName;
//!
//! let cluster = ClusterName::default();
//! let schedule = Schedule::plain("hourly", "0 * * * *", "UTC", &cluster)?;
//! let now = "2026-11-22T07:30:00Z".parse()?;
//! let tick = schedule.last_at_or_before(now);
//! assert_eq!(tick, Some("2026-11-22T07:00:00Z".parse()?));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod admin;
pub mod candidates;
mod claims;
pub mod command;
pub mod configuration;
mod error;
pub mod event;
mod interlock;
pub mod log;
pub mod maintenance;
pub mod metrics;
pub mod pages;
pub mod run;
pub mod schedule;
mod serve;
pub mod status;

pub use error::Error;
pub use serve::{Notice, Outside, serve};
