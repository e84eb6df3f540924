//! The harness of the end-to-end tests: every etcd version that can be had, a workload that looks
//! like Kubernetes', an oracle that asks a cluster for everything it holds, and servers that fail
//! on purpose.
//!
//! The tests drive the `etcdr` binary as a user does and ask etcd through its own `etcdctl`, so
//! that what they believe does not come from the code under test. They fail, and never skip, when
//! etcd is missing.

pub mod backup;
pub mod certs;
pub mod etcd;
pub mod fleet;
pub mod oracle;
pub mod process;
pub mod proxy;
pub mod s3;
pub mod source;
pub mod versions;
pub mod workload;

/// How many rounds the heavy loops run: `usual`, or what `ETCDR_TEST_ROUNDS` says.
#[must_use]
pub fn rounds(usual: usize) -> usize {
    std::env::var("ETCDR_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
