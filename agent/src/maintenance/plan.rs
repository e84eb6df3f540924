//! Decides what is maintained, and in which order. Pure.

use std::fmt;

use etcdr_schemas::config::DefragmentConfig;
use etcdr_schemas::manifest::Alarm;
use etcdr_schemas::{MemberId, Revision};

use crate::event::{MemberSeen, MemberState};

/// Revisions by which a member may be behind the newest one: more, and it may be receiving a
/// snapshot from the leader, during which no member may be defragmented.
pub const MAX_LAG: u64 = 1000;

/// What else is going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// Whether this agent is the one that may act.
    pub is_mine: bool,
    /// Whether this agent captures.
    pub capturing: bool,
    /// Whether members below the configured bounds are meant too.
    pub force: bool,
}

/// Why no member may be defragmented now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another agent does it.
    NotMine,
    /// This agent takes a snapshot.
    Capturing,
    /// Another agent takes a snapshot, for this schedule or on demand.
    CapturingBy(String, Option<String>),
    /// A member streams this number of snapshots, to any clients.
    Streaming(MemberId, u64),
    /// The members cannot be asked.
    NotSeen(String),
    /// A member that was added has not started.
    NotStarted(MemberId),
    /// A member does not answer.
    Unreachable(MemberId, String),
    /// A member complains.
    Complains(MemberId, String),
    /// An alarm other than NOSPACE, which defragmentation helps against.
    Alarm(MemberId, String),
    /// A member is behind by so many revisions.
    Behind(MemberId, u64),
    /// There is not exactly one leader.
    Leaders(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not defragmented: ")?;
        match self {
            Self::NotMine => f.write_str("another agent does it"),
            Self::Capturing => f.write_str("a snapshot is being taken"),
            Self::CapturingBy(agent, schedule) => {
                let schedule = schedule.as_deref().map(|name| format!("schedule {name}"));
                let what = schedule.unwrap_or_else(|| "on demand".to_owned());
                write!(f, "a snapshot is being taken by agent {agent} ({what})")
            }
            Self::Streaming(id, 1) => {
                write!(f, "a snapshot is being taken from member {id}, by whomever")
            }
            Self::Streaming(id, count) => {
                write!(f, "{count} snapshots are being taken from member {id}, by whomever")
            }
            Self::NotSeen(why) => write!(f, "the members cannot be asked: {why}"),
            Self::NotStarted(id) => write!(f, "member {id} was added and has not started"),
            Self::Unreachable(id, why) => write!(f, "member {id} does not answer: {why}"),
            Self::Complains(id, what) => write!(f, "member {id} reports: {what}"),
            Self::Alarm(id, kind) => write!(f, "member {id} has raised alarm {kind}"),
            Self::Behind(id, by) => write!(f, "member {id} is {by} revisions behind"),
            Self::Leaders(0) => f.write_str("no member says that it leads"),
            Self::Leaders(count) => write!(f, "{count} members say that they lead"),
        }
    }
}

impl Refusal {
    /// Whether it is over as soon as somebody is done who takes a snapshot, or does the same.
    #[must_use]
    pub const fn passes(&self) -> bool {
        matches!(
            self,
            Self::NotMine | Self::Capturing | Self::CapturingBy(..) | Self::Streaming(..)
        )
    }
}

/// A member that streams a snapshot is not touched: etcd lets the stream end first, and serves
/// nobody until then. Metrics that cannot be read forbid nothing.
///
/// # Errors
/// [`Refusal::Streaming`].
pub fn may_begin(member: MemberId, streams: Option<u64>) -> Result<(), Refusal> {
    match streams {
        None | Some(0) => Ok(()),
        Some(count) => Err(Refusal::Streaming(member, count)),
    }
}

