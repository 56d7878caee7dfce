//! Many addresses at once from one client: one thread that asks each in its turn, one that hears them all.
//!
//! A [`super::Probe`] is exact to a millisecond and costs two threads and an ear that hears every frame; hundreds of them
//! would measure each other. A sweep spreads its echoes evenly over time, for the kernel that answers has one socket for
//! its replies on each core, with room for about 170.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_core::names::Mac;
use mainstay_core::time::Moment;
use socket2::SockAddr;

use super::echo::{Forgotten, Receiver, Sender};
use super::log::Log;
use super::{Report, lock};
use crate::netns::{self, Host};
use crate::sys;

/// Between two looks at what is due: the sender sleeps at least so long, and sends what became due meanwhile.
const QUANTUM: Duration = Duration::from_millis(1);
/// So many echoes leave at once at most.
const BURST: u32 = 16;
/// A sequence number holds the address's place above these bits.
const NUMBER_BITS: u32 = 40;
/// What the kernel keeps of an echo that waits for its neighbour to be resolved, in bytes.
const PACKET: usize = 768;
/// Echoes that may wait so, of all addresses together: the sending socket has room for 277.
const WAITING: usize = 256;

/// What to sweep over, and how often.
#[derive(Clone, Debug)]
pub struct SweepPlan {
    /// The addresses.
    pub targets: Vec<Ipv4Addr>,
    /// The time between two echoes to one address.
    pub spacing: Duration,
    /// How often each address's neighbour entry is forgotten, so that one that nobody answers for cannot pass unseen.
    pub forget_every: Option<Duration>,
    /// An echo with no answer after this time is lost.
    pub patience: Duration,
}

impl SweepPlan {
    /// An echo to each address every `spacing`, lost after a second; entries are forgotten every two seconds.
    #[must_use]
    pub fn new(targets: Vec<Ipv4Addr>, spacing: Duration) -> Self {
        let (forget_every, patience) = (Some(Duration::from_secs(2)), Duration::from_secs(1));
        Self { targets, spacing, forget_every, patience }
    }

    /// The same with entries that are never forgotten.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.forget_every = None;
        self
    }
}

/// A running sweep. Dropping it ends it.
#[derive(Debug)]
pub struct Sweep {
    plan: SweepPlan,
    logs: Arc<Vec<Mutex<Log>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Result<()>>>>,
}

