//! Progress of long work, reported by the libraries and drawn only by the command line.

/// Where long work reports how far it is. Implementations must be cheap: `advance` is called for
/// every chunk.
pub trait Progress: Send + Sync {
    /// A stage begins. `total` is in bytes where it is known.
    fn begin(&self, stage: &'static str, total: Option<u64>);

    /// `bytes` more of the current stage are done.
    fn advance(&self, bytes: u64);

    /// The current stage is over.
    fn end(&self);
}

/// Draws nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hidden;

impl Progress for Hidden {
    fn begin(&self, _: &'static str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn end(&self) {}
}
