//! The thread that changes addresses.
//!
//! Changing one waits for the kernel's `rtnl` lock, which a busy host may hold for long; on a thread of its own that
//! wait delays no announcement. Orders are carried out one after another, in the order they were given, and each is
//! reported.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use mainstay_core::input::EffectId;
use mainstay_core::time::Moment;
use mainstay_core::vip::Vip;
use tokio::sync::mpsc;

use crate::kernel::{self, Applied, KernelError};
use crate::linux::addresses::LinkAddresses;
use crate::linux::clock;
use crate::linux::links::{self, Survey};
use crate::linux::route::Route;

/// How many orders may wait. A full queue means that the kernel has not answered for long: new orders are refused
/// with that word, and the core asks again.
const WAITING: usize = 256;
/// Between looks whether the kernel delivers to a new address, doubled each time: a quarter of a second in all.
const FIRST_LOOK: Duration = Duration::from_micros(250);
const LAST_LOOK: Duration = Duration::from_millis(128);
/// The thread does little; a small stack keeps the agent small.
const STACK: usize = 256 * 1024;

/// One order.
#[derive(Debug)]
pub(crate) enum Order {
    Assign {
        id: EffectId,
        index: u32,
        vips: Vec<Vip>,
        lifetime: Duration,
    },
    Withdraw {
        id: EffectId,
        index: u32,
        vips: Vec<Vip>,
    },
    /// `news` comes back with the report: how much of the link's news was known when it was asked for.
    Survey {
        news: u64,
    },
}

/// What became of one, in the orders' order.
#[derive(Debug)]
pub(crate) enum Report {
    Assigned { id: EffectId, applied: Applied, until: Moment },
    Withdrawn { id: EffectId, applied: Applied },
    Surveyed { news: u64, result: Result<Survey, String> },
}

/// The thread's handle. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    orders: SyncSender<Order>,
    pub(crate) reports: mpsc::Receiver<Report>,
}

impl Worker {
    /// Starts the thread, in the caller's network namespace.
    pub(crate) fn start(interface: String) -> io::Result<Self> {
        let (orders, waiting) = sync_channel(WAITING);
        // A full queue of reports makes the thread wait for the loop: none is lost, and no more orders are taken.
        let (report, reports) = mpsc::channel(WAITING);
        thread::Builder::new()
            .name("kernel".to_owned())
            .stack_size(STACK)
            .spawn(move || work(&interface, &waiting, &report))?;
        Ok(Self { orders, reports })
    }

    /// Queues an order; gives it back, with why, when it cannot be.
    pub(crate) fn order(&self, order: Order) -> Result<(), (Order, &'static str)> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(order) => (order, "the kernel has not answered the orders before"),
            TrySendError::Disconnected(order) => (order, "the kernel thread ended"),
        })
    }
}

fn work(interface: &str, orders: &Receiver<Order>, reports: &mpsc::Sender<Report>) {
    let mut route = None;
    while let Ok(order) = orders.recv() {
        let report = with_route(&mut route, |route| carry_out(route, interface, (&order, reports)));
        let report = report.unwrap_or_else(|error| refused(&order, &error));
        if reports.blocking_send(report).is_err() {
            return;
        }
    }
}

/// Runs `work` with the socket, which is opened when there is none, and closed when it broke.
fn with_route(
    slot: &mut Option<Route>,
    work: impl FnOnce(&mut Route) -> (Report, bool),
) -> Result<Report, io::Error> {
    let mut route = slot.take().map_or_else(Route::open, Ok)?;
    let (report, sound) = work(&mut route);
    *slot = sound.then_some(route);
    Ok(report)
}

/// The report, and whether the socket can be used again. What is done of an order before the rest is reported at once.
fn carry_out(
    route: &mut Route,
    interface: &str,
    (order, reports): (&Order, &mpsc::Sender<Report>),
) -> (Report, bool) {
    match order {
        Order::Assign { id, index, vips, lifetime } => {
            // Counted from before: the kernel's own count begins later.
            let until = clock::now() + *lifetime;
            let mut link = LinkAddresses { route, index: *index };
            let taken = kernel::assign(&mut link, vips, *lifetime);
            let early = |applied| {
                // When nobody listens any more, the thread ends with the next report.
                let _ = reports.blocking_send(Report::Assigned { id: *id, applied, until });
            };
            let applied = kernel::await_delivery(&mut link, taken, early, pauses());
            let sound = applied.failed.is_empty();
            (Report::Assigned { id: *id, applied, until }, sound)
        }
        Order::Withdraw { id, index, vips } => {
            let applied = kernel::withdraw(&mut LinkAddresses { route, index: *index }, vips);
            let sound = applied.failed.is_empty();
            (Report::Withdrawn { id: *id, applied }, sound)
        }
        Order::Survey { news } => {
            let survey = links::survey(route, interface);
            let sound = !matches!(survey, Err(KernelError::Broken { .. }));
            let result = survey.map_err(|error| error.to_string());
            (Report::Surveyed { news: *news, result }, sound)
        }
    }
}

/// Waits longer each time, until it has waited long enough: a withdrawal may be next.
///
/// It sleeps, because the kernel has no news of the moment from which it delivers to an IPv6 address: that can only be
/// looked for, and whoever does not find it in time goes on without knowing.
fn pauses() -> impl FnMut() -> bool {
    let mut next = FIRST_LOOK;
    move || {
        let more = next <= LAST_LOOK;
        if more {
            thread::sleep(next);
            next *= 2;
        }
        more
    }
}

/// The report of an order for which there is no socket, or no thread.
pub(crate) fn refused(order: &Order, why: &dyn std::fmt::Display) -> Report {
    let why = why.to_string();
    match order {
        Order::Assign { id, vips, .. } => {
            Report::Assigned { id: *id, applied: Applied::refused(vips, &why), until: Moment::ZERO }
        }
        Order::Withdraw { id, vips, .. } => {
            Report::Withdrawn { id: *id, applied: Applied::refused(vips, &why) }
        }
        Order::Survey { news } => Report::Surveyed { news: *news, result: Err(why) },
    }
}
