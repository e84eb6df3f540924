//! Bytes as a `.snap` file.

use bytes::Bytes;
use etcdr_restore_engine::snap;
use etcdr_schemas::pb::disk::SnapFile;
use prost::Message;

/// Two reads give equal results, or the file is refused.
pub(crate) fn run(data: &[u8]) {
    assert_eq!(snap::parse(data).ok(), snap::parse(data).ok());
}

/// Repairs the checksum.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn fix(data: &mut Vec<u8>) {
    let Ok(file) = SnapFile::decode(data.as_slice()) else { return };
    let inner = file.data.unwrap_or_else(Bytes::new);
    *data = SnapFile { crc: crc32c::crc32c(&inner), data: Some(inner) }.encode_to_vec();
}
