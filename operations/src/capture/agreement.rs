//! Decides from HashKV whether the members hold the same data, and from which ones to save.
//!
//! HashKV depends on the revision that was asked for and on the compact revision, so answers are
//! compared only where both are equal (etcd keeps a cached hash for a compacted revision, which
//! carries the compact revision it was made with). This module decides; `health` asks.

use std::collections::BTreeMap;

use etcdr_schemas::manifest::{Dissent, HashKv, Unasked};
use etcdr_schemas::{MemberId, Revision};

/// What one member said.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) member: MemberId,
    /// Hash and compact revision, or why there is none.
    pub(crate) result: Result<MemberHash, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MemberHash {
    pub(crate) compact_revision: i64,
    pub(crate) hash: u32,
}

/// What follows from the answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    /// For the manifest; absent when nobody answered.
    pub(crate) hash_kv: Option<HashKv>,
    /// Reasons not to trust the snapshot.
    pub(crate) suspect: Vec<String>,
    /// Things to know that do not taint it.
    pub(crate) warnings: Vec<String>,
    /// The sides: members that gave the same comparable answer, the largest first.
    sides: Vec<Side>,
}

/// Members that gave the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Side {
    hash: MemberHash,
    members: Vec<MemberId>,
}

impl Verdict {
    /// Whether more than half of the comparable answers are the same.
    pub(crate) fn has_majority(&self) -> bool {
        let all: usize = self.sides.iter().map(|side| side.members.len()).sum();
        self.sides.first().is_some_and(|side| side.members.len() * 2 > all)
    }

    /// From which members to save: the majority, or each side where there is none, that of `own`
    /// first. Nothing was compared: no choice.
    pub(crate) fn sources(&self, own: MemberId) -> Vec<Vec<MemberId>> {
        let all = self.sides.iter().map(|side| side.members.clone());
        if self.has_majority() {
            return all.take(1).collect();
        }
        let (mine, others): (Vec<_>, Vec<_>) = all.partition(|members| members.contains(&own));
        mine.into_iter().chain(others).collect()
    }

    /// The verdict for a snapshot of `source`, from these answers.
    pub(crate) fn seen_from(&self, source: MemberId) -> Self {
        let mut other = self.clone();
        let Some(hash_kv) = &mut other.hash_kv else { return other };
        // Without a majority, the side that is saved is the one that "agrees".
        if let Some(side) = self.sides.iter().find(|side| side.members.contains(&source)) {
            let others = self.sides.iter().filter(|other| *other != side);
            hash_kv.hash = side.hash.hash;
            hash_kv.agreed = side.members.clone();
            hash_kv.dissented = others.flat_map(Side::dissents).collect();
        }
        other.suspect = self.suspicion(hash_kv.revision, source);
        other
    }

    /// Reasons to doubt a snapshot of `source`: a member holds other data than the
    /// majority that is saved, the source is on the smaller side, or no side is larger.
    fn suspicion(&self, revision: Revision, source: MemberId) -> Vec<String> {
        let majority = self.has_majority();
        let Some((first, others)) = self.sides.split_first().filter(|(_, rest)| !rest.is_empty())
        else {
            return Vec::new();
        };
        if majority && first.members.contains(&source) {
            let dissents = others.iter().flat_map(Side::dissents);
            return dissents.map(|dissent| dissent_sentence(revision, &dissent)).collect();
        }
        let why = if majority { "unlike the majority" } else { "and there is no majority" };
        let sides = self.sides.iter().map(|side| {
            let names = side.members.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("{names}: {}", side.hash.hash)
        });
        let sides = sides.collect::<Vec<_>>().join("; ");
        vec![format!(
            "HashKV at revision {revision}: member {source}, the source of this snapshot, holds \
             other data than others, {why} ({sides})"
        )]
    }
}

impl Side {
    fn dissents(&self) -> impl Iterator<Item = Dissent> {
        let hash = self.hash.hash;
        self.members.iter().map(move |member| Dissent { member_id: *member, hash })
    }
}

/// Weighs the answers at `revision`; `source` is the member whose data is being saved.
pub(crate) fn weigh(revision: Revision, source: MemberId, answers: &[Answer]) -> Verdict {
    let mut votes: BTreeMap<MemberHash, Vec<MemberId>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for answer in answers {
        match &answer.result {
            Ok(hash) => votes.entry(*hash).or_default().push(answer.member),
            Err(reason) => {
                unknown.push(Unasked { member_id: answer.member, reason: reason.clone() });
            }
        }
    }
    let Some(winner) = winner(&votes, source) else {
        let warnings = vec![format!("no member answered HashKV at revision {revision}")];
        return Verdict { warnings, ..Verdict::default() };
    };
    let mut sides = vec![Side { hash: winner, members: votes.remove(&winner).unwrap_or_default() }];
    for (hash, members) in votes {
        if hash.compact_revision == winner.compact_revision {
            sides.push(Side { hash, members });
        } else {
            let reason = format!("compacted at {}, not comparable", hash.compact_revision);
            let unasked = |member_id| Unasked { member_id, reason: reason.clone() };
            unknown.extend(members.into_iter().map(unasked));
        }
    }
    let agreed = sides.first().map(|side| side.members.clone()).unwrap_or_default();
    let dissented: Vec<_> = sides.iter().skip(1).flat_map(Side::dissents).collect();
    let warnings = unknown.iter().map(unasked_sentence).collect();
    let MemberHash { compact_revision, hash } = winner;
    let hash_kv = HashKv { revision, compact_revision, hash, agreed, dissented, unknown };
    let verdict = Verdict { hash_kv: Some(hash_kv), suspect: Vec::new(), warnings, sides };
    verdict.seen_from(source)
}

