//! Layout of a WAL segment (docs/etcd-formats.md 4.4).
//!
//! A segment is a sequence of frames. A frame is a little-endian 64-bit length field, a protobuf
//! record and 0 to 7 zero bytes. The low 56 bits of the field are the record's length; when bit 63
//! is set, bits 56 to 58 are the number of padding bytes. A field of zero ends the segment: files
//! are preallocated.
//!
//! Every record carries the CRC-32C of all record data so far, over all segments; a CRC record at
//! the head of a segment carries the value over from the one before.

use bytes::Bytes;
use etcdr_schemas::pb::disk::WalRecord;
use prost::Message;

/// Length of the field before each record, in bytes.
pub const HEADER: usize = 8;

const PADDED: u64 = 1 << 63;
const PAD_SHIFT: u32 = 56;
const LENGTH_MASK: u64 = (1 << PAD_SHIFT) - 1;

/// Kind of a record, `Record.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i64)]
pub enum RecordKind {
    /// Ids of member and cluster.
    Metadata = 1,
    /// A raft entry.
    Entry = 2,
    /// Raft's hard state.
    State = 3,
    /// Checksum carried over from the segment before.
    Crc = 4,
    /// Mark that a snapshot of that index and term exists.
    Snapshot = 5,
}

impl RecordKind {
    /// The kind with that number.
    #[must_use]
    pub const fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            1 => Self::Metadata,
            2 => Self::Entry,
            3 => Self::State,
            4 => Self::Crc,
            5 => Self::Snapshot,
            _ => return None,
        })
    }
}

/// The length field of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameLength {
    /// Bytes of the record.
    pub record: u64,
    /// Zero bytes behind it.
    pub padding: u64,
}

impl FrameLength {
    /// Reads the field; `None` for the zero that ends a segment.
    #[must_use]
    pub const fn parse(field: [u8; HEADER]) -> Option<Self> {
        let field = u64::from_le_bytes(field);
        if field == 0 {
            return None;
        }
        // Without bit 63 there is no padding: old logs were written without it.
        let padding = if field & PADDED == 0 { 0 } else { (field >> PAD_SHIFT) & 7 };
        Some(Self { record: field & LENGTH_MASK, padding })
    }

    /// Field and padding of a record of `record` bytes.
    #[must_use]
    pub const fn of(record: u64) -> Self {
        Self { record, padding: (8 - record % 8) % 8 }
    }

    /// The field's bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let top = if self.padding == 0 { 0 } else { PADDED | self.padding << PAD_SHIFT };
        (self.record | top).to_le_bytes()
    }
}

/// Appends frames and carries their checksum.
#[derive(Debug, Default)]
pub struct Encoder {
    out: Vec<u8>,
    crc: u32,
}

impl Encoder {
    /// Appends one record. `None` and empty data differ in the bytes, as they do in etcd's.
    pub fn push(&mut self, kind: RecordKind, data: Option<Vec<u8>>) {
        // The checksum continues over the data of all records before. It does not cover the frames:
        // a reader detects a lost, repeated or reordered record only by this chain.
        self.crc = crc32c::crc32c_append(self.crc, data.as_deref().unwrap_or_default());
        let record = WalRecord { r#type: kind as i64, crc: self.crc, data: data.map(Bytes::from) };
        let record = record.encode_to_vec();
        let length = FrameLength::of(record.len() as u64);
        self.out.extend_from_slice(&length.to_bytes());
        self.out.extend_from_slice(&record);
        // Frames begin at multiples of 8, so that a length field never crosses a sector and cannot
        // be torn. The frames before end at such a multiple too.
        self.out.resize(self.out.len().next_multiple_of(8), 0);
    }

    /// The segment's bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_field_survives_a_round_trip() {
        for record in [1, 7, 8, 9, 1 << 40] {
            let length = FrameLength::of(record);
            assert_eq!((length.record + length.padding) % 8, 0);
            assert_eq!(FrameLength::parse(length.to_bytes()), Some(length));
        }
        assert_eq!(FrameLength::parse([0; 8]), None);
        assert_eq!(FrameLength::of(4).to_bytes(), [4, 0, 0, 0, 0, 0, 0, 0x84]);
    }
}
