//! Agreement before trust: do the members hold the same data?
//!
//! HashKV depends on the revision that was asked for and on the compact revision, so answers are compared
//! only where both are equal (etcd keeps a cached hash for a compacted revision, which carries the compact
//! revision it was made with). This module decides; asking is done in `capture`.

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
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Verdict {
    /// For the manifest; absent when nobody answered.
    pub(crate) hash_kv: Option<HashKv>,
    /// Reasons not to trust the snapshot.
    pub(crate) suspect: Vec<String>,
    /// Things to know that do not taint it.
    pub(crate) warnings: Vec<String>,
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
    let agreed = votes.remove(&winner).unwrap_or_default();
    let mut dissented = Vec::new();
    for (other, members) in votes {
        for member_id in members {
            if other.compact_revision == winner.compact_revision {
                dissented.push(Dissent { member_id, hash: other.hash });
            } else {
                let reason = format!("compacted at {}, not comparable", other.compact_revision);
                unknown.push(Unasked { member_id, reason });
            }
        }
    }
    let warnings = unknown.iter().map(unasked_sentence).collect();
    let suspect = suspicion(revision, source, &agreed, &dissented);
    let MemberHash { compact_revision, hash } = winner;
    let hash_kv = HashKv { revision, compact_revision, hash, agreed, dissented, unknown };
    Verdict { hash_kv: Some(hash_kv), suspect, warnings }
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

fn suspicion(
    revision: Revision,
    source: MemberId,
    agreed: &[MemberId],
    dissented: &[Dissent],
) -> Vec<String> {
    dissented
        .iter()
        .map(|dissent| {
            let whose =
                if dissent.member_id == source { ", the source of this snapshot," } else { "" };
            format!(
                "HashKV at revision {revision}: member {}{whose} has {}, unlike {} other member(s)",
                dissent.member_id,
                dissent.hash,
                agreed.len()
            )
        })
        .collect()
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
        assert_eq!(hash_kv.hash, 77);
        assert_eq!(hash_kv.dissented, [Dissent { member_id: MemberId(2), hash: 78 }]);
        assert!(
            verdict.suspect[0].contains("the source of this snapshot"),
            "{:?}",
            verdict.suspect
        );
    }

    #[test]
    fn one_against_one_is_suspect() {
        let verdict = weigh(Revision(9), MemberId(1), &[answer(1, -1, 1), answer(2, -1, 2)]);
        assert_eq!(verdict.hash_kv.unwrap().hash, 1);
        assert_eq!(verdict.suspect.len(), 1);
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
