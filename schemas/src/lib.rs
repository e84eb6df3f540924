//! Contracts: what the crates of etcdr, its files and its callers agree on.
//!
//! Nothing here does I/O, waits, or asks for the time. Types that cross a crate border live here,
//! and so do the formats that outlive a process: snapshot ids, manifests, reports, and the
//! protobuf messages of etcd that we use (our own `.proto` files, with etcd's field numbers).

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

pub use diagnose::{Diagnose, ExitCode};
pub use digest::{RunningSha256, Sha256Digest};
pub use hold::Hold;
pub use ids::{AuditId, ClusterId, ClusterName, MemberId, RaftIndex, SnapshotId, Term};
pub use progress::{Hidden, Progress};
pub use read_at::ReadAt;
pub use revision::Revision;
pub use version::{EtcdVersion, TargetVersion};
