//! Versions in a source against the version that will start on it.
//!
//! etcd tracks what each minor adds to the database since 3.6, and a downgrade takes that away
//! again: 3.6 added the row `storageVersion`, and 3.7 nothing. What etcd itself refuses is a
//! downgrade whose log has entries of the newer minor; a restored member begins with a new log, so
//! that does not arise. Rows of keys, leases, users and roles are the same from 3.4 on
//! (docs/etcd-formats.md 8). A minor that is not known here may have added anything, and is
//! refused.

use etcdr_schemas::{EtcdVersion, TargetVersion};

use crate::error::{Error, Result};
use crate::format::facts::ImageFacts;

/// The newest minor whose changes to the database are known.
const NEWEST: TargetVersion = TargetVersion::V3_7;

/// Refuses a source whose storage is newer than all that are known.
pub(super) fn check(facts: &ImageFacts) -> Result<()> {
    match &facts.storage_version {
        Some(version) => known("storage version", version.as_bytes()),
        None => Ok(()),
    }
}

/// Refuses a version that is newer than all that are known. Text that is no version says nothing.
pub(crate) fn known(what: &'static str, text: &[u8]) -> Result<()> {
    match parse(text) {
        Some(version) if (version.major, version.minor) > (3, NEWEST.minor()) => {
            Err(Error::Newer { what, version: version.to_string(), newest: NEWEST })
        }
        _ => Ok(()),
    }
}

fn parse(text: &[u8]) -> Option<EtcdVersion> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What is done about versions, as a step of a plan.
pub(super) fn step(facts: &ImageFacts, target: TargetVersion) -> String {
    let newer = facts.storage_version.as_deref().filter(|version| {
        parse(version.as_bytes()).is_none_or(|version| version.minor > target.minor())
    });
    match newer {
        Some(version) => format!(
            "Convert storage version {version} for etcd {target}: drop a pending downgrade, \
             versions above {target} and what later minors added."
        ),
        None => format!("Drop a pending downgrade and versions above {target}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_nobody_knows_yet_are_refused() {
        for text in ["3.8.0", "3.8.0-alpha.0", "4.0.0", "3.10.1", "5.1.0"] {
            let error = known("storage version", text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("up to 3.7"), "{error}");
        }
        for text in ["3.4.0", "3.6.0", "3.7.9", "2.3.8", "", "\u{0}", "later"] {
            known("storage version", text.as_bytes()).unwrap();
        }
    }
}
