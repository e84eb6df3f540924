//! Text as `--initial-cluster` and lists of URLs.

use etcdr_restore_engine::membership::{InitialCluster, MAX_MEMBERS, NewCluster, parse_urls};

/// An accepted value prints as text that parses to an equal value.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(cluster) = InitialCluster::parse(text) {
        assert!(cluster.names().count() <= MAX_MEMBERS);
        let again = InitialCluster::parse(&cluster.to_string()).expect("what we print");
        assert_eq!(again, cluster);
        let _ = NewCluster::new(cluster, "token");
    }
    if let Ok(urls) = parse_urls(text) {
        urls.iter().for_each(|url| assert!(!url.listen().is_empty()));
    }
}
