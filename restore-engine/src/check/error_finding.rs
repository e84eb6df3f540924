//! Turns errors that mean damage into findings.

use etcdr_schemas::report::Finding;

use crate::error::{Error, Result};
use crate::findings;

/// An error that says that the data is damaged becomes a finding; any other stays an error.
pub(crate) fn error_finding(error: Error) -> Result<Finding> {
    let (kind, place) = match &error {
        Error::Digest { .. } => (findings::DIGEST, "the last 32 bytes".to_owned()),
        Error::Length { .. } => (findings::LENGTH, "the end of the file".to_owned()),
        Error::NoDigest { .. } => (findings::DIGEST_MISSING, "the end of the file".to_owned()),
        Error::NotAsPlanned { .. } => (findings::MANIFEST, "the file".to_owned()),
        Error::NotBolt { problem } => (problem.kind(), "the meta pages".to_owned()),
        Error::Page { page, problem, .. } => (problem.kind(), format!("page {page}")),
        Error::NotEtcd { .. } => (findings::RECORDS, "the database".to_owned()),
        Error::Row { bucket, key, .. } => (findings::ROW, format!("bucket {bucket}, row {key}")),
        _ => return Err(error),
    };
    Ok(kind.at(place, error.to_string()))
}
