//! The write-ahead log of a member: segments of checksummed records.
//!
//! A restore writes one short segment: it gives raft the members and the index to begin at. The
//! reader accepts any member's log, hostile ones included. The layout is described in [`record`].

mod reader;
pub mod record;
mod writer;

pub use reader::{LogFacts, Segment, read_log, segment_names};
pub use writer::{RESTORE_TERM, SEGMENT_NAME, initial_segment};
