//! Compares snapshots with one another and with the clock: chain, revisions, clusters, age. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use etcdr_repository::layout;
use etcdr_repository::ledger::{DeletedChains, Ledger};
use etcdr_schemas::report::Finding;
use etcdr_schemas::{ClusterName, Sha256Digest, SnapshotId};

use super::kinds;
use super::manifest_facts::{ClusterFacts, ManifestFacts, Usability};

/// Clocks may differ by this much before a snapshot counts as one from the future.
pub(super) const SKEW: Duration = Duration::minutes(5);

/// How old things may be.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The newest snapshot.
    pub max_age: Option<Duration>,
    /// The newest snapshot that was verified.
    pub max_verified_age: Option<Duration>,
    /// What is younger may belong to a save that is on its way.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_age: None, max_verified_age: None, grace: Duration::hours(24) }
    }
}

/// Findings that need more than one manifest. `facts` are newest first. Without a ledger nobody
/// knows which gaps are intended, and none is reported.
pub(super) fn findings(
    cluster: &ClusterName,
    facts: &[ManifestFacts],
    ledger: Option<&Ledger>,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let key = |fact: &ManifestFacts| layout::manifest(cluster, &fact.id).to_string();
    let mut found = chain(facts, ledger, &key);
    found.extend(neighbours(facts, &key));
    let horizon = now.checked_add_signed(SKEW).unwrap_or(now);
    for fact in facts.iter().take_while(|fact| fact.id.time() > horizon) {
        let message = format!("it was taken at {}, and now is {now}", fact.id.time());
        found.push(kinds::CLOCK_FUTURE.at(key(fact), message));
    }
    found
}

/// What the ledger knows of snapshots that are not among the facts.
pub(super) fn deleted_chains(facts: &[ManifestFacts], ledger: &Ledger) -> DeletedChains {
    ledger.deleted_chains(&|id| facts.binary_search_by(|fact| id.cmp(&fact.id)).is_ok())
}

/// Each manifest names the SHA-256 of the one before it. That one may be gone where the ledger says
/// so, and of the oldest without that: it may have been deleted before there was a ledger.
fn chain(
    facts: &[ManifestFacts],
    ledger: Option<&Ledger>,
    key: &dyn Fn(&ManifestFacts) -> String,
) -> Vec<Finding> {
    let by_digest: BTreeMap<Sha256Digest, SnapshotId> =
        facts.iter().filter_map(|fact| Some((fact.sha256?, fact.id))).collect();
    // What could not be read may be what is missed.
    let unread =
        |fact: &ManifestFacts| fact.sha256.is_none() && matches!(fact.usability, Usability::Unread);
    let holes = ledger.is_none() || facts.iter().any(unread);
    let deleted = ledger.map(|ledger| deleted_chains(facts, ledger)).unwrap_or_default();
    // By the second: among saves of one second the id does not show the order.
    let oldest = facts.last().map(|fact| fact.id.time());
    let mut followers: BTreeMap<Sha256Digest, SnapshotId> = BTreeMap::new();
    let mut found = Vec::new();
    // Oldest first, so that of two followers the later one is named.
    for fact in facts.iter().rev() {
        let Some(details) = fact.details() else { continue };
        let Some(previous) = details.previous else {
            if oldest != Some(fact.id.time()) {
                let message = "it claims to be the first snapshot, and there are older ones";
                found.push(kinds::CHAIN_RESTART.at(key(fact), message));
            }
            continue;
        };
        let known = |digest: &Sha256Digest| by_digest.contains_key(digest);
        let accounted = known(&previous) || deleted.explains(&previous, known, oldest);
        if !accounted && oldest != Some(fact.id.time()) && !holes {
            let message =
                "the manifest that it follows is gone or was changed, and no prune says so";
            found.push(kinds::CHAIN_BROKEN.at(key(fact), message));
        }
        let Some(other) = followers.insert(previous, fact.id) else { continue };
        // Among saves of one second the id does not show which is later, and a third one may follow
        // either.
        let pruned = || ledger.and_then(|ledger| ledger.snapshot(&previous));
        let followed = by_digest.get(&previous).copied().or_else(pruned).map(|id| id.time());
        if followed.is_none_or(|time| time != fact.id.time() && time != other.time()) {
            let message = format!("it follows the same manifest as {other}");
            found.push(kinds::CHAIN_FORK.at(key(fact), message));
        }
    }
    found
}

