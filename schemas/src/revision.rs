//! etcd's revision: the counter that every write to the key space advances.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A revision of the key space (etcd calls its parts `main`; the order inside one is `sub`).
///
/// A fresh cluster is at 1; the first write is 2. etcd stores it as a non-negative `int64`.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(transparent)]
pub struct Revision(pub i64);

impl Revision {
    /// The revision of a store that nobody has written to.
    pub const FIRST: Self = Self(1);

    /// `self + by`, or `None` past `i64::MAX`.
    #[must_use]
    pub fn checked_add(self, by: i64) -> Option<Self> {
        self.0.checked_add(by).map(Self)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Revision {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse::<u64>().and_then(|n| {
            // A number above i64::MAX gets the same error as one above u64::MAX.
            if i64::try_from(n).is_ok() {
                text.parse().map(Self)
            } else {
                text.parse::<i64>().map(Self)
            }
        })
    }
}
