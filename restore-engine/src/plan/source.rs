//! Sentences of a plan about its source.

use crate::stream::{Form, Source};

impl Source {
    pub(super) const fn checked_by(&self) -> &'static str {
        match (self.expected, self.form) {
            (Some(expected), _) if expected.by_reader => "the manifest's digest",
            (Some(_), _) => "the manifest's digest and etcd's own",
            (None, Form::Snapshot) => "etcd's digest",
            (None, Form::RawDatabase) => "its length",
        }
    }

    /// Consequences of the form of the source.
    pub(super) fn notes(&self, skip_hash_check: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if self.form == Form::RawDatabase && self.expected.is_none() {
            notes.push(
                "The source is a raw database: no digest covers it, only the structural check \
                 does. A copy of a running member's file may be torn."
                    .to_owned(),
            );
        } else if skip_hash_check {
            notes.push("etcd's digest is not checked, as asked for.".to_owned());
        }
        notes
    }

    /// What is wrong with the source.
    pub(super) fn warnings(&self, keep_alarms: bool) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.alarms.iter().any(|alarm| alarm == "CORRUPT") {
            warnings.push(
                "A CORRUPT alarm is in the snapshot: members of the source disagreed, and this \
                 copy may be the wrong one. Compare with a snapshot from before the alarm."
                    .to_owned(),
            );
        }
        if keep_alarms && !self.alarms.is_empty() {
            warnings.push(format!(
                "Alarms stay raised, as asked for ({}): the restored cluster refuses writes until \
                 `etcdctl alarm disarm`.",
                self.alarms.join(", ")
            ));
        } else if self.alarms.iter().any(|alarm| alarm == "NOSPACE") {
            warnings.push(
                "A NOSPACE alarm is in the snapshot and is cleared: start the members with a \
                 larger --quota-backend-bytes, or compact and defragment at once."
                    .to_owned(),
            );
        }
        warnings
    }
}
