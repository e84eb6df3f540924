//! Which part of a source is restored, and whether its pages are kept or its rows written anew.

use std::collections::BTreeSet;

use chrono::{DateTime, SecondsFormat, Utc};
use etcdr_schemas::report::{History, PlannedExpiry, PlannedRebuild};

use crate::error::{Error, Result};
use crate::kubernetes;
use crate::shell::quote;

/// Most prefixes in one request.
const MAX_PREFIXES: usize = 1000;

/// Which part of a source is restored. The default is all of it, page by page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Write the database anew: packed, in order, and without what free pages still hold. Whatever
    /// leaves something out implies it.
    pub rebuild: bool,
    /// Keep only keys that begin with one of these; all when empty.
    pub only_prefixes: Vec<String>,
    /// Leave out keys that begin with one of these.
    pub exclude_prefixes: Vec<String>,
    /// Which revisions to keep.
    pub history: History,
    /// Leave out all leases and detach their keys.
    pub drop_leases: bool,
    /// Leave out keys whose lease was due.
    pub drop_expired: bool,
    /// As of when leases are judged; now when absent. Runs that write members of one cluster need
    /// the same.
    pub expired_at: Option<DateTime<Utc>>,
    /// When the source was taken from the cluster, where that is known.
    pub taken_at: Option<DateTime<Utc>>,
    /// Leave out users, roles and the switch of authentication.
    pub drop_auth: bool,
    /// Leave out what the lost control plane of a Kubernetes cluster had registered.
    pub kubernetes: bool,
}

impl Selection {
    /// Decides whether the database is written anew, and what is left out.
    ///
    /// # Errors
    /// [`Error::Request`] for one that contradicts itself, and for expiry without a time to judge
    /// by.
    pub(super) fn resolve(&self, now: DateTime<Utc>) -> Result<Option<PlannedRebuild>> {
        if !self.only_prefixes.is_empty() && !self.exclude_prefixes.is_empty() {
            return Err(refused("--only-prefix and --exclude-prefix exclude one another"));
        }
        if self.only_prefixes.iter().chain(&self.exclude_prefixes).any(String::is_empty) {
            return Err(refused("an empty prefix is that of every key"));
        }
        if self.only_prefixes.len().max(self.exclude_prefixes.len()) > MAX_PREFIXES {
            return Err(refused("there are more than 1000 prefixes"));
        }
        let drop_expired = match (self.drop_expired, self.taken_at) {
            (false, _) => None,
            (true, Some(taken_at)) => {
                Some(PlannedExpiry { taken_at, now: self.expired_at.unwrap_or(now) })
            }
            (true, None) => {
                return Err(refused(
                    "--drop-expired needs to know when the snapshot was taken from its cluster, \
                     and only the manifest of one that `etcdr snapshot save` took tells: say \
                     --taken-at TIME",
                ));
            }
        };
        let profile = if self.kubernetes { &kubernetes::MASTER_LEASES[..] } else { &[] };
        let excluded =
            self.exclude_prefixes.iter().map(String::as_str).chain(profile.iter().copied());
        let planned = PlannedRebuild {
            only_prefixes: shortest(self.only_prefixes.iter().map(String::as_str)),
            exclude_prefixes: shortest(excluded),
            history: self.history,
            drop_leases: self.drop_leases,
            drop_expired,
            drop_auth: self.drop_auth,
            kubernetes: self.kubernetes,
        };
        let leaves_out = !planned.only_prefixes.is_empty()
            || !planned.exclude_prefixes.is_empty()
            || planned.history != History::All
            || planned.drop_leases
            || planned.drop_expired.is_some()
            || planned.drop_auth;
        Ok((self.rebuild || leaves_out).then_some(planned))
    }
}

