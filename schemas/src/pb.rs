//! Protobuf messages of etcd and of the agent's own admin API, generated from `proto/*.proto` by
//! `tests/generated.rs` and committed, so that nobody needs protoc. `bytes` fields are
//! [`bytes::Bytes`].

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

/// Messages of the agent's admin API.
#[allow(missing_docs, clippy::all, unreachable_pub)]
pub mod admin {
    include!("pb/admin.rs");
}

/// The admin API as an encoded `FileDescriptorSet`: what reflection answers with.
pub const ADMIN_DESCRIPTOR: &[u8] = include_bytes!("pb/admin.bin");
