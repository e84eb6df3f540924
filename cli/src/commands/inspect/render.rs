//! Renders the report for people: sections with aligned columns, at most 100 wide where names allow
//! it.

use std::fmt::Write as _;

use etcdr_schemas::report::inspect::{
    BucketFacts, DigestState, Form, KeyFacts, MetaPage, PrefixFacts, Prefixes, Recovery, Space,
};
use etcdr_schemas::report::{InspectReport, Severity};

use crate::output::{bytes, table};

/// Characters of a prefix that are shown.
const PREFIX: usize = 48;

/// What to do about damage.
pub(super) fn next(report: &InspectReport) -> String {
    let other = report.recovery.as_ref().and_then(|left| left.other_meta.as_ref());
    match other.filter(|other| other.sound) {
        Some(other) => format!(
            "Meta page {} (transaction {}) leads to a sound tree: look with --meta {}. To restore, \
             use another snapshot.",
            other.page, other.txid, other.page
        ),
        None => {
            "Take a new snapshot now. To restore, use another one: `etcdr snapshot list`.".into()
        }
    }
}

/// The whole report.
pub(super) fn human(report: &InspectReport) -> String {
    let mut sections = vec![head(report)];
    sections.push(metas(&report.metas));
    if let Some(space) = &report.space {
        sections.push(self::space(space));
    }
    if !report.buckets.is_empty() {
        sections.push(buckets(&report.buckets));
    }
    if report.space.is_some() {
        sections.push(cluster(report));
    }
    sections.extend(report.keys.as_ref().map(|keys| self::keys(report, keys)));
    sections.extend(directory(report));
    sections.extend(report.prefixes.as_ref().map(prefixes));
    sections.extend(report.recovery.as_ref().map(recovery));
    sections.retain(|section| !section.is_empty());
    sections.join("\n\n")
}

/// Names on the left, values on the right.
#[derive(Default)]
struct Rows(String);

impl Rows {
    fn row(&mut self, name: &str, value: impl AsRef<str>) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<18}{}", value.as_ref());
    }

    fn end(self) -> String {
        self.0.trim_end().to_owned()
    }
}

fn head(report: &InspectReport) -> String {
    let mut rows = Rows::default();
    rows.row("subject", &report.subject);
    let form = match report.form {
        Form::SnapshotFile => "snapshot file",
        Form::RawDatabase => "raw database",
        Form::RepositoryImage => "image of the repository",
        Form::DataDirectory => "data directory",
    };
    let digest = match report.digest {
        DigestState::Matches => ", etcd's digest matches",
        DigestState::Differs => ", etcd's digest DOES NOT MATCH",
        DigestState::None => ", without a digest",
        DigestState::NotChecked => "",
    };
    rows.row(
        "form",
        format!("{form}, {} ({} bytes){digest}", bytes(report.file_size), report.file_size),
    );
    let damage = report.findings.iter().filter(|finding| finding.severity == Severity::Damage);
    let verdict = match damage.count() {
        0 => "sound".to_owned(),
        1 => "DAMAGED: 1 finding".to_owned(),
        count => format!("DAMAGED: {count} findings"),
    };
    rows.row("state", verdict);
    for finding in &report.findings {
        let severity = match finding.severity {
            Severity::Notice => "notice",
            Severity::Warning => "warning",
            Severity::Damage => "DAMAGE",
        };
        rows.row(severity, format!("{}: {}: {}", finding.code, finding.place, finding.message));
    }
    rows.end()
}

fn metas(metas: &[MetaPage]) -> String {
    let row = |meta: &MetaPage| {
        [
            meta.page.to_string(),
            yes(meta.valid).to_owned(),
            yes(meta.used).to_owned(),
            meta.txid.to_string(),
            meta.root.to_string(),
            or_dash(meta.freelist),
            meta.high_water_mark.to_string(),
            meta.page_size.to_string(),
        ]
    };
    let header = ["META", "VALID", "USED", "TXID", "ROOT", "FREELIST", "PAGES", "PAGE SIZE"];
    table(header, metas.iter().map(row).collect())
}

