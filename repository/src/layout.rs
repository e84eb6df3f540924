//! Every key of a repository is built and parsed here, and nowhere else.
//!
//! Keys are relative to the repository's root. A cluster's name is one harmless path segment and an
//! id is fixed text, so that no key can leave the root.

use chrono::{DateTime, NaiveDateTime, Utc};
use etcdr_schemas::manifest::Codec;
use etcdr_schemas::{AuditId, ClusterName, SnapshotId};
use object_store::path::Path;

/// The object that makes a prefix a repository.
pub const REPOSITORY: &str = "etcdr.json";

/// Key of a snapshot's manifest: the commit point.
#[must_use]
pub fn manifest(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/manifests/{id}.json"))
}

/// Key of the signature of a snapshot's manifest.
#[must_use]
pub fn signature(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/manifests/{id}.json.minisig"))
}

/// Prefix under which all manifests of a cluster are.
#[must_use]
pub fn manifests(cluster: &ClusterName) -> Path {
    Path::from(format!("{cluster}/manifests"))
}

/// Key of an image that is complete; its suffixes say how it is packed.
#[must_use]
pub fn image(cluster: &ClusterName, id: &SnapshotId, codec: &Codec) -> Path {
    Path::from(format!("{cluster}/images/{id}{}", suffix(codec)))
}

/// Key of an image that is still being written. Its final key needs the revision, which is known
/// only after the last byte.
#[must_use]
pub fn staging(cluster: &ClusterName, started_at: DateTime<Utc>, nonce: u32) -> Path {
    let time = started_at.format("%Y%m%dT%H%M%SZ");
    Path::from(format!("{cluster}/images/{time}-{nonce:08x}.part"))
}

fn suffix(codec: &Codec) -> &'static str {
    match (codec.compression.is_some(), codec.encryption.is_some()) {
        (false, false) => ".db",
        (true, false) => ".db.zst",
        (false, true) => ".db.age",
        (true, true) => ".db.zst.age",
    }
}

/// The id in a manifest's key; `None` for signatures and for whatever else lies there.
#[must_use]
pub fn parse_manifest(cluster: &ClusterName, key: &Path) -> Option<SnapshotId> {
    let rest = key.as_ref().strip_prefix(cluster.as_str())?;
    rest.strip_prefix("/manifests/")?.strip_suffix(".json")?.parse().ok()
}

/// The id in the key of a manifest's signature.
#[must_use]
pub fn parse_signature(cluster: &ClusterName, key: &Path) -> Option<SnapshotId> {
    let rest = key.as_ref().strip_prefix(cluster.as_str())?;
    rest.strip_prefix("/manifests/")?.strip_suffix(".json.minisig")?.parse().ok()
}

/// The key that a manifest names, refused unless it is one of this cluster's images: a manifest
/// must not make a reader or a deleter touch anything else.
#[must_use]
pub fn parse_image(cluster: &ClusterName, key: &str) -> Option<Path> {
    let rest = key.strip_prefix(cluster.as_str())?.strip_prefix("/images/")?;
    let harmless = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plain = !rest.is_empty() && rest.len() <= 200 && rest.chars().all(harmless);
    (plain && rest != "." && rest != "..").then(|| Path::from(key))
}

/// Prefix of everything that belongs to a cluster.
#[must_use]
pub fn cluster(cluster: &ClusterName) -> Path {
    Path::from(cluster.as_str())
}

/// Prefix of the reports of a cluster's audits.
#[must_use]
pub fn audit_reports(cluster: &ClusterName) -> Path {
    Path::from(format!("{cluster}/reports/audits"))
}

/// Key of one report of an audit.
#[must_use]
pub fn audit_report(cluster: &ClusterName, report: ReportName) -> Path {
    Path::from(format!("{cluster}/reports/audits/{report}.json"))
}

/// Key of the signature of a report of an audit.
#[must_use]
pub fn audit_signature(cluster: &ClusterName, report: ReportName) -> Path {
    Path::from(format!("{cluster}/reports/audits/{report}.json.minisig"))
}

/// Prefix of the holds of a cluster.
#[must_use]
pub fn holds(cluster: &ClusterName) -> Path {
    Path::from(format!("{cluster}/holds"))
}

/// Key of the hold of a snapshot.
#[must_use]
pub fn hold(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/holds/{id}.json"))
}

/// Key of what is noted of a snapshot when it is deleted: its manifest, until its image is gone
/// too.
#[must_use]
pub fn tombstone(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/deleted/{id}.json"))
}

/// Key of the signature of a manifest that was deleted.
#[must_use]
pub fn tombstone_signature(cluster: &ClusterName, id: &SnapshotId) -> Path {
    Path::from(format!("{cluster}/deleted/{id}.json.minisig"))
}

