//! Planning a restore: what will be done, decided before anything is touched.
//!
//! A plan is pure. It knows no file system, no clock and no randomness; the same request gives the
//! same plan, which is what `--dry-run` prints and what [`crate::restore`] carries out to the
//! letter.

mod bump;
mod selection;
mod source;
mod versions;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use chrono::{DateTime, Utc};
use etcdr_schemas::TargetVersion;
use etcdr_schemas::report::{PlannedMember, RestorePlan};

pub use bump::{Bump, DEFAULT_BUMP_MARGIN};
pub use selection::Selection;
pub(crate) use versions::known;

use crate::error::{Error, Result};
use crate::format::membership::{InitialCluster, NewCluster, PeerUrl};
use crate::kubernetes;
use crate::stream::Source;

/// Bytes that a member needs beside its database: etcd allocates its next log segment of 64 MB at
/// its first start, and a directory in which it cannot is no restored member.
pub const SLACK_PER_MEMBER: u64 = 128 << 20;

/// The version that directories are written for unless another is asked for. Every later one boots
/// them: it raises cluster and storage version by itself within seconds.
pub const DEFAULT_TARGET: TargetVersion = TargetVersion::V3_4;

/// etcd's own default token. It gives a restored cluster the ids of the cluster that was lost.
const STOCK_TOKEN: &str = "etcd-cluster";

/// One member whose directories are to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name in the initial cluster.
    pub name: String,
    /// Its data directory: absent or empty, or moved aside with `replace`.
    pub data_dir: PathBuf,
    /// Directory of its log, when that is not `member/wal` in the data directory.
    pub wal_dir: Option<PathBuf>,
    /// What `--initial-advertise-peer-urls` said, to be held against the initial cluster.
    pub advertise: Option<Vec<PeerUrl>>,
}

/// What a restore is asked to do.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// What is restored.
    pub source: Source,
    /// All members of the new cluster.
    pub initial_cluster: InitialCluster,
    /// The new cluster's token. Fresh and random unless the caller's user insists on one.
    pub token: String,
    /// The members that this run writes.
    pub targets: Vec<Target>,
    /// The etcd minor that will start them; [`DEFAULT_TARGET`] suits all.
    pub target_version: Option<TargetVersion>,
    /// How far to raise the revision.
    pub bump: Bump,
    /// Whether everything before the bump is marked as compacted; required with a bump by a number,
    /// and not allowed without a bump.
    pub mark_compacted: bool,
    /// Whether what is in the way is moved aside.
    pub replace: bool,
    /// Whether etcd's digest of the snapshot is taken as it comes.
    pub skip_hash_check: bool,
    /// Whether alarms of the source stay raised.
    pub keep_alarms: bool,
    /// What of the source is restored.
    pub selection: Selection,
    /// The time, for the names of what is moved aside and of stages.
    pub now: DateTime<Utc>,
}

/// A restore that is decided.
#[derive(Debug, Clone)]
pub struct Plan {
    /// For people and for `--output json`.
    pub report: RestorePlan,
    pub(crate) source: Source,
    pub(crate) cluster: NewCluster,
    pub(crate) targets: Vec<Target>,
    pub(crate) target_version: TargetVersion,
    pub(crate) replace: bool,
    pub(crate) skip_hash_check: bool,
    pub(crate) keep_alarms: bool,
    pub(crate) now: DateTime<Utc>,
}

impl Plan {
    /// Part of the names of stages and of what is moved aside.
    #[must_use]
    pub fn stamp(&self) -> String {
        self.now.format("%Y%m%dT%H%M%SZ").to_string()
    }
}

