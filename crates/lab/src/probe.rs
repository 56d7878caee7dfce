//! A client's view of a VIP: is it answered, by whom, and for how long is it not.
//!
//! A [`Probe`] sends ICMP echo requests (1,000 a second) and opens TCP connections (50 a second, closed by RST) from a
//! host's namespace, and forgets its neighbour entry for the VIP once a second, so that an address that nobody
//! announces or answers for cannot pass unseen. A [`Capture`] notes every ARP and neighbour message at the bridge's
//! ports, also those of a host that is cut off. [`Rogue`] is the host that claims an address it was not given.
//!
//! All times are `CLOCK_BOOTTIME`, see [`now`].

mod capture;
mod connects;
mod echo;
mod log;
mod ping;
mod rogue;
mod sweep;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

pub use capture::{Capture, Heard, Speech};
pub use log::{Answerer, Loss, Report, Sample, Tally};
/// A time on that clock.
pub use mainstay_core::time::Moment;
pub use ping::ping;
pub use rogue::Rogue;
pub use sweep::{Sweep, SweepPlan};

use crate::netns::Host;
use crate::sys;
use connects::Connects;
use echo::{Forgotten, Receiver, Sender};
use log::Log;

/// The present on the clock of every time in the lab.
#[must_use]
pub fn now() -> Moment {
    sys::now()
}

/// What to probe and how often.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The VIP.
    pub target: IpAddr,
    /// Where to connect by TCP, 50 times a second; `None` sends echoes alone.
    pub tcp_port: Option<u16>,
    /// The time between two echoes.
    pub spacing: Duration,
    /// The time between two TCP connects.
    pub connect_spacing: Duration,
    /// How often the neighbour entry is forgotten.
    pub forget_every: Duration,
    /// An echo or a connect with no answer after this time is lost.
    pub patience: Duration,
}

impl Plan {
    /// The usual plan: 1,000 echoes a second, forgetting once a second, lost after one second.
    #[must_use]
    pub const fn new(target: IpAddr) -> Self {
        Self {
            target,
            tcp_port: None,
            spacing: Duration::from_millis(1),
            connect_spacing: Duration::from_millis(20),
            forget_every: Duration::from_secs(1),
            patience: Duration::from_secs(1),
        }
    }

    /// The same with TCP connects to `port`.
    #[must_use]
    pub const fn with_tcp(mut self, port: u16) -> Self {
        self.tcp_port = Some(port);
        self
    }
}

/// How soon to try again to forget a neighbour that the kernel is just resolving.
const FORGET_RETRY: Duration = Duration::from_millis(10);

/// A running probe. Dropping it ends it.
#[derive(Debug)]
pub struct Probe {
    plan: Plan,
    log: Arc<Mutex<Log>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Probe {
    /// Starts probing from `client`.
    ///
    /// # Errors
    /// If the client's sockets cannot be made.
    pub fn start(client: &Host, plan: Plan) -> Result<Self> {
        let log = Arc::new(Mutex::new(Log::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let token = now().as_nanos();
        // The ear first: the first answer shall not be missed.
        let receiver = client.enter(|| Receiver::new(client, plan.target, token))??;
        let sender = client.enter(|| Sender::new(client.device(), plan.target, token))??;
        let mut probe = Self { plan, log: Arc::clone(&log), stop: Arc::clone(&stop), threads: Vec::new() };
        let (hearing, ended) = (Arc::clone(&log), Arc::clone(&stop));
        probe.threads.push(client.spawn(move || hear(&receiver, &hearing, &ended))?);
        probe.threads.push(client.spawn(move || speak(&sender, plan, &log, &stop))?);
        Ok(probe)
    }

    /// What was sent in `[from, to)` and what became of it. Works while the probe runs.
    ///
    /// Echoes that are younger than the plan's patience and unanswered are `pending`, neither lost nor answered: for
    /// a final word use [`Probe::settled_report`].
    #[must_use]
    pub fn report(&self, from: Moment, to: Moment) -> Report {
        self.log().report(from..to, self.plan.patience, now())
    }

    /// As [`Probe::report`], after waiting until nothing sent in the window can be pending any more.
    #[must_use]
    pub fn settled_report(&self, from: Moment, to: Moment) -> Report {
        // The reader polls: an arrival may take that much longer to be noted.
        sys::sleep_until(to + self.plan.patience + Duration::from_millis(100));
        self.report(from, to)
    }

    /// Every echo that is decided by now, in the order of sending.
    #[must_use]
    pub fn echoes(&self) -> Vec<Sample> {
        self.log().echo_samples(self.plan.patience, now())
    }

    /// Every TCP connect that is decided by now, in the order of their begin.
    #[must_use]
    pub fn connects(&self) -> Vec<Sample> {
        self.log().connect_samples()
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        join(self.threads.drain(..));
    }
}

/// Waits for a probe's threads, which were told to end.
fn join(threads: impl Iterator<Item = JoinHandle<Result<Result<()>>>>) {
    for thread in threads {
        match thread.join() {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error)) | Err(error)) => tracing::error!(%error, "a probe ended early"),
            Err(_) => tracing::error!("a probe's thread panicked"),
        }
    }
}

/// A mutex of the probe guards plain data, which a panic elsewhere leaves whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(receiver: &Receiver, log: &Mutex<Log>, stop: &AtomicBool) -> Result<()> {
    sys::prefer_this_thread();
    while !stop.load(Ordering::Relaxed) {
        if let Some(answer) = receiver.next()? {
            lock(log).answered(answer.sequence, answer.at, answer.from);
        }
    }
    Ok(())
}

/// The sending thread: one, so that forgetting the neighbour never races with a frame on its way to it.
///
/// Ticks are absolute: a late one is sent at once, so that the rate holds on a busy machine.
fn speak(sender: &Sender, plan: Plan, log: &Mutex<Log>, stop: &AtomicBool) -> Result<()> {
    sys::prefer_this_thread();
    let mut connects =
        plan.tcp_port.map(|port| Connects::new(SocketAddr::new(plan.target, port), plan.patience));
    let mut connect_at = now();
    let mut forget_at = now() + plan.forget_every;
    let mut tick = now();
    while !stop.load(Ordering::Relaxed) {
        sys::sleep_until(tick);
        if now() >= forget_at {
            let forgotten = sender.forget_neighbour().context("cannot forget the neighbour")?;
            let pause = if forgotten == Forgotten::Done { plan.forget_every } else { FORGET_RETRY };
            forget_at = now() + pause;
        }
        let sequence = lock(log).sent(now());
        sender.send(sequence);
        if let Some(connects) = &mut connects {
            if now() >= connect_at {
                connects.begin();
                connect_at = connect_at + plan.connect_spacing;
            }
            connects.collect(&mut lock(log));
        }
        tick = tick + plan.spacing;
    }
    Ok(())
}
