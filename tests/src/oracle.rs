//! Everything that a cluster holds, as etcd's own tools print it: a restore must not change it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::etcd::Cluster;

/// The contents of a cluster at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Every key with its value, lease, and create, modification and version numbers.
    pub keys: BTreeMap<String, Value>,
    /// Every lease with its granted time and its keys.
    pub leases: BTreeMap<String, Value>,
    /// Users with their roles, roles with their permissions.
    pub auth: BTreeMap<String, Value>,
}

impl State {
    /// Asks the cluster.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        Self { keys: keys_at(cluster, None), leases: leases(cluster), auth: auth(cluster) }
    }

    /// What differs, for messages: the first few names.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Vec<String> {
        let maps = [
            ("key", &self.keys, &other.keys),
            ("lease", &self.leases, &other.leases),
            ("auth", &self.auth, &other.auth),
        ];
        let mut found = Vec::new();
        for (kind, mine, theirs) in maps {
            let names = mine.keys().chain(theirs.keys().filter(|name| !mine.contains_key(*name)));
            for name in names.filter(|name| mine.get(*name) != theirs.get(*name)) {
                let (a, b) = (shown(mine.get(name)), shown(theirs.get(name)));
                found.push(format!("{kind} {name}: {a} / {b}"));
            }
        }
        found.truncate(5);
        found
    }

    /// Fails unless the other state is the same.
    ///
    /// # Panics
    /// When it is not, with the first differences.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        let difference = self.difference(other);
        assert!(difference.is_empty(), "before / after:\n{}", difference.join("\n"));
        assert_eq!(self, other);
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "absent".to_owned(), Value::to_string);
    text.chars().take(200).collect()
}

/// All keys, now or at an older revision.
///
/// # Panics
/// When the cluster does not answer.
#[must_use]
pub fn keys_at(cluster: &Cluster, revision: Option<i64>) -> BTreeMap<String, Value> {
    let at = format!("--rev={}", revision.unwrap_or(0));
    let answer = cluster.ask(&["get", "", "--prefix", &at]);
    let rows = answer["kvs"].as_array().cloned().unwrap_or_default();
    rows.into_iter().map(|row| (row["key"].as_str().unwrap_or_default().to_owned(), row)).collect()
}

fn leases(cluster: &Cluster) -> BTreeMap<String, Value> {
    let text = cluster.ctl(&["lease", "list"]);
    let ids = text.lines().filter(|line| line.len() >= 15 && !line.contains(' '));
    let ids = ids.map(|line| line.trim().to_owned());
    let mut found = BTreeMap::new();
    for id in ids {
        let mut lease = cluster.ask(&["lease", "timetolive", &id, "--keys"]);
        let mut keys = lease["keys"].as_array().cloned().unwrap_or_default();
        keys.sort_by_key(ToString::to_string);
        let granted = lease["granted-ttl"].take();
        found.insert(id, serde_json::json!({ "granted": granted, "keys": keys }));
    }
    found
}

fn auth(cluster: &Cluster) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for kind in ["user", "role"] {
        for name in cluster.ctl(&[kind, "list"]).lines() {
            let mut answer = cluster.ask(&[kind, "get", name]);
            if let Some(map) = answer.as_object_mut() {
                map.remove("header");
            }
            found.insert(format!("{kind} {name}"), answer);
        }
    }
    found
}