/// Decides a restore.
///
/// # Errors
/// [`Error::Request`] for a request that contradicts itself: a member that is not in the initial
/// cluster or has other URLs there, directories inside one another, half a bump, a revision that
/// would overflow, a selection that excludes itself. [`Error::Newer`] for a source of an etcd that
/// is not known here.
pub fn plan(request: RestoreRequest) -> Result<Plan> {
    let cluster = NewCluster::new(request.initial_cluster.clone(), &request.token)?;
    check_targets(&cluster, &request.targets)?;
    let facts = &request.source.facts;
    let bump = request.bump.resolve(facts.revision, request.mark_compacted)?;
    let target_version = request.target_version.unwrap_or(DEFAULT_TARGET);
    versions::check(facts)?;
    let rebuild = request.selection.resolve(request.now)?;
    let bytes_per_member = facts.db_size.saturating_add(SLACK_PER_MEMBER);
    let profile = rebuild.as_ref().is_some_and(|rebuild| rebuild.kubernetes);
    let checklist = profile.then(|| kubernetes::checklist(None, bump.is_some()));
    let mut report = RestorePlan {
        source: request.source.label.clone(),
        revision: facts.revision,
        target_version,
        cluster_token: cluster.token().to_owned(),
        cluster_id: cluster.id(),
        members: planned_members(&cluster, &request.targets),
        bump,
        steps: Vec::new(),
        bytes_per_member,
        warnings: Vec::new(),
        notes: Vec::new(),
        rebuild,
        checklist: checklist.unwrap_or_default(),
    };
    report.steps = steps(&report, &request);
    report.warnings = cluster.warnings();
    report.warnings.extend(request.source.warnings(request.keep_alarms));
    report.notes = request.source.notes(request.skip_hash_check);
    report.notes.extend(notes(&report, &cluster));
    Ok(Plan {
        report,
        source: request.source,
        cluster,
        targets: request.targets,
        target_version,
        replace: request.replace,
        skip_hash_check: request.skip_hash_check,
        keep_alarms: request.keep_alarms,
        now: request.now,
    })
}

fn check_targets(cluster: &NewCluster, targets: &[Target]) -> Result<()> {
    if targets.is_empty() {
        return Err(Error::request("there is no member to write".to_owned()));
    }
    let mut names = BTreeSet::new();
    for target in targets {
        let member = cluster.member(&target.name).ok_or_else(|| {
            let names: Vec<_> = cluster.initial().names().collect();
            Error::request(format!(
                "member {} is not in the initial cluster, which has {}",
                target.name,
                names.join(", ")
            ))
        })?;
        if !names.insert(&target.name) {
            return Err(Error::request(format!("member {} is to be written twice", target.name)));
        }
        match &target.advertise {
            Some(urls) if *urls != member.peer_urls => {
                return Err(Error::request(format!(
                    "the peer URLs that member {} advertises are not those that the initial \
                     cluster gives it ({})",
                    target.name,
                    member.url_texts().join(",")
                )));
            }
            _ => {}
        }
    }
    check_directories(targets)
}

/// No directory of a restore may lie in another, except a WAL directory in its own data directory.
fn check_directories(targets: &[Target]) -> Result<()> {
    let mut dirs: Vec<(usize, bool, &Path)> = Vec::new();
    for (number, target) in targets.iter().enumerate() {
        dirs.push((number, false, &target.data_dir));
        dirs.extend(target.wal_dir.iter().map(|dir| (number, true, dir.as_path())));
    }
    for (_, _, dir) in &dirs {
        if !matches!(dir.components().next_back(), Some(Component::Normal(_))) {
            return Err(Error::request(format!(
                "{} cannot be a target: it must end with a directory's name",
                dir.display()
            )));
        }
    }
    for (a, a_is_wal, inner) in &dirs {
        for (b, b_is_wal, outer) in &dirs {
            let same = a == b && a_is_wal == b_is_wal;
            let own_wal = a == b && *a_is_wal && inner != outer;
            if !same && !own_wal && inner.starts_with(outer) {
                return Err(Error::request(format!(
                    "{} lies in {}, and both are to be written",
                    inner.display(),
                    outer.display()
                )));
            }
        }
    }
    Ok(())
}

fn planned_members(cluster: &NewCluster, targets: &[Target]) -> Vec<PlannedMember> {
    let text = |path: &Path| path.display().to_string();
    let member = |member: &crate::format::membership::Member| {
        let target = targets.iter().find(|target| target.name == member.name);
        PlannedMember {
            name: member.name.clone(),
            id: member.id,
            peer_urls: member.url_texts(),
            data_dir: target.map(|target| text(&target.data_dir)),
            wal_dir: target.and_then(|target| target.wal_dir.as_deref()).map(text),
        }
    };
    cluster.members().iter().map(member).collect()
}