fn space(space: &Space) -> String {
    let mut rows = Rows::default();
    rows.row("size", format!("{} ({} bytes)", bytes(space.size), space.size));
    rows.row("in use", bytes(space.in_use));
    rows.row(
        "free",
        format!("{} ({} % fragmented)", bytes(space.free), space.fragmentation_percent),
    );
    rows.row("defragmented", format!("about {}", bytes(space.defragmented)));
    rows.row(
        "freelist",
        if space.freelist_stored { "stored" } else { "not stored, as etcd on Linux does" },
    );
    if space.behind > 0 {
        rows.row("behind it", format!("{} (grown ahead, or the digest)", bytes(space.behind)));
    }
    rows.end()
}

fn buckets(buckets: &[BucketFacts]) -> String {
    let row = |bucket: &BucketFacts| {
        let fill = format!("{} %", bucket.fill_percent);
        [
            bucket.name.clone(),
            bucket.rows.to_string(),
            bytes(bucket.key_bytes),
            bytes(bucket.value_bytes),
            if bucket.inline { "inline".to_owned() } else { bucket.depth.to_string() },
            bucket.leaf_pages.to_string(),
            bucket.branch_pages.to_string(),
            bucket.overflow_pages.to_string(),
            if bucket.inline { "-".to_owned() } else { fill },
        ]
    };
    let header =
        ["BUCKET", "ROWS", "KEYS", "VALUES", "DEPTH", "LEAVES", "BRANCHES", "OVERFLOW", "FILL"];
    table(header, buckets.iter().map(row).collect())
}

fn cluster(report: &InspectReport) -> String {
    let (cluster, raft, auth) = (&report.cluster, &report.raft, &report.auth);
    let mut rows = Rows::default();
    let from = match cluster.id_from.as_deref() {
        Some("members") => " (computed; right if these were the first members)".to_owned(),
        Some(from) => format!(" (from the {from})"),
        None => String::new(),
    };
    rows.row("cluster id", format!("{}{from}", or_dash(cluster.id)));
    rows.row("cluster version", or_dash(cluster.version.as_ref()));
    rows.row("storage version", or_dash(cluster.storage_version.as_ref()));
    if let Some(downgrade) = &cluster.downgrade {
        let state = if downgrade.enabled { "in progress" } else { "off" };
        rows.row(
            "downgrade",
            format!("to {}, {state}", or_dash(Some(&downgrade.target).filter(|t| !t.is_empty()))),
        );
    }
    for member in &cluster.members {
        let name = if member.name.is_empty() { "(not started)" } else { &member.name };
        let role = if member.learner { " learner" } else { "" };
        rows.row("member", format!("{} {name}{role} {}", member.id, member.peer_urls.join(",")));
    }
    if !cluster.removed.is_empty() {
        let ids: Vec<_> = cluster.removed.iter().map(ToString::to_string).collect();
        rows.row("removed members", ids.join(" "));
    }
    let index = raft.consistent_index.map(|index| index.0);
    rows.row(
        "raft",
        format!("index {}, term {}", or_dash(index), or_dash(raft.term.map(|term| term.0))),
    );
    rows.row("conf state", or_dash(raft.conf_state.as_ref()));
    let state = if auth.enabled { "ENABLED" } else { "off" };
    rows.row("auth", format!("{state}; users {}, roles {}", auth.users, auth.roles));
    for alarm in &report.alarms {
        rows.row("ALARM", format!("{} on member {}", alarm.kind, alarm.member_id));
    }
    rows.end()
}

fn keys(report: &InspectReport, keys: &KeyFacts) -> String {
    let mut rows = Rows::default();
    rows.row("revision", keys.revision.to_string());
    let compact = match (keys.compact_revision, keys.finished_compact_revision) {
        (None, _) => "never".to_owned(),
        (scheduled, finished) if scheduled == finished => format!("at {}", or_dash(finished)),
        (scheduled, finished) => {
            format!(
                "at {}, NOT FINISHED (last finished at {})",
                or_dash(scheduled),
                or_dash(finished)
            )
        }
    };
    rows.row("compacted", compact);
    let about = if keys.estimated { "about " } else { "" };
    rows.row("live keys", format!("{about}{}, {}", keys.live_keys, bytes(keys.live_bytes)));
    let all = format!("{} ({} of them deletions)", keys.revisions, keys.deletions);
    rows.row("all revisions", format!("{all}, {}", bytes(keys.bytes)));
    rows.row("largest row", bytes(keys.largest_row));
    if keys.malformed > 0 {
        rows.row("MALFORMED rows", keys.malformed.to_string());
    }
    let ttls = report.leases.by_ttl.iter().take(6);
    let ttls: Vec<_> = ttls.map(|ttl| format!("{} x {} s", ttl.count, ttl.ttl_seconds)).collect();
    let ttls = if ttls.is_empty() { String::new() } else { format!(" ({})", ttls.join(", ")) };
    rows.row("leases", format!("{}{ttls}", report.leases.count));
    if let Some(status) = &report.status {
        let live = or_dash(status.total_keys);
        rows.row(
            "snapshot status",
            format!(
                "hash {:x}, revision {}, total keys {} (3.6: {live}), size {}",
                status.hash, status.revision, status.total_rows, status.total_size
            ),
        );
    }
    rows.end()
}

