//! Rows of the small buckets: membership, versions, markers, leases, alarms, users.

use std::collections::BTreeMap;

use etcdr_schemas::manifest::{Alarm, Member};
use etcdr_schemas::pb::disk::Lease;
use etcdr_schemas::pb::etcd::AlarmMember;
use etcdr_schemas::report::Finding;
use etcdr_schemas::report::inspect::{
    AuthFacts, ClusterFacts, Downgrade, InspectReport, KeyFacts, LeasesOfTtl, RaftFacts,
};
use etcdr_schemas::{MemberId, RaftIndex, Revision, Term};
use prost::Message;
use serde::Deserialize;

use crate::findings;
use crate::format::buckets::{self, display};
use crate::format::membership;
use crate::format::mvcc::RowKey;

/// Rows of one bucket that are listed.
const MAX_LISTED: usize = 1024;
/// Times to live that are counted separately.
const MAX_TTLS: usize = 4096;
/// Largest row of a small bucket that is parsed, in bytes.
const MAX_ROW: usize = 64 * 1024;
/// Malformed rows that are listed.
const MAX_FINDINGS: usize = 20;
/// Bytes of a row's key in a finding.
const SHOWN: usize = 64;

/// A row of bucket `members`.
#[derive(Debug, Deserialize)]
struct MemberRow {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Vec<String>,
    #[serde(rename = "clientURLs", default)]
    client_urls: Vec<String>,
    #[serde(default)]
    name: String,
    #[serde(rename = "isLearner", default)]
    learner: bool,
}

/// The content of the small buckets.
#[derive(Debug, Default)]
pub(super) struct Records {
    cluster: ClusterFacts,
    raft: RaftFacts,
    auth: AuthFacts,
    alarms: Vec<Alarm>,
    leases: u64,
    ttls: BTreeMap<i64, u64>,
    scheduled: Option<Revision>,
    finished: Option<Revision>,
    findings: Vec<Finding>,
}

impl Records {
    /// Takes one row of a bucket other than `key`.
    pub(super) fn row(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) {
        let taken = if key.len().max(value.len()) > MAX_ROW {
            Err("it is larger than etcd makes it")
        } else {
            self.take(bucket, key, value)
        };
        if let Err(problem) = taken
            && self.findings.len() < MAX_FINDINGS
        {
            let key = display(key.get(..SHOWN).unwrap_or(key));
            let place = format!("bucket {}, row {key}", display(bucket));
            self.findings.push(findings::ROW.at(place, problem));
        }
    }

