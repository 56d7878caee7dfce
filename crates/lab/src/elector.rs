//! A model of kube-vip's elector, not kube-vip: client-go's leader election (v0.36, which kube-vip 1.2 pins) over the
//! real HTTP API, and around it what kube-vip does with the VIP in ARP mode.
//!
//! | kube-vip | here |
//! |---|---|
//! | takes the VIP off its interface when it starts, whoever put it there | the same |
//! | asks for the Lease every retry period, and up to 1.2 times that longer by chance | [`rules`], from client-go |
//! | granted: adds the VIP, a /32 for ever | the same, by `ip` |
//! | sends one gratuitous ARP at each tick of a clock that began with the process (3 s), request and reply in turn | the same |
//! | puts a VIP back that somebody removed, at the next tick | the same |
//! | SIGTERM, or no renewal within the renew deadline: releases the Lease, *then* removes the VIP, and ends | [`Elector::stop`] |
//! | SIGKILL: the VIP stays, and the kernel answers for it | [`Elector::kill`] |
//!
//! It runs as a thread in a host's network namespace, and shares no code with the agent but the frames' bytes.

mod candidate;
mod chronicle;
pub mod rules;
#[cfg(test)]
mod tests;
mod wearing;

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_core::time::Moment;
use tokio_util::sync::CancellationToken;

use crate::apiserver::client::ApiClient;
use crate::cluster::wait_for;
use crate::netns::Host;
use crate::sys;
use candidate::Candidate;
pub use chronicle::{Chronicle, Revision};
pub use rules::Timing;
use wearing::Wearing;

/// Where the Lease of the control plane's VIP is, in kube-vip and in Mainstay.
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
/// Its name.
pub const LEASE: &str = "plndr-cp-lock";

/// How an elector is configured.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `holderIdentity`: kube-vip's is the node's name.
    pub identity: String,
    /// `vip_leaseduration`, `vip_renewdeadline`, `vip_retryperiod`.
    pub timing: Timing,
    /// `address`.
    pub vip: Ipv4Addr,
    /// `vip_arpRate`.
    pub arp_rate: Duration,
    /// Of its chance.
    pub seed: u64,
}

/// What an elector did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It runs; a VIP on the interface was removed.
    Started,
    /// It asked for the Lease, and another holds it.
    Refused(String),
    /// It has the Lease.
    Acquired,
    /// It renewed it.
    Renewed,
    /// The VIP is on the interface.
    Added,
    /// It sent a gratuitous ARP.
    Announced,
    /// It could not renew within the renew deadline.
    Lost,
    /// It gave the Lease up.
    Released,
    /// It took the VIP off the interface.
    Removed,
}

/// What an elector did, and when.
#[derive(Clone, Debug, Default)]
struct Journal(Arc<Mutex<Vec<(Moment, Step)>>>);

impl Journal {
    fn note(&self, step: Step) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((sys::now(), step));
    }

    fn all(&self) -> Vec<(Moment, Step)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A running elector. Dropping it is [`Elector::kill`].
#[derive(Debug)]
pub struct Elector {
    journal: Journal,
    stop: CancellationToken,
    kill: CancellationToken,
    thread: Option<JoinHandle<Result<Result<()>>>>,
}

impl Elector {
    /// Starts one in `host`, that asks the API server of `api`.
    ///
    /// # Errors
    /// When the timing is one that client-go refuses, or a socket or a thread cannot be made.
    pub fn start(host: &Host, api: &ApiClient, settings: Settings) -> Result<Self> {
        settings.timing.check()?;
        let (journal, stop, kill) = (Journal::default(), CancellationToken::new(), CancellationToken::new());
        let wearing = Wearing::new(host, settings.vip, journal.clone())?;
        let candidate = Candidate::new(api.clone(), &settings, journal.clone());
        let (stopped, killed) = (stop.clone(), kill.clone());
        let thread = host.spawn(move || -> Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            // Killed: whatever it was doing is not done any more, and nothing is cleaned up.
            let life = killed.run_until_cancelled(live(candidate, wearing, settings.arp_rate, stopped));
            runtime.block_on(life).unwrap_or(Ok(()))
        })?;
        Ok(Self { journal, stop, kill, thread: Some(thread) })
    }

    /// As SIGTERM: releases the Lease, removes the VIP, and ends.
    ///
    /// # Errors
    /// When it was ended before, or has not ended within `limit`.
    pub fn stop(&mut self, limit: Duration) -> Result<()> {
        self.stop.cancel();
        let thread = self.thread.as_ref().context("the elector was ended before")?;
        wait_for(limit, || Ok(thread.is_finished().then_some(())))?
            .with_context(|| format!("the elector does not end within {limit:?}: {:?}", self.journal()))?;
        self.join()
    }

    /// As SIGKILL: nothing more is written, and the VIP stays where it is.
    ///
    /// # Errors
    /// When it was ended before.
    pub fn kill(&mut self) -> Result<()> {
        ensure!(self.thread.is_some(), "the elector was ended before");
        self.kill.cancel();
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| anyhow::anyhow!("the elector's thread panicked"))??
    }

    /// What it did so far, in order.
    #[must_use]
    pub fn journal(&self) -> Vec<(Moment, Step)> {
        self.journal.all()
    }

    /// When it last did `step`, if it has.
    #[must_use]
    pub fn last(&self, step: &Step) -> Option<Moment> {
        self.journal().iter().rev().find(|(_, done)| done == step).map(|(at, _)| *at)
    }

    /// Waits until it has done `step`, `count` times or more since `since`; when the last of them was.
    ///
    /// # Errors
    /// When that does not come within `limit`.
    pub fn wait(&self, step: &Step, (since, count): (Moment, usize), limit: Duration) -> Result<Moment> {
        let done = || {
            let journal = self.journal();
            let times = journal.iter().filter(|(at, done)| *at >= since && done == step);
            let times: Vec<Moment> = times.map(|(at, _)| *at).collect();
            Ok(times.last().copied().filter(|_| times.len() >= count))
        };
        wait_for(limit, done)?.with_context(|| {
            format!("the elector: {step:?} not {count} times within {limit:?}: {:?}", self.journal())
        })
    }
}

impl Drop for Elector {
    fn drop(&mut self) {
        self.kill.cancel();
        if let Err(error) = self.join() {
            tracing::error!(%error, "an elector ended badly");
        }
    }
}

/// kube-vip's life in ARP mode with one control-plane VIP.
async fn live(
    mut candidate: Candidate,
    wearing: Wearing,
    arp_rate: Duration,
    stop: CancellationToken,
) -> Result<()> {
    wearing.clear()?;
    candidate.journal.note(Step::Started);
    let announcing = async {
        // The clock of announcements runs from the start of the process; a new VIP waits for its next tick.
        let mut tick = tokio::time::interval_at(tokio::time::Instant::now() + arp_rate, arp_rate);
        loop {
            tick.tick().await;
            wearing.announce()?;
        }
    };
    let campaigning = async {
        let held = stop.run_until_cancelled(candidate.acquire()).await.is_some();
        if !held {
            return Ok(());
        }
        wearing.add()?;
        // Returns when it is stopped, and when it could not renew in time: then kube-vip gives up alike.
        if stop.run_until_cancelled(candidate.renew()).await.is_some() {
            candidate.journal.note(Step::Lost);
        }
        candidate.release().await;
        wearing.remove()
    };
    tokio::select! {
        ended = campaigning => ended,
        failed = announcing => failed,
    }
}
