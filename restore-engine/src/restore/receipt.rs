//! The receipt: what was done, for the person who starts the members and is responsible for them.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use etcdr_schemas::report::{MovedAside, Named, RestoreReceipt};

use super::build::Built;
use crate::disk::durable::{Disk, aside_name, sibling};
use crate::error::Result;
use crate::format::membership::PeerUrl;
use crate::kubernetes::checklist;
use crate::plan::{Plan, Target};
use crate::shell::quote;

/// The result of a restore, apart from its plan.
pub(super) struct Finished {
    pub(super) built: Built,
    pub(super) moved_aside: Vec<MovedAside>,
    pub(super) finished_at: DateTime<Utc>,
}

/// Where the receipts of a data directory are: JSON and text, beside it.
#[must_use]
pub fn receipt_paths(data_dir: &Path) -> [PathBuf; 2] {
    [sibling(data_dir, "", ".etcdr-receipt.json"), sibling(data_dir, "", ".etcdr-receipt.txt")]
}

/// Writes the receipts. The restore has happened by now: when one cannot be written, the returned
/// receipt has a warning, and the restore does not fail.
pub(super) fn write(disk: &Disk, plan: &Plan, done: Finished) -> RestoreReceipt {
    let mut receipt = compose(plan, done);
    let json = serde_json::to_vec_pretty(&receipt.clone().report()).unwrap_or_default();
    let text = render(&receipt);
    let mut failed = Vec::new();
    for target in &plan.targets {
        let [json_path, text_path] = receipt_paths(&target.data_dir);
        for (path, bytes) in [(json_path, json.as_slice()), (text_path, text.as_bytes())] {
            if let Err(error) = put(disk, &path, bytes, &plan.stamp()) {
                failed.push(format!("the receipt could not be written: {error}"));
            }
        }
    }
    receipt.plan.warnings.extend(failed);
    receipt
}

/// An older receipt records a restore that also happened: it is kept under another name.
fn put(disk: &Disk, path: &Path, bytes: &[u8], stamp: &str) -> Result<()> {
    if path.exists() {
        disk.rename(path, &aside_name(path, stamp))?;
    }
    disk.replace(path, bytes)
}

fn compose(plan: &Plan, done: Finished) -> RestoreReceipt {
    let mut report = plan.report.clone();
    let built = done.built;
    let found = built.proof.findings.iter();
    report.warnings.extend(found.map(|f| format!("{} at {}: {}", f.code, f.place, f.message)));
    if built.kubernetes.is_some() {
        report.checklist = checklist(built.kubernetes.as_ref(), report.bump.is_some());
    }
    RestoreReceipt {
        plan: report,
        started_at: plan.now,
        finished_at: done.finished_at,
        source_sha256: built.source_sha256,
        hash_kv: built.proof.hash_kv,
        live_keys: built.proof.live_keys,
        changes: built.changes,
        moved_aside: done.moved_aside,
        start_commands: plan.targets.iter().map(|target| start_command(plan, target)).collect(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        rebuilt: built.rebuilt,
        dangling_leases: built.dangling,
        kubernetes: built.kubernetes,
    }
}

/// The flags that the restored directories decide. Client URLs and certificates are the operator's.
fn start_command(plan: &Plan, target: &Target) -> String {
    let member = plan.cluster.member(&target.name);
    let urls = member.map(|member| member.peer_urls.as_slice()).unwrap_or_default();
    let joined = |each: fn(&PeerUrl) -> String| urls.iter().map(each).collect::<Vec<_>>().join(",");
    let mut flags = vec![
        ("--name", target.name.clone()),
        ("--data-dir", target.data_dir.display().to_string()),
    ];
    flags.extend(target.wal_dir.iter().map(|dir| ("--wal-dir", dir.display().to_string())));
    flags.extend([
        ("--initial-cluster", plan.cluster.initial().to_string()),
        ("--initial-cluster-token", plan.cluster.token().to_owned()),
        ("--initial-advertise-peer-urls", joined(PeerUrl::to_string)),
        ("--listen-peer-urls", joined(PeerUrl::listen)),
    ]);
    flags
        .into_iter()
        .fold("etcd".to_owned(), |line, (flag, value)| format!("{line} {flag} {}", quote(&value)))
}

/// The receipt as text.
fn render(receipt: &RestoreReceipt) -> String {
    let plan = &receipt.plan;
    let hash = &receipt.hash_kv;
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "Restored {} (sha256 {})\nfrom {} to {} by etcdr {}\n\n\
         cluster {} token {}\nrevision {}, {} live keys, HashKV {} at revision {} (compacted {})\n",
        plan.source,
        receipt.source_sha256,
        receipt.started_at.to_rfc3339(),
        receipt.finished_at.to_rfc3339(),
        receipt.tool_version,
        plan.cluster_id,
        plan.cluster_token,
        plan.bump.as_ref().map_or(plan.revision, |bump| bump.to),
        receipt.live_keys,
        hash.hash,
        hash.revision,
        hash.compact_revision,
    );
    for member in &plan.members {
        let place = member.data_dir.as_deref().unwrap_or("not written by this run");
        let _ = writeln!(
            text,
            "member {} {} {} {place}",
            member.name,
            member.id,
            member.peer_urls.join(",")
        );
    }
    let moved =
        receipt.moved_aside.iter().map(|moved| format!("{} is now {}", moved.from, moved.to));
    section(&mut text, "Moved aside", moved);
    section(&mut text, "Changed", receipt.changes.iter().cloned());
    section(&mut text, "Warnings", plan.warnings.iter().cloned());
    section(&mut text, "Take note", plan.notes.iter().cloned());
    let commands = receipt.start_commands.iter().cloned();
    section(&mut text, "Start (with the client URLs and certificates of before)", commands);
    let steps = (1..).zip(&plan.checklist).flat_map(|(number, step)| {
        let head = format!("{number}. {}: {}", step.title, step.why);
        std::iter::once(head).chain(step.commands.iter().map(|command| format!("     {command}")))
    });
    section(&mut text, "Then, in this order", steps);
    text
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    for (number, line) in lines.enumerate() {
        let heading = if number == 0 { format!("\n{title}:\n") } else { String::new() };
        let _ = writeln!(text, "{heading}  {line}");
    }
}