/// Ascending, without those that begin with another one: these choose nothing more.
fn shortest<'a>(prefixes: impl Iterator<Item = &'a str>) -> Vec<String> {
    let sorted: BTreeSet<&str> = prefixes.collect();
    let mut kept: Vec<String> = Vec::new();
    for prefix in sorted {
        if kept.last().is_none_or(|last| !prefix.starts_with(last.as_str())) {
            kept.push(prefix.to_owned());
        }
    }
    kept
}

fn refused(message: &str) -> Error {
    Error::request(message.to_owned())
}

/// A sentence for each thing that a rebuild does, for the steps of a plan.
pub(super) fn steps(planned: &PlannedRebuild) -> Vec<String> {
    let mut steps = vec![
        "Write the database anew, packed and in order, and remove the staged copy that it was read \
         from."
            .to_owned(),
    ];
    if !planned.only_prefixes.is_empty() {
        let prefixes = planned.only_prefixes.join(", ");
        steps.push(format!("Keep only keys that begin with {prefixes}."));
    }
    if !planned.exclude_prefixes.is_empty() {
        let prefixes = planned.exclude_prefixes.join(", ");
        steps.push(format!("Leave out all keys that begin with {prefixes}, with their history."));
    }
    if let Some(expiry) = &planned.drop_expired {
        steps.push(format!(
            "Leave out keys whose lease was due: taken at {} with less time to live than was left \
             until {}.",
            expiry.taken_at.to_rfc3339(),
            expiry.now.to_rfc3339()
        ));
    }
    if planned.drop_leases {
        steps.push("Leave out all leases; their keys stay and never expire.".to_owned());
    }
    if planned.history == History::Current {
        steps.push(
            "Keep the current value of each key only, and count all before it as compacted."
                .to_owned(),
        );
    }
    if planned.drop_auth {
        steps.push("Leave out users and roles, and switch authentication off.".to_owned());
    }
    steps
}

/// The flags that make another run leave out the same.
pub(super) fn flags(planned: &PlannedRebuild) -> String {
    let mut flags = Vec::new();
    for (flag, prefixes) in
        [("--only-prefix", &planned.only_prefixes), ("--exclude-prefix", &planned.exclude_prefixes)]
    {
        let profile = |prefix: &&String| {
            !planned.kubernetes || !kubernetes::MASTER_LEASES.contains(&prefix.as_str())
        };
        flags.extend(
            prefixes.iter().filter(profile).map(|prefix| format!("{flag} {}", quote(prefix))),
        );
    }
    if let Some(PlannedExpiry { taken_at, now }) = &planned.drop_expired {
        let text = |time: &DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        flags.push(format!("--drop-expired={} --taken-at {}", text(now), text(taken_at)));
    }
    for (asked, flag) in [
        (planned.history == History::Current, "--history current"),
        (planned.drop_leases, "--drop-leases"),
        (planned.drop_auth, "--drop-auth"),
        (planned.kubernetes, "--kubernetes"),
        (flags.is_empty(), "--rebuild"),
    ] {
        if asked {
            flags.push(flag.to_owned());
        }
    }
    flags.join(" ")
}

