//! What etcdr does once when it is asked: each operation composes the node that is asked, the
//! engine that understands and the repository that keeps.
//!
//! One module an operation, and one entry in it, which takes what it needs as arguments (time,
//! randomness, paths, progress, a way to stop) and returns what came of it. The command line
//! renders that; the agent and whatever else runs for long call the same entries. Order matters
//! here more than anywhere: nothing is named a snapshot before its bytes were scanned, stored, and
//! read back.

use chrono::{DateTime, Utc};

pub mod audit;
pub mod capture;
pub mod doctor;
mod error;
pub mod export;
pub mod import;
pub mod inspect;
pub mod prune;
pub mod restore;
pub mod settings;
pub mod stop;
pub mod verify;

pub use error::Error;

/// Asks for the time: a parameter, so that operations can be tested.
pub type Clock = dyn Fn() -> DateTime<Utc> + Send + Sync;
