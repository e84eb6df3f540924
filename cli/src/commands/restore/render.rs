//! Renders plans and receipts for people.

use etcdr_schemas::report::{CheckStep, PlannedMember, RestorePlan, RestoreReceipt};

use crate::output;

/// What `--dry-run` prints.
pub(super) fn plan(plan: &RestorePlan) -> String {
    let mut lines = head(plan);
    lines.push(format!("needs         {} for each member", output::bytes(plan.bytes_per_member)));
    if plan.rebuild.is_some() {
        lines.push(
            "              and room for the database once more while it is written anew".to_owned(),
        );
    }
    lines.push("steps".to_owned());
    lines.extend(plan.steps.iter().enumerate().map(|(n, step)| format!("  {}. {step}", n + 1)));
    lines.extend(checklist(&plan.checklist));
    lines.push("Nothing was changed: this was a dry run.".to_owned());
    lines.join("\n")
}

/// What a restore prints when it is done.
pub(super) fn receipt(receipt: &RestoreReceipt) -> String {
    let mut lines = head(&receipt.plan);
    let hash = receipt.hash_kv;
    lines.push(format!("HashKV        {} at revision {}", hash.hash, hash.revision));
    lines.push(format!("live keys     {}", receipt.live_keys));
    lines.extend(receipt.changes.iter().map(|change| format!("changed       {change}")));
    for moved in &receipt.moved_aside {
        lines.push(format!("moved aside   {} is now {}", moved.from, moved.to));
    }
    lines.push(String::new());
    lines.push("Stop every member of the old cluster. Then start:".to_owned());
    lines.extend(receipt.start_commands.iter().map(|command| format!("  {command}")));
    lines.extend(checklist(&receipt.plan.checklist));
    lines.join("\n")
}

/// What to do after the start, in order.
fn checklist(steps: &[CheckStep]) -> Vec<String> {
    let mut lines = Vec::new();
    if !steps.is_empty() {
        lines.push("After the start, in this order".to_owned());
    }
    for (number, step) in (1..).zip(steps) {
        lines.push(format!("  {number}. {}", step.title));
        lines.push(format!("     {}", step.why));
        lines.extend(step.commands.iter().map(|command| format!("       {command}")));
    }
    lines
}

fn head(plan: &RestorePlan) -> Vec<String> {
    let mut lines = vec![
        format!("restore       {} (revision {})", plan.source, plan.revision),
        format!("new cluster   {} with token {}", plan.cluster_id, plan.cluster_token),
        format!("for etcd      {} and later", plan.target_version),
    ];
    if let Some(bump) = &plan.bump {
        lines.push(format!("revision      raised to {}: {}", bump.to, bump.reason));
    }
    lines.extend(plan.members.iter().map(member));
    lines
}

fn member(member: &PlannedMember) -> String {
    let place = match (&member.data_dir, &member.wal_dir) {
        (Some(data), Some(wal)) => format!("{data}, WAL in {wal}"),
        (Some(data), None) => data.clone(),
        (None, _) => "not written by this run".to_owned(),
    };
    format!("member        {} {} {} -> {place}", member.name, member.id, member.peer_urls.join(","))
}
