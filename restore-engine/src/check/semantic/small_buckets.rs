//! The buckets besides `key`: leases, alarms, users, members, and what the cluster says of itself.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use etcdr_schemas::pb::disk;
use etcdr_schemas::report::{AuthSummary, Finding, FindingKind};
use etcdr_schemas::{EtcdVersion, ReadAt};
use prost::Message as _;
use serde::Deserialize;

use super::kinds;
use crate::Result;
use crate::format::bolt::{Bucket, Db};
use crate::format::buckets;
use crate::format::fields::{Fields, Value};
use crate::format::membership::MemberRow;

/// Leases whose ids are kept, 8 bytes each.
const MAX_LEASES: usize = 4 << 20;
/// Findings of each bucket that are listed; the others are counted.
const EACH: u64 = 20;
/// Bytes of a key that are shown.
const MAX_SHOWN: usize = 100;
/// Roles and users that are compared.
const MAX_NAMES: usize = 64 * 1024;

/// What the small buckets hold.
#[derive(Debug, Default)]
pub(super) struct SmallBuckets {
    /// Ids of all leases, in order; `None` when there are too many.
    pub(super) leases: Option<Vec<i64>>,
    pub(super) lease_count: u64,
    pub(super) auth: AuthSummary,
    pub(super) findings: Vec<Finding>,
}

/// What is wrong with a row.
type Problem = (FindingKind, String);

/// Reads all buckets but `key`.
pub(super) fn read<R: ReadAt>(db: &Db<R>, all: &[Bucket]) -> Result<SmallBuckets> {
    read_with(db, all, MAX_LEASES)
}