fn directory(report: &InspectReport) -> Option<String> {
    let mut rows = Rows::default();
    if let Some(log) = &report.log {
        rows.row("log of member", format!("{} of cluster {}", log.member_id, log.cluster_id));
        let range = match (log.first_index, log.last_index) {
            (Some(first), Some(last)) => format!("{} to {}", first.0, last.0),
            _ => "none".to_owned(),
        };
        let s = if log.segments == 1 { "" } else { "s" };
        rows.row("log entries", format!("{range}, in {} file{s}", log.segments));
        rows.row("log state", format!("term {}, commit {}", log.term.0, log.commit.0));
        if let Some(at) = log.torn_at {
            rows.row("log torn", format!("at byte {at} of the last file"));
        }
    }
    if let Some(snap) = &report.raft_snapshot {
        let voters: Vec<_> = snap.voters.iter().map(ToString::to_string).collect();
        rows.row(
            "raft snapshot",
            format!("{} (index {}, term {})", snap.file, snap.index.0, snap.term.0),
        );
        rows.row("voters", voters.join(" "));
    }
    let text = rows.end();
    (!text.is_empty()).then_some(text)
}

fn prefixes(prefixes: &Prefixes) -> String {
    let row = |prefix: &PrefixFacts| {
        let name = if prefix.prefix.is_empty() { "(none)" } else { &prefix.prefix };
        let mut shown: String = name.chars().take(PREFIX).collect();
        if shown.len() < name.len() {
            shown.push('…');
        }
        [
            shown,
            prefix.live_keys.to_string(),
            bytes(prefix.live_bytes),
            prefix.revisions.to_string(),
            bytes(prefix.bytes),
        ]
    };
    let show = |title, list: &[PrefixFacts]| {
        let header = [title, "LIVE KEYS", "LIVE BYTES", "REVISIONS", "BYTES"];
        table(header, list.iter().map(row).collect())
    };
    let mut text = show("PREFIX (BY BYTES)", &prefixes.by_bytes);
    let names =
        |list: &[PrefixFacts]| list.iter().map(|one| one.prefix.clone()).collect::<Vec<_>>();
    if names(&prefixes.by_count) != names(&prefixes.by_bytes) {
        text = format!("{text}\n\n{}", show("PREFIX (BY REVISIONS)", &prefixes.by_count));
    }
    let hidden = prefixes.count.saturating_sub(prefixes.by_bytes.len() as u64);
    if hidden > 0 {
        text = format!("{text}\n({hidden} more; --top shows more)");
    }
    if let Some(others) = &prefixes.others {
        text = format!(
            "{text}\n({} revisions have prefixes that were not told apart)",
            others.revisions
        );
    }
    text
}

fn recovery(left: &Recovery) -> String {
    let mut rows = Rows::default();
    rows.row("rows read", left.rows_read.to_string());
    rows.row("parts lost", left.lost_parts.to_string());
    if left.stray_pages > 0 {
        let newest = left
            .newest_stray_revision
            .map_or_else(String::new, |newest| format!(", up to revision {newest}"));
        rows.row(
            "stray pages",
            format!(
                "{} that no tree reaches, with {} revisions on them{newest} (old copies included)",
                left.stray_pages, left.stray_revisions
            ),
        );
    }
    if !left.stray_roots.is_empty() {
        let pages: Vec<_> = left.stray_roots.iter().map(ToString::to_string).collect();
        rows.row("possible roots", format!("pages {}", pages.join(", ")));
    }
    if let Some(other) = &left.other_meta {
        let state = if other.sound { "sound" } else { "damaged too" };
        rows.row(
            "other meta page",
            format!(
                "{} (transaction {}): {state}, {} rows",
                other.page, other.txid, other.rows_read
            ),
        );
    }
    rows.end()
}

const fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}
