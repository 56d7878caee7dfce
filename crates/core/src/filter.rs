//! What is let in to the addresses of Services: their own ports and nothing else (`enable_service_security`).
//!
//! It follows from what is decided, for every node the same, and names every address of a Service of ours, also those
//! that other nodes wear: a node has the filter before it has the address. What is not named is not filtered: the
//! control plane's address, beacons, and whatever is not ours.

use std::collections::{BTreeMap, BTreeSet};

use crate::intent::{Decisions, Intent, Port};
use crate::vip::Vip;

/// What each address lets in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter(pub BTreeMap<Vip, Admission>);

/// What one address lets in, beside what no address can do without: answers, ICMP errors and echoes, neighbour discovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Whatever comes: a Service on it wants no filter.
    Everything,
    /// These ports. None where the Services on it have none.
    Ports(BTreeSet<Port>),
}

impl Filter {
    /// What follows from `decisions`, which were made of `intent`. Services that share an address open it together; one
    /// with `kube-vip.io/ignore-service-security` opens all of it.
    #[must_use]
    pub fn of(decisions: &Decisions, intent: &Intent) -> Self {
        let uses = decisions.claims.values().flat_map(|claim| &claim.addresses);
        let admission = |vip: Vip, services: &[_]| {
            let unfiltered = |service| intent.services.get(service).is_some_and(|one| one.unfiltered);
            if services.iter().any(unfiltered) {
                return Admission::Everything;
            }
            let grants = services.iter().filter_map(|service| decisions.grants.get(service)).flatten();
            let here = grants.filter(|grant| grant.address == vip);
            Admission::Ports(here.flat_map(|grant| &grant.ports).copied().collect())
        };
        Self(uses.map(|(vip, on)| (*vip, admission(*vip, &on.services))).collect())
    }

    /// The same, with these addresses open, whatever was said of them before: the control plane's, and the API servers'.
    #[must_use]
    pub fn but_for(mut self, reserved: &[Vip]) -> Self {
        self.0.extend(reserved.iter().map(|vip| (*vip, Admission::Everything)));
        self
    }

    /// The same, with what `before` says of addresses that are not named any more and are still `worn`: an address is
    /// filtered for as long as it is on an interface.
    #[must_use]
    pub fn lingering(&self, before: &Self, worn: &BTreeSet<Vip>) -> Self {
        let left = before.0.iter().filter(|(vip, _)| worn.contains(*vip) && !self.0.contains_key(*vip));
        Self(left.chain(&self.0).map(|(vip, admission)| (*vip, admission.clone())).collect())
    }

    /// The addresses that do not let in everything, with the ports that they do.
    pub fn guarded(&self) -> impl Iterator<Item = (Vip, &BTreeSet<Port>)> {
        self.0.iter().filter_map(|(vip, admission)| match admission {
            Admission::Everything => None,
            Admission::Ports(ports) => Some((*vip, ports)),
        })
    }
}
