//! A seeded load that leaves every kind of trace in etcd: puts, updates, deletes and re-creations
//! in transactions of many sizes, leases, users and roles, a compaction, and history after it.

use std::fmt::Write as _;

use crate::etcd::Cluster;

/// SplitMix64: small, seeded, the same everywhere.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(1);
        usize::try_from(self.next_u64() % limit).unwrap_or(0)
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 8);
        while bytes.len() < count {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(count);
        bytes
    }
}

/// State of the cluster after a load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// Revision after it.
    pub revision: i64,
    /// Revision up to which history was compacted.
    pub compacted: i64,
}

const KINDS: [&str; 5] = ["pods", "configmaps", "secrets", "events", "leases"];

/// Writes a Kubernetes-like load of about `transactions` x 40 keys, and compacts in the middle.
///
/// # Panics
/// When etcd refuses something.
pub fn write(cluster: &Cluster, seed: u64, transactions: usize) -> Load {
    let mut rng = Rng(seed);
    let leases: Vec<String> = (0..3).map(|n| grant(cluster, 3600 + n * 600)).collect();
    let mut compacted = 0;
    for number in 0..transactions {
        transaction(cluster, &mut rng, &leases);
        if number == transactions / 2 {
            compacted = cluster.revision() - 1;
            cluster.ctl(&["compaction", &compacted.to_string()]);
        }
    }
    // One value over many pages, one empty, one of bytes that are no text; a deletion as the last
    // write.
    cluster.ctl_with(&["put", "/registry/big"], &rng.bytes(300_000));
    cluster.ctl(&["put", "/registry/empty", ""]);
    cluster.ctl(&["put", "/registry/gone", "x"]);
    cluster.ctl(&["del", "/registry/gone"]);
    Load { revision: cluster.revision(), compacted }
}

fn grant(cluster: &Cluster, seconds: u32) -> String {
    // "lease 694d81417acd4754 granted with TTL(3600s)"
    let said = cluster.ctl(&["lease", "grant", &seconds.to_string()]);
    said.split_whitespace().nth(1).expect("a lease id").to_owned()
}

/// One transaction of 1 to 80 puts and deletes over keys that later ones meet again.
fn transaction(cluster: &Cluster, rng: &mut Rng, leases: &[String]) {
    let mut operations = String::from("\n");
    let first = rng.below(400);
    for offset in 0..=rng.below(80) {
        let number = first + offset;
        let kind = KINDS[number % KINDS.len()];
        let key = format!("/registry/{kind}/ns-{}/{kind}-{number:05}", number % 13);
        if rng.below(6) == 0 {
            writeln!(operations, "del {key}").expect("writing to a string");
            continue;
        }
        let value = value(rng, kind, number);
        match leases.get(rng.below(12)) {
            Some(lease) => writeln!(operations, "put --lease={lease} {key} {value}"),
            None => writeln!(operations, "put {key} {value}"),
        }
        .expect("writing to a string");
    }
    operations.push_str("\n\n");
    cluster.ctl_with(&["txn"], operations.as_bytes());
}

/// Like an object of Kubernetes: much that repeats, some that does not; no character that etcdctl's
/// transaction language would treat specially.
fn value(rng: &mut Rng, kind: &str, number: usize) -> String {
    let mut text = format!("k8s:{kind}:apiVersion=v1:metadata.name={kind}-{number:05}:");
    for _ in 0..rng.below(30) {
        write!(text, "labels.app=frontend:uid={:016x}:", rng.next_u64())
            .expect("writing to a string");
    }
    text
}

/// Users and roles, and then authentication itself. Ends logged in as root.
///
/// # Panics
/// When etcd refuses something.
pub fn enable_auth(cluster: &mut Cluster) {
    cluster.ctl(&["role", "add", "reader"]);
    cluster.ctl(&[
        "role",
        "grant-permission",
        "--prefix=true",
        "reader",
        "read",
        "/registry/pods/",
    ]);
    cluster.ctl(&["role", "add", "root"]);
    cluster.ctl(&["user", "add", "root:root-password"]);
    cluster.ctl(&["user", "grant-role", "root", "root"]);
    cluster.ctl(&["user", "add", "anna:anna-password"]);
    cluster.ctl(&["user", "grant-role", "anna", "reader"]);
    cluster.ctl(&["auth", "enable"]);
    cluster.login("root:root-password");
}

/// Puts `count` values of a mebibyte each that do not compress.
///
/// # Panics
/// When etcd refuses one.
pub fn write_bulk(cluster: &Cluster, seed: u64, count: usize) {
    let mut rng = Rng(seed);
    for number in 0..count {
        cluster.ctl_with(&["put", &format!("/registry/bulk/{number:04}")], &rng.bytes(1 << 20));
    }
}
