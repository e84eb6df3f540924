//! What etcdr does once when it is asked: each operation composes the node that is asked, the
//! engine that understands and the repository that keeps.
//!
//! One module an operation, and one entry in it, which takes what it needs as arguments (time,
//! randomness, paths, progress, a way to stop) and returns what came of it. The command line
//! renders that; the agent and whatever else runs for long call the same entries. Order matters
//! here more than anywhere: nothing is named a snapshot before its bytes were scanned, stored, and
//! read back.
//!
//! A restore from a file, as far as its plan:
//!
//! ```
//! use etcdr_operations::restore::{self, Raise, RestoreOptions};
//! use etcdr_restore_engine::membership::InitialCluster;
//! use etcdr_restore_engine::plan::{Selection, Target};
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let file = "../restore-engine/tests/data/history-3.5.30.db";
//! let opened = restore::open_file(file.into()).await?;
//! let planned = opened.plan(RestoreOptions {
//!     initial_cluster: InitialCluster::parse("a=http://localhost:2380")?,
//!     token: "a-new-cluster".to_owned(),
//!     targets: vec![Target {
//!         name: "a".to_owned(),
//!         data_dir: "/no/such/directory/a".into(),
//!         wal_dir: None,
//!         advertise: None,
//!     }],
//!     target_version: None,
//!     raise: Raise::Auto,
//!     mark_compacted: false,
//!     replace: false,
//!     skip_hash_check: false,
//!     keep_alarms: false,
//!     selection: Selection::default(),
//!     now: chrono::DateTime::UNIX_EPOCH,
//! })?;
//! assert_eq!(planned.report().members.len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
