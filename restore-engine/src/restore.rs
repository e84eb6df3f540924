//! Carrying out a plan: the runbook is in `run`, and each step of it is a module.

mod build;
mod normalise;
mod prove;
mod rebuild;
mod receipt;
mod rename_log;
mod run;
mod space;
mod staging;

pub use receipt::receipt_paths;
pub use run::{preflight, restore, restore_on};
