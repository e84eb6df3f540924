//! Collects findings: lists a bounded number of each code, and counts all.

use std::collections::BTreeMap;

use etcdr_schemas::report::{Finding, Severity};

/// Most findings of one code that a report lists.
const MAX_LISTED: u64 = 1_000;

/// Findings, at most [`MAX_LISTED`] of each code; the numbers are of all.
#[derive(Debug, Clone, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    counts: BTreeMap<String, u64>,
    worst: Option<Severity>,
}

impl Findings {
    pub(super) fn add(&mut self, finding: Finding) {
        self.worst = self.worst.max(Some(finding.severity));
        let count = self.counts.entry(finding.code.clone()).or_default();
        *count = count.saturating_add(1);
        if *count <= MAX_LISTED {
            self.list.push(finding);
        }
    }

    pub(super) fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        findings.into_iter().for_each(|finding| self.add(finding));
    }

    /// Counts `more` findings of a code that are not listed one by one.
    pub(super) fn count_more(&mut self, code: &str, more: u64) {
        if more > 0 {
            let count = self.counts.entry(code.to_owned()).or_default();
            *count = count.saturating_add(more);
        }
    }

    pub(super) fn list(&self) -> &[Finding] {
        &self.list
    }

    pub(super) const fn counts(&self) -> &BTreeMap<String, u64> {
        &self.counts
    }

    pub(super) const fn worst(&self) -> Option<Severity> {
        self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::super::kinds;
    use super::*;

    #[test]
    fn many_findings_are_counted_and_the_rare_ones_are_not_crowded_out() {
        let mut findings = Findings::default();
        findings.extend((0..5_000).map(|n| kinds::IMAGE_PART.at(n.to_string(), "x")));
        findings.add(kinds::IMAGE_MISSING.at("y", "gone"));
        assert_eq!(findings.list().len(), 1_001);
        assert_eq!(findings.counts()["image.part"], 5_000);
        assert_eq!(findings.worst(), Some(Severity::Damage));
    }
}
