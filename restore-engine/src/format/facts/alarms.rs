//! Alarms that are raised in a database.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use etcdr_schemas::ReadAt;

use crate::error::Result;
use crate::format::bolt::Db;
use crate::format::buckets;

/// Most alarms that are read; etcd has two kinds a member.
const MAX_ALARMS: usize = 1000;

/// Kinds of the alarms in a database, each once.
///
/// # Errors
/// The error of the first damaged page.
pub(crate) fn alarms<R: ReadAt>(db: &Db<R>) -> Result<Vec<String>> {
    let Some(bucket) = db.bucket(buckets::ALARM)? else { return Ok(Vec::new()) };
    let mut kinds = BTreeSet::new();
    let mut rows = 0;
    db.scan(&bucket, &mut |key, _| {
        rows += 1;
        kinds.insert(kind(key));
        Ok(if rows < MAX_ALARMS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(kinds.into_iter().collect())
}

/// An alarm's row has the member and the kind in its key, and no value (docs/etcd-formats.md 2.4).
fn kind(key: &[u8]) -> String {
    use etcdr_schemas::pb::etcd::AlarmMember;
    match <AlarmMember as prost::Message>::decode(key).map(|alarm| alarm.alarm) {
        Ok(1) => "NOSPACE".to_owned(),
        Ok(2) => "CORRUPT".to_owned(),
        Ok(other) => other.to_string(),
        Err(_) => "unreadable".to_owned(),
    }
}