/// Prefix of the ledger of deleted snapshots.
#[must_use]
pub fn ledger(cluster: &ClusterName) -> Path {
    Path::from(format!("{cluster}/pruned"))
}

/// Key of one page of the ledger. `nonce` distinguishes pages of the same second.
#[must_use]
pub fn ledger_page(cluster: &ClusterName, written_at: DateTime<Utc>, nonce: u32) -> Path {
    let time = written_at.format(TICK);
    Path::from(format!("{cluster}/pruned/{time}-{nonce:08x}.json"))
}

/// Whether a key is that of a page of the ledger: what [`ledger_page`] builds.
#[must_use]
pub fn is_ledger_page(cluster: &ClusterName, key: &Path) -> bool {
    let rest = key.as_ref().strip_prefix(cluster.as_str());
    let name = rest.and_then(|rest| rest.strip_prefix("/pruned/")?.strip_suffix(".json"));
    name.is_some_and(|name| name.parse::<AuditId>().is_ok())
}

/// Prefix of all claims of a cluster.
#[must_use]
pub fn all_claims(cluster: &ClusterName) -> Path {
    Path::from(format!("{cluster}/claims"))
}

/// Prefix of all claims of one schedule.
#[must_use]
pub fn schedule_claims(cluster: &ClusterName, schedule: &str) -> Path {
    Path::from(format!("{cluster}/claims/{schedule}"))
}

/// Prefix of the claims of one tick of a schedule. The schedule's name is one harmless segment.
#[must_use]
pub fn claims(cluster: &ClusterName, schedule: &str, tick: DateTime<Utc>) -> Path {
    Path::from(format!("{cluster}/claims/{schedule}/{}", tick.format(TICK)))
}

/// Key of one claim, by its number from 0.
#[must_use]
pub fn claim(cluster: &ClusterName, schedule: &str, tick: DateTime<Utc>, number: u32) -> Path {
    let claims = claims(cluster, schedule, tick);
    Path::from(format!("{claims}/{number:04}.json"))
}

/// The number in the key of a claim.
#[must_use]
pub fn claim_number(key: &Path) -> Option<u32> {
    let digits = key.filename()?.strip_suffix(".json")?;
    let plain = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// How the time of a tick is written in a key.
const TICK: &str = "%Y%m%dT%H%M%SZ";

/// The tick in the prefix of its claims.
#[must_use]
pub fn claimed_tick(claims: &Path) -> Option<DateTime<Utc>> {
    NaiveDateTime::parse_from_str(claims.filename()?, TICK).ok().map(|time| time.and_utc())
}

/// Schedule and tick in the key of a claim.
#[must_use]
pub fn parse_claim<'a>(cluster: &ClusterName, key: &'a Path) -> Option<(&'a str, DateTime<Utc>)> {
    let rest = key.as_ref().strip_prefix(cluster.as_str())?.strip_prefix("/claims/")?;
    let mut parts = rest.split('/');
    let (schedule, tick, name) = (parts.next()?, parts.next()?, parts.next()?);
    let number = name.strip_suffix(".json")?;
    let numbered = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    if parts.next().is_some() || schedule.is_empty() || !numbered {
        return None;
    }
    let time = NaiveDateTime::parse_from_str(tick, TICK).ok()?.and_utc();
    Some((schedule, time))
}

/// The id in the key of a hold.
#[must_use]
pub fn parse_hold(cluster: &ClusterName, key: &Path) -> Option<SnapshotId> {
    let rest = key.as_ref().strip_prefix(cluster.as_str())?;
    rest.strip_prefix("/holds/")?.strip_suffix(".json")?.parse().ok()
}

/// Whether an image is in flight by its key: what [`staging`] builds.
#[must_use]
pub fn is_staging(key: &str) -> bool {
    key.strip_suffix(".part").is_some_and(|rest| {
        rest.rsplit('/').next().is_some_and(|name| name.parse::<AuditId>().is_ok())
    })
}

/// Which report of which audit. Sorting sorts by the start of the audit, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReportName {
    /// The audit.
    pub audit: AuditId,
    /// The number of the report, from 1.
    pub sequence: u32,
}

impl ReportName {
    /// Most reports of one audit.
    pub const MOST: u32 = 9_999;
}

impl std::fmt::Display for ReportName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{:04}", self.audit, self.sequence)
    }
}

impl std::str::FromStr for ReportName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (audit, sequence) = text.rsplit_once('-').ok_or(())?;
        let name = Self {
            audit: audit.parse().map_err(|_| ())?,
            sequence: sequence.parse().map_err(|_| ())?,
        };
        // Only the canonical spelling: one report, one key.
        (name.to_string() == text && (1..=Self::MOST).contains(&name.sequence))
            .then_some(name)
            .ok_or(())
    }
}

