//! When something without a manifest is old enough not to belong to a save that is on its way.
//!
//! A save has an image and no manifest until its last step, just as an orphan has. Only the age
//! shows the difference, so ages are counted with care.

use chrono::{DateTime, Duration, Utc};

use super::ClusterObjects;

/// An age, and the time from which ages are counted.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// The time, by the clock of whoever asks.
    pub now: DateTime<Utc>,
    /// Age from which on something is old.
    pub age: Duration,
}

impl Grace {
    /// Whether an object that was written then is old. Ages are counted up to our time or that of
    /// the newest object in the listing, whichever is earlier: a clock of ours that jumped ahead
    /// makes nothing old.
    #[must_use]
    pub fn passed(self, objects: &ClusterObjects, modified: DateTime<Utc>) -> bool {
        let newest = objects.newest.unwrap_or(self.now).min(self.now);
        // An object that was written after our clock was read has a negative age: it is new.
        newest.signed_duration_since(modified).max(Duration::zero()) >= self.age
    }
}
