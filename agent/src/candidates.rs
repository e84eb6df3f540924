//! Decides in which order the members' agents may take a tick: the same on every agent, from what
//! the members report.

use etcdr_schemas::MemberId;

use crate::event::{MemberSeen, MemberState};

/// The order, best first: members that answer and have started, without errors before those with,
/// caught up before those behind, a follower or learner before the leader, then by id. The snapshot
/// should come from a member whose data is whole and new, and reading it should not slow the leader
/// down, which serves all writes. The id makes the order the same on every agent. A learner of etcd
/// 3.4 cannot be saved from.
#[must_use]
pub fn order(members: &[MemberSeen], max_lag: u64) -> Vec<MemberId> {
    let newest = members
        .iter()
        .filter_map(|member| Some(member.state.as_ref().ok()?.revision.0))
        .max()
        .unwrap_or(0);
    let behind = |state: &MemberState| {
        u64::try_from(newest.saturating_sub(state.revision.0)).unwrap_or(0) > max_lag
    };
    let mut able: Vec<_> = members
        .iter()
        .filter_map(|member| {
            let state = member.state.as_ref().ok()?;
            let mute = state.learner && state.version.starts_with("3.4.");
            let rank = (behind(state), !state.errors.is_empty(), state.leader, member.id);
            (!mute).then_some(rank)
        })
        .collect();
    able.sort_unstable();
    able.into_iter().map(|(_, _, _, id)| id).collect()
}

/// How many others come first; after all that are able, when the own member is not.
#[must_use]
pub fn rank(members: &[MemberSeen], own: Option<MemberId>, max_lag: u64) -> usize {
    let order = order(members, max_lag);
    let place = own.and_then(|own| order.iter().position(|id| *id == own));
    place.unwrap_or(order.len())
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::Revision;

    use super::*;

    fn member(id: u64, change: impl FnOnce(&mut MemberState)) -> MemberSeen {
        let mut state = MemberState {
            version: "3.5.30".to_owned(),
            leader: false,
            learner: false,
            db_size: 0,
            db_size_in_use: 0,
            revision: Revision(5_000),
            errors: Vec::new(),
        };
        change(&mut state);
        MemberSeen {
            id: MemberId(id),
            name: String::new(),
            own: false,
            client_urls: Vec::new(),
            state: Ok(state),
        }
    }

    #[test]
    fn sound_caught_up_followers_come_first() {
        let down = MemberSeen { state: Err("gone".to_owned()), ..member(1, |_| {}) };
        let members = [
            down,
            member(2, |state| state.leader = true),
            member(3, |state| state.errors.push("alarm".to_owned())),
            member(4, |state| state.revision = Revision(10)),
            member(6, |_| {}),
            member(5, |state| state.learner = true),
            member(7, |state| (state.learner, state.version) = (true, "3.4.23".to_owned())),
        ];
        let order: Vec<u64> = order(&members, 1000).iter().map(|id| id.0).collect();
        assert_eq!(order, [5, 6, 2, 3, 4]);
        assert_eq!(rank(&members, Some(MemberId(6)), 1000), 1);
        assert_eq!(rank(&members, Some(MemberId(1)), 1000), 5, "own member is down");
        assert_eq!(rank(&members, None, 1000), 5);
    }
}
