//! Protobuf messages of etcd, generated from `proto/*.proto` by `tests/generated.rs` and committed, so that
//! nobody needs protoc. `bytes` fields are [`bytes::Bytes`].

/// Messages of etcd's gRPC API.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod etcd {
    include!("pb/etcd.rs");
}

/// Messages that etcd writes to disk.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod disk {
    include!("pb/disk.rs");
}
