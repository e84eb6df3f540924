//! Takes snapshots: composes the node that is asked, the engine that understands and the repository that
//! keeps.
//!
//! The one-shot capture behind `etcdr snapshot save`, the import of files, the verification of one
//! snapshot and the audit of all. Order matters here
//! more than anywhere: nothing is named a snapshot before its bytes were scanned, stored, and read back.

pub mod admin;
mod agreement;
pub mod audit;
pub mod board;
pub mod candidates;
pub mod capture;
mod claim_error;
pub mod command;
pub mod configuration;
pub mod doctor;
mod error;
pub mod event;
mod exclusion;
mod health;
pub mod import;
pub mod inspect;
pub mod log;
pub mod maintenance;
pub mod metrics;
pub mod pace;
pub mod pages;
mod pour;
pub mod prune;
pub mod run;
pub mod schedule;
pub mod settings;
mod source;
pub mod stages;
pub mod stop;
mod turn;
pub mod verify;

pub use claim_error::Error as AgentError;
pub use error::Error;
