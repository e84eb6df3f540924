//! What a running agent shows, from events to answers over real sockets. The clock is fixed; the
//! sockets are not.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, reason = "a test, its helpers too")]

#[path = "watching/admin.rs"]
mod admin;
#[path = "watching/examples.rs"]
mod examples;
#[path = "watching/metrics.rs"]
mod metrics;
#[path = "watching/pages.rs"]
mod pages;
#[path = "watching/reflection.rs"]
mod reflection;
#[path = "watching/rotation.rs"]
mod rotation;
#[path = "watching/samples.rs"]
mod samples;
#[path = "watching/status.rs"]
mod status;
