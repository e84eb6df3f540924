//! Measures how long the agents that come before this one have been silent.

use tokio::time::Instant;

/// Who comes before this agent, and since when none of them has been heard of.
#[derive(Debug, Default)]
pub(super) struct PeerSilence {
    rank: usize,
    since: Option<Instant>,
}

impl PeerSilence {
    /// Since when no other agent has been heard of: since now, if nobody has waited for them yet,
    /// or if more of them come first than the last time. This agent may have won the ticks until
    /// then, and those have not had their chance.
    pub(super) fn since(&mut self, rank: usize) -> Instant {
        if rank > self.rank {
            self.since = None;
        }
        self.rank = rank;
        *self.since.get_or_insert_with(Instant::now)
    }

    /// One of them lives.
    pub(super) fn heard(&mut self) {
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_later_than_before_waits_anew_and_otherwise_once() {
        let mut silence = PeerSilence::default();
        let mut after = async |seconds, rank| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            silence.since(rank).elapsed().as_secs()
        };
        assert_eq!(after(0, 0).await, 0);
        assert_eq!(after(60, 0).await, 60, "it wins for long");
        assert_eq!(after(1, 2).await, 0, "then its member leads");
        assert_eq!(after(60, 2).await, 60, "the others are waited for once");
        assert_eq!(after(1, 1).await, 61, "it has moved up");
        silence.heard();
        assert_eq!(silence.since(1).elapsed().as_secs(), 0);
    }
}
