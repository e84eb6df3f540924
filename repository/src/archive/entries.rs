//! Entries of archives: which one is the snapshot, and how to read just that one.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::read::DeflateDecoder;
use zip::{CompressionMethod, ZipArchive};

use super::{Stream, seek_to};

/// Most entries that are read. A data directory has a few dozen files.
const MAX_ENTRIES: usize = 10_000;

/// A file in an archive.
#[derive(Debug, Clone)]
pub(super) struct ArchiveEntry {
    name: String,
    /// Where its bytes begin: in the zip file, or in the unpacked tar.
    start: u64,
    /// Bytes as they lie there.
    packed: u64,
    /// Bytes of the file.
    size: u64,
    /// CRC-32 and whether it is deflated; zip only.
    zip: Option<(u32, bool)>,
}

/// The regular files of a tar.
pub(super) fn tar(stream: Stream) -> io::Result<Vec<ArchiveEntry>> {
    let mut archive = tar::Archive::new(stream);
    let mut files = Vec::new();
    for entry in archive.entries()?.take(MAX_ENTRIES) {
        let entry = entry?;
        if entry.header().entry_type() == tar::EntryType::Regular {
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let (start, size) = (entry.raw_file_position(), entry.size());
            files.push(ArchiveEntry { name, start, packed: size, size, zip: None });
        }
    }
    Ok(files)
}

/// The regular files of a zip; the reason when it cannot be read.
pub(super) fn zip(file: &File) -> Result<Vec<ArchiveEntry>, String> {
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let mut files = Vec::new();
    for index in 0..archive.len().min(MAX_ENTRIES) {
        let entry = archive.by_index_raw(index).map_err(|error| error.to_string())?;
        if !entry.is_file() {
            continue;
        }
        let deflated = match entry.compression() {
            CompressionMethod::Stored => false,
            CompressionMethod::Deflated => true,
            _ => continue,
        };
        let Some(start) = entry.data_start().filter(|_| !entry.encrypted()) else { continue };
        files.push(ArchiveEntry {
            name: entry.name().to_owned(),
            start,
            packed: entry.compressed_size(),
            size: entry.size(),
            zip: Some((entry.crc32(), deflated)),
        });
    }
    Ok(files)
}

/// The entry that is the snapshot: `member/snap/db` of a data directory, else `db`, else the only
/// one that is named like a snapshot, else the only file there is.
pub(super) fn choose(files: Vec<ArchiveEntry>) -> Result<ArchiveEntry, String> {
    let rules: [fn(&str) -> bool; 4] = [
        |name| name == "member/snap/db" || name.ends_with("/member/snap/db"),
        |name| base(name) == "db",
        like_a_snapshot,
        |_| true,
    ];
    for rule in rules {
        let mut fitting = files.iter().filter(|file| rule(&file.name));
        match (fitting.next(), fitting.next()) {
            (Some(one), None) => return Ok(one.clone()),
            (Some(one), Some(other)) => {
                return Err(format!(
                    "it holds several files that could be the snapshot, such as {:?} and {:?}; \
                     take the right one out and give that",
                    short(&one.name),
                    short(&other.name)
                ));
            }
            (None, _) => {}
        }
    }
    Err("it holds no file".to_owned())
}

fn base(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn like_a_snapshot(name: &str) -> bool {
    let base = base(name).to_ascii_lowercase();
    let layers = [".age", ".zst", ".gz"];
    // Each layer's suffix once, outermost first: what is left names the content.
    let inner = layers.iter().fold(base.as_str(), |name, layer| name.trim_end_matches(layer));
    // Raft's own snapshots end in .snap too, and hold no keys.
    let raft = name.contains("member/snap/");
    let named = [".db", ".snap", ".snapshot"].iter().any(|suffix| inner.ends_with(suffix));
    !raft && (named || base.starts_with("snapshot"))
}

fn short(name: &str) -> String {
    name.chars().take(100).collect()
}

impl ArchiveEntry {
    /// Cuts this entry out of the unpacked tar.
    pub(super) fn cut(self, mut stream: Stream) -> io::Result<Stream> {
        let skipped = io::copy(&mut (&mut stream).take(self.start), &mut io::sink())?;
        if skipped != self.start {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Box::new(ExactReader { inner: stream.take(self.size), left: self.size, crc: None }))
    }

    /// Reads this entry of a zip.
    pub(super) fn open_zip(self, file: File) -> io::Result<Stream> {
        let packed = BufReader::new(seek_to(file, self.start)?.take(self.packed));
        let (crc, deflated) = self.zip.unwrap_or_default();
        let unpacked: Stream =
            if deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        let crc = Some((flate2::Crc::new(), crc));
        // One byte more than it should have: too long is as wrong as too short.
        let inner = unpacked.take(self.size.saturating_add(1));
        Ok(Box::new(ExactReader { inner, left: self.size, crc }))
    }
}

/// Exactly so many bytes, with a CRC-32 where there is one: an entry that is cut is an error.
struct ExactReader {
    inner: io::Take<Stream>,
    left: u64,
    crc: Option<(flate2::Crc, u32)>,
}

impl Read for ExactReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let invalid = |text| Err(io::Error::new(io::ErrorKind::InvalidData, text));
        let count = self.inner.read(buf)?;
        let Some(left) = self.left.checked_sub(count as u64) else {
            return invalid("the archive's entry is longer than it says");
        };
        self.left = left;
        if let Some((crc, _)) = &mut self.crc {
            crc.update(buf.get(..count).unwrap_or_default());
        }
        if count > 0 || buf.is_empty() {
            return Ok(count);
        }
        if left > 0 {
            return invalid("the archive's entry is cut");
        }
        match &self.crc {
            Some((crc, expected)) if crc.sum() != *expected => {
                invalid("the archive's entry does not match its CRC-32")
            }
            _ => Ok(0),
        }
    }
}
