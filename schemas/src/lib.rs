//! Contracts: what the crates of etcdr, its files and its callers agree on.
//!
//! A type is here when it crosses the border of a crate, or when it outlives a process: as an
//! object in a repository, a line of a configuration, a JSON report on stdout. Everything else
//! belongs to the crate that uses it.
//!
//! The layers, in reading order:
//!
//! - [`ids`], [`revision`], [`digest`], [`version`], [`units`]: newtypes for everything that could
//!   be confused. Each is parsed once, at the border, and in one canonical spelling.
//! - [`manifest`], [`claim`], [`hold`], [`ledger`], [`repository`]: what is stored. The manifest
//!   comes first; `docs/format.md` describes all of them for other programs.
//! - [`config`]: the file of the agent and the command line, from YAML to checked values.
//! - [`report`]: the JSON result of every command, and the [`report::Finding`]s of checks.
//! - [`diagnose`], [`progress`], [`read_at`]: the traits between crates that must not know one
//!   another. They say how an error is explained, how work reports its progress, and how bytes are
//!   read at an offset.
//! - [`pb`]: the protobuf messages of etcd that we use, and of the agent's admin API. The `.proto`
//!   files are our own, with etcd's field numbers; the generated code is committed.
//!
//! What always holds:
//!
//! - Nothing here does I/O, waits, or asks for the time or for randomness.
//! - Manifests, pages of the ledger and `etcdr.json` have a format number. It is read before
//!   anything else, so that an object of a later format is called that and not damaged. Unknown
//!   fields of these and of holds are kept and written back, because an old program may write an
//!   object of a newer one again.
//! - The JSON Schemas under `schemas/json` and the code under `src/pb` are generated from these
//!   sources, and `tests/generated.rs` compares them. Comments of reported types become
//!   descriptions there: they are part of the contract. Reports gain fields and never lose one.
//! - Input may be hostile. Each stored object has an upper bound of its size, and a manifest whose
//!   parts contradict one another is not parsed at all.
//!
//! Begin with [`manifest::Manifest`]: most other types are parts of it or refer to it.
//!
//! ```
//! use etcdr_schemas::{Revision, SnapshotId, config};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // An id sorts by time and carries the revision, so that a listing of keys says both.
//! let id: SnapshotId = "20261122T070000Z-r00000000000000012345-1a2b3c4d".parse()?;
//! assert_eq!(id.revision(), Revision(12_345));
//! // One snapshot has one spelling, and so one key.
//! assert!("20261122T070000Z-r12345-1A2B3C4D".parse::<SnapshotId>().is_err());
//!
//! // A configuration is checked as a whole, and unknown keys are named with the nearest one.
//! let problems = config::parse(serde_json::json!({ "repositry": {} })).unwrap_err();
//! assert_eq!(
//!     problems[0].to_string(),
//!     "repositry: there is no such key; did you mean repository?"
//! );
//! # Ok(())
//! # }
//! ```

pub mod digest;
pub mod ids;
pub mod revision;
pub mod version;

pub mod claim;
pub mod config;
pub mod hold;
pub mod ledger;
pub mod level;
pub mod manifest;
pub mod report;
pub mod repository;

pub mod diagnose;
pub mod progress;
pub mod read_at;
pub mod units;

pub mod pb;

pub use diagnose::{Diagnose, Diagnosis, ExitCode};
pub use digest::{RunningSha256, Sha256Digest};
pub use hold::Hold;
pub use ids::{AuditId, ClusterId, ClusterName, MemberId, RaftIndex, SnapshotId, Term};
pub use progress::{Hidden, Progress};
pub use read_at::ReadAt;
pub use revision::Revision;
pub use version::{EtcdVersion, TargetVersion};
