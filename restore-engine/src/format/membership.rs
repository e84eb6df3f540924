//! Membership of a new cluster: names and peer URLs in, ids and rows out.
//!
//! etcd does not choose ids at random. A member's id is a digest of its peer URLs and the cluster
//! token, a cluster's id a digest of its members' ids; so the same flags give the same ids, and the
//! members of a lost cluster that come back would be taken for peers of the restored one. That is
//! why the token of a restore is fresh unless the caller insists.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use etcdr_schemas::pb::disk::ConfState;
use etcdr_schemas::{ClusterId, MemberId};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use crate::error::{Error, Result};

/// More members than any raft group that works; a bound on hostile input.
pub const MAX_MEMBERS: usize = 64;

/// More addresses than a member has; a bound on hostile input.
pub const MAX_URLS_PER_MEMBER: usize = 16;

/// Longest name, token or URL in bytes: a name is also a directory's name.
const MAX_TEXT: usize = 255;

/// A peer URL as etcd accepts one: `http`, `https`, `unix` or `unixs`, `host:port`, nothing behind
/// it.
///
/// The text is kept as it was given (scheme in lower case), because ids are digests of it: a parser
/// that drops a default port would compute another id than etcd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerUrl(String);

impl PeerUrl {
    /// Parses one URL.
    ///
    /// # Errors
    /// [`Error::Request`] with the rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |rule: &str| Error::request(format!("peer URL {:?} {rule}", shorten(text)));
        if text.len() > MAX_TEXT {
            return Err(refuse("is longer than 255 bytes"));
        }
        let text = text.trim();
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| refuse("has no scheme such as https://"))?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "http" | "https" => check_host_port(rest).map_err(refuse)?,
            "unix" | "unixs" => check_socket(rest).map_err(refuse)?,
            _ => return Err(refuse("has a scheme other than http, https, unix and unixs")),
        }
        Ok(Self(format!("{scheme}://{rest}")))
    }

    /// The URL as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What `--listen-peer-urls` takes: etcd binds to addresses only, so a host name becomes the
    /// wildcard address with the same port.
    #[must_use]
    pub fn listen(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else { return self.0.clone() };
        let Some((host, port)) = rest.rsplit_once(':') else { return self.0.clone() };
        let address = host.starts_with('[')
            || host == "localhost"
            || host.parse::<std::net::Ipv4Addr>().is_ok();
        if scheme.starts_with("unix") || address {
            return self.0.clone();
        }
        format!("{scheme}://0.0.0.0:{port}")
    }
}

impl fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_host_port(rest: &str) -> Result<(), &'static str> {
    if rest.contains(['/', '\\']) {
        return Err("must not have a path, not even a trailing slash");
    }
    if rest.contains(['?', '#', '@']) {
        return Err("must be host:port only, without user, query or fragment");
    }
    let (host, port) = rest.rsplit_once(':').ok_or("has no port")?;
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let ok = match inner {
        Some(v6) => {
            !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_alphanumeric() || b":.%-_".contains(&b))
        }
        None => {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        }
    };
    if !ok {
        return Err("has a host that is neither a name, an IPv4 address nor [an IPv6 address]");
    }
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(1..) if digits => Ok(()),
        _ => Err("has a port that is not 1 to 65535"),
    }
}

fn check_socket(rest: &str) -> Result<(), &'static str> {
    let ok =
        !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic() && !b"?#,=".contains(&b));
    if ok { Ok(()) } else { Err("names no socket") }
}

/// The value of `--initial-cluster`: member names and their peer URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialCluster(BTreeMap<String, Vec<PeerUrl>>);

