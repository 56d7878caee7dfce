//! A client that connects to the VIP hundreds of times a second, and remembers which of its connections failed.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::SockRef;

use crate::netns::Host;

/// Between two connections: somewhat less than 500 a second.
const APART: Duration = Duration::from_millis(2);
/// How long one may take.
const LONGEST: Duration = Duration::from_secs(2);

/// The load, until it is ended.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

/// What became of its connections.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many there were.
    pub(super) count: usize,
    /// When those ended that failed.
    pub(super) failed: Vec<Instant>,
}

impl Load {
    /// On `client`, to `port` of `vip`.
    pub(super) fn start(client: &Host, vip: impl Into<IpAddr>, port: u16) -> Result<Self> {
        let to = SocketAddr::new(vip.into(), port);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = client.spawn(move || connect_until(&stopped, to))?;
        Ok(Self { stop, thread })
    }

    /// Ends it.
    pub(super) fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the load panicked")?
    }
}

fn connect_until(stop: &AtomicBool, to: SocketAddr) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        seen.count += 1;
        match TcpStream::connect_timeout(&to, LONGEST) {
            // Reset, so that thousands of them leave nothing behind.
            Ok(stream) => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
            Err(_) => seen.failed.push(Instant::now()),
        }
        sleep(APART);
    }
    seen
}
