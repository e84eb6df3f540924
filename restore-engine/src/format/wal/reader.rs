//! Reads the log of any member.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use etcdr_schemas::pb::disk::{Entry, HardState, WalMetadata, WalRecord, WalSnapshot};
use prost::Message;

use super::record::{FrameLength, HEADER, RecordKind};
use crate::error::{Error, Result};

/// Longest record that is read, in bytes. etcd limits a request to 1.5 MiB unless it is configured
/// otherwise.
const MAX_RECORD: u64 = 64 << 20;

/// Most segments of one directory: at 64 MB each this is 6 TB of log.
const MAX_SEGMENTS: usize = 100_000;

/// Unit in which disks tear a write.
const SECTOR: usize = 512;

/// One segment, record by record.
#[derive(Debug)]
pub struct Segment<R> {
    input: R,
    path: PathBuf,
    size: u64,
    offset: u64,
    crc: u32,
    last: bool,
    torn: Option<u64>,
}

impl<R: Read> Segment<R> {
    /// Reads `size` bytes of `input`. `crc` is the running checksum of the segments before, and
    /// `last` says that none follow, which is the only place where a torn record is no damage.
    pub const fn new(input: R, path: PathBuf, size: u64, crc: u32, last: bool) -> Self {
        Self { input, path, size, offset: 0, crc, last, torn: None }
    }

    /// The running checksum.
    #[must_use]
    pub const fn crc(&self) -> u32 {
        self.crc
    }

    /// Offset in bytes of a record that was being written when the machine stopped.
    #[must_use]
    pub const fn torn(&self) -> Option<u64> {
        self.torn
    }

    /// The next record, or `None` at the end of what was written.
    ///
    /// # Errors
    /// [`Error::Wal`] for a damaged record, [`Error::Local`] when reading fails.
    pub fn next_record(&mut self) -> Result<Option<(RecordKind, Bytes)>> {
        let left = self.size.saturating_sub(self.offset);
        if self.torn.is_some() || left == 0 {
            return Ok(None);
        }
        let mut field = [0; HEADER];
        if left < HEADER as u64 {
            return self.short_frame("a length field");
        }
        self.fill(&mut field)?;
        let Some(length) = FrameLength::parse(field) else { return Ok(None) };
        let frame = length.record + length.padding;
        if frame > left - HEADER as u64 {
            return self.short_frame("a record");
        }
        if length.record > MAX_RECORD {
            return Err(self.damaged(format!("a record of {} bytes", length.record)));
        }
        let mut body = vec![0; usize::try_from(frame).map_err(|_| self.damaged("length".into()))?];
        self.fill(&mut body)?;
        self.decode(body, length)
    }

