//! One etcd node, remote or ours: talk to it, run it.
//!
//! This is the only crate that speaks gRPC to etcd and the only one that starts processes. A
//! [`Client`] holds one connection to one endpoint, on purpose: whoever takes a backup must know
//! which member answered, so there is no balancing and no failover here.
//!
//! The layers, in reading order:
//!
//! - [`ConnectOptions`] are what etcdctl takes as flags. `endpoint` parses where to connect, `tls`
//!   reads the files, `dial` connects and remembers why TLS failed.
//! - `connection` is one channel with its login token and the shapes of a call; `call` is the table
//!   of the calls that we use, each with the limit of its answer; `call_context` turns a failure
//!   into an [`Error`] that names the endpoint and the cause.
//! - [`Client`] only reads. Keys are written by a [`Writer`], which demos and drills ask for and
//!   the agent never does; [`Maintenance`] defragments and compacts. [`Metrics`] reads a few of the
//!   member's Prometheus metrics.
//! - [`SnapshotStream`] gives the bytes of a snapshot file, and fails on every stream that is cut,
//!   stuck or out of step.
//! - [`EtcdBinary`] finds the etcd programs of this machine, and [`LocalCluster`] runs real members
//!   from data directories that exist or that etcd makes.
//!
//! What always holds:
//!
//! - Every call has a time limit, and every answer a limit of its size. A stream has no limit of
//!   its length, but it must progress.
//! - A login token that etcd no longer knows is renewed once, and no other failure is repeated
//!   here: only the caller knows whether another try is of use.
//! - Certificates are read at each connection, so that rotated files are followed. Passwords and
//!   tokens are never printed.
//! - A process that is started here is killed when its handle is dropped, and gets none of the
//!   caller's environment: `ETCDCTL_*` variables are for the cluster that is backed up.
//!
//! Begin with [`Client::connect`] and [`Client::snapshot`].
//!
//! ```
//! use etcdr_node::ConnectOptions;
//!
//! // Endpoints are spelled as for etcdctl; nothing is connected yet.
//! for good in ["127.0.0.1:2379", "https://etcd-0.example:2379", "unix:///run/etcd.sock"] {
//!     assert!(ConnectOptions::new(good).check().is_ok(), "{good}");
//! }
//! // What would mislead is refused, and a password in it is not repeated.
//! let error = ConnectOptions::new("http://root:secret@127.0.0.1:2379").check().unwrap_err();
//! assert!(error.to_string().contains("--user"));
//! assert!(!error.to_string().contains("secret"));
//! ```

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