fn read_with<R: ReadAt>(db: &Db<R>, all: &[Bucket], max_leases: usize) -> Result<SmallBuckets> {
    let mut small_buckets = SmallBuckets { leases: Some(Vec::new()), ..SmallBuckets::default() };
    let mut users = Users::default();
    let mut members = 0u64;
    for bucket in all {
        if !buckets::ALL.contains(&bucket.name.as_slice()) {
            let message = "no etcd that we know has this bucket".to_owned();
            small_buckets
                .findings
                .push(kinds::BUCKET_UNKNOWN.at(place(&bucket.name, None), message));
            continue;
        }
        let mut problems = 0;
        db.scan(bucket, &mut |key, value| {
            let problem = match bucket.name.as_slice() {
                buckets::LEASE => lease(&mut small_buckets, max_leases, key, value),
                buckets::ALARM => alarm(key),
                buckets::AUTH => users.setting(key, value),
                buckets::AUTH_USERS => users.user(key, value),
                buckets::AUTH_ROLES => users.role(key, value),
                buckets::MEMBERS => {
                    members += 1;
                    member(key, value)
                }
                buckets::MEMBERS_REMOVED => removed(key),
                buckets::CLUSTER => cluster(key, value),
                // Bucket `key` has its own reader, `meta` is judged as a whole.
                _ => return Ok(ControlFlow::Break(())),
            };
            if let Some((kind, message)) = problem {
                problems += 1;
                if problems <= EACH {
                    small_buckets.findings.push(kind.at(place(&bucket.name, Some(key)), message));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        if problems > EACH {
            let message =
                format!("{} more findings of this bucket are not listed", problems - EACH);
            small_buckets.findings.push(kinds::MORE.at(place(&bucket.name, None), message));
        }
    }
    if members == 0 {
        let message = "there is no member: etcd 3.6 will not start on it".to_owned();
        small_buckets.findings.push(kinds::MEMBER_NONE.at("bucket members", message));
    }
    // Keys are in order of unsigned numbers; the binary search compares signed ones.
    small_buckets.leases.iter_mut().for_each(|leases| leases.sort_unstable());
    users.judge(&mut small_buckets);
    Ok(small_buckets)
}

fn place(bucket: &[u8], key: Option<&[u8]>) -> String {
    let shown = |bytes: &[u8]| buckets::display(bytes.get(..MAX_SHOWN).unwrap_or(bytes));
    match key {
        Some(key) => format!("bucket {}, row {}", shown(bucket), shown(key)),
        None => format!("bucket {}", shown(bucket)),
    }
}

fn lease(
    small_buckets: &mut SmallBuckets,
    max_leases: usize,
    key: &[u8],
    value: &[u8],
) -> Option<Problem> {
    let bad = |message: &str| Some((kinds::LEASE_ROW, message.to_owned()));
    let Some(id) = key.try_into().ok().map(i64::from_be_bytes) else {
        return bad("the key is no lease id");
    };
    small_buckets.lease_count += 1;
    match &mut small_buckets.leases {
        Some(leases) if leases.len() < max_leases => {
            leases.push(id);
        }
        Some(_) => {
            small_buckets.leases = None;
            let message = format!("of more than {max_leases} leases none is compared with keys");
            small_buckets.findings.push(kinds::LEASES_UNCHECKED.at("bucket lease", message));
        }
        None => {}
    }
    match disk::Lease::decode(value) {
        Err(_) => bad("the value is no lease"),
        Ok(lease) if lease.id.unwrap_or_default() != id => bad("the value is another lease"),
        Ok(lease) if lease.ttl.unwrap_or_default() <= 0 => bad("its time to live is not positive"),
        Ok(_) => None,
    }
}

fn alarm(key: &[u8]) -> Option<Problem> {
    let (mut member, mut alarm) = (0, 0);
    for field in Fields::of(key) {
        match field {
            Some((1, Value::Varint(id))) => member = id,
            Some((2, Value::Varint(kind))) => alarm = kind,
            Some((1 | 2, _)) | None => {
                return Some((kinds::ALARM_ROW, "the key is no alarm".to_owned()));
            }
            Some(_) => {}
        }
    }
    match alarm {
        1 => Some((kinds::ALARM_NOSPACE, format!("member {member:x} was out of space"))),
        2 => Some((kinds::ALARM_CORRUPT, format!("member {member:x} had found itself damaged"))),
        other => Some((kinds::ALARM_ROW, format!("alarm {other} is none that we know"))),
    }
}

fn member(key: &[u8], value: &[u8]) -> Option<Problem> {
    let Ok(row) = serde_json::from_slice::<MemberRow>(value) else {
        return Some((kinds::MEMBER_ROW, "the value is no member".to_owned()));
    };
    (key != format!("{:x}", row.id).as_bytes())
        .then(|| (kinds::MEMBER_ROW, format!("the value is member {:x}", row.id)))
}

fn removed(key: &[u8]) -> Option<Problem> {
    let id = std::str::from_utf8(key).ok().and_then(|text| u64::from_str_radix(text, 16).ok());
    id.is_none().then(|| (kinds::MEMBER_ROW, "the key is no member id".to_owned()))
}

#[derive(Deserialize)]
struct Downgrade {
    #[serde(rename = "target-version", default)]
    target: String,
    #[serde(default)]
    enabled: bool,
}

fn cluster(key: &[u8], value: &[u8]) -> Option<Problem> {
    let bad = |message: &str| Some((kinds::CLUSTER_ROW, message.to_owned()));
    match key {
        buckets::cluster::VERSION => {
            let text = std::str::from_utf8(value).ok();
            match text.and_then(|text| text.parse::<EtcdVersion>().ok()) {
                Some(_) => None,
                None => bad("the value is no version"),
            }
        }
        buckets::cluster::DOWNGRADE => match serde_json::from_slice::<Downgrade>(value) {
            Ok(Downgrade { target, enabled: true }) => {
                let target: String = target.chars().take(40).collect();
                Some((kinds::DOWNGRADE, format!("a downgrade to {target} was on its way")))
            }
            Ok(_) => None,
            Err(_) => bad("the value is no downgrade"),
        },
        _ => None,
    }
}

/// Users and roles.
#[derive(Default)]
struct Users {
    enabled: bool,
    users: u64,
    role_count: u64,
    roles: BTreeSet<Vec<u8>>,
    /// Roles that users name, with one user each.
    named: Vec<(Vec<u8>, Vec<u8>)>,
    root_user: bool,
    root_has_role: bool,
}

const ROOT: &[u8] = b"root";

impl Users {
    fn setting(&mut self, key: &[u8], value: &[u8]) -> Option<Problem> {
        let good = match key {
            b"authEnabled" => {
                self.enabled = value == [1];
                value.len() == 1 && matches!(value, [0 | 1])
            }
            b"authRevision" => value.len() == 8,
            _ => true,
        };
        (!good).then(|| (kinds::AUTH_ROW, "the value is no setting".to_owned()))
    }

    fn user(&mut self, key: &[u8], value: &[u8]) -> Option<Problem> {
        self.users += 1;
        let mut name: &[u8] = b"";
        for field in Fields::of(value) {
            match field {
                Some((1, Value::Bytes(bytes))) => name = bytes,
                Some((3, Value::Bytes(role))) => {
                    self.root_has_role |= key == ROOT && role == ROOT;
                    if self.named.len() < MAX_NAMES {
                        self.named.push((role.to_vec(), key.to_vec()));
                    }
                }
                Some((1 | 3, _)) | None => {
                    return Some((kinds::AUTH_ROW, "the value is no user".to_owned()));
                }
                Some(_) => {}
            }
        }
        self.root_user |= key == ROOT;
        (name != key).then(|| (kinds::AUTH_ROW, "the value is another user".to_owned()))
    }

    fn role(&mut self, key: &[u8], value: &[u8]) -> Option<Problem> {
        self.role_count += 1;
        if self.roles.len() < MAX_NAMES {
            self.roles.insert(key.to_vec());
        }
        let mut name: &[u8] = b"";
        for field in Fields::of(value) {
            match field {
                Some((1, Value::Bytes(bytes))) => name = bytes,
                Some((2, Value::Bytes(permission)))
                    if Fields::of(permission).all(|field| field.is_some()) => {}
                Some((1 | 2, _)) | None => {
                    return Some((kinds::AUTH_ROW, "the value is no role".to_owned()));
                }
                Some(_) => {}
            }
        }
        (name != key).then(|| (kinds::AUTH_ROW, "the value is another role".to_owned()))
    }

    fn judge(self, small_buckets: &mut SmallBuckets) {
        small_buckets.auth =
            AuthSummary { enabled: self.enabled, users: self.users, roles: self.role_count };
        let complete = self.roles.len() < MAX_NAMES;
        // The role root is built in: etcd gives it whether its row exists or not.
        let missing = self
            .named
            .iter()
            .filter(|(role, _)| complete && role != ROOT && !self.roles.contains(role));
        let mut listed = BTreeSet::new();
        for (role, user) in missing {
            if listed.len() >= 20 || !listed.insert(role) {
                continue;
            }
            let message = format!("it has role {}, which does not exist", buckets::display(role));
            let place = place(buckets::AUTH_USERS, Some(user));
            small_buckets.findings.push(kinds::AUTH_ROLE_MISSING.at(place, message));
        }
        if self.enabled && !(self.root_user && self.root_has_role) {
            let message = "authentication is on, and no user root has the role root".to_owned();
            small_buckets.findings.push(kinds::AUTH_ROOT_MISSING.at("bucket auth", message));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::format::bolt::writer::Writer;

    #[test]
    fn too_many_leases_are_a_finding() {
        let mut writer = Writer::create(Cursor::new(Vec::new()), 4096).unwrap();
        writer.bucket(buckets::LEASE).unwrap();
        for id in [1i64, 2, 3, -5] {
            let lease = disk::Lease { id: Some(id), ttl: Some(60), remaining_ttl: None };
            writer.row(&id.to_be_bytes(), &lease.encode_to_vec()).unwrap();
        }
        let db = Db::open(writer.finish().unwrap().into_inner()).unwrap();
        let buckets = db.buckets().unwrap();
        let all = read_with(&db, &buckets, 4).unwrap();
        assert_eq!((all.leases.unwrap(), all.lease_count), (vec![-5, 1, 2, 3], 4));
        let some = read_with(&db, &buckets, 3).unwrap();
        assert_eq!((some.leases, some.lease_count), (None, 4));
        assert!(some.findings.iter().any(|finding| finding.code == "lease.unchecked"));
    }
}