fn dissent_sentence(revision: Revision, dissent: &Dissent) -> String {
    format!(
        "HashKV at revision {revision}: member {} has {}, unlike the majority, whose data is in \
         this snapshot",
        dissent.member_id, dissent.hash
    )
}

/// The value with most votes; between equals, the source's own.
fn winner(votes: &BTreeMap<MemberHash, Vec<MemberId>>, source: MemberId) -> Option<MemberHash> {
    votes
        .iter()
        .max_by_key(|(_, members)| (members.len(), members.contains(&source)))
        .map(|(hash, _)| *hash)
}

fn unasked_sentence(member: &Unasked) -> String {
    format!("member {} was not compared: {}", member.member_id, member.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(member: u64, compact_revision: i64, hash: u32) -> Answer {
        Answer { member: MemberId(member), result: Ok(MemberHash { compact_revision, hash }) }
    }

    #[test]
    fn three_equal_members_agree() {
        let verdict = weigh(
            Revision(9),
            MemberId(2),
            &[answer(1, 4, 77), answer(2, 4, 77), answer(3, 4, 77)],
        );
        let hash_kv = verdict.hash_kv.unwrap();
        assert_eq!((hash_kv.hash, hash_kv.agreed.len()), (77, 3));
        assert!(verdict.suspect.is_empty() && verdict.warnings.is_empty());
    }

    #[test]
    fn a_dissenter_is_named_even_when_it_is_the_source() {
        let answers = [answer(1, 4, 77), answer(2, 4, 78), answer(3, 4, 77)];
        let verdict = weigh(Revision(9), MemberId(2), &answers);
        let hash_kv = verdict.hash_kv.unwrap();
        assert_eq!(hash_kv.hash, 78, "what is saved is what agrees with the source");
        assert_eq!(hash_kv.dissented.len(), 2);
        assert!(verdict.suspect[0].contains("unlike the majority"), "{:?}", verdict.suspect);
    }

    #[test]
    fn the_majority_is_the_source_and_the_dissenter_is_named() {
        let answers = [answer(1, 4, 77), answer(2, 4, 78), answer(3, 4, 77)];
        let verdict = weigh(Revision(9), MemberId(2), &answers);
        assert_eq!(verdict.sources(MemberId(2)), [[MemberId(1), MemberId(3)]]);
        let good = verdict.seen_from(MemberId(3));
        let hash_kv = good.hash_kv.as_ref().unwrap();
        assert_eq!((hash_kv.hash, hash_kv.agreed.len()), (77, 2));
        assert_eq!(hash_kv.dissented, [Dissent { member_id: MemberId(2), hash: 78 }]);
        assert!(good.suspect[0].contains("member 2 has 78, unlike the majority"), "{good:?}");
    }

    #[test]
    fn without_a_majority_both_sides_are_saved_and_suspect() {
        let verdict = weigh(Revision(9), MemberId(2), &[answer(1, -1, 1), answer(2, -1, 2)]);
        assert!(!verdict.has_majority());
        assert_eq!(verdict.sources(MemberId(2)), [[MemberId(2)], [MemberId(1)]]);
        for (member, hash) in [(1, 1), (2, 2)] {
            let side = verdict.seen_from(MemberId(member));
            assert_eq!(side.hash_kv.unwrap().hash, hash);
            assert!(side.suspect[0].contains("no majority"), "{:?}", side.suspect);
        }
    }

    #[test]
    fn another_compact_revision_is_not_dissent() {
        let verdict = weigh(Revision(9), MemberId(1), &[answer(1, 4, 1), answer(2, 3, 2)]);
        let hash_kv = verdict.hash_kv.unwrap();
        assert!(hash_kv.dissented.is_empty() && verdict.suspect.is_empty());
        assert_eq!(hash_kv.unknown.len(), 1);
        assert_eq!(verdict.warnings.len(), 1);
    }

    #[test]
    fn silence_is_not_agreement() {
        let silent = Answer { member: MemberId(1), result: Err("connection refused".into()) };
        let verdict = weigh(Revision(9), MemberId(1), &[silent]);
        assert!(verdict.hash_kv.is_none());
        assert_eq!(verdict.warnings.len(), 1);
    }
}
