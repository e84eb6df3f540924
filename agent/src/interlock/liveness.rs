//! Decides whether holders of claims are alive, by the observer's own clock, which never jumps.
//! Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_repository::{Claim, Slot};
use tokio::time::Instant;

/// Open claims, and since when each was seen as it is.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    seen: BTreeMap<(String, DateTime<Utc>), Sighting>,
}

#[derive(Debug, Clone, Copy)]
struct Sighting {
    number: u32,
    since: Instant,
    /// Whether its number was seen to rise.
    renewed: bool,
}

/// Whether the holder of a claim is alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It was seen to renew its claim, less than a grace ago.
    Alive,
    /// It has not renewed its claim for a grace.
    Dead,
    /// It has not been observed for a grace yet.
    Unknown,
}

impl Liveness {
    /// Takes note of what is open now. What is not open any more is forgotten.
    pub(crate) fn note(&mut self, open: &[(Slot, Claim)], now: Instant) {
        let noted = open.iter().map(|(slot, claim)| {
            let key = (slot.schedule.clone(), slot.tick);
            let number = claim.number;
            let sighting = match self.seen.get(&key) {
                Some(before) if before.number == number => *before,
                // Only a number that rises proves life: a claim that is seen for the first time may
                // be of an agent that died long ago.
                before => Sighting { number, since: now, renewed: before.is_some() },
            };
            (key, sighting)
        });
        self.seen = noted.collect();
    }

    /// Takes note, and gives the first whose holder is not known to be dead.
    pub(crate) fn first_standing<'a>(
        &mut self,
        open: &'a [(Slot, Claim)],
        now: Instant,
        grace: Duration,
    ) -> Option<&'a (Slot, Claim)> {
        self.note(open, now);
        open.iter().find(|(slot, _)| self.life(slot, now, grace) != Life::Dead)
    }

    /// Whether the holder of a slot that was noted is alive.
    pub(crate) fn life(&self, slot: &Slot, now: Instant, grace: Duration) -> Life {
        match self.seen.get(&(slot.schedule.clone(), slot.tick)) {
            Some(seen) if now.duration_since(seen.since) >= grace => Life::Dead,
            Some(seen) if seen.renewed => Life::Alive,
            _ => Life::Unknown,
        }
    }
}
