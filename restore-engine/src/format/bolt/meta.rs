//! The two meta pages: which one counts, and how large a page is.

use etcdr_schemas::ReadAt;

use super::page::{self, HEADER, Header, MAX_PAGE_SIZE, MIN_PAGE_SIZE};
use super::{Problem, read};
use crate::{Error, Result};

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// Freelist page number that says that no freelist is stored.
const NO_FREELIST: u64 = u64::MAX;
/// Bytes of the page header and the meta behind it.
pub(crate) const META_END: usize = 80;

/// What a meta page says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of a page.
    pub page_size: u32,
    /// Page number of the bucket of buckets.
    pub root: u64,
    /// Page number of the freelist, when one is stored.
    pub freelist: Option<u64>,
    /// Number of the first page that was never allocated.
    pub high_water_mark: u64,
    /// Number of the transaction that wrote it.
    pub txid: u64,
}

impl Meta {
    /// Reads a meta page from its first 80 bytes; `None` when magic, version, page size or checksum
    /// are wrong.
    #[must_use]
    pub fn parse(page: &[u8]) -> Option<Self> {
        let meta = Self::read(page)?;
        let size = meta.page_size;
        let valid = page::u32_at(page, 16)? == MAGIC
            && page::u32_at(page, 20)? == VERSION
            && page::u64_at(page, 72)? == checksum(page.get(16..72)?)
            && size.is_power_of_two()
            && (MIN_PAGE_SIZE..=MAX_PAGE_SIZE).contains(&size);
        valid.then_some(meta)
    }

    /// The fields without any check; `None` when there are fewer than 72 bytes.
    fn read(page: &[u8]) -> Option<Self> {
        Some(Self {
            page_size: page::u32_at(page, 24)?,
            root: page::u64_at(page, 32)?,
            freelist: page::u64_at(page, 48).filter(|id| *id != NO_FREELIST),
            high_water_mark: page::u64_at(page, 56)?,
            txid: page::u64_at(page, 64)?,
        })
    }

    /// The first 80 bytes of meta page `id`, 0 or 1.
    #[must_use]
    pub fn encode(&self, id: u64) -> [u8; META_END] {
        let mut bytes = [0; META_END];
        let header = Header { id, flags: page::META, count: 0, overflow: 0 };
        bytes[..HEADER].copy_from_slice(&header.encode());
        bytes[16..20].copy_from_slice(&MAGIC.to_le_bytes());
        bytes[20..24].copy_from_slice(&VERSION.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.page_size.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.root.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.freelist.unwrap_or(NO_FREELIST).to_le_bytes());
        bytes[56..64].copy_from_slice(&self.high_water_mark.to_le_bytes());
        bytes[64..72].copy_from_slice(&self.txid.to_le_bytes());
        let sum = checksum(&bytes[16..72]);
        bytes[72..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Bytes up to the high-water mark: the length of the database in a snapshot. `None` past
    /// `u64::MAX`.
    #[must_use]
    pub fn database_size(&self) -> Option<u64> {
        self.high_water_mark.checked_mul(u64::from(self.page_size))
    }

    /// Checks the page numbers against a file of `file_size` bytes, if that is known.
    pub(crate) fn check(&self, file_size: Option<u64>) -> Result<(), Problem> {
        let pages = file_size.map_or(u64::MAX, |size| size / u64::from(self.page_size));
        let high_water_mark = self.high_water_mark;
        if high_water_mark > pages || self.database_size().is_none() {
            return Err(Problem::HighWaterMark { high_water_mark, pages });
        }
        if !(2..high_water_mark).contains(&self.root) {
            return Err(Problem::Root(self.root));
        }
        match self.freelist {
            Some(id) if !(2..high_water_mark).contains(&id) => Err(Problem::FreelistId(id)),
            _ => Ok(()),
        }
    }
}

/// FNV-1a, 64 bits.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// The meta pages of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metas {
    /// The valid one with the highest transaction, or the one that was asked for.
    pub(crate) chosen: Meta,
    /// Both, as far as they are valid.
    pub(crate) pair: [Option<Meta>; 2],
    /// Which of the two are valid.
    pub(crate) valid: [bool; 2],
    /// Which of the two have a meta page's header.
    pub(crate) headed: [bool; 2],
}

/// Finds the meta pages of a file, whatever its page size. Their page numbers are not checked yet.
pub(crate) fn discover<R: ReadAt + ?Sized>(source: &R) -> Result<Metas> {
    let size = source.size();
    let too_short = Error::NotBolt { problem: Problem::TooShort { size } };
    if size < 2 * u64::from(MIN_PAGE_SIZE) {
        return Err(too_short);
    }
    let first = page_at(source, 0)?;
    let meta = Meta::parse(&first);
    let second = match meta {
        Some(meta) if size < 2 * u64::from(meta.page_size) => return Err(too_short),
        Some(meta) => Some(page_at(source, u64::from(meta.page_size))?),
        None => probe(source)?,
    };
    let pages = [Some(first), second];
    let metas = pages.map(|page| page.and_then(|page| Meta::parse(&page)));
    // A second meta with another page size lies at a wrong offset: it is a remnant, not the second
    // meta.
    let second = metas[1].filter(|second| meta.is_none_or(|m| m.page_size == second.page_size));
    let chosen = match (meta, second) {
        // The higher transaction is the newer one, as for bbolt. The parity of its number is not
        // checked: in a snapshot meta 0 holds T and meta 1 holds T-1, whatever T is.
        (Some(a), Some(b)) => Some(if b.txid > a.txid { b } else { a }),
        (a, b) => a.or(b),
    };
    Ok(Metas {
        chosen: chosen.ok_or(Error::NotBolt { problem: Problem::NoMeta })?,
        pair: [meta, second],
        valid: [meta.is_some(), second.is_some()],
        headed: [is_headed(pages[0], 0), is_headed(pages[1], 1)],
    })
}

/// The fields of both meta pages, each with whether it is valid; for files that need not have any.
pub(crate) fn read_both<R: ReadAt + ?Sized>(source: &R) -> Result<Vec<(Meta, bool)>> {
    let first =
        if source.size() < META_END as u64 { return Ok(Vec::new()) } else { page_at(source, 0)? };
    let place = match Meta::parse(&first) {
        Some(meta) => meta.page_size,
        None => {
            probe(source)?.and_then(|page| Meta::parse(&page)).map_or(4096, |meta| meta.page_size)
        }
    };
    let mut found = vec![(Meta::read(&first).unwrap_or_default(), Meta::parse(&first).is_some())];
    if source.size() >= u64::from(place) + META_END as u64 {
        let second = page_at(source, u64::from(place))?;
        let valid = Meta::parse(&second).is_some_and(|meta| meta.page_size == place);
        found.push((Meta::read(&second).unwrap_or_default(), valid));
    }
    Ok(found)
}

fn is_headed(page: Option<[u8; META_END]>, id: u64) -> bool {
    let header = page.and_then(|page| Header::parse(&page));
    header.is_some_and(|header| header.id == id && header.flags == page::META)
}

/// Tries the offset of the second meta for each possible page size. Only a valid meta says how
/// large a page is, so a damaged first page leaves no other way.
fn probe<R: ReadAt + ?Sized>(source: &R) -> Result<Option<[u8; META_END]>> {
    let mut size = MIN_PAGE_SIZE;
    while size <= MAX_PAGE_SIZE && source.size() >= 2 * u64::from(size) {
        let page = page_at(source, u64::from(size))?;
        if Meta::parse(&page).is_some_and(|meta| meta.page_size == size) {
            return Ok(Some(page));
        }
        size *= 2;
    }
    Ok(None)
}

fn page_at<R: ReadAt + ?Sized>(source: &R, offset: u64) -> Result<[u8; META_END]> {
    let mut page = [0; META_END];
    read(source, &mut page, offset)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Page 0 of a real snapshot (docs/etcd-formats.md 1.3).
    const REAL: &str = "00000000000000000400000000000000edda0ced0200000000100000000000000300000000\
        00000000000000\
        00000000ffffffffffffffff05000000000000000f000000000000008a746a5300eb4773";

    fn real() -> Vec<u8> {
        let digits: Vec<u8> = REAL.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|chunk| pair(chunk).unwrap()).collect()
    }

