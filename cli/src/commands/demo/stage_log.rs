//! The stages of the demo with their times, printed on stderr as they end.

use std::time::Instant;

use etcdr_schemas::report::DemoStage;

use crate::output;

/// The stages so far.
pub(super) struct StageLog {
    quiet: bool,
    stages: Vec<DemoStage>,
}

impl StageLog {
    pub(super) const fn new(quiet: bool) -> Self {
        Self { quiet, stages: Vec::new() }
    }

    /// Runs one stage and prints its result.
    pub(super) async fn run<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = anyhow::Result<(T, String)>>,
    ) -> anyhow::Result<T> {
        let begin = Instant::now();
        let (value, outcome) = work.await?;
        let seconds = begin.elapsed().as_secs_f64();
        if !self.quiet {
            output::say(format!(
                "{:>2}. {name:<44} {seconds:>7.2} s   {outcome}",
                self.stages.len() + 1
            ));
        }
        self.stages.push(DemoStage { name: name.to_owned(), seconds, outcome });
        Ok(value)
    }

    /// All stages, for the report.
    pub(super) fn into_stages(self) -> Vec<DemoStage> {
        self.stages
    }
}