/// The members to defragment: followers by id, the leader last, since defragmentation blocks a
/// member and with the leader all writes. Empty when none is worth it.
///
/// # Errors
/// Why none may be, however worth it.
pub fn order(
    members: &[MemberSeen],
    alarms: &[Alarm],
    config: &DefragmentConfig,
    situation: Situation,
) -> Result<Vec<MemberId>, Refusal> {
    if !situation.is_mine {
        return Err(Refusal::NotMine);
    }
    if situation.capturing {
        return Err(Refusal::Capturing);
    }
    if let Some(alarm) = alarms.iter().find(|alarm| alarm.kind != "NOSPACE") {
        return Err(Refusal::Alarm(alarm.member_id, alarm.kind.clone()));
    }
    let states = healthy(members)?;
    let mut order: Vec<_> = states
        .iter()
        .filter(|(_, state)| situation.force || is_worth_it(state, config))
        .map(|(id, state)| (state.leader, *id))
        .collect();
    order.sort_unstable();
    Ok(order.into_iter().map(|(_, id)| id).collect())
}

/// All members, if every one of them is well.
fn healthy(members: &[MemberSeen]) -> Result<Vec<(MemberId, &MemberState)>, Refusal> {
    let mut states = Vec::new();
    for member in members {
        let id = member.id;
        if member.name.is_empty() {
            return Err(Refusal::NotStarted(id));
        }
        let state = member.state.as_ref();
        let state = state.map_err(|why| Refusal::Unreachable(id, why.clone()))?;
        // etcd repeats its alarms there.
        if let Some(error) = state.errors.iter().find(|error| !error.contains("NOSPACE")) {
            return Err(Refusal::Complains(id, error.clone()));
        }
        states.push((id, state));
    }
    let newest = states.iter().map(|(_, state)| state.revision).max().unwrap_or(Revision(0));
    for (id, state) in &states {
        if let Some(by) = behind(newest, state.revision) {
            return Err(Refusal::Behind(*id, by));
        }
    }
    match states.iter().filter(|(_, state)| state.leader).count() {
        1 => Ok(states),
        count => Err(Refusal::Leaders(count)),
    }
}

/// By how many revisions, when it is more than [`MAX_LAG`].
pub(super) fn behind(newest: Revision, member: Revision) -> Option<u64> {
    let by = u64::try_from(newest.0.saturating_sub(member.0)).unwrap_or(0);
    (by > MAX_LAG).then_some(by)
}

fn is_worth_it(state: &MemberState, config: &DefragmentConfig) -> bool {
    let free = state.db_size.saturating_sub(state.db_size_in_use);
    let share = free as f64 / state.db_size.max(1) as f64;
    state.db_size >= config.min_size.0 && share >= config.min_fragmentation
}