/// What a key under a cluster's prefix is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A manifest.
    Manifest(SnapshotId),
    /// The signature of a manifest.
    Signature(SnapshotId),
    /// An image, in flight or complete.
    Image,
    /// A report of an audit.
    AuditReport(ReportName),
    /// The signature of one.
    AuditSignature(ReportName),
    /// The hold of a snapshot.
    Hold(SnapshotId),
    /// A claim of a tick.
    Claim,
    /// What is noted of a snapshot that was deleted.
    Tombstone(SnapshotId),
    /// The signature of a manifest that was deleted.
    TombstoneSignature(SnapshotId),
    /// A page of the ledger of deleted snapshots.
    LedgerPage,
    /// What other parts of the format keep there.
    Reserved,
    /// Nothing of this format.
    Unknown,
}

/// Folders of a cluster that belong to the format and whose keys are not parsed here.
const RESERVED: [&str; 4] = ["deltas/", "claims/", "holds/", "reports/drills/"];

/// What a key under a cluster's prefix is.
#[must_use]
pub fn classify(cluster: &ClusterName, key: &Path) -> KeyKind {
    let within = key.as_ref().strip_prefix(cluster.as_str());
    let Some(rest) = within.and_then(|rest| rest.strip_prefix('/')) else {
        return KeyKind::Unknown;
    };
    if let Some(id) = parse_manifest(cluster, key) {
        return KeyKind::Manifest(id);
    }
    if let Some(id) = parse_signature(cluster, key) {
        return KeyKind::Signature(id);
    }
    if rest.starts_with("images/") && parse_image(cluster, key.as_ref()).is_some() {
        return if image_of(rest).is_some() || is_staging(rest) {
            KeyKind::Image
        } else {
            KeyKind::Unknown
        };
    }
    if let Some(name) = rest.strip_prefix("reports/audits/") {
        let report = name.strip_suffix(".json").and_then(|name| name.parse().ok());
        let signature = name.strip_suffix(".json.minisig").and_then(|name| name.parse().ok());
        return report
            .map(KeyKind::AuditReport)
            .or(signature.map(KeyKind::AuditSignature))
            .unwrap_or(KeyKind::Unknown);
    }
    if let Some(name) = rest.strip_prefix("deleted/") {
        let manifest = name.strip_suffix(".json").and_then(|name| name.parse().ok());
        let signature = name.strip_suffix(".json.minisig").and_then(|name| name.parse().ok());
        return manifest
            .map(KeyKind::Tombstone)
            .or(signature.map(KeyKind::TombstoneSignature))
            .unwrap_or(KeyKind::Unknown);
    }
    if let Some(id) = parse_hold(cluster, key) {
        return KeyKind::Hold(id);
    }
    if parse_claim(cluster, key).is_some() {
        return KeyKind::Claim;
    }
    if is_ledger_page(cluster, key) {
        return KeyKind::LedgerPage;
    }
    match RESERVED.iter().any(|folder| rest.starts_with(folder)) {
        true => KeyKind::Reserved,
        false => KeyKind::Unknown,
    }
}

