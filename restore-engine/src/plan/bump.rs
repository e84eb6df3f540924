//! Raising the revision of a restored store.
//!
//! A restored cluster goes back in time; clients do not. Whoever saw a later revision of the lost
//! cluster must not meet the same number with other content, so the new cluster begins above all of
//! them, and everything before is marked as compacted: watches and informers then start anew.

use etcdr_schemas::Revision;
use etcdr_schemas::report::PlannedBump;

use crate::error::{Error, Result};

/// What is added to the highest known revision: the customary number for Kubernetes clusters, far
/// above what a cluster writes between its last snapshot and its loss.
pub const DEFAULT_BUMP_MARGIN: i64 = 1_000_000_000;

/// No store is raised above this: it must have revisions left to live on.
const HIGHEST: i64 = i64::MAX / 2;

/// How far to raise the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bump {
    /// Above everything that the repository has seen of the cluster, by a margin.
    Auto {
        /// The highest revision of any snapshot of the cluster.
        highest_seen: Option<Revision>,
        /// What is added to it.
        margin: i64,
    },
    /// By a number, as etcdutl does. 0 is [`Bump::None`].
    By(i64),
    /// Not at all.
    None,
}

impl Bump {
    /// The bump of a source that is at `from`.
    ///
    /// # Errors
    /// [`Error::Request`] when only one of bump and mark is asked for, for a negative number, and
    /// when the revision would come near the end of its range.
    pub(super) fn resolve(self, from: Revision, mark: bool) -> Result<Option<PlannedBump>> {
        let (base, by, reason) = match self {
            Self::Auto { highest_seen, margin } => {
                let seen = highest_seen.unwrap_or_default().max(from);
                let whose = match highest_seen {
                    Some(_) => "the highest revision that the repository has seen of the cluster",
                    None => {
                        "the revision of the source itself, as no repository tells what the \
                         cluster reached later"
                    }
                };
                (seen, margin, format!("{margin} above {seen}, {whose}"))
            }
            Self::By(0) | Self::None if mark => {
                return Err(Error::request(
                    "--mark-compacted needs a --bump-revision above 0".to_owned(),
                ));
            }
            Self::By(0) | Self::None => return Ok(None),
            Self::By(_) if !mark => {
                return Err(Error::request(
                    "--bump-revision with a number needs --mark-compacted".to_owned(),
                ));
            }
            Self::By(by) => (from, by, "as asked for".to_owned()),
        };
        let to = base.checked_add(by).filter(|to| by > 0 && to.0 <= HIGHEST && *to > from);
        let to =
            to.ok_or_else(|| Error::request(format!("revision {base} cannot be raised by {by}")))?;
        Ok(Some(PlannedBump { to, by: to.0 - from.0, reason }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bump_ends_above_everything_seen() {
        let auto = |seen: Option<i64>| {
            let bump = Bump::Auto { highest_seen: seen.map(Revision), margin: 100 };
            bump.resolve(Revision(50), false).unwrap().unwrap()
        };
        assert_eq!((auto(None).to, auto(None).by), (Revision(150), 100));
        assert_eq!((auto(Some(80)).to, auto(Some(80)).by), (Revision(180), 130));
        assert_eq!(auto(Some(3)).to, Revision(150));
        let by = Bump::By(7).resolve(Revision(50), true).unwrap().unwrap();
        assert_eq!((by.to, by.by), (Revision(57), 7));
    }

    #[test]
    fn half_a_bump_is_refused_and_none_is_none() {
        for bump in [Bump::By(0), Bump::None] {
            assert_eq!(bump.resolve(Revision(5), false).unwrap(), None);
            assert!(bump.resolve(Revision(5), true).is_err());
        }
        assert!(Bump::By(7).resolve(Revision(5), false).is_err());
    }

    #[test]
    fn nothing_overflows() {
        let high = Revision(i64::MAX - 1);
        let cases = [
            (Bump::By(i64::MAX), Revision(1)),
            (Bump::By(-1), Revision(5)),
            (Bump::By(2), high),
            (Bump::Auto { highest_seen: Some(high), margin: 1 }, Revision(1)),
            (Bump::Auto { highest_seen: None, margin: i64::MAX }, Revision(1)),
            (Bump::Auto { highest_seen: None, margin: 0 }, Revision(1)),
        ];
        for (bump, from) in cases {
            assert!(bump.resolve(from, true).is_err(), "{bump:?}");
        }
    }
}