/// The revision to compact at, so that so many stay; `None` when there are not that many.
#[must_use]
pub fn compact_at(now: Revision, keep: u64) -> Option<Revision> {
    let at = now.0.checked_sub(i64::try_from(keep).ok()?)?;
    (at > 1).then_some(Revision(at))
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::units::Size;

    use super::*;

    const GO: Situation = Situation { is_mine: true, capturing: false, force: false };

    fn member(id: u64, leader: bool) -> MemberSeen {
        let state = MemberState {
            version: "3.5.30".into(),
            leader,
            learner: false,
            db_size: 200 << 20,
            db_size_in_use: 50 << 20,
            revision: Revision(50_000),
            errors: Vec::new(),
        };
        MemberSeen {
            id: MemberId(id),
            name: format!("m{id}"),
            own: id == 1,
            client_urls: Vec::new(),
            state: Ok(state),
        }
    }

    fn three() -> Vec<MemberSeen> {
        vec![member(9, false), member(3, true), member(5, false)]
    }

    fn ids(order: &[MemberId]) -> Vec<u64> {
        order.iter().map(|id| id.0).collect()
    }

    #[test]
    fn the_leader_is_last_and_only_what_is_worth_it_is_done() {
        let config = DefragmentConfig::default();
        let plan = |members: &[MemberSeen], situation| {
            ids(&order(members, &[], &config, situation).unwrap())
        };
        assert_eq!(plan(&three(), GO), [5, 9, 3]);
        let change = |change: fn(&mut MemberState)| {
            let mut members = three();
            change(members[2].state.as_mut().unwrap());
            members
        };
        let small = change(|state| (state.db_size, state.db_size_in_use) = (99 << 20, 1));
        assert_eq!(plan(&small, GO), [9, 3]);
        assert_eq!(plan(&small, Situation { force: true, ..GO }), [5, 9, 3]);
        let full = change(|state| state.db_size_in_use = 111 << 20);
        assert_eq!(plan(&full, GO), [9, 3], "44.5 % are free");
        let just = change(|state| state.db_size_in_use = 109 << 20);
        assert_eq!(plan(&just, GO), [5, 9, 3], "45.5 % are free");
        let strange = change(|state| (state.db_size, state.db_size_in_use) = (0, u64::MAX));
        assert_eq!(plan(&strange, GO), [9, 3]);
        let none = DefragmentConfig { min_size: Size(1 << 40), ..config.clone() };
        assert_eq!(order(&three(), &[], &none, GO), Ok(Vec::new()));
        let nospace = Alarm { member_id: MemberId(9), kind: "NOSPACE".into() };
        let mut members = three();
        members[0].state.as_mut().unwrap().errors = vec!["memberID:9 alarm:NOSPACE".into()];
        assert_eq!(ids(&order(&members, &[nospace], &config, GO).unwrap()), [5, 9, 3]);
        assert_eq!(plan(&[member(1, true)], GO), [1]);
    }

    #[test]
    fn nothing_is_done_while_anything_is_wrong() {
        type Change = fn(&mut Vec<MemberSeen>);
        let table: [(Change, Refusal); 8] = [
            (|all| all[0].name.clear(), Refusal::NotStarted(MemberId(9))),
            (
                |all| all[2].state = Err("gone".into()),
                Refusal::Unreachable(MemberId(5), "gone".into()),
            ),
            (
                |all| all[1].state.as_mut().unwrap().errors = vec!["no leader".into()],
                Refusal::Complains(MemberId(3), "no leader".into()),
            ),
            (
                |all| all[0].state.as_mut().unwrap().revision = Revision(48_999),
                Refusal::Behind(MemberId(9), 1001),
            ),
            (
                |all| {
                    let learner = all[0].state.as_mut().unwrap();
                    (learner.learner, learner.revision) = (true, Revision(0));
                },
                Refusal::Behind(MemberId(9), 50_000),
            ),
            (|all| all[1].state.as_mut().unwrap().leader = false, Refusal::Leaders(0)),
            (|all| all[0].state.as_mut().unwrap().leader = true, Refusal::Leaders(2)),
            (Vec::clear, Refusal::Leaders(0)),
        ];
        for (change, wanted) in table {
            let mut members = three();
            change(&mut members);
            for force in [false, true] {
                let situation = Situation { force, ..GO };
                let plan = order(&members, &[], &DefragmentConfig::default(), situation);
                assert_eq!(plan, Err(wanted.clone()));
            }
        }
        let corrupt = Alarm { member_id: MemberId(5), kind: "CORRUPT".into() };
        let config = DefragmentConfig::default();
        let refused = |alarms: &[Alarm], situation| order(&three(), alarms, &config, situation);
        assert_eq!(refused(&[corrupt], GO), Err(Refusal::Alarm(MemberId(5), "CORRUPT".into())));
        assert_eq!(refused(&[], Situation { is_mine: false, ..GO }), Err(Refusal::NotMine));
        assert_eq!(refused(&[], Situation { capturing: true, ..GO }), Err(Refusal::Capturing));
    }

    #[test]
    fn a_member_that_streams_a_snapshot_is_not_touched() {
        let member = MemberId(0xab);
        assert_eq!(may_begin(member, None), Ok(()), "its metrics cannot be read");
        assert_eq!(may_begin(member, Some(0)), Ok(()));
        let refused = may_begin(member, Some(1)).unwrap_err();
        assert_eq!(refused, Refusal::Streaming(member, 1));
        assert!(refused.passes());
        assert!(refused.to_string().contains(&format!("from member {member}")), "{refused}");
        let by = Refusal::CapturingBy("a0".into(), Some("often".into()));
        assert!(by.passes() && by.to_string().contains("by agent a0 (schedule often)"), "{by}");
        assert!(!Refusal::Leaders(2).passes());
    }

    #[test]
    fn the_last_revisions_stay() {
        assert_eq!(compact_at(Revision(1000), 100), Some(Revision(900)));
        assert_eq!(compact_at(Revision(1000), 0), Some(Revision(1000)));
        assert_eq!(compact_at(Revision(101), 100), None);
        assert_eq!(compact_at(Revision(5), u64::MAX), None);
        assert_eq!(compact_at(Revision(i64::MIN), 1), None);
    }
}
