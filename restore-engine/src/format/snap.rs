//! The `.snap` file: raft's snapshot, which carries the membership for etcd 3.4 and 3.5.
//!
//! It wraps a JSON dump of the old v2 store in which nothing but the members is left. etcd's own
//! dumps also carry an event history and statistics; every version boots without them
//! (docs/etcd-formats.md 4.4).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use etcdr_schemas::pb::disk::{RaftSnapshot, SnapFile, SnapshotMetadata};
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::format::membership::{Member, NewCluster};
use crate::format::wal::RESTORE_TERM;

/// Largest `.snap` file that is read, in bytes. etcd's hold a few kilobytes a member.
const MAX_FILE: u64 = 64 << 20;

/// Name of the file that a restore of `members` members writes.
#[must_use]
pub fn file_name(members: usize) -> String {
    format!("{RESTORE_TERM:016x}-{members:016x}.snap")
}

/// The file of a new cluster; every member gets identical bytes.
#[must_use]
pub fn initial_snapshot(cluster: &NewCluster) -> Vec<u8> {
    let index = cluster.members().len() as u64;
    let snapshot = RaftSnapshot {
        data: Some(Bytes::from(store_json(cluster))),
        metadata: SnapshotMetadata { conf_state: cluster.conf_state(), index, term: RESTORE_TERM },
    };
    let data = snapshot.encode_to_vec();
    SnapFile { crc: crc32c::crc32c(&data), data: Some(Bytes::from(data)) }.encode_to_vec()
}

/// A node of the v2 store: a directory with children, or a leaf with a value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: String,
    value: String,
    children: Option<BTreeMap<String, Self>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Store {
    root: Node,
    current_index: u64,
    current_version: i64,
}

/// The zero time of Go: any other would give the node a time to live.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Version of the v2 store's format.
const STORE_VERSION: i64 = 2;

impl Node {
    fn new(path: &str, index: u64) -> Self {
        Self {
            path: path.to_owned(),
            created_index: index,
            modified_index: index,
            expire_time: NEVER.to_owned(),
            value: String::new(),
            children: None,
        }
    }

    fn dir<'a>(
        path: &str,
        index: u64,
        children: impl IntoIterator<Item = (&'a str, Self)>,
    ) -> Self {
        let children = children.into_iter().map(|(name, node)| (name.to_owned(), node)).collect();
        Self { children: Some(children), ..Self::new(path, index) }
    }

    fn member(member: &Member, index: u64) -> Self {
        let path = format!("/0/members/{}", member.id);
        let urls = serde_json::json!({ "peerURLs": member.url_texts() });
        let leaf =
            Self { value: urls.to_string(), ..Self::new(&format!("{path}/raftAttributes"), index) };
        Self::dir(&path, index, [("raftAttributes", leaf)])
    }
}

fn store_json(cluster: &NewCluster) -> Vec<u8> {
    let count = cluster.members().len() as u64;
    let names: Vec<_> = cluster.members().iter().map(|member| member.id.to_string()).collect();
    let members = names
        .iter()
        .map(String::as_str)
        .zip((1..).zip(cluster.members()).map(|(index, member)| Node::member(member, index)));
    let members = Node::dir("/0/members", 1, members);
    let root = Node::dir(
        "/",
        0,
        [("0", Node::dir("/0", 0, [("members", members)])), ("1", Node::dir("/1", 0, []))],
    );
    let store = Store { root, current_index: count, current_version: STORE_VERSION };
    // Strings and integers always serialise; an empty dump would fail the check of our own output.
    serde_json::to_vec(&store).unwrap_or_default()
}

/// What a `.snap` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapFacts {
    /// Raft index, term and configuration.
    pub metadata: SnapshotMetadata,
    /// Ids of the members in the v2 store, as its lower-case hex text.
    pub member_ids: Vec<String>,
}

/// Reads and checks a `.snap` file.
///
/// # Errors
/// [`Error::Snap`] for anything that etcd would not take, [`Error::Local`] when reading fails.
pub fn read(path: &Path) -> Result<SnapFacts> {
    let io = |source| Error::io("read", path, source);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(damaged(path, format!("it is larger than {MAX_FILE} bytes")));
    }
    parse(&bytes).map_err(|reason| damaged(path, reason))
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::Snap { path: path.to_owned(), reason }
}

/// Reads the bytes of a `.snap` file.
///
/// # Errors
/// The reason why etcd would not take it.
pub fn parse(bytes: &[u8]) -> Result<SnapFacts, String> {
    let file = SnapFile::decode(bytes).map_err(|error| error.to_string())?;
    let data = file.data.unwrap_or_default();
    let crc = crc32c::crc32c(&data);
    if data.is_empty() || file.crc == 0 || file.crc != crc {
        return Err(format!("checksum {:08x} is not {crc:08x}", file.crc));
    }
    let snapshot = RaftSnapshot::decode(data).map_err(|error| error.to_string())?;
    let store: Store = serde_json::from_slice(&snapshot.data.unwrap_or_default())
        .map_err(|error| format!("its v2 store: {error}"))?;
    let child = |node: Node, name: &str| node.children.and_then(|mut c| c.remove(name));
    let members = child(store.root, "0").and_then(|node| child(node, "members"));
    let children = members.and_then(|node| node.children).unwrap_or_default();
    Ok(SnapFacts { metadata: snapshot.metadata, member_ids: children.into_keys().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::membership::InitialCluster;

    fn cluster() -> NewCluster {
        let initial = InitialCluster::parse("a=http://a:1,b=http://b:1").unwrap();
        NewCluster::new(initial, "t").unwrap()
    }

    #[test]
    fn what_is_written_is_read() {
        let cluster = cluster();
        let facts = parse(&initial_snapshot(&cluster)).unwrap();
        assert_eq!(facts.metadata.conf_state, cluster.conf_state());
        assert_eq!((facts.metadata.index, facts.metadata.term), (2, 1));
        let mut ids: Vec<_> = cluster.members().iter().map(|m| m.id.to_string()).collect();
        ids.sort();
        assert_eq!(facts.member_ids, ids);
        assert_eq!(file_name(2), "0000000000000001-0000000000000002.snap");
    }

    #[test]
    fn every_flipped_bit_is_caught() {
        let bytes = initial_snapshot(&cluster());
        let good = parse(&bytes).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert_ne!(parse(&bad).ok().as_ref(), Some(&good), "byte {at}");
        }
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_v2_store_has_the_shape_that_etcd_takes() {
        let json: serde_json::Value = serde_json::from_slice(&store_json(&cluster())).unwrap();
        assert_eq!(json["CurrentVersion"], 2);
        assert_eq!(json["CurrentIndex"], 2);
        assert!(json["Root"]["Children"]["1"]["Children"].as_object().unwrap().is_empty());
        let id = cluster().members()[0].id.to_string();
        let members = &json["Root"]["Children"]["0"]["Children"]["members"]["Children"];
        let leaf = &members[&id]["Children"]["raftAttributes"];
        assert!(leaf["Value"].as_str().unwrap().starts_with(r#"{"peerURLs":["http://"#));
        assert!(leaf["Children"].is_null());
        assert_eq!(leaf["ExpireTime"], NEVER);
    }
}
