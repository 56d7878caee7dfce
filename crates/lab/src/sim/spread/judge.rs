//! Each Service's address judged as a claim is, by the same checker; and each seat's beacon.

use std::time::Duration;

use mainstay_core::check::{Bounds, Checker, Disturbance, NodeView, View, Violation};
use mainstay_core::names::ClaimId;
use mainstay_core::vip::{Mark, Vip};

use super::{World, beacon, name};
use crate::sim::host::Host;
use crate::sim::machine::Machine;
use crate::sim::random::nanos;
use crate::sim::schedule::Schedule;
use crate::sim::segment::CLIENTS_EACH;
use crate::sim::world::empty_view;

/// Seats' Leases are slower than the claim's ([`mainstay_core::seats::timing`]): with the schedule's 5, 3 and 1 s they are
/// granted for 13.4 s and renewed every 5 s.
const SEAT_TIMING: (u64, u64, u64) = (14, 9, 5);
/// Two that know different records wear an address both. They hear each other: 5 s, and a steady announcement.
const TWO_RECORDS: Duration = Duration::from_secs(20);
/// As long as one of them has not heard of the newer record, and is not cut off: a watch is silent for 20 s at most.
const TWO_RECORDS_UNHEARD: Duration = Duration::from_secs(40);
/// Until what was inherited is back: a few slow moves, a hand-over, and a lease duration in which it is not taken again.
const DRAINS: Duration = Duration::from_secs(30);

/// An empty seat that is given back is worn until its home is heard, for so long at most; nothing is placed there then.
const GIVEN_BACK: Duration = Duration::from_secs(2);
/// What somebody writes into the record by hand may move something for so long.
const MEDDLED_FOR: Duration = Duration::from_secs(10);

/// One address, as it is judged.
#[derive(Debug)]
pub(in crate::sim) struct Judged {
    pub(super) vip: Vip,
    /// Whose beacon it is, if it is none of a Service.
    seat: Option<ClaimId>,
    pub(super) view: View,
    pub(super) checker: Checker,
    last_announcer: Option<usize>,
    last_announced: Vec<Option<Duration>>,
}

/// What a schedule's addresses are judged by: those of Services first, in their order, and then those of seats.
pub(super) fn all(schedule: &Schedule, addresses: &[Vip]) -> Vec<Judged> {
    let services = addresses.iter().map(|vip| Judged::new(schedule, *vip, None));
    let seats = (0..schedule.nodes).map(|n| Judged::new(schedule, beacon(n), Some(ClaimId::seat(&name(n)))));
    services.chain(seats).collect()
}

impl Judged {
    fn new(schedule: &Schedule, vip: Vip, seat: Option<ClaimId>) -> Self {
        let bounds = if seat.is_some() { seat_bounds(schedule) } else { service_bounds(schedule) };
        let clients = if seat.is_some() { 0 } else { CLIENTS_EACH };
        Self {
            vip,
            seat,
            view: empty_view(schedule.nodes, clients),
            checker: Checker::new(bounds, schedule.nodes),
            last_announcer: None,
            last_announced: vec![None; schedule.nodes],
        }
    }

    /// What was broken, and of which address.
    pub(super) fn violations(&self) -> impl Iterator<Item = Violation> {
        self.checker.violations().iter().map(|violation| {
            let detail = format!("{}: {}", self.vip, violation.detail);
            Violation { detail, ..violation.clone() }
        })
    }

    fn differs<M>(&self, h: usize, host: &Host<M>) -> bool {
        let node = &self.view.nodes[h];
        (node.wears, node.announces) != (wears(host, self.vip), self.announces(h, host))
            || node.last_announced != self.last_announced[h]
            || self.view.last_announcer != self.last_announcer
    }

    /// A Service's address goes from seat to seat, whose epochs have nothing to do with each other: each node's is its own.
    fn announces<M>(&self, h: usize, host: &Host<M>) -> Option<Mark> {
        let agent = host.agent.as_ref()?;
        let all = agent.seats.values().filter(|(vips, _)| vips.contains(&self.vip));
        let mark = all.map(|(_, mark)| *mark).max_by_key(|mark| mark.tenure)?;
        let epoch = if self.seat.is_some() { mark.epoch } else { u32::try_from(h).unwrap_or(u32::MAX) };
        wears(host, self.vip).then_some(Mark { epoch, ..mark })
    }
}

