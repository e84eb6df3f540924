//! One etcd node, remote or ours: talk to it, run it.
//!
//! This is the only crate that speaks gRPC to etcd and the only one that starts processes. A
//! [`Client`] holds one connection to one endpoint, on purpose: whoever takes a backup must know
//! which member answered. It reads; keys are written by a [`Writer`], which demos and drills ask
//! for and the agent never does, and a database is cared for by [`Maintenance`]. A
//! [`SnapshotStream`] gives the bytes of a snapshot file and fails on every stream that is cut,
//! stuck or out of step. A [`LocalCluster`] runs real etcd members on this machine, from data
//! directories that exist or that etcd makes, and kills them when it is dropped.

mod dial;
mod endpoint;
mod options;
mod tls;

mod auth;
mod call;
mod call_context;
mod client;
mod connection;
mod maintenance;
mod metrics;
mod reply;
mod scrape;
mod snapshot;
mod writer;

mod cluster;
mod locate;
mod ports;
mod process;

pub mod error;

pub use client::Client;
pub use cluster::{ClusterOptions, LocalCluster, MemberSpec, ServerTls};
pub use error::{Error, TlsFault};
pub use locate::{EtcdBinary, Tool};
pub use maintenance::Maintenance;
pub use metrics::{Histogram, Metrics};
pub use options::ConnectOptions;
pub use ports::free_urls;
pub use process::ToolOutput;
pub use reply::{HashKvReply, Status};
pub use snapshot::SnapshotStream;
pub use writer::Writer;
