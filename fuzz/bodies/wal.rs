//! Bytes as segments of a log.

use std::path::PathBuf;

use etcdr_restore_engine::wal::Segment;
use etcdr_restore_engine::wal::record::{FrameLength, HEADER};
use etcdr_schemas::pb::disk::WalRecord;
use prost::Message;

/// Every record is read or refused, and reading stops.
pub(crate) fn run(data: &[u8]) {
    for last in [false, true] {
        let crc = read(data, 0, last);
        // Cut in two, as two segments would be.
        let (first, second) = data.split_at(data.len() / 2);
        read(first, 0, false);
        read(second, crc, last);
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = format!("{:016x}-{:016x}.wal", 0, 0);
    std::fs::write(dir.path().join(name), data).expect("a file");
    let mut entries = 0;
    let facts = etcdr_restore_engine::wal::read_log(dir.path(), &mut |_| {
        entries += 1;
        Ok(())
    });
    if let Ok(facts) = facts {
        assert_eq!(entries > 0, facts.entries.is_some());
    }
}

fn read(data: &[u8], crc: u32, last: bool) -> u32 {
    let mut segment = Segment::new(data, PathBuf::from("x.wal"), data.len() as u64, crc, last);
    let mut records = 0;
    while let Ok(Some(_)) = segment.next_record() {
        records += 1;
        assert!(records <= data.len(), "more records than bytes");
    }
    segment.crc()
}

/// Repairs the running checksum of all records.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn fix(data: &mut Vec<u8>) {
    let mut crc = 0;
    let mut at = 0;
    loop {
        let field = data.get(at..at + HEADER).and_then(|raw| raw.try_into().ok());
        let Some(length) = field.and_then(FrameLength::parse) else { return };
        let (start, end) = (at + HEADER, usize::try_from(length.record).unwrap_or(usize::MAX));
        let Some(body) = data.get(start..start.saturating_add(end)) else { return };
        let Ok(mut record) = WalRecord::decode(body) else { return };
        crc = crc32c::crc32c_append(crc, record.data.as_deref().unwrap_or_default());
        if record.r#type == 4 {
            crc = record.crc;
        }
        record.crc = crc;
        let fixed = record.encode_to_vec();
        // A checksum with another number of digits would move what follows.
        if fixed.len() == body.len() {
            data[start..start + end].copy_from_slice(&fixed);
        }
        let padding = usize::try_from(length.padding).unwrap_or(0);
        at = start + end + padding;
    }
}
