//! What etcdr does once when it is asked: save, import, verify, audit, prune, restore, export.
//!
//! An operation composes three libraries: the node that asks etcd, the engine that understands its
//! formats, and the repository that keeps snapshots. Each module is one operation and has one
//! entry, which takes what it needs as arguments (time, randomness, paths, progress, a way to stop)
//! and returns what came of it. The command line renders the result; the agent and whatever else
//! runs for long call the same entries.
//!
//! Modules in reading order:
//!
//! - [`settings`] makes a configuration usable: connections, repository, keys. [`stop`] asks
//!   running work to end early, and [`doctor`] tries everything that a configuration names.
//! - [`capture`] saves a live cluster: it chooses a member (`source`), compares all of them
//!   (`health` asks, `agreement` decides), moves the bytes (`ingest`) no faster than etcd bears
//!   (`pace`), and writes the manifest. [`import`] does the last two for a file.
//! - [`verify`] checks one snapshot level by level; [`audit`] checks a whole repository, and knows
//!   what earlier audits found; [`inspect`] shows what a snapshot holds, as far as it can be read.
//! - [`prune`] deletes what the retention does not keep.
//! - [`restore`] opens a source, plans, and writes data directories; [`export`] writes the plain
//!   snapshot file.
//!
//! What always holds:
//!
//! - **The manifest is written last.** Nothing is called a snapshot before its bytes were scanned,
//!   stored and read back. A run that fails or is killed leaves at most an object that no manifest
//!   names, and a later prune deletes it.
//! - **Deleting goes the other way round**: ledger, manifests, images. At each moment every
//!   manifest that is listed has its image.
//! - **A plan has no side effects.** What a dry run shows and what is then done come from one
//!   decision over plain data.
//! - **Damage is a finding, not an error.** A check ends with an error only when it could not be
//!   made: no key, or a store that does not answer.
//! - **Every error says** whether trying again helps, what is safe, and what to do next
//!   ([`Diagnose`](etcdr_schemas::Diagnose)). Errors are returned; the caller reports them.
//! - Time and randomness are arguments, blocking work runs on blocking threads, and every queue and
//!   list has a bound.
//!
//! To begin, read `capture::save` and `restore::Opened::plan`; both read as a list of steps.
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
