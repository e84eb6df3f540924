//! Text as names, places and keys of a repository.

use etcdr_repository::{
    Identities, Location, PublicKey, Recipients, SigningKey, SnapshotName, layout,
};
use etcdr_schemas::ClusterName;
use object_store::path::Path;

/// Parsing never panics. A location prints as text that parses to an equal location, and the key of
/// a manifest contains the id that is parsed from it.
pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = text.parse::<SnapshotName>();
    if let Ok(location) = text.parse::<Location>() {
        let shown = location.to_string();
        assert_eq!(shown.parse::<Location>().ok().as_ref(), Some(&location), "{shown}");
    }
    let cluster = ClusterName::default();
    let path = Path::from(text);
    if let Some(id) = layout::parse_manifest(&cluster, &path) {
        assert!(path.as_ref().contains(&id.to_string()));
    }
    let _ = layout::parse_signature(&cluster, &path);
    let _ = layout::parse_image(&cluster, text);
    let _ = Recipients::parse(&[text]);
    let _ = Identities::parse(text, "fuzz");
    let _ = PublicKey::parse(text, "fuzz");
    let _ = SigningKey::parse(text, "fuzz");
}