fn steps(report: &RestorePlan, request: &RestoreRequest) -> Vec<String> {
    let source = &request.source;
    let written: Vec<_> = report.members.iter().filter_map(|m| m.data_dir.as_deref()).collect();
    let mut steps = vec![
        format!("Stage beside {}.", written.join(", ")),
        format!(
            "Write the database of {} bytes at revision {} while checking {}.",
            source.facts.db_size,
            report.revision,
            source.checked_by()
        ),
        format!(
            "Replace the membership by {} new member(s) of cluster {} (token {}); set raft term 1, \
             index {}.",
            report.members.len(),
            report.cluster_id,
            report.cluster_token,
            report.members.len()
        ),
        versions::step(&source.facts, report.target_version),
        if request.keep_alarms { "Keep alarms as they are." } else { "Clear alarms." }.to_owned(),
    ];
    if let Some(bump) = &report.bump {
        steps.push(format!(
            "Raise the revision by {} to {} and mark all before it as compacted: {}.",
            bump.by, bump.to, bump.reason
        ));
    }
    steps.extend(report.rebuild.iter().flat_map(selection::steps));
    steps.push("Give leases that keys name and the source lacks a row of ten years.".to_owned());
    steps.push("Write log and raft snapshot of each member.".to_owned());
    steps.push("Check the page graph, log and raft snapshot; compute HashKV.".to_owned());
    if request.replace {
        steps.push("Move aside what is in the way.".to_owned());
    }
    steps.push("Sync everything, then rename it into place; write the receipt.".to_owned());
    steps
}

