//! A stored freelist: what it names, and how that fits what the trees use. etcd on Linux stores
//! none.

use etcdr_schemas::ReadAt;

use super::batch::Bits;
use super::findings::Findings;
use crate::Result;
use crate::format::bolt::page::{FREELIST, HEADER};
use crate::format::bolt::window::Window;
use crate::format::bolt::{Db, Problem, read as read_bytes};

/// Value of the count that says that the first entry is the count.
const LONG: u16 = 0xFFFF;
/// Entries that are read at once.
const STEP: u64 = 8192;

/// Reads the freelist if one is stored, and marks its pages as used.
pub(super) fn read<R: ReadAt>(
    db: &Db<R>,
    window: &mut Window,
    reached: &mut Bits,
    findings: &mut Findings,
) -> Result<Option<Bits>> {
    let Some(id) = db.meta().freelist else { return Ok(None) };
    let (header, len) = match db.logical(window, id, 0)? {
        Ok((header, _)) if header.flags != FREELIST => {
            findings.page(id, Problem::Kind(header.flags));
            return Ok(None);
        }
        Ok(found) => found,
        Err(problem) => {
            findings.page(id, problem);
            return Ok(None);
        }
    };
    for page in id..id + len / u64::from(db.page_size()) {
        reached.set(page);
    }
    let mut at = id * u64::from(db.page_size()) + HEADER as u64;
    let mut room = (len - HEADER as u64) / 8;
    let mut count = u64::from(header.count);
    if header.count == LONG {
        let mut raw = [0; 8];
        read_bytes(db.source(), &mut raw, at)?;
        count = u64::from_le_bytes(raw);
        at += 8;
        room -= 1;
    }
    if count > room {
        findings.page(id, Problem::FreelistCount);
        return Ok(None);
    }
    entries(db, id, at, count, findings).map(Some)
}

fn entries<R: ReadAt>(
    db: &Db<R>,
    id: u64,
    mut at: u64,
    mut count: u64,
    findings: &mut Findings,
) -> Result<Bits> {
    let mut free = Bits::new(db.meta().high_water_mark);
    let mut last = 0;
    let mut ordered = true;
    let mut raw = Vec::new();
    while count > 0 {
        let step = count.min(STEP);
        raw.resize(usize::try_from(step * 8).unwrap_or_default(), 0);
        read_bytes(db.source(), &mut raw, at)?;
        for entry in raw.chunks_exact(8) {
            let page = u64::from_le_bytes(entry.try_into().unwrap_or_default());
            if !(2..free.len()).contains(&page) {
                findings.page(id, Problem::FreelistRange(page));
            } else if !free.set(page) {
                findings.page(id, Problem::FreelistDuplicate(page));
            } else if page < last && ordered {
                ordered = false;
                findings.page(id, Problem::FreelistOrder(page));
            }
            last = page;
        }
        at += step * 8;
        count -= step;
    }
    Ok(free)
}

/// Every page is either used or free.
pub(super) fn compare(free: &Bits, reached: &Bits, findings: &mut Findings) {
    for page in 2..reached.len() {
        match (reached.get(page), free.get(page)) {
            (true, true) => findings.page(page, Problem::FreelistReachable),
            (false, false) => findings.page(page, Problem::Unreachable),
            _ => {}
        }
    }
}