    fn decode(
        &mut self,
        mut body: Vec<u8>,
        length: FrameLength,
    ) -> Result<Option<(RecordKind, Bytes)>> {
        // Judged before the padding is cut off, as etcd does: an interrupted write leaves whole
        // sectors of zeros, anything else is damage.
        let torn = self.last && has_zero_sector(&body, self.offset + HEADER as u64);
        body.truncate(usize::try_from(length.record).unwrap_or(usize::MAX));
        match self.record(&body) {
            Ok(record) => {
                self.offset += HEADER as u64 + length.record + length.padding;
                Ok(Some(record))
            }
            Err(_) if torn => {
                self.torn = Some(self.offset);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn record(&mut self, body: &[u8]) -> Result<(RecordKind, Bytes)> {
        let record = WalRecord::decode(body).map_err(|error| self.damaged(error.to_string()))?;
        let kind = RecordKind::from_number(record.r#type)
            .ok_or_else(|| self.damaged(format!("a record of unknown type {}", record.r#type)))?;
        let data = record.data.unwrap_or_default();
        if kind == RecordKind::Crc {
            // A reader that has seen nothing takes any seed: older segments may have been purged.
            if self.crc != 0 && self.crc != record.crc {
                return Err(self.damaged("the segment does not continue the one before".into()));
            }
            self.crc = record.crc;
            return Ok((kind, data));
        }
        let crc = crc32c::crc32c_append(self.crc, &data);
        if crc != record.crc {
            return Err(self.damaged(format!("checksum {:08x} is not {crc:08x}", record.crc)));
        }
        self.crc = crc;
        Ok((kind, data))
    }

    fn short_frame(&mut self, what: &str) -> Result<Option<(RecordKind, Bytes)>> {
        if self.last {
            self.torn = Some(self.offset);
            return Ok(None);
        }
        Err(self.damaged(format!("the segment ends inside {what}, and others follow it")))
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<()> {
        self.input.read_exact(buf).map_err(|source| Error::io("read", &self.path, source))
    }

    fn damaged(&self, reason: String) -> Error {
        Error::Wal { path: self.path.clone(), offset: self.offset, reason }
    }
}

/// Whether the part of `body` inside some disk sector is all zero: the sign of a write that never
/// reached the disk whole. `offset` is where `body` begins in the file.
fn has_zero_sector(body: &[u8], offset: u64) -> bool {
    let to_border = SECTOR - usize::try_from(offset % SECTOR as u64).unwrap_or(0);
    let (head, rest) = body.split_at(to_border.min(body.len()));
    let zero = |part: &[u8]| !part.is_empty() && part.iter().all(|byte| *byte == 0);
    zero(head) || rest.chunks(SECTOR).any(zero)
}

/// What a whole log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFacts {
    /// Ids of member and cluster.
    pub metadata: WalMetadata,
    /// The last hard state.
    pub state: HardState,
    /// Index of the first and of the last entry.
    pub entries: Option<(u64, u64)>,
    /// Number of snapshot marks.
    pub snapshot_marks: u64,
    /// The last snapshot mark.
    pub last_snapshot: WalSnapshot,
    /// Segment and offset of a torn tail.
    pub torn: Option<(PathBuf, u64)>,
}

/// Names of the segments of `dir`, in sequence.
///
/// # Errors
/// [`Error::Wal`] for a gap in the sequence and for a directory without segments.
pub fn segment_names(dir: &Path) -> Result<Vec<PathBuf>> {
    let io = |source| Error::io("read", dir, source);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if let Some(sequence) = name.to_str().and_then(parse_name) {
            names.push((sequence, dir.join(name)));
        }
        if names.len() > MAX_SEGMENTS {
            return Err(damaged_dir(dir, format!("more than {MAX_SEGMENTS} segments")));
        }
    }
    // Sorted by sequence: a directory lists names in any order.
    names.sort();
    if names.is_empty() {
        return Err(damaged_dir(dir, "there is no WAL segment in it".to_owned()));
    }
    if let Some((gap, _)) = names.windows(2).find_map(|pair| match pair {
        [(a, _), (b, path)] if a.checked_add(1) != Some(*b) => Some((*a, path)),
        _ => None,
    }) {
        return Err(damaged_dir(dir, format!("the segment after sequence {gap:x} is missing")));
    }
    Ok(names.into_iter().map(|(_, path)| path).collect())
}

fn parse_name(name: &str) -> Option<u64> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    let hex = |text: &str| {
        let plain = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| u64::from_str_radix(text, 16).ok()).flatten()
    };
    hex(index)?;
    hex(sequence)
}

fn damaged_dir(dir: &Path, reason: String) -> Error {
    Error::Wal { path: dir.to_owned(), offset: 0, reason }
}

/// Reads all segments of `dir` and hands every entry to `on_entry`, in log order: an entry replaces
/// those of the same and of higher index before it.
///
/// # Errors
/// [`Error::Wal`] for damage, [`Error::Local`] when reading fails, and whatever `on_entry` returns.
pub fn read_log(dir: &Path, on_entry: &mut dyn FnMut(Entry) -> Result<()>) -> Result<LogFacts> {
    let names = segment_names(dir)?;
    let mut facts = LogFacts::default();
    let mut crc = 0;
    for (number, path) in names.iter().enumerate() {
        let io = |source| Error::io("open", path, source);
        let file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let last = number + 1 == names.len();
        let input = BufReader::with_capacity(1 << 16, file);
        let mut segment = Segment::new(input, path.clone(), size, crc, last);
        while let Some((kind, data)) = segment.next_record()? {
            facts.take(kind, data, on_entry).map_err(|reason| match reason {
                Refused::Malformed(error) => segment.damaged(error.to_string()),
                Refused::Other(error) => error,
            })?;
        }
        crc = segment.crc();
        facts.torn = segment.torn().map(|offset| (path.clone(), offset));
    }
    Ok(facts)
}

enum Refused {
    Malformed(prost::DecodeError),
    Other(Error),
}

impl From<prost::DecodeError> for Refused {
    fn from(error: prost::DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl LogFacts {
    fn take(
        &mut self,
        kind: RecordKind,
        data: Bytes,
        on_entry: &mut dyn FnMut(Entry) -> Result<()>,
    ) -> Result<(), Refused> {
        match kind {
            RecordKind::Crc => {}
            RecordKind::Metadata => self.metadata = WalMetadata::decode(data)?,
            RecordKind::State => self.state = HardState::decode(data)?,
            RecordKind::Snapshot => {
                self.last_snapshot = WalSnapshot::decode(data)?;
                self.snapshot_marks += 1;
            }
            RecordKind::Entry => {
                let entry = Entry::decode(data)?;
                let first = self.entries.map_or(entry.index, |(first, _)| first.min(entry.index));
                self.entries = Some((first, entry.index));
                on_entry(entry).map_err(Refused::Other)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::membership::{InitialCluster, NewCluster};
    use crate::format::wal::{SEGMENT_NAME, initial_segment};

    fn segment_of_three() -> (NewCluster, Vec<u8>) {
        let initial = InitialCluster::parse("a=http://a:1,b=http://b:1,c=http://c:1").unwrap();
        let cluster = NewCluster::new(initial, "t").unwrap();
        let bytes = initial_segment(&cluster, cluster.members()[1].id);
        (cluster, bytes)
    }

    fn read(bytes: &[u8]) -> Result<(LogFacts, usize)> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SEGMENT_NAME), bytes).unwrap();
        let mut entries = 0;
        let facts = read_log(dir.path(), &mut |_| {
            entries += 1;
            Ok(())
        })?;
        Ok((facts, entries))
    }

    #[test]
    fn what_is_written_is_read() {
        let (cluster, mut bytes) = segment_of_three();
        // etcd's own files are preallocated; zeroes behind the last record change nothing.
        for tail in [0, 3, 4096] {
            bytes.resize(bytes.len() + tail, 0);
            let (facts, entries) = read(&bytes).unwrap();
            assert_eq!(entries, 3);
            assert_eq!(facts.entries, Some((1, 3)));
            assert_eq!(facts.metadata.node_id, cluster.members()[1].id.0);
            assert_eq!(facts.metadata.cluster_id, cluster.id().0);
            assert_eq!((facts.state.term, facts.state.commit), (1, 3));
            assert_eq!(facts.last_snapshot.conf_state, Some(cluster.conf_state()));
            assert_eq!(facts.snapshot_marks, 2);
        }
    }

    #[test]
    fn every_flipped_data_bit_is_caught_and_nothing_panics() {
        let (_, bytes) = segment_of_three();
        let whole = read(&bytes).unwrap();
        let mut unnoticed = 0;
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                if let Ok(got) = read(&bad) {
                    unnoticed += usize::from(got == whole);
                }
            }
        }
        // Padding bytes and the spare bits of length fields are not covered by any checksum.
        assert!(unnoticed < 400, "{unnoticed}");
    }

    #[test]
    fn a_log_cut_at_any_byte_is_a_torn_tail_or_a_shorter_log() {
        let (_, bytes) = segment_of_three();
        for length in 0..bytes.len() {
            let (facts, entries) = read(&bytes[..length]).unwrap();
            assert!(entries <= 3);
            assert!(facts.torn.is_some() || length % 8 == 0, "{length}");
        }
    }

    #[test]
    fn a_cut_before_the_last_segment_and_a_missing_segment_are_damage() {
        let (_, bytes) = segment_of_three();
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
        put(SEGMENT_NAME, &bytes[..bytes.len() - 1]);
        put("0000000000000001-0000000000000004.wal", &bytes);
        assert!(read_log(dir.path(), &mut |_| Ok(())).is_err());
        put("0000000000000001-0000000000000004.tmp", &[]);
        std::fs::remove_file(dir.path().join("0000000000000001-0000000000000004.wal")).unwrap();
        put("0000000000000002-0000000000000009.wal", &bytes);
        let error = segment_names(dir.path()).unwrap_err().to_string();
        assert!(error.contains("after sequence 0 is missing"), "{error}");
    }

    #[test]
    fn hostile_lengths_allocate_nothing() {
        let (_, mut bytes) = segment_of_three();
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(read(&bytes).unwrap().0.torn.is_some());
    }
}