    fn take(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match bucket {
            buckets::META => self.marker(key, value),
            buckets::MEMBERS => self.member(key, value),
            buckets::MEMBERS_REMOVED => self.removed(key),
            buckets::CLUSTER => self.version(key, value),
            buckets::LEASE => self.lease(value),
            buckets::ALARM => self.alarm(key),
            buckets::AUTH => self.auth(key, value),
            buckets::AUTH_USERS => {
                self.auth.users += 1;
                Ok(())
            }
            buckets::AUTH_ROLES => {
                self.auth.roles += 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn marker(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        use buckets::meta;
        match key {
            meta::CONSISTENT_INDEX => self.raft.consistent_index = Some(RaftIndex(number(value)?)),
            meta::TERM => self.raft.term = Some(Term(number(value)?)),
            meta::CONF_STATE => self.raft.conf_state = Some(text(value)?),
            meta::STORAGE_VERSION => self.cluster.storage_version = Some(text(value)?),
            meta::SCHEDULED_COMPACT => self.scheduled = Some(revision(value)?),
            meta::FINISHED_COMPACT => self.finished = Some(revision(value)?),
            _ => {}
        }
        Ok(())
    }

    fn member(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        let row: MemberRow =
            serde_json::from_slice(value).map_err(|_| "the value is no member as JSON")?;
        id(key)?;
        if self.cluster.members.len() < MAX_LISTED {
            self.cluster.members.push(Member {
                id: MemberId(row.id),
                name: row.name,
                peer_urls: row.peer_urls,
                client_urls: row.client_urls,
                learner: row.learner,
            });
        }
        Ok(())
    }

    fn removed(&mut self, key: &[u8]) -> Result<(), &'static str> {
        let id = id(key)?;
        if self.cluster.removed.len() < MAX_LISTED {
            self.cluster.removed.push(id);
        }
        Ok(())
    }

    fn version(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            buckets::cluster::VERSION => self.cluster.version = Some(text(value)?),
            buckets::cluster::DOWNGRADE => {
                let parsed = serde_json::from_slice::<Downgrade>(value);
                self.cluster.downgrade =
                    Some(parsed.map_err(|_| "the value is no downgrade as JSON")?);
            }
            _ => {}
        }
        Ok(())
    }

    fn lease(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let lease = Lease::decode(value).map_err(|_| "the value is no lease")?;
        self.leases += 1;
        let ttl = lease.ttl.unwrap_or_default();
        if self.ttls.len() < MAX_TTLS || self.ttls.contains_key(&ttl) {
            *self.ttls.entry(ttl).or_default() += 1;
        }
        Ok(())
    }

    fn alarm(&mut self, key: &[u8]) -> Result<(), &'static str> {
        let alarm = AlarmMember::decode(key).map_err(|_| "the key is no alarm")?;
        let kind = match alarm.alarm {
            1 => "NOSPACE".to_owned(),
            2 => "CORRUPT".to_owned(),
            other => other.to_string(),
        };
        if self.alarms.len() < MAX_LISTED {
            self.alarms.push(Alarm { member_id: MemberId(alarm.member_id), kind });
        }
        Ok(())
    }

    fn auth(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"authEnabled" => match value {
                [0] => self.auth.enabled = false,
                [1] => self.auth.enabled = true,
                _ => return Err("the value is neither 0 nor 1"),
            },
            b"authRevision" => self.auth.revision = Some(number(value)?),
            _ => {}
        }
        Ok(())
    }

    /// Puts what the rows say into the report.
    pub(super) fn report_to(mut self, report: &mut InspectReport, keys: &mut KeyFacts, top: usize) {
        self.cluster.members.sort_by_key(|member| member.id);
        self.cluster.removed.sort();
        let ids: Vec<_> = self.cluster.members.iter().map(|member| member.id).collect();
        if !ids.is_empty() {
            self.cluster.id = Some(membership::cluster_id(&ids));
            self.cluster.id_from = Some("members".to_owned());
        }
        report.cluster = self.cluster;
        report.raft = self.raft;
        report.auth = self.auth;
        self.alarms.sort_by_key(|alarm| alarm.member_id);
        report.alarms = self.alarms;
        report.leases.count = self.leases;
        let ttl = |(ttl_seconds, count)| LeasesOfTtl { ttl_seconds, count };
        report.leases.by_ttl = self.ttls.into_iter().map(ttl).collect();
        report.leases.by_ttl.sort_by_key(|ttl| (std::cmp::Reverse(ttl.count), ttl.ttl_seconds));
        report.leases.by_ttl.truncate(top);
        keys.scheduled_compact_revision = self.scheduled;
        keys.finished_compact_revision = self.finished;
        report.findings.extend(self.findings);
    }
}

fn number(value: &[u8]) -> Result<u64, &'static str> {
    value.try_into().map(u64::from_be_bytes).map_err(|_| "the value has not 8 bytes")
}

fn revision(value: &[u8]) -> Result<Revision, &'static str> {
    RowKey::parse(value).map(|row| row.main).ok_or("the value is no revision")
}

fn text(value: &[u8]) -> Result<String, &'static str> {
    std::str::from_utf8(value).map(str::to_owned).map_err(|_| "the value is no text")
}

fn id(key: &[u8]) -> Result<MemberId, &'static str> {
    let text = std::str::from_utf8(key).ok().and_then(|text| text.parse().ok());
    text.ok_or("the key is no member id")
}
