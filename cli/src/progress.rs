//! Shows progress on stderr: a bar on a terminal, a plain line for each stage elsewhere, nothing
//! when quiet.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use etcdr_schemas::{Hidden, Progress};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};

/// Chooses the progress display that suits stderr.
pub(crate) fn for_stderr(quiet: bool) -> Arc<dyn Progress> {
    if quiet {
        Arc::new(Hidden)
    } else if std::io::stderr().is_terminal() {
        Arc::new(Bar::default())
    } else {
        Arc::new(Lines::default())
    }
}

/// Bars with rate and ETA.
#[derive(Default)]
struct Bar {
    current: Mutex<Option<ProgressBar>>,
}

const WITH_TOTAL: &str =
    "{msg:<28} {bar:28} {bytes:>10} of {total_bytes:<10} {binary_bytes_per_sec:>12}  {eta} left";
const WITHOUT_TOTAL: &str = "{msg:<28} {spinner} {bytes:>10} {binary_bytes_per_sec:>12}  {elapsed}";
const DONE: &str = "{msg:<28} {total_bytes:>10} in {elapsed} ({binary_bytes_per_sec})";

impl Progress for Bar {
    fn begin(&self, stage: &'static str, total: Option<u64>) {
        let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
        let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(stage);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &*self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.inc(bytes);
        }
    }

    fn end(&self) {
        if let Some(bar) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.set_length(bar.position());
            if let Ok(style) = ProgressStyle::with_template(DONE) {
                bar.set_style(style);
            }
            bar.finish();
        }
    }
}

/// One line when a stage is over.
#[derive(Default)]
struct Lines {
    current: Mutex<Option<Stage>>,
}

struct Stage {
    name: &'static str,
    bytes: u64,
    since: Instant,
}

impl Progress for Lines {
    fn begin(&self, stage: &'static str, _: Option<u64>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Stage { name: stage, bytes: 0, since: Instant::now() });
    }

    fn advance(&self, bytes: u64) {
        if let Some(stage) = &mut *self.current.lock().unwrap_or_else(PoisonError::into_inner) {
            stage.bytes = stage.bytes.saturating_add(bytes);
        }
    }

    fn end(&self) {
        if let Some(stage) = self.current.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let seconds = stage.since.elapsed().as_secs_f64();
            // A closed stderr is ignored: a remark that nobody reads must not end the work.
            let _ = writeln!(
                std::io::stderr(),
                "{}: {} in {seconds:.1} s",
                stage.name,
                HumanBytes(stage.bytes)
            );
        }
    }
}
