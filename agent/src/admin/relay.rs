//! Progress on its way to another process: the last state counts, the steps between do not.

use etcdr_schemas::Progress;
use etcdr_schemas::pb::admin::SaveProgress;
use tokio::sync::watch;

use crate::interlock;

/// Keeps the last state.
pub(super) struct Relay(watch::Sender<SaveProgress>);

impl Relay {
    pub(super) fn new() -> (Self, watch::Receiver<SaveProgress>) {
        let (sender, receiver) = watch::channel(SaveProgress::default());
        (Self(sender), receiver)
    }
}

impl Progress for Relay {
    fn begin(&self, stage: &'static str, total: Option<u64>) {
        self.0.send_replace(SaveProgress { stage: stage.to_owned(), done: 0, total });
    }

    fn advance(&self, bytes: u64) {
        self.0.send_modify(|state| state.done = state.done.saturating_add(bytes));
    }

    fn end(&self) {
        self.0.send_modify(|state| state.total = Some(state.done));
    }
}

/// Shows what arrives of a [`Relay`] on the caller's progress.
pub(super) struct ProgressReplay<'a> {
    progress: &'a dyn Progress,
    stage: String,
    done: u64,
}

/// Names of stages that are known here: a stage is a name of ours, not the other side's text.
const STAGES: [&str; 7] = [
    "saving",
    "importing",
    "reading the stored object",
    "uploading",
    "waiting",
    interlock::WAITING,
    "verifying",
];

impl<'a> ProgressReplay<'a> {
    pub(super) const fn new(progress: &'a dyn Progress) -> Self {
        Self { progress, stage: String::new(), done: 0 }
    }

    pub(super) fn show(&mut self, state: &SaveProgress) {
        if state.stage.is_empty() {
            return;
        }
        if state.stage != self.stage || state.done < self.done {
            self.end();
            let known = STAGES.into_iter().find(|name| *name == state.stage);
            self.progress.begin(known.unwrap_or("working"), state.total);
            state.stage.clone_into(&mut self.stage);
            self.done = 0;
        }
        self.progress.advance(state.done.saturating_sub(self.done));
        self.done = state.done;
    }

    pub(super) fn end(&mut self) {
        if !self.stage.is_empty() {
            self.progress.end();
            self.stage.clear();
        }
    }
}