/// Revision and cluster id against the snapshot before. Imports come from anywhere and are left
/// out.
fn neighbours(facts: &[ManifestFacts], key: &dyn Fn(&ManifestFacts) -> String) -> Vec<Finding> {
    let captured = facts.iter().filter_map(|fact| Some((fact, fact.details()?)));
    let captured: Vec<_> = captured.filter(|(_, details)| details.captured).collect();
    let mut found = Vec::new();
    for ((fact, details), (before, earlier)) in captured.iter().zip(captured.iter().skip(1)) {
        if details.revision < earlier.revision {
            let message = format!(
                "its revision is {}, and {} before it has {}",
                details.revision, before.id, earlier.revision
            );
            found.push(kinds::REVISION_BACK.at(key(fact), message));
        }
        if let (Some(new), Some(old)) = (details.cluster_id, earlier.cluster_id)
            && new != old
        {
            let message = format!("it is of cluster {new}, and {} before it of {old}", before.id);
            found.push(kinds::CLUSTER_CHANGED.at(key(fact), message));
        }
    }
    found
}

/// Whether the newest snapshot, and the newest one that was verified, are young enough.
pub(super) fn staleness(
    cluster: &ClusterName,
    facts: &ClusterFacts,
    verified: &BTreeMap<SnapshotId, DateTime<Utc>>,
    limits: &Limits,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let newest = facts.newest(now.checked_add_signed(SKEW).unwrap_or(now));
    let proven = newest_verified(facts, verified);
    let checks = [
        (limits.max_age, newest, kinds::STALE, "snapshot"),
        (limits.max_verified_age, proven, kinds::STALE_VERIFIED, "verified snapshot"),
    ];
    let mut found = Vec::new();
    for (limit, id, kind, what) in checks {
        let Some(limit) = limit else { continue };
        match id {
            None => found.push(kind.at(cluster.to_string(), format!("there is no {what} at all"))),
            Some(id) if now.signed_duration_since(id.time()) > limit => {
                let message = format!(
                    "the newest {what} is {} old, and may be {} old",
                    span(now.signed_duration_since(id.time())),
                    span(limit)
                );
                found.push(kind.at(id.to_string(), message));
            }
            Some(_) => {}
        }
    }
    found
}

/// The newest snapshot that is there, usable, and was found good.
pub(super) fn newest_verified(
    facts: &ClusterFacts,
    verified: &BTreeMap<SnapshotId, DateTime<Utc>>,
) -> Option<SnapshotId> {
    facts.sound().map(|fact| fact.id).find(|id| verified.contains_key(id))
}

