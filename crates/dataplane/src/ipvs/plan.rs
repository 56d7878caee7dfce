//! From the service that the kernel has to the one that it is to have, in as little as it takes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use mainstay_core::balance::Balance;
use mainstay_core::vip::Vip;

use super::{Forwarding, IpvsError, Scheduler, Settings};

/// `IP_VS_SVC_F_SCHED1`: with `sh` and `mh`, whoever meets a backend of weight 0 gets another. Without it, they get none.
const FALL_BACK: u32 = 8;

/// A virtual service, but for its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// The scheduler's name.
    pub(crate) scheduler: String,
    /// `IP_VS_SVC_F_*`, but for the one that the kernel sets itself.
    pub(crate) flags: u32,
}

/// How a backend is to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    /// `IP_VS_CONN_F_*`, the method alone.
    pub(crate) forwarding: u32,
    /// How many connections it gets for each that another gets.
    pub(crate) weight: u32,
    /// Above how many connections it gets none, and below how many it gets some again; 0 for no such limit.
    pub(crate) limits: (u32, u32),
    /// How many it has: what the kernel says, and no part of what is wanted.
    pub(crate) connections: u64,
}

/// A service with its destinations: as the kernel has it, or is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) service: Service,
    pub(crate) destinations: BTreeMap<SocketAddr, Destination>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Makes the service, without destinations.
    Make(Service),
    /// Makes it another.
    Alter(Service),
    /// Deletes it, with its destinations.
    Remove,
    /// Adds a destination.
    Add(SocketAddr, Destination),
    /// Makes it another.
    Set(SocketAddr, Destination),
    /// Deletes it.
    Drop(SocketAddr),
}

impl Service {
    fn new(scheduler: Scheduler) -> Self {
        let flags = match scheduler {
            Scheduler::SourceHash | Scheduler::Maglev => FALL_BACK,
            Scheduler::RoundRobin | Scheduler::Weighted => 0,
        };
        Self { scheduler: scheduler.word().to_owned(), flags }
    }
}

impl Destination {
    fn new(forwarding: Forwarding, weight: u32) -> Self {
        Self { forwarding: forwarding.number(), weight, limits: (0, 0), connections: 0 }
    }

    /// All that can be ordered.
    fn order(&self) -> (u32, u32, (u32, u32)) {
        (self.forwarding, self.weight, self.limits)
    }
}

impl Found {
    /// The backends that take new connections.
    pub(crate) fn takes(&self) -> impl Iterator<Item = SocketAddr> {
        self.destinations.iter().filter(|(_, one)| one.weight > 0).map(|(at, _)| *at)
    }

    /// What of it is of a form that neither this program nor kube-vip makes.
    pub(crate) fn stranger(&self) -> Option<String> {
        let Service { scheduler, flags } = &self.service;
        if Scheduler::named(scheduler).is_none() {
            return Some(format!("its scheduler is {scheduler}"));
        }
        if flags & !FALL_BACK != 0 {
            return Some(format!("its flags are {flags:#x}"));
        }
        let odd = self.destinations.iter().find(|(_, one)| one.weight > 1 || one.limits != (0, 0));
        odd.map(|(at, one)| {
            format!("its destination {at} has weight {} and limits {:?}", one.weight, one.limits)
        })
    }
}

/// Whether each backend listens where its packets arrive.
///
/// # Errors
/// The first that does not.
pub(super) fn check_ports(balance: &Balance, forwarding: Forwarding) -> Result<(), IpvsError> {
    let elsewhere = |one: &&SocketAddr| forwarding != Forwarding::Masquerade && one.port() != balance.port;
    match balance.takes.iter().chain(&balance.keeps).find(elsewhere) {
        Some(backend) => Err(IpvsError::OtherPort { backend: *backend, forwarding, port: balance.port }),
        None => Ok(()),
    }
}

/// The service of a VIP; none where it has no backend of its family.
pub(super) fn wanted(balance: &Balance, vip: Vip, settings: Settings) -> Option<Found> {
    let weighed = |weight| move |at: &SocketAddr| (*at, Destination::new(settings.forwarding, weight));
    let both = balance.keeps.iter().map(weighed(0)).chain(balance.takes.iter().map(weighed(1)));
    let destinations: BTreeMap<_, _> = both.filter(|(at, _)| at.is_ipv4() == vip.is_ipv4()).collect();
    let service = Service::new(settings.scheduler);
    Some(Found { service, destinations }).filter(|one| !one.destinations.is_empty())
}

/// The backends whose destinations go.
pub(super) fn gone(found: &Found, wanted: Option<&Found>) -> BTreeSet<SocketAddr> {
    let stays = |at: &SocketAddr| wanted.is_some_and(|wanted| wanted.destinations.contains_key(at));
    found.destinations.keys().copied().filter(|at| !stays(at)).collect()
}

/// The steps, in an order in which new connections have a backend at every moment, if they have one before and after.
pub(super) fn changes(found: Option<&Found>, wanted: Option<&Found>) -> Vec<Change> {
    let Some(wanted) = wanted else { return found.map(|_| Change::Remove).into_iter().collect() };
    let service = match found {
        None => Some(Change::Make(wanted.service.clone())),
        Some(found) if found.service == wanted.service => None,
        Some(_) => Some(Change::Alter(wanted.service.clone())),
    };
    let there = |at: &SocketAddr| found.and_then(|found| found.destinations.get(at));
    let differs =
        |(at, one): &(&SocketAddr, &Destination)| there(at).map(Destination::order) != Some(one.order());
    let (takes, keeps): (Vec<_>, Vec<_>) =
        wanted.destinations.iter().filter(differs).partition(|(_, one)| one.weight > 0);
    let put = |(at, one): (&SocketAddr, &Destination)| match there(at) {
        None => Change::Add(*at, *one),
        Some(_) => Change::Set(*at, *one),
    };
    let gone = found.map(|found| gone(found, Some(wanted))).unwrap_or_default();
    let puts = takes.into_iter().chain(keeps).map(put);
    service.into_iter().chain(puts).chain(gone.into_iter().map(Change::Drop)).collect()
}