    #[test]
    fn a_real_meta_round_trips() {
        let meta = Meta::parse(&real()).unwrap();
        let want = Meta { page_size: 4096, root: 3, freelist: None, high_water_mark: 5, txid: 15 };
        assert_eq!(meta, want);
        assert_eq!(meta.encode(0).to_vec(), real());
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        for bit in 16 * 8..META_END * 8 {
            let mut bytes = real();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Meta::parse(&bytes), None, "bit {bit}");
        }
    }

    #[test]
    fn the_newest_valid_meta_counts_at_every_page_size() {
        for page_size in [1024u32, 4096, 16384, 65536] {
            let meta = |txid| Meta { page_size, root: 2, freelist: None, high_water_mark: 3, txid };
            let file = |first: u64, second: u64| {
                let at = usize::try_from(page_size).unwrap();
                let mut file = vec![0; 3 * at];
                file[..META_END].copy_from_slice(&meta(first).encode(0));
                file[at..at + META_END].copy_from_slice(&meta(second).encode(1));
                file
            };
            assert_eq!(discover(&file(7, 6)).unwrap().chosen.txid, 7);
            assert_eq!(discover(&file(7, 8)).unwrap().chosen.txid, 8);
            let mut broken = file(9, 8);
            broken[20] ^= 1;
            let metas = discover(&broken).unwrap();
            assert_eq!((metas.chosen.txid, metas.valid), (8, [false, true]));
        }
    }

    #[test]
    fn page_numbers_outside_the_file_are_refused() {
        let good = Meta::parse(&real()).unwrap();
        assert_eq!(good.check(Some(5 * 4096)), Ok(()));
        assert!(good.check(Some(5 * 4096 - 1)).is_err());
        assert!(Meta { root: 5, ..good }.check(None).is_err());
        assert!(Meta { root: 1, ..good }.check(None).is_err());
        assert!(Meta { freelist: Some(9), ..good }.check(None).is_err());
        assert!(Meta { high_water_mark: u64::MAX, ..good }.check(None).is_err());
    }
}