impl Sweep {
    /// Starts asking from `client`.
    ///
    /// # Errors
    /// If the client's sockets cannot be made.
    pub fn start(client: &Host, plan: SweepPlan) -> Result<Self> {
        let logs: Arc<Vec<_>> = Arc::new(plan.targets.iter().map(|_| Mutex::new(Log::default())).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let token = sys::now().as_nanos();
        let mut sweep = Self { plan, logs: Arc::clone(&logs), stop: Arc::clone(&stop), threads: Vec::new() };
        let Some(&first) = sweep.plan.targets.first() else { return Ok(sweep) };
        // The ear first: the first answer shall not be missed.
        let receiver = client.enter(|| Receiver::new(client, first.into(), token))??;
        let waiting = (WAITING / sweep.plan.targets.len()).max(1) * PACKET;
        let path = format!("net/ipv4/neigh/{}/unres_qlen_bytes", client.device());
        client.enter(|| netns::sysctl(&path, &waiting.to_string()))??;
        let sender = client.enter(|| Sender::new(client.device(), first.into(), token))??;
        let (hearing, ended, targets) = (Arc::clone(&logs), Arc::clone(&stop), sweep.plan.targets.clone());
        sweep.threads.push(client.spawn(move || hear(&receiver, &targets, &hearing, &ended))?);
        let plan = sweep.plan.clone();
        sweep.threads.push(client.spawn(move || Round::new(&sender, &plan, &logs).speak(&stop))?);
        Ok(sweep)
    }

    /// The addresses, in the order of the reports.
    #[must_use]
    pub fn targets(&self) -> &[Ipv4Addr] {
        &self.plan.targets
    }

    /// What was sent to each address in `[from, to)`, and what became of it. Works while the sweep runs.
    #[must_use]
    pub fn reports(&self, from: Moment, to: Moment) -> Vec<Report> {
        let report = |log: &Mutex<Log>| lock(log).report(from..to, self.plan.patience, sys::now());
        self.logs.iter().map(report).collect()
    }

    /// The same, after waiting until nothing sent in the window can be pending any more.
    #[must_use]
    pub fn settled_reports(&self, from: Moment, to: Moment) -> Vec<Report> {
        sys::sleep_until(to + self.plan.patience + Duration::from_millis(100));
        self.reports(from, to)
    }

    /// When each address was first answered at or after `from`, by another host than `but`.
    #[must_use]
    pub fn first_answers(&self, from: Moment, but: Option<Mac>) -> Vec<Option<Moment>> {
        let first =
            |report: Report| report.changes.iter().find(|(_, mac)| Some(*mac) != but).map(|(at, _)| *at);
        self.reports(from, sys::now()).into_iter().map(first).collect()
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        super::join(self.threads.drain(..));
    }
}

fn hear(receiver: &Receiver, targets: &[Ipv4Addr], logs: &[Mutex<Log>], stop: &AtomicBool) -> Result<()> {
    sys::prefer_this_thread();
    while !stop.load(Ordering::Relaxed) {
        let Some((answer, from)) = receiver.next_of_any()? else { continue };
        let place = usize::try_from(answer.sequence >> NUMBER_BITS).unwrap_or(usize::MAX);
        if targets.get(place).is_some_and(|target| IpAddr::V4(*target) == from) {
            let number = answer.sequence & ((1 << NUMBER_BITS) - 1);
            lock(&logs[place]).answered(number, answer.at, answer.from);
        }
    }
    Ok(())
}

/// The sending thread's state.
struct Round<'a> {
    sender: &'a Sender,
    to: Vec<SockAddr>,
    plan: &'a SweepPlan,
    logs: &'a [Mutex<Log>],
    forget_at: Vec<Moment>,
    place: usize,
}

impl<'a> Round<'a> {
    fn new(sender: &'a Sender, plan: &'a SweepPlan, logs: &'a [Mutex<Log>]) -> Self {
        let to = |target: &Ipv4Addr| SocketAddr::from((*target, 0)).into();
        let places = (0..).take(plan.targets.len());
        let forget_at = plan.forget_every.map_or_else(Vec::new, |every| {
            // Not all in the same moment.
            let share = every / u32::try_from(plan.targets.len()).unwrap_or(u32::MAX);
            places.map(|place: u32| sys::now() + every + share * place).collect()
        });
        Self { sender, to: plan.targets.iter().map(to).collect(), plan, logs, forget_at, place: 0 }
    }

    fn speak(mut self, stop: &AtomicBool) -> Result<()> {
        sys::prefer_this_thread();
        let step = self.plan.spacing / u32::try_from(self.to.len()).unwrap_or(u32::MAX);
        let mut due = sys::now();
        while !stop.load(Ordering::Relaxed) {
            sys::sleep_until(due.max(sys::now() + QUANTUM));
            let now = sys::now();
            // What a machine that stood still did not send is not made up for: it would be a burst.
            if now.since(due) > self.plan.spacing {
                due = now;
            }
            for _ in 0..BURST {
                if due > now {
                    break;
                }
                self.ask_next()?;
                due = due + step;
            }
        }
        Ok(())
    }

    fn ask_next(&mut self) -> Result<()> {
        let place = self.place;
        self.forget(place)?;
        let number = lock(&self.logs[place]).sent(sys::now());
        self.sender.send_to(&self.to[place], (place as u64) << NUMBER_BITS | number);
        self.place = (place + 1) % self.to.len();
        Ok(())
    }

    fn forget(&mut self, place: usize) -> Result<()> {
        let Some(at) = self.forget_at.get_mut(place).filter(|at| sys::now() >= **at) else { return Ok(()) };
        let forgotten =
            self.sender.forget(self.plan.targets[place].into()).context("cannot forget the neighbour")?;
        let pause = match forgotten {
            Forgotten::Done => self.plan.forget_every.unwrap_or_default(),
            Forgotten::NotYet => super::FORGET_RETRY,
        };
        *at = sys::now() + pause;
        Ok(())
    }
}
