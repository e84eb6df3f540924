//! What is known of a file before it is read: whether it ends with a digest, and what a manifest
//! says.

use etcdr_schemas::Sha256Digest;

/// Whether a file ends with etcd's digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A file as `etcdctl snapshot save` writes it: database and digest.
    Snapshot,
    /// A copy of `member/snap/db`: whole pages, nothing that covers them.
    RawDatabase,
}

impl Form {
    /// The form of a file of `size` bytes, by etcd's own rule: a digest is there when 32 bytes are
    /// left after the last whole sector.
    #[must_use]
    pub const fn of_size(size: u64) -> Self {
        if size % 512 == Sha256Digest::LEN as u64 { Self::Snapshot } else { Self::RawDatabase }
    }
}

/// What a manifest says of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// Bytes of the snapshot file.
    pub size: u64,
    /// SHA-256 of the snapshot file.
    pub sha256: Sha256Digest,
    /// Whether the reader of the bytes compares them with `sha256` itself and ends in an error
    /// before the last of them when they differ. They are not hashed a second time then: the
    /// manifest was written only after etcd's own digest, which is part of them, had matched.
    pub by_reader: bool,
}
