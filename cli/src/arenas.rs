//! Memory that was freed must be memory that is free.
//!
//! glibc gives up to eight times as many arenas as there are cores to the threads that ask, and each keeps what was
//! freed in it. Frames of megabytes wander between our threads, so that a restore held twice what it used. glibc takes
//! the number of arenas from the environment at start and from nowhere else that safe code can reach, so the program
//! starts itself once more, in the same process. Other C libraries ignore the variable.

use std::os::unix::process::CommandExt as _;

const VARIABLE: &str = "MALLOC_ARENA_MAX";
/// Half the peak of the default, at the same speed.
const ARENAS: &str = "2";

/// Starts this program again with few arenas, unless somebody has said how many. Returns when there is nothing to do
/// or it cannot be done, as where `/proc` is missing: then more memory is held, and all else is the same.
pub(crate) fn bound() {
    if std::env::var_os(VARIABLE).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut arguments = std::env::args_os();
    let Some(name) = arguments.next() else { return };
    #[expect(clippy::disallowed_methods, reason = "it takes this process's place and starts none")]
    let mut again = std::process::Command::new(program);
    // Returns only when it fails, and then nothing has changed.
    let _ = again.arg0(name).args(arguments).env(VARIABLE, ARENAS).exec();
}