impl InitialCluster {
    /// Parses `a=URL,a=URL2,b=URL`. A name that is repeated at once gives its member another URL,
    /// as in etcd; a name that comes back later is taken for a mistake and refused.
    ///
    /// # Errors
    /// [`Error::Request`] for an empty list, a malformed or repeated name or URL, and too many of
    /// them.
    pub fn parse(text: &str) -> Result<Self> {
        let mut members: BTreeMap<String, Vec<PeerUrl>> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut previous = None;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, url) = part.split_once('=').ok_or_else(|| {
                Error::request(format!("initial cluster: {:?} is not NAME=URL", shorten(part)))
            })?;
            check_name(name)?;
            let url = PeerUrl::parse(url)?;
            if !seen.insert(url.clone()) {
                return Err(Error::request(format!("initial cluster: URL {url} is given twice")));
            }
            if previous != Some(name) && members.contains_key(name) {
                return Err(Error::request(format!(
                    "initial cluster: member {name} is given twice"
                )));
            }
            let urls = members.entry(name.to_owned()).or_default();
            urls.push(url);
            previous = Some(name);
            if urls.len() > MAX_URLS_PER_MEMBER || members.len() > MAX_MEMBERS {
                return Err(Error::request(format!(
                    "initial cluster: more than {MAX_MEMBERS} members or {MAX_URLS_PER_MEMBER} \
                     URLs of one"
                )));
            }
        }
        if members.is_empty() {
            return Err(Error::request("initial cluster: there is no member in it".to_owned()));
        }
        Ok(Self(members))
    }

    /// The members' names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Display for InitialCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.0.iter().flat_map(|(name, urls)| urls.iter().map(move |url| (name, url)));
        for (i, (name, url)) in pairs.enumerate() {
            write!(f, "{}{name}={url}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A name is one path segment, because a restore of all members makes a directory of it.
fn check_name(name: &str) -> Result<()> {
    let ok = (1..=MAX_TEXT).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, '/' | '\\'));
    if ok {
        return Ok(());
    }
    Err(Error::request(format!("initial cluster: {:?} cannot be a member's name", shorten(name))))
}

/// Parses a comma-separated list as `--initial-advertise-peer-urls` takes it, sorted.
///
/// # Errors
/// [`Error::Request`] as for [`PeerUrl::parse`].
pub fn parse_urls(text: &str) -> Result<Vec<PeerUrl>> {
    let mut urls = text.split(',').map(PeerUrl::parse).collect::<Result<Vec<_>>>()?;
    urls.sort();
    Ok(urls)
}

/// One member of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its id, a digest of peer URLs and token.
    pub id: MemberId,
    /// Its name.
    pub name: String,
    /// Its peer URLs, sorted.
    pub peer_urls: Vec<PeerUrl>,
}

/// JSON of one member in bucket `members` and in the log (docs/etcd-formats.md 2.5).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    /// Id as a bare integer of up to 64 bits.
    pub id: u64,
    /// Peer URLs.
    #[serde(rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Name; absent for a member that has not started yet.
    #[serde(default)]
    pub name: String,
    /// Whether it does not vote.
    #[serde(rename = "isLearner", default, skip_serializing_if = "std::ops::Not::not")]
    pub learner: bool,
}

impl Member {
    fn new(name: &str, urls: &[PeerUrl], token: &str) -> Self {
        let mut peer_urls = urls.to_vec();
        peer_urls.sort();
        // etcd's rule: the URLs sorted as text and without a separator, then the token. The stock
        // tools compute the same ids, so members that either restores form one cluster.
        let mut sha = Sha1::new();
        peer_urls.iter().for_each(|url| sha.update(url.as_str()));
        sha.update(token);
        Self { id: MemberId(first_u64(sha)), name: name.to_owned(), peer_urls }
    }

    /// The peer URLs as text.
    #[must_use]
    pub fn url_texts(&self) -> Vec<String> {
        self.peer_urls.iter().map(PeerUrl::to_string).collect()
    }

    /// The member's JSON.
    #[must_use]
    pub fn json(&self) -> Vec<u8> {
        let row = MemberRow {
            id: self.id.0,
            peer_urls: self.url_texts(),
            name: self.name.clone(),
            learner: false,
        };
        // A struct of integers and strings always serialises; an empty value would fail the check
        // that every restore makes of its own output.
        serde_json::to_vec(&row).unwrap_or_default()
    }
}

