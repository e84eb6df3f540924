//! Every metric, in one table: registration, documentation, and the tests of examples read it.

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Name of its samples; of a histogram, without `_bucket`, `_sum`, `_count`.
    pub name: &'static str,
    /// `gauge`, `counter` or `histogram`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, with its unit.
    pub help: &'static str,
}

const fn gauge(name: &'static str, help: &'static str) -> Row {
    Row { name, kind: "gauge", labels: &[], help }
}

const fn counter(name: &'static str, help: &'static str) -> Row {
    Row { name, kind: "counter", labels: &[], help }
}

const fn histogram(name: &'static str, help: &'static str) -> Row {
    Row { name, kind: "histogram", labels: &[], help }
}

const fn by(labels: &'static [&'static str], row: Row) -> Row {
    Row { labels, ..row }
}

/// All of them, the one that matters first.
#[rustfmt::skip]
pub const TABLE: [Row; 46] = [
    gauge("etcdr_newest_restorable_snapshot_timestamp_seconds",
        "When the capture of the newest restorable snapshot began, as Unix time; 0 when none is \
         known"),
    gauge("etcdr_newest_restorable_snapshot_age_seconds",
        "Age of the newest restorable snapshot at this scrape; +Inf when none is known"),
    gauge("etcdr_target_age_seconds", "The age that it is not to exceed (watch.target_age)"),
    gauge("etcdr_on_target", "1 while the newest restorable snapshot is younger than the target"),
    gauge("etcdr_ready", "1 while the agent can save: etcd and the store answered lately"),
    gauge("etcdr_alive", "1 while the agent's loop turns"),
    gauge("etcdr_repository_snapshots",
        "Snapshots of the cluster in the repository, when it was last listed"),
    gauge("etcdr_repository_bytes", "Bytes of their images"),
    by(&["schedule", "outcome"], counter("etcdr_snapshots_total",
        "Captures of this agent by outcome: ok, suspect, failed, retried")),
    gauge("etcdr_capturing", "1 while a capture is going on"),
    by(&["stage"], histogram("etcdr_capture_stage_seconds",
        "Time of each stage of a capture: examine, agreement, stream, upload, read_back, commit")),
    by(&["stage"], histogram("etcdr_capture_stage_bytes",
        "Bytes of the stages that move some: stream, upload, read_back")),
    histogram("etcdr_read_transaction_seconds",
        "Time for which a capture held etcd's read transaction open"),
    by(&["schedule"], gauge("etcdr_schedule_next_run_timestamp_seconds",
        "When the schedule fires next, as Unix time; absent when never or paused")),
    by(&["schedule"], gauge("etcdr_schedule_paused", "1 while the schedule is paused")),
    by(&["schedule", "outcome"], counter("etcdr_claims_total",
        "Claims of ticks by outcome: won, lost, taken_over, done, lost_later, failed")),
    gauge("etcdr_members_dissenting",
        "Members that held other data than the majority when they were last compared"),
    counter("etcdr_dissents_total", "Comparisons in which a member dissented"),
    by(&["level", "outcome"], counter("etcdr_verifications_total",
        "Verifications by level and outcome: ok, damaged")),
    gauge("etcdr_last_verify_ok",
        "1 when the last verification found the snapshot sound; absent before the first"),
    gauge("etcdr_last_verify_timestamp_seconds",
        "When it ended, as Unix time; absent before the first"),
    by(&["outcome"], counter("etcdr_prunes_total", "Prunes by outcome: ok, failed")),
    counter("etcdr_pruned_snapshots_total", "Snapshots that pruning deleted"),
    counter("etcdr_pruned_orphans_total", "Objects without a manifest that pruning deleted"),
    counter("etcdr_pruned_bytes_total", "Bytes of what pruning deleted"),
    counter("etcdr_prune_withheld_objects_total",
        "Objects that the store kept when pruning would have deleted them"),
    by(&["member"], gauge("etcdr_member_up", "1 while the member answers")),
    by(&["member"], gauge("etcdr_member_db_size_bytes", "Bytes of the member's database file")),
    by(&["member"], gauge("etcdr_member_db_in_use_bytes", "Bytes of it in use")),
    by(&["kind"], gauge("etcdr_alarms", "Alarms that are raised in etcd: NOSPACE, CORRUPT, other")),
    gauge("etcdr_quota_bytes", "The members' quota; absent while not known"),
    gauge("etcdr_quota_db_size_bytes",
        "Bytes of the largest member's database file; absent while the quota is not known"),
    gauge("etcdr_quota_left_seconds",
        "Time until the quota is reached; +Inf when the database does not grow, absent while not \
         known"),
    by(&["outcome"], counter("etcdr_defragmentations_total",
        "Defragmentations of members by outcome: ok, failed, skipped")),
    histogram("etcdr_defragmentation_seconds",
        "Time for which a member was busy with defragmentation"),
    counter("etcdr_defragmentation_reclaimed_bytes_total",
        "Bytes by which defragmentation made files smaller"),
    by(&["outcome"], counter("etcdr_compactions_total", "Compactions by outcome: ok, failed")),
    counter("etcdr_store_errors_total", "Requests to the store that failed for good"),
    by(&["outcome"], counter("etcdr_heartbeats_total",
        "Requests to the dead man's switch by outcome: ok, failed")),
    by(&["outcome"], counter("etcdr_config_reloads_total",
        "Times that the configuration was read again, by outcome: ok, refused")),
    gauge("etcdr_config_refused",
        "1 while the newest configuration was refused and an older one is in use"),
    gauge("etcdr_clock_skew_seconds",
        "This machine's clock minus that of the store or of etcd, when last compared"),
    counter("etcdr_name_conflicts_total", "Times that another agent of the same name was seen"),
    by(&["urgency"], gauge("etcdr_warnings", "Warnings of the status page: urgent, mild")),
    gauge("etcdr_resident_memory_bytes", "Memory of the process (VmRSS)"),
    by(&["version", "agent"], gauge("etcdr_build_info", "1, with the version as a label")),
];

/// The row of a name.
pub(super) fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}
