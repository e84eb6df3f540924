//! The agent: one process beside each member, for years.
//!
//! It follows schedules, contends with the other agents for each tick by claims in the repository,
//! and carries the operations out ([`etcdr_operations`]); it looks at members and store, cares for
//! the members' files, and shows how all are: log, metrics, pages, and the admin interface, through
//! which it can be asked.

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