/// A time span for people: the two largest units.
fn span(duration: Duration) -> String {
    let seconds = duration.num_seconds().max(0);
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (name, size) in units {
        let count = rest / size;
        rest %= size;
        if count > 0 && parts.len() < 2 {
            parts.push(format!("{count} {name}"));
        }
    }
    if parts.is_empty() { "0 s".to_owned() } else { parts.join(" ") }
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::ledger::LedgerEntry;
    use etcdr_schemas::{ClusterId, Revision};
    use proptest::prelude::*;

    use super::super::manifest_facts::Details;
    use super::*;

    /// Snapshots `count - 1` to 0, one a minute, each following the one before.
    fn line(count: u8) -> Vec<ManifestFacts> {
        (0..count).rev().map(|n| fact(n, n.checked_sub(1))).collect()
    }

    fn digest(n: u8) -> Sha256Digest {
        Sha256Digest::of(&[n])
    }

    fn time(n: u8) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + i64::from(n) * 60, 0).unwrap()
    }

    fn fact(n: u8, previous: Option<u8>) -> ManifestFacts {
        let revision = Revision(100 + i64::from(n));
        let details = Details {
            image: "x".into(),
            stored_size: 1,
            previous: previous.map(digest),
            captured: true,
            revision,
            cluster_id: Some(ClusterId(7)),
        };
        ManifestFacts {
            id: SnapshotId::new(time(n), revision, n.into()),
            usability: Usability::Usable(details),
            sha256: Some(digest(n)),
        }
    }

    fn change(fact: &mut ManifestFacts, change: impl FnOnce(&mut Details)) {
        if let Usability::Usable(details) = &mut fact.usability {
            change(details);
        }
    }

    fn codes(facts: &[ManifestFacts]) -> Vec<String> {
        codes_with(facts, &Ledger::default())
    }

    fn codes_with(facts: &[ManifestFacts], ledger: &Ledger) -> Vec<String> {
        let found = findings(&ClusterName::default(), facts, Some(ledger), time(200));
        found.into_iter().map(|finding| finding.code).collect()
    }

    type Defect = fn(&mut Vec<ManifestFacts>);

    #[test]
    fn each_break_of_the_line_has_its_code_and_no_other() {
        let cases: [(&str, Defect, &[&str]); 12] = [
            ("whole", |_| {}, &[]),
            (
                "the first of two of one second has the greater id",
                |facts| {
                    facts[3].id = SnapshotId::new(time(0), Revision(101), 1);
                    change(&mut facts[3], |d| d.previous = None);
                    change(&mut facts[4], |d| d.previous = Some(digest(1)));
                },
                &[],
            ),
            (
                "two of one second, and one that follows the earlier",
                |facts| {
                    facts[1].id = SnapshotId::new(time(2), Revision(103), 3);
                    change(&mut facts[0], |d| d.previous = Some(digest(2)));
                },
                &[],
            ),
            ("the oldest pruned", |facts| drop(facts.pop()), &[]),
            ("one in the middle gone", |facts| drop(facts.remove(2)), &["manifest.chain.broken"]),
            (
                "one exchanged",
                |facts| facts[2].sha256 = Some(digest(99)),
                &["manifest.chain.broken"],
            ),
            (
                "one unread",
                |facts| (facts[2].sha256, facts[2].usability) = (None, Usability::Unread),
                &[],
            ),
            (
                "two after one",
                |facts| change(&mut facts[0], |d| d.previous = Some(digest(2))),
                &["manifest.chain.fork"],
            ),
            (
                "begins anew",
                |facts| change(&mut facts[0], |d| d.previous = None),
                &["manifest.chain.restart"],
            ),
            (
                "goes back",
                |facts| change(&mut facts[1], |d| d.revision = Revision(3)),
                &["snapshot.revision.back"],
            ),
            (
                "an import between",
                |facts| change(&mut facts[1], |d| (d.revision, d.captured) = (Revision(3), false)),
                &[],
            ),
            (
                "another cluster, and back",
                |facts| change(&mut facts[1], |d| d.cluster_id = Some(ClusterId(8))),
                &["snapshot.cluster.changed", "snapshot.cluster.changed"],
            ),
        ];
        for (name, defect, expected) in cases {
            let mut facts = line(5);
            defect(&mut facts);
            assert_eq!(codes(&facts), expected, "{name}");
        }
    }

    /// What the ledger says of these.
    fn ledger(of: &[ManifestFacts]) -> Ledger {
        let entry = |fact: &ManifestFacts| LedgerEntry {
            id: fact.id,
            manifest_sha256: fact.sha256.unwrap(),
            previous_manifest_sha256: fact.details().unwrap().previous,
            noted_at: time(200),
            by: None,
            reason: String::new(),
            extra: serde_json::Map::new(),
        };
        of.iter().map(entry).collect::<Vec<_>>().iter().collect()
    }

    #[test]
    fn a_pruned_snapshot_is_no_gap_unless_it_is_there_and_was_exchanged() {
        let mut facts = line(5);
        let noted = ledger(&facts[2..3]);
        facts[2].sha256 = Some(digest(99));
        assert_eq!(codes_with(&facts, &noted), ["manifest.chain.broken"]);
        facts.remove(2);
        assert_eq!(codes_with(&facts, &noted), Vec::<String>::new());
        // Two that follow one that was pruned are two histories all the same.
        change(&mut facts[0], |details| details.previous = Some(digest(2)));
        assert_eq!(codes_with(&facts, &noted), ["manifest.chain.fork"]);
        // Where the ledger cannot be read, nothing is known.
        let mut facts = line(5);
        facts.remove(2);
        assert!(findings(&ClusterName::default(), &facts, None, time(200)).is_empty());
    }

    #[test]
    fn snapshots_from_the_future_are_reported_beyond_the_skew() {
        let facts = line(5);
        let found = |now| {
            let found = findings(&ClusterName::default(), &facts, None, now);
            found.iter().filter(|finding| finding.code == "snapshot.clock.future").count()
        };
        assert_eq!(found(time(4) - SKEW), 0);
        assert_eq!(found(time(4) - SKEW - Duration::seconds(1)), 1);
        assert_eq!(found(time(0) - Duration::days(1)), 5);
    }

    #[test]
    fn age_is_that_of_the_newest_that_can_be_used() {
        let cluster = ClusterName::default();
        let mut facts = ClusterFacts { list: line(5), ..ClusterFacts::default() };
        let verified = BTreeMap::from([(facts.list[3].id, time(9))]);
        let limits = |age, verified_age| Limits {
            max_age: Some(Duration::seconds(age)),
            max_verified_age: Some(Duration::seconds(verified_age)),
            ..Limits::default()
        };
        let codes = |facts: &ClusterFacts, limits: Limits| -> Vec<String> {
            let found = staleness(&cluster, facts, &verified, &limits, time(6));
            found.into_iter().map(|finding| finding.code).collect()
        };
        assert_eq!(codes(&facts, limits(120, 300)), Vec::<String>::new());
        assert_eq!(codes(&facts, limits(119, 300)), ["snapshot.stale"]);
        assert_eq!(codes(&facts, limits(120, 299)), ["snapshot.stale.verified"]);
        // Neither a broken one nor one from the future is a snapshot to rely on.
        facts.broken.insert(facts.list[0].id);
        assert_eq!(codes(&facts, limits(120, 300)), ["snapshot.stale"]);
        facts.broken.clear();
        facts.list.insert(0, fact(100, Some(4)));
        assert_eq!(codes(&facts, limits(119, 300)), ["snapshot.stale"]);
        facts.list.clear();
        assert_eq!(codes(&facts, limits(1, 1)), ["snapshot.stale", "snapshot.stale.verified"]);
        assert_eq!(codes(&facts, Limits::default()), Vec::<String>::new());
    }

    #[test]
    fn spans_are_short() {
        let cases =
            [(0, "0 s"), (59, "59 s"), (3_600, "1 h"), (90_061, "1 d 1 h"), (61, "1 min 1 s")];
        for (seconds, text) in cases {
            assert_eq!(span(Duration::seconds(seconds)), text);
        }
    }

    proptest! {
        /// Whatever of a line is pruned, and whatever is lost: a break is reported for exactly
        /// those that lead to a lost one before they come to one that is there.
        #[test]
        fn every_loss_is_told_and_no_prune(fate in prop::collection::vec(0u8..5, 30)) {
            let all = line(30);
            let with = |wanted: fn(u8) -> bool| -> Vec<ManifestFacts> {
                let some = all.iter().zip(&fate).filter(|(_, fate)| wanted(**fate));
                some.map(|(fact, _)| fact.clone()).collect()
            };
            let (facts, pruned) = (with(|fate| fate > 1), with(|fate| fate == 1));
            let oldest = (0..30).rfind(|at| fate[*at] > 1);
            let losses = (0..30).filter(|at| fate[*at] > 1 && Some(*at) != oldest);
            let before = |at: usize| fate[at + 1..].iter().find(|fate| **fate != 1);
            let losses = losses.filter(|at| before(*at) == Some(&0)).count();
            let found = codes_with(&facts, &ledger(&pruned));
            prop_assert_eq!(found.len(), losses);
            prop_assert!(found.iter().all(|code| code == "manifest.chain.broken"));
        }

        /// Whatever is taken out of a line: a break is reported for exactly those whose predecessor
        /// is gone, but for the oldest that is left.
        #[test]
        fn every_gap_is_told_once(gone in prop::collection::btree_set(0usize..30, 0..30)) {
            let all = line(30);
            let kept = all.iter().enumerate().filter(|(at, _)| !gone.contains(at));
            let facts: Vec<ManifestFacts> = kept.map(|(_, fact)| fact.clone()).collect();
            let present: Vec<usize> = (0..30).filter(|at| !gone.contains(at)).collect();
            let gaps = present.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
            let found = codes(&facts);
            prop_assert_eq!(found.len(), gaps);
            prop_assert!(found.iter().all(|code| code == "manifest.chain.broken"));
        }
    }
}