/// A new cluster: its token and its members, ids ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCluster {
    initial: InitialCluster,
    token: String,
    id: ClusterId,
    members: Vec<Member>,
}

impl NewCluster {
    /// Computes the ids.
    ///
    /// # Errors
    /// [`Error::Request`] for a token that is empty, long or not printable, and for colliding ids.
    pub fn new(initial: InitialCluster, token: &str) -> Result<Self> {
        let plain = token.chars().all(|c| !c.is_control() && !c.is_whitespace());
        if !(1..=MAX_TEXT).contains(&token.len()) || !plain {
            return Err(Error::request(format!(
                "cluster token {:?} is not 1 to 255 printable characters",
                shorten(token)
            )));
        }
        let mut members: Vec<_> =
            initial.0.iter().map(|(name, urls)| Member::new(name, urls, token)).collect();
        members.sort_by_key(|member| member.id);
        let mut ids: Vec<_> = members.iter().map(|member| member.id).collect();
        ids.dedup();
        // Raft identifies members by id and takes 0 for "none".
        if ids.len() != members.len() || ids.contains(&MemberId(0)) {
            return Err(Error::request(
                "two members of the initial cluster get the same id: use another token".to_owned(),
            ));
        }
        let id = cluster_id(&ids);
        Ok(Self { initial, token: token.to_owned(), id, members })
    }

    /// The members, ids ascending; at least one.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The cluster's id.
    #[must_use]
    pub const fn id(&self) -> ClusterId {
        self.id
    }

    /// The cluster's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The value of `--initial-cluster`, sorted by name.
    #[must_use]
    pub const fn initial(&self) -> &InitialCluster {
        &self.initial
    }

    /// Raft's view of it: every member votes. Restored clusters have no learners.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        ConfState { voters: self.members.iter().map(|m| m.id.0).collect(), ..Default::default() }
    }

    /// The raft configuration as the JSON of `meta/confState`.
    #[must_use]
    pub fn conf_state_json(&self) -> Vec<u8> {
        let ids: Vec<_> = self.members.iter().map(|member| member.id.0.to_string()).collect();
        format!(r#"{{"voters":[{}],"auto_leave":false}}"#, ids.join(",")).into_bytes()
    }

    /// The rows of bucket `members`: unpadded hex id and JSON, in key order.
    #[must_use]
    pub fn rows(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let rows = self.members.iter().map(|m| (m.id.to_string().into_bytes(), m.json()));
        rows.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// Warnings about what is allowed but looks like a mistake.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let count = self.members.len();
        if count.is_multiple_of(2) {
            warnings.push(format!(
                "{count} members survive the loss of no more members than {} do: an odd number is \
                 better",
                count - 1
            ));
        }
        for member in self.members.iter().filter(|member| member.peer_urls.len() > 1) {
            warnings.push(format!(
                "member {} has {} peer URLs; if two members were meant, give them two names",
                member.name,
                member.peer_urls.len()
            ));
        }
        warnings
    }
}

/// The id of a cluster that began with these members, ids ascending (docs/etcd-formats.md 4.2).
pub(crate) fn cluster_id(first_members: &[MemberId]) -> ClusterId {
    let mut sha = Sha1::new();
    // Ids as big-endian numbers in ascending order, whatever order the flags had.
    first_members.iter().for_each(|id| sha.update(id.0.to_be_bytes()));
    ClusterId(first_u64(sha))
}