fn wears<M>(host: &Host<M>, vip: Vip) -> bool {
    host.addresses.contains_key(&vip) && host.host_frozen == 0
}

/// What the promises come to for a Service's address.
fn service_bounds(schedule: &Schedule) -> Bounds {
    let usual = super::super::bounds(&Schedule { lease: SEAT_TIMING, ..schedule.clone() });
    Bounds {
        two_holders: TWO_RECORDS,
        two_holders_lossy: TWO_RECORDS_UNHEARD,
        orphan: super::super::lifetime(schedule) + Duration::from_millis(50),
        settle: usual.settle + DRAINS,
        write_period: Duration::from_nanos(1),
        effects_per_second: u64::MAX,
        ..usual
    }
}

/// And for a seat's own: nobody takes an empty seat of another node, so it may be dark, or not settled, for ever.
fn seat_bounds(schedule: &Schedule) -> Bounds {
    Bounds {
        two_holders: GIVEN_BACK + Duration::from_secs(1),
        two_holders_lossy: GIVEN_BACK + Duration::from_secs(17),
        dark: Duration::MAX,
        dark_calm: Duration::MAX,
        settle: Duration::MAX,
        ..service_bounds(schedule)
    }
}

impl<M: Machine> World<M> {
    pub(in crate::sim) fn spread_announced(&mut self, h: usize, vip: Vip) {
        let now = self.now();
        if let Some(judged) = self.spread.judged.iter_mut().find(|judged| judged.vip == vip) {
            judged.last_announcer = Some(h);
            judged.last_announced[h] = Some(now);
        }
    }

    /// Whether node `h` would be seen otherwise than it last was.
    pub(in crate::sim) fn spread_shows_change(&self, h: usize) -> bool {
        self.spread.judged.iter().any(|judged| judged.differs(h, &self.hosts[h]))
    }

    /// Shows the checkers the world as it is; the claim's view is up to date.
    pub(in crate::sim) fn look_at_spread(&mut self) {
        let meddled = self.spread.meddled_at.is_some_and(|at| self.now - at < nanos(MEDDLED_FOR));
        let mut all = std::mem::take(&mut self.spread.judged);
        for (index, judged) in all.iter_mut().enumerate() {
            judged.view.paths.clone_from(&self.view.paths);
            judged.view.disturbance = if meddled { Disturbance::Other } else { self.view.disturbance };
            judged.view.last_announcer = judged.last_announcer;
            for h in 0..self.hosts.len() {
                judged.view.nodes[h] = self.seen(h, judged);
            }
            for client in 0..judged.view.clients.len() {
                judged.view.clients[client] = self.segment.entry((index + 1) * CLIENTS_EACH + client);
            }
            if let Some(seat) = &judged.seat {
                let store = self.spread.leases.entry(seat.clone()).or_default();
                store.show(&mut judged.view.lease);
            }
        }
        self.spread.judged = all;
    }

    fn seen(&self, h: usize, judged: &Judged) -> NodeView {
        let (host, node) = (&self.hosts[h], &self.view.nodes[h]);
        NodeView {
            wears: wears(host, judged.vip),
            announces: judged.announces(h, host),
            last_announced: judged.last_announced[h],
            effects: 0,
            writes: 0,
            reads: 0,
            ..node.clone()
        }
    }

    pub(in crate::sim) fn judge_spread(&mut self) {
        let at = self.now();
        if self.now < super::MADE_AT {
            return;
        }
        for judged in &mut self.spread.judged {
            judged.view.at = at;
            judged.checker.observe(&judged.view);
        }
    }

    /// What was found broken of the claim, of the Services' addresses and of the seats.
    #[must_use]
    pub fn broken(&self) -> Vec<Violation> {
        let spread = self.spread.judged.iter().flat_map(Judged::violations);
        let mut all: Vec<Violation> = self.violations().iter().cloned().chain(spread).collect();
        all.sort_by_key(|violation| violation.at);
        all
    }

    /// The longest time that an address was dark although a fit node was there, and that two wore one and heard each
    /// other; of the claim and of all Services.
    #[must_use]
    pub fn longest(&self) -> (Duration, Duration) {
        let services = self.spread.judged.iter().filter(|judged| judged.seat.is_none());
        let checkers = || services.clone().map(|judged| &judged.checker).chain([self.checker()]);
        let dark = checkers().map(|one| one.longest_dark).max().unwrap_or_default();
        (dark, checkers().map(|one| one.longest_pair).max().unwrap_or_default())
    }
}
