//! bbolt files: the format of `member/snap/db` and of the body of a snapshot file.
//!
//! Only data pages' structure can be checked here; their content carries no checksum in this format.

mod problem;

pub use problem::Problem;