fn first_u64(sha: Sha1) -> u64 {
    let digest: [u8; 20] = sha.finalize().into();
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

/// Hostile text may be long; a sentence about it need not be.
fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(initial: &str, token: &str) -> NewCluster {
        NewCluster::new(InitialCluster::parse(initial).unwrap(), token).unwrap()
    }

    #[test]
    fn ids_are_those_that_etcdutl_computes() {
        let three = cluster(
            "c=http://10.0.0.3:2380,a=http://10.0.0.1:2380,b=http://10.0.0.2:2380",
            "tok-xyz",
        );
        let id = |name| three.member(name).unwrap().id.to_string();
        assert_eq!(id("a"), "614222aa6b90f72");
        assert_eq!(id("b"), "654860979e321125");
        assert_eq!(id("c"), "176678df30ca0773");
        assert_eq!(three.id().to_string(), "bad29c003648adfb");
        let ids: Vec<_> = three.members().iter().map(|m| m.id).collect();
        assert!(ids.is_sorted());
        let two_urls = cluster("a=http://10.0.0.9:2380,a=http://10.0.0.1:2380", "T");
        assert_eq!(two_urls.members()[0].id.to_string(), "f8835ec82e3f93fd");
    }

    #[test]
    fn the_member_row_is_what_etcd_writes() {
        let one = cluster("default=http://127.0.0.1:23201", "tag");
        let json = String::from_utf8(one.members()[0].json()).unwrap();
        let id = one.members()[0].id.0;
        assert_eq!(
            json,
            format!(r#"{{"id":{id},"peerURLs":["http://127.0.0.1:23201"],"name":"default"}}"#)
        );
        assert_eq!(
            String::from_utf8(one.conf_state_json()).unwrap(),
            format!(r#"{{"voters":[{id}],"auto_leave":false}}"#)
        );
    }

    #[test]
    fn mistakes_are_refused_with_their_rule() {
        let many: Vec<_> = (0..65).map(|i| format!("m{i}=http://h:{}", i + 1)).collect();
        let many = many.join(",");
        let cases = [
            ("", "no member"),
            (",,", "no member"),
            ("http://a:1", "NAME=URL"),
            ("a=", "scheme"),
            ("=http://a:1", "cannot be a member's name"),
            ("a/b=http://a:1", "cannot be a member's name"),
            ("..=http://a:1", "cannot be a member's name"),
            ("a=ftp://a:1", "scheme"),
            ("a=http://a", "no port"),
            ("a=http://a:", "port"),
            ("a=http://a:+1", "port"),
            ("a=http://a:0", "port"),
            ("a=http://a:65536", "port"),
            ("a=http://:1", "host"),
            ("a=http://a:1/", "path"),
            ("a=http://a:1?x", "query"),
            ("a=http://u@a:1", "user"),
            ("a=http://a:1,b=http://a:1", "twice"),
            ("a=http://a:1,b=http://b:1,a=http://c:1", "member a is given twice"),
            (many.as_str(), "more than 64 members"),
        ];
        for (text, rule) in cases {
            let error = InitialCluster::parse(text).unwrap_err().to_string();
            assert!(error.contains(rule), "{text:?}: {error}");
        }
        for token in ["", "a b", "a\n"] {
            let initial = InitialCluster::parse("a=http://a:1").unwrap();
            assert!(NewCluster::new(initial, token).is_err(), "{token:?}");
        }
    }

    #[test]
    fn odd_but_legal_membership_is_warned_about() {
        assert!(cluster("a=http://a:1", "t").warnings().is_empty());
        assert!(cluster("a=http://a:1,b=http://b:1", "t").warnings()[0].contains("odd number"));
        assert!(cluster("a=http://a:1,a=http://b:1", "t").warnings()[0].contains("2 peer URLs"));
    }

    #[test]
    fn listening_needs_an_address() {
        let listen = |url: &str| PeerUrl::parse(url).unwrap().listen();
        assert_eq!(listen("https://etcd-0.etcd:2380"), "https://0.0.0.0:2380");
        assert_eq!(listen("HTTP://10.0.0.1:2380"), "http://10.0.0.1:2380");
        assert_eq!(listen("http://[::1]:80"), "http://[::1]:80");
        assert_eq!(listen("unix://localhost:7"), "unix://localhost:7");
    }
}