/// Consequences of the request that the user may not expect.
fn notes(report: &RestorePlan, cluster: &NewCluster) -> Vec<String> {
    let mut notes = Vec::new();
    if report.bump.is_none() {
        notes.push(
            "The revision is not raised: clients that saw later revisions of the lost cluster may \
             wait for them in silence. Restart them all, Kubernetes' control plane included."
                .to_owned(),
        );
    }
    notes.extend(report.rebuild.iter().flat_map(selection::notes));
    if cluster.token() == STOCK_TOKEN {
        notes.push(
            "The token is etcd's default: members of the lost cluster that come back may be taken \
             for peers of this one. Use a fresh token."
                .to_owned(),
        );
    }
    let elsewhere: Vec<_> =
        report.members.iter().filter(|m| m.data_dir.is_none()).map(|m| m.name.as_str()).collect();
    if !elsewhere.is_empty() {
        let bump = report.bump.as_ref().map_or("--bump-revision 0".to_owned(), |bump| {
            format!("--bump-revision {} --mark-compacted", bump.by)
        });
        let content = report.rebuild.as_ref().map(selection::flags);
        let content = content.map_or_else(String::new, |flags| format!(" {flags}"));
        notes.push(format!(
            "This run does not write {}: restore the same snapshot there with \
             --initial-cluster-token {} {bump}{content}, or the members will not agree.",
            elsewhere.join(", "),
            report.cluster_token
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use etcdr_schemas::Revision;

    use super::*;
    use crate::format::facts::ImageFacts;
    use crate::stream::Form;

    fn source() -> Source {
        let facts = ImageFacts {
            page_size: 4096,
            db_size: 20480,
            revision: Revision(13),
            compact_revision: None,
            scheduled_compact: None,
            finished_compact: None,
            last_row: Some(Revision(13)),
            raft_index: None,
            raft_term: None,
            storage_version: None,
        };
        Source {
            label: "test".into(),
            facts,
            form: Form::Snapshot,
            alarms: Vec::new(),
            expected: None,
        }
    }

    fn target(name: &str, dir: &str) -> Target {
        Target { name: name.into(), data_dir: dir.into(), wal_dir: None, advertise: None }
    }

    fn request(initial: &str, targets: Vec<Target>) -> RestoreRequest {
        RestoreRequest {
            source: source(),
            initial_cluster: InitialCluster::parse(initial).unwrap(),
            token: "fresh".into(),
            targets,
            target_version: None,
            bump: Bump::Auto { highest_seen: Some(Revision(20)), margin: DEFAULT_BUMP_MARGIN },
            mark_compacted: false,
            replace: false,
            skip_hash_check: false,
            keep_alarms: false,
            selection: Selection::default(),
            now: Utc.with_ymd_and_hms(2026, 11, 22, 7, 0, 0).unwrap(),
        }
    }

    fn refused(request: RestoreRequest) -> String {
        plan(request).unwrap_err().to_string()
    }

    const THREE: &str = "a=http://a:1,b=http://b:1,c=http://c:1";

    #[test]
    fn a_plan_says_what_will_happen() {
        let request = request(THREE, vec![target("b", "/x/b")]);
        let plan = plan(request.clone()).unwrap();
        let bump = plan.report.bump.clone().unwrap();
        assert_eq!((bump.to, bump.by), (Revision(1_000_000_020), 1_000_000_007));
        assert_eq!(plan.report.bytes_per_member, 20480 + SLACK_PER_MEMBER);
        assert!(plan.report.notes.iter().any(|note| note.contains("does not write")
            && note.contains("--bump-revision 1000000007 --mark-compacted")));
        assert!(plan.report.warnings.is_empty());
        assert_eq!(plan.report, super::plan(request).unwrap().report);
        assert_eq!(plan.stamp(), "20261122T070000Z");
    }

    #[test]
    fn requests_that_contradict_themselves_are_refused() {
        let urls = |text: &str| Some(crate::format::membership::parse_urls(text).unwrap());
        assert!(refused(request(THREE, vec![])).contains("no member to write"));
        assert!(refused(request(THREE, vec![target("d", "/x")])).contains("which has a, b, c"));
        let twice = vec![target("a", "/x/a"), target("a", "/x/b")];
        assert!(refused(request(THREE, twice)).contains("twice"));
        let other = Target { advertise: urls("http://z:1"), ..target("a", "/x") };
        assert!(refused(request(THREE, vec![other])).contains("advertises"));
        let same = Target { advertise: urls("http://a:1"), ..target("a", "/x") };
        assert!(plan(request(THREE, vec![same])).is_ok());
    }

    #[test]
    fn directories_may_not_lie_in_one_another() {
        let cases = [("/x", "/x"), ("/x", "/x/b"), ("/x/b/c", "/x"), ("/", "/y"), ("/x/..", "/y")];
        for (a, b) in cases {
            let error = refused(request(THREE, vec![target("a", a), target("b", b)]));
            assert!(error.contains("target") || error.contains("lies in"), "{a} {b}: {error}");
        }
        let wal = |dir: &str, wal: &str| {
            plan(request(THREE, vec![Target { wal_dir: Some(wal.into()), ..target("a", dir) }]))
        };
        assert!(wal("/x", "/x/wal").is_ok());
        assert!(wal("/x", "/w").is_ok());
        assert!(wal("/x", "/x").is_err());
        assert!(wal("/x/y", "/x").is_err());
    }

    #[test]
    fn what_looks_wrong_is_a_warning_and_what_was_asked_for_a_note() {
        let mut request = request("a=http://a:1", vec![target("a", "/x")]);
        request.bump = Bump::None;
        request.token = STOCK_TOKEN.into();
        request.source.form = Form::RawDatabase;
        request.source.alarms = vec!["CORRUPT".into(), "NOSPACE".into()];
        let report = plan(request).unwrap().report;
        let (warnings, notes) = (report.warnings.join("\n"), report.notes.join("\n"));
        for part in ["CORRUPT", "NOSPACE"] {
            assert!(warnings.contains(part) && !notes.contains(part), "{part}: {warnings}");
        }
        for part in ["not raised", "default", "no digest"] {
            assert!(notes.contains(part) && !warnings.contains(part), "{part}: {notes}");
        }
    }
}
