//! A file as a database: opened, checked, read and inspected.

use std::ops::ControlFlow;

use etcdr_restore_engine::bolt::{Db, Meta};
use etcdr_restore_engine::check::structure;
use etcdr_restore_engine::facts::facts;
use etcdr_restore_engine::inspect::{self, Options};
use etcdr_restore_engine::scan::key_space;
use etcdr_restore_engine::semantic::examine;
use etcdr_restore_engine::status::status;
use etcdr_schemas::Hidden;
use etcdr_schemas::report::Severity;
use etcdr_schemas::report::inspect::Form;

/// A database that the check accepts can be read to the last row; inspecting never fails.
pub(crate) fn run(data: &[u8]) {
    let options = Options { meta: None, prefix_depth: 2, top: 10 };
    let look = |options| {
        let form = Form::RawDatabase;
        inspect::database("x".into(), form, data, inspect::disk_damage, options, &Hidden)
    };
    let report = look(options).expect("inspecting ends in a report");
    let _ = look(Options { meta: Some(1), ..options });
    serde_json::to_vec(&report).expect("a report is JSON");
    let Ok(db) = Db::open(data) else {
        assert!(!report.ok, "a file that does not open is called sound");
        return;
    };
    let findings = structure::check(&db, &Hidden).expect("memory does not fail");
    let damaged = findings.iter().any(|finding| finding.severity == Severity::Damage);
    assert!(!damaged || !report.ok, "inspect misses what the check finds: {findings:?}");
    let mut rows = 0;
    let scanned = db.buckets().and_then(|buckets| {
        buckets.iter().try_for_each(|bucket| {
            db.last(bucket)?;
            db.scan(bucket, &mut |_, _| {
                rows += 1;
                Ok(ControlFlow::Continue(()))
            })
        })
    });
    assert!(damaged || scanned.is_ok(), "sound, and yet {scanned:?}");
    let counted: u64 = report.buckets.iter().map(|bucket| bucket.rows).sum();
    assert!(damaged || counted == rows, "{counted} rows are reported, {rows} are found");
    let _ = facts(&db);
    let _ = key_space(&db, None);
    let _ = status(&db);
    let examined = examine(data, None, 1, &Hidden).expect("memory does not fail");
    assert_eq!(examined.structure.is_damaged(), damaged || facts(&db).is_err());
}

/// Repairs the checksums of both meta pages.
#[allow(clippy::ptr_arg, reason = "others change the length")]
pub(crate) fn fix(data: &mut Vec<u8>) {
    let size =
        data.get(24..28).and_then(|raw| raw.try_into().ok()).map_or(4096, u32::from_le_bytes);
    for (page, at) in [0, usize::try_from(size).unwrap_or(0)].into_iter().enumerate() {
        let Some(raw) = data.get_mut(at..at.saturating_add(80)) else { continue };
        let field = |from: usize| -> u64 {
            raw.get(from..from + 8)
                .and_then(|raw| raw.try_into().ok())
                .map_or(0, u64::from_le_bytes)
        };
        let meta = Meta {
            page_size: size,
            root: field(32),
            freelist: Some(field(48)).filter(|id| *id != u64::MAX),
            high_water_mark: field(56),
            txid: field(64),
        };
        raw.copy_from_slice(&meta.encode(page as u64));
    }
}