/// Consequences of leaving something out.
pub(super) fn notes(planned: &PlannedRebuild) -> Vec<String> {
    let mut notes = Vec::new();
    let filtered = !planned.only_prefixes.is_empty()
        || !planned.exclude_prefixes.is_empty()
        || planned.drop_expired.is_some();
    if filtered || planned.drop_leases || planned.history == History::Current {
        notes.push(
            "Keys or revisions are left out: HashKV will not be the one that the source's members \
             gave. The receipt has the new one, and all restored members must have that."
                .to_owned(),
        );
    }
    if planned.drop_leases {
        notes.push(
            "No key expires any more: whatever relied on a lease to go, such as a lock or a \
             leader's mark, stays until somebody deletes it."
                .to_owned(),
        );
    }
    if planned.drop_auth {
        notes.push(
            "Authentication is off: whoever reaches the client port can read and write everything. \
             Add users and `etcdctl auth enable` before clients are let in."
                .to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    #[test]
    fn only_what_was_asked_for_is_rebuilt() {
        let none = Selection { taken_at: Some(at(1)), ..Selection::default() };
        assert_eq!(none.resolve(at(9)).unwrap(), None);
        type Ask = fn(&mut Selection);
        let cases: [Ask; 8] = [
            |ask| ask.rebuild = true,
            |ask| ask.only_prefixes = vec!["a".into()],
            |ask| ask.exclude_prefixes = vec!["a".into()],
            |ask| ask.history = History::Current,
            |ask| ask.drop_leases = true,
            |ask| ask.drop_expired = true,
            |ask| ask.drop_auth = true,
            |ask| ask.kubernetes = true,
        ];
        for (number, change) in cases.into_iter().enumerate() {
            let mut selection = none.clone();
            change(&mut selection);
            let planned = selection.resolve(at(9)).unwrap();
            let planned = planned.unwrap_or_else(|| panic!("case {number}"));
            let said = steps(&planned).len();
            assert_eq!(said, if number == 0 { 1 } else { 2 }, "case {number}: {planned:?}");
        }
    }

    #[test]
    fn the_flags_for_other_members_leave_out_the_same() {
        let selection = Selection {
            exclude_prefixes: vec!["/it's".into(), "/a".into()],
            history: History::Current,
            drop_expired: true,
            taken_at: Some(at(1)),
            kubernetes: true,
            ..Selection::default()
        };
        let planned = selection.resolve(at(9)).unwrap().unwrap();
        assert_eq!(
            flags(&planned),
            "--exclude-prefix /a --exclude-prefix '/it'\\''s' --drop-expired=1970-01-01T00:00:09Z \
             --taken-at 1970-01-01T00:00:01Z --history current --kubernetes"
        );
        let later = Selection { expired_at: Some(at(9)), ..selection };
        assert_eq!(later.resolve(at(99)).unwrap(), Some(planned));
        let bare = Selection { rebuild: true, ..Selection::default() };
        assert_eq!(flags(&bare.resolve(at(9)).unwrap().unwrap()), "--rebuild");
    }

    #[test]
    fn selections_that_contradict_themselves_are_refused() {
        let refused = |selection: Selection| selection.resolve(at(9)).unwrap_err().to_string();
        let [a, b] = ["a", "b"].map(|text| vec![text.to_owned()]);
        let both = Selection { only_prefixes: a, exclude_prefixes: b, ..Selection::default() };
        assert!(refused(both).contains("exclude one another"));
        for empty in [
            Selection { only_prefixes: vec![String::new()], ..Selection::default() },
            Selection { exclude_prefixes: vec![String::new()], ..Selection::default() },
        ] {
            assert!(refused(empty).contains("every key"));
        }
        let when = Selection { drop_expired: true, ..Selection::default() };
        assert!(refused(when).contains("--taken-at"));
    }

    #[test]
    fn prefixes_of_prefixes_are_enough() {
        let kept = shortest(["/b/2", "/a", "/b/", "/a", "/ab", "/b/22"].into_iter());
        assert_eq!(kept, ["/a", "/b/"]);
    }

    #[test]
    fn the_kubernetes_profile_goes_with_prefixes_of_both_kinds() {
        let own = |text: &str| vec![text.to_owned()];
        let excluded = Selection {
            exclude_prefixes: own("/registry/events/"),
            kubernetes: true,
            ..Selection::default()
        };
        let planned = excluded.resolve(at(9)).unwrap().unwrap();
        assert_eq!(planned.exclude_prefixes.len(), 1 + kubernetes::MASTER_LEASES.len());
        let only = Selection {
            only_prefixes: own("/registry/"),
            kubernetes: true,
            ..Selection::default()
        };
        let planned = only.resolve(at(9)).unwrap().unwrap();
        assert_eq!(planned.exclude_prefixes.len(), kubernetes::MASTER_LEASES.len());
    }
}
