//! A medium that has bad spots: they read as zeros and are remembered, so that what lies around
//! them is still seen.

use std::io;
use std::sync::{Mutex, PoisonError};

use etcdr_schemas::ReadAt;
use etcdr_schemas::report::Finding;

use crate::findings;

/// Bytes of the smallest piece that is tried by itself.
const PIECE: usize = 4096;
/// Spots that are listed.
const MAX_SPOTS: usize = 20;

/// Whether an error means that these bytes are lost, and not that the medium cannot be reached.
pub type IsDamage = fn(&io::Error) -> bool;

/// Whether an error is one that a disk returns for a sector that it cannot read.
#[must_use]
pub fn disk_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let number = error.raw_os_error();
    [Errno::IO, Errno::UCLEAN, Errno::BADMSG]
        .iter()
        .any(|known| Some(known.raw_os_error()) == number)
}

#[derive(Debug, Default)]
struct Spots {
    // Start, end, and what the medium said; neighbours are joined.
    list: Vec<(u64, u64, String)>,
    more: u64,
}

/// A medium whose bad spots read as zeros.
pub(super) struct Tolerant<R> {
    inner: R,
    is_damage: IsDamage,
    spots: Mutex<Spots>,
}

impl<R: ReadAt> Tolerant<R> {
    pub(super) fn new(inner: R, is_damage: IsDamage) -> Self {
        Self { inner, is_damage, spots: Mutex::default() }
    }

    /// One finding for each bad spot that was met.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let spots = self.spots.lock().unwrap_or_else(PoisonError::into_inner);
        let finding = |(start, end, said): &(u64, u64, String)| {
            let place = format!("bytes {start} to {end}");
            findings::UNREADABLE.at(place, format!("they cannot be read: {said}"))
        };
        let mut found: Vec<_> = spots.list.iter().map(finding).collect();
        if spots.more > 0 {
            let message = format!("{} more bytes cannot be read", spots.more);
            found.push(findings::UNREADABLE.at("elsewhere", message));
        }
        found
    }

    fn note(&self, offset: u64, len: usize, error: &io::Error) {
        let mut spots = self.spots.lock().unwrap_or_else(PoisonError::into_inner);
        let end = offset.saturating_add(len as u64);
        let neighbour =
            |(start, stop, _): &&mut (u64, u64, String)| offset <= *stop && *start <= end;
        if let Some(spot) = spots.list.iter_mut().find(neighbour) {
            (spot.0, spot.1) = (spot.0.min(offset), spot.1.max(end));
        } else if spots.list.len() < MAX_SPOTS {
            let said = error.to_string().chars().take(200).collect();
            spots.list.push((offset, end, said));
        } else {
            spots.more = spots.more.saturating_add(len as u64);
        }
    }
}

impl<R: ReadAt> ReadAt for Tolerant<R> {
    fn size(&self) -> u64 {
        self.inner.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let error = match self.inner.read_exact_at(buf, offset) {
            Ok(()) => return Ok(()),
            Err(error) if !(self.is_damage)(&error) => return Err(error),
            Err(error) => error,
        };
        // A disk loses sectors, an image whole frames: only there is it worth trying piece by
        // piece.
        if buf.len() > PIECE && disk_damage(&error) {
            let (left, right) = buf.split_at_mut((buf.len() / 2).next_multiple_of(PIECE));
            self.read_exact_at(left, offset)?;
            return self.read_exact_at(right, offset.saturating_add(left.len() as u64));
        }
        buf.fill(0);
        self.note(offset, buf.len(), &error);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with bad sectors.
    struct Bad(Vec<u64>);

    impl ReadAt for Bad {
        fn size(&self) -> u64 {
            1 << 20
        }

        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            if self.0.iter().any(|at| (offset..offset + buf.len() as u64).contains(at)) {
                return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
            }
            buf.fill(7);
            Ok(())
        }
    }

    #[test]
    fn only_the_bad_sectors_are_lost() {
        let disk = Tolerant::new(Bad(vec![5000, 9000, 300_000]), disk_damage);
        let mut bytes = vec![0; 1 << 20];
        disk.read_exact_at(&mut bytes, 0).unwrap();
        let lost = bytes.iter().filter(|byte| **byte == 0).count();
        assert_eq!(lost, 3 * PIECE);
        let places: Vec<_> = disk.findings().into_iter().map(|finding| finding.place).collect();
        assert_eq!(places, ["bytes 4096 to 12288", "bytes 299008 to 303104"]);
    }

    #[test]
    fn a_medium_that_is_away_stays_an_error() {
        let disk = Tolerant::new(Bad(vec![5000]), |_| false);
        assert!(disk.read_exact_at(&mut [0; 8192], 0).is_err());
        assert!(disk.findings().is_empty());
    }
}
