//! The write-ahead log of a member: segments of checksummed records.
//!
//! A restore writes one short segment that tells raft who the members are and where to begin; the
//! reader takes any member's log, hostile ones included. The layout is described in [`record`].

mod reader;
pub mod record;
mod writer;

pub use reader::{LogFacts, Segment, read_log, segment_names};
pub use writer::{RESTORE_TERM, SEGMENT_NAME, initial_segment};
