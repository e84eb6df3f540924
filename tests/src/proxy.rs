//! A TCP proxy that fails on purpose: cuts, stalls or slows what flows back after a number of
//! bytes, and is a network that is cut and healed.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What the proxy does to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Closes the connection that crosses the limit; both ways counted together over all
    /// connections.
    CutAfter(u64),
    /// Stops moving bytes and keeps connections open.
    StallAfter(u64),
    /// At most this many bytes a second.
    Slow(u64),
}

/// A running proxy; it ends when dropped.
#[derive(Debug)]
pub struct Proxy {
    /// `127.0.0.1:port`.
    pub address: String,
    stop: Arc<AtomicBool>,
    moved: Arc<AtomicU64>,
    network: Arc<Network>,
}

/// Whether anything gets through, and what is connected.
#[derive(Debug, Default)]
struct Network {
    cut: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Network {
    /// Keeps what is needed to cut a connection; `false` when it is cut already, and nothing of it
    /// is kept.
    fn joins(&self, sockets: [&TcpStream; 2]) -> bool {
        let mut known = self.sockets.lock().expect("no thread panics with it");
        if self.cut.load(Ordering::Relaxed) {
            return false;
        }
        known.extend(sockets.into_iter().filter_map(|socket| socket.try_clone().ok()));
        true
    }
}

impl Proxy {
    /// Starts a proxy in front of `upstream`, `host:port`.
    ///
    /// # Panics
    /// When no port can be had.
    #[must_use]
    pub fn start(upstream: &str, fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let (stop, moved, network) = Default::default();
        let proxy = Self { address, stop, moved, network };
        let (stop, moved) = (Arc::clone(&proxy.stop), Arc::clone(&proxy.moved));
        let network = Arc::clone(&proxy.network);
        let upstream = upstream.to_owned();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                if let Ok(server) = TcpStream::connect(&upstream)
                    && network.joins([&client, &server])
                {
                    join(&client, &server, fault, &moved, &stop);
                }
            }
        });
        proxy
    }

    /// Cuts the network: connections break, and new ones are closed at once.
    ///
    /// # Panics
    /// When a thread of the proxy did.
    pub fn cut(&self) {
        let mut known = self.network.sockets.lock().expect("no thread panics with it");
        self.network.cut.store(true, Ordering::Relaxed);
        for socket in known.drain(..) {
            // It may have ended by itself.
            drop(socket.shutdown(Shutdown::Both));
        }
    }

    /// Heals it: new connections get through.
    pub fn heal(&self) {
        self.network.cut.store(false, Ordering::Relaxed);
    }

    /// Bytes moved so far, both ways.
    #[must_use]
    pub fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(&self.address));
    }
}

fn join(
    a: &TcpStream,
    b: &TcpStream,
    fault: Fault,
    moved: &Arc<AtomicU64>,
    stop: &Arc<AtomicBool>,
) {
    for (from, to) in [(a, b), (b, a)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let (moved, stop) = (Arc::clone(moved), Arc::clone(stop));
        thread::spawn(move || pump(from, to, fault, &moved, &stop));
    }
}

fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    fault: Fault,
    moved: &AtomicU64,
    stop: &AtomicBool,
) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = u64::try_from(count).unwrap_or(0);
        let before = moved.fetch_add(bytes, Ordering::Relaxed);
        let pass = match fault {
            Fault::CutAfter(limit) if before + bytes > limit => limit.saturating_sub(before),
            _ => bytes,
        };
        match fault {
            Fault::StallAfter(limit) if before + bytes > limit => hold(stop),
            Fault::Slow(rate) => {
                thread::sleep(Duration::from_micros(bytes * 1_000_000 / rate.max(1)));
            }
            _ => {}
        }
        let pass = usize::try_from(pass).unwrap_or(count);
        if to.write_all(&buffer[..pass]).is_err() || pass < count {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

/// Holds a connection open without moving anything, until the proxy ends.
fn hold(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(20));
    }
}
