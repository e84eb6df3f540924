//! A small pool of threads that keeps order: results come out as the work went in.
//!
//! Compression and decompression of an image run through it. What is in flight is bounded: an item
//! waits with its giver until a worker is free, and as many results wait as there are workers, so
//! that memory does not depend on the length of the stream.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

use crate::bridge;
use crate::error::{Error, Result};

/// What a worker does with one item.
pub(crate) type Work<I, O> = Box<dyn FnMut(I) -> Result<O> + Send>;

/// Makes the work of one worker; called once on each thread.
pub(crate) type MakeWork<I, O> = Arc<dyn Fn() -> Result<Work<I, O>> + Send + Sync>;

type Job<I, O> = (I, SyncSender<Result<O>>);

enum Slot<O> {
    Result(Receiver<Result<O>>),
    Done,
}

/// The side that gives work.
pub(crate) struct Submit<I, O> {
    jobs: SyncSender<Job<I, O>>,
    order: SyncSender<Slot<O>>,
}

/// The side that takes results, in order.
pub(crate) struct Collect<O>(Receiver<Slot<O>>);

/// Starts `workers` threads. They end when the giving side is dropped.
pub(crate) fn start<I: Send + 'static, O: Send + 'static>(
    handle: &Handle,
    workers: usize,
    make: &MakeWork<I, O>,
) -> (Submit<I, O>, Collect<O>) {
    // Handed over, not queued: a frame that waits is four megabytes, and saves were no slower
    // without it.
    let (jobs, queue) = sync_channel::<Job<I, O>>(0);
    let (order, results) = sync_channel(workers);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..workers {
        let (queue, make) = (Arc::clone(&queue), Arc::clone(make));
        // Not joined: a worker that dies shows as a reply that never comes.
        let _detached = bridge::blocking(handle, move || {
            serve(&queue, &make);
            Ok(())
        });
    }
    (Submit { jobs, order }, Collect(results))
}

fn serve<I, O>(queue: &Mutex<Receiver<Job<I, O>>>, make: &MakeWork<I, O>) {
    let mut work = make();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((item, reply)) = next else { return };
        let outcome = match &mut work {
            Ok(work) => work(item),
            Err(error) => Err(Error::Worker(error.to_string())),
        };
        // The collector may have gone; the giver notices by itself.
        let _ = reply.send(outcome);
    }
}

impl<I, O> Submit<I, O> {
    /// Hands one item over; waits while too much is in flight.
    pub(crate) fn give(&self, item: I) -> Result<()> {
        let (reply, result) = sync_channel(1);
        self.order.send(Slot::Result(result)).map_err(|_| Error::Stopped)?;
        self.jobs.send((item, reply)).map_err(|_| Error::Stopped)
    }

    /// All items were given.
    pub(crate) fn done(self) -> Result<()> {
        self.order.send(Slot::Done).map_err(|_| Error::Stopped)
    }

    /// The giver failed; the collector gets the error after the items before it.
    pub(crate) fn fail(self, error: Error) {
        let (reply, result) = sync_channel(1);
        if reply.send(Err(error)).is_ok() {
            // A collector that is gone needs no error.
            let _ = self.order.send(Slot::Result(result));
        }
    }
}

impl<O> Collect<O> {
    /// The next result; `None` after the last, [`Error::Stopped`] when the giver ended early.
    pub(crate) fn next(&self) -> Result<Option<O>> {
        match self.0.recv() {
            Ok(Slot::Result(result)) => match result.recv() {
                Ok(outcome) => outcome.map(Some),
                Err(_) => Err(Error::Worker("it ended without a result".to_owned())),
            },
            Ok(Slot::Done) => Ok(None),
            Err(_) => Err(Error::Stopped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doubling() -> MakeWork<u64, u64> {
        Arc::new(|| {
            Ok(Box::new(|item| {
                // Later items are quicker, so that order is not luck.
                std::thread::sleep(std::time::Duration::from_micros(200u64.saturating_sub(item)));
                if item == 77 { Err(Error::Stopped) } else { Ok(item * 2) }
            }))
        })
    }

    #[tokio::test]
    async fn results_keep_their_order() {
        let handle = Handle::current();
        let (submit, collect) = start(&handle, 3, &doubling());
        let giver = bridge::blocking(&handle, move || {
            (100..300).try_for_each(|item| submit.give(item))?;
            submit.done()
        });
        let taker = bridge::blocking(&handle, move || {
            let mut all = Vec::new();
            while let Some(item) = collect.next()? {
                all.push(item);
            }
            Ok(all)
        });
        giver.join().await.unwrap();
        let expected: Vec<u64> = (100..300).map(|item| item * 2).collect();
        assert_eq!(taker.join().await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_failure_arrives_in_its_place_and_a_cut_is_no_end() {
        let handle = Handle::current();
        let (submit, collect) = start(&handle, 2, &doubling());
        let giver = bridge::blocking(&handle, move || {
            submit.give(1)?;
            submit.give(77)?;
            drop(submit);
            Ok(())
        });
        let taker = bridge::blocking(&handle, move || {
            assert_eq!(collect.next().unwrap(), Some(2));
            assert!(collect.next().is_err());
            assert!(matches!(collect.next(), Err(Error::Stopped)));
            Ok(())
        });
        giver.join().await.unwrap();
        taker.join().await.unwrap();
    }
}