/// The snapshot that a complete image belongs to, by its key.
#[must_use]
pub fn image_of(key: &str) -> Option<SnapshotId> {
    let (id, suffixes) = key.rsplit('/').next()?.split_once('.')?;
    let known = matches!(suffixes, "db" | "db.zst" | "db.age" | "db.zst.age");
    known.then(|| id.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use etcdr_schemas::Revision;
    use etcdr_schemas::manifest::{Compression, Encryption};

    use super::*;

    fn id() -> SnapshotId {
        "20261122T070000Z-r00000000000000012345-1a2b3c4d".parse().unwrap()
    }

    #[test]
    fn keys_are_those_of_the_design() {
        let cluster = ClusterName::default();
        let codec = Codec {
            compression: Some(Compression::Zstd { level: 3, frame_size: 4 << 20 }),
            encryption: Some(Encryption::Age { recipients: vec![] }),
        };
        let id = id();
        assert_eq!(
            image(&cluster, &id, &codec).as_ref(),
            "default/images/20261122T070000Z-r00000000000000012345-1a2b3c4d.db.zst.age"
        );
        assert_eq!(
            signature(&cluster, &id).as_ref(),
            "default/manifests/20261122T070000Z-r00000000000000012345-1a2b3c4d.json.minisig"
        );
        assert_eq!(
            staging(&cluster, id.time(), 7).as_ref(),
            "default/images/20261122T070000Z-00000007.part"
        );
    }

    #[test]
    fn claims_are_parsed_as_they_are_built() {
        let (cluster, tick) = (ClusterName::default(), id().time());
        let key = claim(&cluster, "hourly", tick, 12);
        assert_eq!(key.as_ref(), "default/claims/hourly/20261122T070000Z/0012.json");
        assert!(key.prefix_matches(&claims(&cluster, "hourly", tick)));
        assert_eq!(parse_claim(&cluster, &key), Some(("hourly", tick)));
        assert_eq!(claimed_tick(&claims(&cluster, "hourly", tick)), Some(tick));
        assert_eq!(claimed_tick(&schedule_claims(&cluster, "hourly")), None);
        for stranger in [
            "default/claims/hourly/20261122T070000Z/x.json",
            "default/claims/hourly/20261122/0001.json",
            "default/claims/a/b/20261122T070000Z/0001.json",
            "other/claims/hourly/20261122T070000Z/0001.json",
        ] {
            assert_eq!(parse_claim(&cluster, &Path::from(stranger)), None, "{stranger}");
        }
    }

    #[test]
    fn manifests_round_trip_and_strangers_do_not_parse() {
        let cluster: ClusterName = "prod-eu".parse().unwrap();
        let id = SnapshotId::new(id().time(), Revision(9), 1);
        assert_eq!(parse_manifest(&cluster, &manifest(&cluster, &id)), Some(id));
        assert_eq!(parse_manifest(&cluster, &signature(&cluster, &id)), None);
        assert_eq!(parse_manifest(&ClusterName::default(), &manifest(&cluster, &id)), None);
        assert_eq!(parse_manifest(&cluster, &Path::from("prod-eu/manifests/x.json")), None);
    }

    #[test]
    fn an_image_key_cannot_leave_its_cluster() {
        let cluster = ClusterName::default();
        assert!(parse_image(&cluster, "default/images/a.db.zst").is_some());
        let hostile = [
            "default/images/",
            "default/images/..",
            "default/images/../manifests/x",
            "default/manifests/x.json",
            "other/images/a.db",
            "/etc/passwd",
            "default/images/a%2Fb",
        ];
        for key in hostile {
            assert!(parse_image(&cluster, key).is_none(), "{key}");
        }
    }

    #[test]
    fn every_key_that_is_built_is_recognised_as_its_kind() {
        let cluster: ClusterName = "prod-eu".parse().unwrap();
        let report = ReportName { audit: AuditId::new(id().time(), 7), sequence: 12 };
        let audits = "prod-eu/reports/audits/20261122T070000Z-00000007-0012.json";
        assert_eq!(audit_report(&cluster, report).as_ref(), audits);
        let built = [
            (manifest(&cluster, &id()), KeyKind::Manifest(id())),
            (signature(&cluster, &id()), KeyKind::Signature(id())),
            (image(&cluster, &id(), &Codec::default()), KeyKind::Image),
            (staging(&cluster, id().time(), 7), KeyKind::Image),
            (audit_report(&cluster, report), KeyKind::AuditReport(report)),
            (audit_signature(&cluster, report), KeyKind::AuditSignature(report)),
            (hold(&cluster, &id()), KeyKind::Hold(id())),
            (claim(&cluster, "hourly", id().time(), 1), KeyKind::Claim),
            (tombstone(&cluster, &id()), KeyKind::Tombstone(id())),
            (tombstone_signature(&cluster, &id()), KeyKind::TombstoneSignature(id())),
            (ledger_page(&cluster, id().time(), 7), KeyKind::LedgerPage),
            (Path::from("prod-eu/holds/x"), KeyKind::Reserved),
            (Path::from("prod-eu/claims/hourly/20261122T070000Z/1.json"), KeyKind::Reserved),
        ];
        for (key, expected) in built {
            assert_eq!(classify(&cluster, &key), expected, "{key}");
            assert_eq!(classify(&ClusterName::default(), &key), KeyKind::Unknown, "{key}");
        }
        let unknown_keys = [
            "prod-eu/README",
            "prod-eu/images/ransom.txt",
            "prod-eu/images/x.part",
            "prod-eu/manifests/x.json",
            "prod-eu/reports/audits/20261122T070000Z-00000007-12.json",
            "prod-eu/reports/audits/20261122T070000Z-00000007-0000.json",
            "prod-eu/reports/audits/x.json",
            "prod-eu/reports/other/x",
            "prod-eu/deleted/x.json",
            "prod-eu/pruned/x.json",
            "prod-eu/pruned/20261122T070000Z-00000007.json.minisig",
            "prod-eux/holds/x",
        ];
        for key in unknown_keys {
            assert_eq!(classify(&cluster, &Path::from(key)), KeyKind::Unknown, "{key}");
        }
        let own = image(&cluster, &id(), &Codec::default());
        assert_eq!(image_of(own.as_ref()), Some(id()));
        assert!(is_staging(staging(&cluster, id().time(), 7).as_ref()));
        assert!(!is_staging(own.as_ref()));
    }
}
