//! The agent: one process beside each member, for years.
//!
//! It follows schedules, contends with the other agents for each tick by claims in the repository,
//! and carries the operations out ([`etcdr_operations`]); it looks at members and store, cares for
//! the members' files, and shows how all are: log, metrics, pages, and the admin interface, through
//! which it can be asked.
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
