//! Large buffers, used again.
//!
//! Frames and parts are megabytes each and wander between threads. Given back to the allocator,
//! they linger in the arena of whichever thread made them, and memory follows the scheduler; kept
//! here, it is what is in flight and no more.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Buffers that wait for their next use; all of one kind and of similar size.
#[derive(Clone)]
pub(crate) struct Buffers {
    idle: Arc<Mutex<Vec<Vec<u8>>>>,
    keep: usize,
}

impl Buffers {
    /// Keeps at most `keep` idle buffers.
    pub(crate) fn new(keep: usize) -> Self {
        Self { idle: Arc::default(), keep }
    }

    /// An empty buffer of at least this capacity.
    pub(crate) fn take(&self, capacity: usize) -> Vec<u8> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut buffer = idle.unwrap_or_default();
        buffer.clear();
        buffer.reserve(capacity);
        buffer
    }

    /// Takes a buffer back.
    pub(crate) fn give(&self, buffer: Vec<u8>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.keep {
            idle.push(buffer);
        }
    }

    /// Hands a filled buffer out; it comes back when the last reader lets go of it.
    pub(crate) fn lend(&self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Lent { buffer, home: self.clone() })
    }
}

struct Lent {
    buffer: Vec<u8>,
    home: Buffers,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.give(std::mem::take(&mut self.buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lent_buffer_comes_home_empty() {
        let buffers = Buffers::new(1);
        let mut buffer = buffers.take(100);
        buffer.extend_from_slice(b"hello");
        let place = buffer.as_ptr();
        let (lent, other) = (buffers.lend(buffer), buffers.take(100));
        let slice = lent.slice(1..3);
        drop(lent);
        assert_eq!(slice.as_ref(), b"el");
        drop(slice);
        let again = buffers.take(50);
        assert!(again.is_empty() && again.as_ptr() == place);
        buffers.give(again);
        buffers.give(other);
        assert_eq!(buffers.idle.lock().unwrap().len(), 1);
    }
}
