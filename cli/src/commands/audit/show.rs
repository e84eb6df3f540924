//! Prints what an audit found, for people.

use std::collections::BTreeMap;

use etcdr_schemas::report::{
    AuditOutcome, AuditReport, AuditResult, AuditSet, AuditState, AuditVerdict, Finding, Severity,
};

use crate::output;

/// Findings of one code that are shown one by one on stderr.
const MAX_SHOWN: u64 = 10;

/// Snapshots that a table has rows for. Those with findings always have one.
const ROWS: usize = 40;

/// Prints the findings on stderr, the worst first, and the advice once for each code.
pub(super) fn findings(report: &AuditReport) {
    let deep = report.results.iter().flat_map(|result| &result.findings);
    let mut all: Vec<&Finding> = report.findings.iter().chain(deep).collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for finding in all {
        let count = counts.entry(&finding.code).or_default();
        *count = count.saturating_add(1);
        let total = report.counts.get(&finding.code).copied().unwrap_or(*count);
        if *count <= MAX_SHOWN {
            let word = match finding.severity {
                Severity::Damage => "damage",
                Severity::Warning => "warning",
                Severity::Notice => "note",
            };
            output::say(format!(
                "{word}: {}: {}: {}",
                finding.code, finding.place, finding.message
            ));
        }
        if *count == MAX_SHOWN.min(total) {
            if total > MAX_SHOWN {
                let more = total.saturating_sub(MAX_SHOWN);
                output::say(format!("  … and {more} more; --output json has them"));
            }
            output::say(format!("  next: {}", finding.advice));
        }
    }
}

/// One audit.
pub(super) fn one(report: &AuditReport) -> String {
    let mut text = Vec::new();
    let has_findings =
        |result: &&AuditResult| result.outcome != AuditOutcome::Good || !result.findings.is_empty();
    let (notable, good): (Vec<_>, Vec<_>) = report.results.iter().partition(has_findings);
    let shown = notable.len().max(ROWS);
    let rows: Vec<_> = notable.into_iter().chain(good).take(shown).map(row).collect();
    let hidden = report.results.len().saturating_sub(rows.len());
    if !rows.is_empty() {
        text.push(output::table(["ID", "RESULT", "PASSED", "READ", "FINDINGS"], rows));
    }
    if hidden > 0 {
        text.push(format!("… and {hidden} more, all good"));
    }
    text.extend(summary(report));
    text.join("\n")
}

/// All clusters.
pub(super) fn all(set: &AuditSet) -> String {
    let audits: Vec<_> = set.audits.iter().map(one).collect();
    if audits.is_empty() { "no cluster in this repository".to_owned() } else { audits.join("\n\n") }
}

fn row(result: &AuditResult) -> [String; 5] {
    let outcome = match result.outcome {
        AuditOutcome::Good => "good",
        AuditOutcome::Damaged => "DAMAGED",
        AuditOutcome::Unchecked => "not checked",
    };
    let mut codes: Vec<&str> =
        result.findings.iter().map(|finding| finding.code.as_str()).collect();
    codes.dedup();
    [
        result.id.to_string(),
        outcome.to_owned(),
        result.passed.map_or_else(|| "-".to_owned(), |level| level.to_string()),
        output::bytes(result.bytes),
        codes.join(", "),
    ]
}

fn summary(report: &AuditReport) -> Vec<String> {
    let (totals, inventory) = (&report.totals, &report.inventory);
    let verdict = match report.verdict {
        AuditVerdict::Good => "good",
        AuditVerdict::Warnings => "needs a look",
        AuditVerdict::Damaged => "DAMAGED",
    };
    let left = report.pending.len();
    let state = match report.state {
        AuditState::Complete => "everything chosen was looked at".to_owned(),
        AuditState::OutOfBudget => {
            format!("the budget is used up, {left} left: go on with --resume")
        }
        AuditState::Interrupted => format!("interrupted, {left} left: go on with --resume"),
        AuditState::Running => format!("killed or still running, {left} left: go on with --resume"),
    };
    let name = |id: Option<etcdr_schemas::SnapshotId>| {
        id.map_or_else(|| "none".to_owned(), |id| id.to_string())
    };
    let never = match inventory.never_verified {
        0 => String::new(),
        count => format!(" ({count} never)"),
    };
    let pruned = match inventory.pruned {
        0 => String::new(),
        count => format!(" ({count} more deleted on purpose)"),
    };
    vec![
        format!(
            "cluster {}: {verdict} at level {}: {} good, {} damaged, {} not checked of {} chosen; \
             {state}",
            report.cluster,
            report.settings.level,
            totals.good,
            totals.damaged,
            totals.unchecked,
            totals.chosen,
        ),
        format!(
            "snapshots {}{pruned}, objects {}, {}; read {}; seed {}",
            inventory.snapshots,
            inventory.objects,
            output::bytes(inventory.bytes),
            output::bytes(totals.bytes_read),
            report.settings.seed,
        ),
        format!(
            "newest {}; newest verified {}{never}",
            name(inventory.newest),
            name(inventory.newest_verified)
        ),
    ]
}
