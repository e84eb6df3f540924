//! What is wrong now: conditions that events raise and clear. One that is raised again is counted,
//! and not listed twice.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use etcdr_schemas::report::StatusWarning;

/// A kind of condition.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ConditionKind {
    /// Part of the report contract: codes are added, never changed.
    pub(super) code: &'static str,
    /// Whether backups are at risk while it lasts.
    pub(super) urgent: bool,
    /// What to do about it, as a sentence.
    pub(super) next: &'static str,
    /// Seconds after which it counts as over, for a condition that no event ends.
    pub(super) fades: Option<u64>,
}

const fn urgent(code: &'static str, next: &'static str) -> ConditionKind {
    ConditionKind { code, urgent: true, next, fades: None }
}

const fn mild(code: &'static str, next: &'static str) -> ConditionKind {
    ConditionKind { code, urgent: false, next, fades: None }
}

pub(super) static OVER_AGE: ConditionKind = urgent(
    "age.over_target",
    "Look at the failures below; take one by hand with `etcdr snapshot save --agent`.",
);
pub(super) static STORE: ConditionKind = urgent(
    "store.failed",
    "Check the store's address, credentials and network; `etcdr config check` tries each of them.",
);
pub(super) static CAPTURE: ConditionKind = urgent(
    "capture.failed",
    "Read the error; the agent tries again at the next tick. `etcdr config check` tries every \
     part.",
);
pub(super) static CLAIM: ConditionKind = urgent(
    "claim.failed",
    "Check that the agent's credentials may create objects under the cluster's claims/ prefix.",
);
pub(super) static SUSPECT: ConditionKind = urgent(
    "snapshot.suspect",
    "Restore the snapshot before it; find out why members disagree before you trust newer ones.",
);
pub(super) static DISSENT: ConditionKind = urgent(
    "members.dissent",
    "Its data differs from the majority's: remove that member and add it anew with an empty data \
     directory.",
);
pub(super) static DAMAGED: ConditionKind = urgent(
    "verify.failed",
    "Take a new snapshot now, and look at the store: what it returns is not what was stored.",
);
pub(super) static MEMBER: ConditionKind =
    mild("member.down", "Check that member's process, network and certificates.");
pub(super) static OWN_MEMBER: ConditionKind = urgent(
    "member.own_down",
    "Check the etcd process beside this agent, and etcd.* in the configuration.",
);
pub(super) static MEMBER_ERRORS: ConditionKind =
    mild("member.errors", "Look into etcd's log of that member.");
pub(super) static ALARM: ConditionKind = urgent(
    "etcd.alarm",
    "NOSPACE: compact, defragment, then `etcdctl alarm disarm`. CORRUPT: replace the member, \
     never disarm first.",
);
pub(super) static QUOTA: ConditionKind = mild(
    "quota.soon",
    "Compact and defragment, find what grows with `etcdr inspect`, or raise --quota-backend-bytes.",
);
pub(super) static PRUNE: ConditionKind = mild(
    "prune.failed",
    "Check that its credentials may list and delete; nothing is lost meanwhile but space.",
);
pub(super) static DEFRAGMENT: ConditionKind =
    mild("defragment.failed", "Look at the member's health; it is tried again in the next round.");
pub(super) static COMPACT: ConditionKind =
    mild("compact.failed", "Look at the member's health; it is tried again in the next round.");
pub(super) static HEARTBEAT: ConditionKind = mild(
    "heartbeat.failed",
    "Check watch.heartbeat_url and the way to it; the snapshots themselves are taken.",
);
pub(super) static CONFIG: ConditionKind = mild(
    "config.refused",
    "The old configuration stays in use. Correct the file (`etcdr config check` names the keys) \
     and reload.",
);
pub(super) static NAME_TWICE: ConditionKind = ConditionKind {
    code: "agent.name_twice",
    urgent: true,
    next: "Give each agent its own agent.name; two of a name may take each other's claims for \
        their own.",
    fades: Some(600),
};
pub(super) static CLOCK_SKEW: ConditionKind =
    mild("clock.skew", "Set this machine's clock (NTP): ids and claims go by it.");
pub(super) static PAUSED: ConditionKind =
    mild("schedule.paused", "Nothing is taken for it until `etcdr agent resume`.");
pub(super) static CAPTURE_WARNING: ConditionKind =
    mild("capture.warning", "The snapshot exists; look at what it says before you rely on it.");

/// Most conditions that are kept; the least recent mild ones are dropped first.
const MAX_KEPT: usize = 40;
/// Most conditions that are shown.
pub(super) const MAX_SHOWN: usize = 20;
/// Characters of one text.
const MAX_TEXT: usize = 500;

/// The conditions that last.
#[derive(Debug, Default)]
pub(super) struct Conditions(BTreeMap<(&'static str, String), Held>);

#[derive(Debug)]
struct Held {
    kind: &'static ConditionKind,
    since: DateTime<Utc>,
    last: DateTime<Utc>,
    count: u64,
    text: String,
}

impl Conditions {
    /// Raises a condition; `subject` distinguishes those of one kind.
    pub(super) fn raise(
        &mut self,
        kind: &'static ConditionKind,
        subject: impl ToString,
        text: impl AsRef<str>,
        now: DateTime<Utc>,
    ) {
        let text: String = text.as_ref().chars().take(MAX_TEXT).collect();
        let key = (kind.code, subject.to_string().chars().take(MAX_TEXT).collect());
        let held = self.0.entry(key).or_insert_with(|| Held {
            kind,
            since: now,
            last: now,
            count: 0,
            text: String::new(),
        });
        (held.last, held.text) = (now, text);
        held.count = held.count.saturating_add(1);
        while self.0.len() > MAX_KEPT {
            let least = self.0.iter().min_by_key(|(_, held)| (held.kind.urgent, held.last));
            let Some(key) = least.map(|(key, _)| key.clone()) else { break };
            self.0.remove(&key);
        }
    }

    /// Ends a condition.
    pub(super) fn clear(&mut self, kind: &'static ConditionKind, subject: impl ToString) {
        self.0.remove(&(kind.code, subject.to_string()));
    }

    /// Ends all conditions of a kind but those whose subject `stays` accepts.
    pub(super) fn retain(&mut self, kind: &'static ConditionKind, stays: impl Fn(&str) -> bool) {
        self.0.retain(|(code, subject), _| *code != kind.code || stays(subject));
    }

    /// Ends all conditions of a kind.
    pub(super) fn clear_all(&mut self, kind: &'static ConditionKind) {
        self.retain(kind, |_| false);
    }

    /// Urgent ones first, then the most recent.
    pub(super) fn shown(&self, now: DateTime<Utc>) -> Vec<StatusWarning> {
        let lasts = |held: &&Held| match held.kind.fades {
            Some(seconds) => {
                let past = (now - held.last).to_std().unwrap_or_default();
                past < Duration::from_secs(seconds)
            }
            None => true,
        };
        let mut all: Vec<&Held> = self.0.values().filter(lasts).collect();
        all.sort_by_key(|held| (!held.kind.urgent, std::cmp::Reverse(held.last)));
        all.into_iter().take(MAX_SHOWN).map(Held::warning).collect()
    }
}

impl Held {
    fn warning(&self) -> StatusWarning {
        StatusWarning {
            code: self.kind.code.to_owned(),
            urgent: self.kind.urgent,
            since: self.since,
            last: self.last,
            count: self.count,
            text: self.text.clone(),
            next: self.kind.next.to_owned(),
        }
    }
}
