//! What moves together: addresses that have a Service in common.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::name::ObjectName;
use super::service::InterfaceWish;
use crate::names::ClaimId;
use crate::vip::Vip;

/// Addresses that move together, for the Services on them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Its name.
    pub id: ClaimId,
    /// Its addresses. Not empty.
    pub addresses: BTreeMap<Vip, AddressUse>,
}

/// Who is on an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressUse {
    /// The Services, in their order on it: those whose status has the address, then the oldest. Not empty.
    pub services: Vec<ObjectName>,
    /// The interface, as the first Service that says one has it, or else the pools' `ConfigMap` for the first Service's
    /// namespace.
    pub interface: Option<InterfaceWish>,
}

impl Claim {
    /// Its Services. A Service has one claim at most.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&ObjectName> {
        self.addresses.values().flat_map(|address| &address.services).collect()
    }
}

/// Joins addresses that have a Service in common, by whatever chain, into claims.
pub(super) fn join(addresses: BTreeMap<Vip, AddressUse>) -> BTreeMap<ClaimId, Claim> {
    let mut lowest = Lowest::default();
    let mut first: BTreeMap<&ObjectName, Vip> = BTreeMap::new();
    for (vip, address) in &addresses {
        for service in &address.services {
            let first = *first.entry(service).or_insert(*vip);
            lowest.unite(first, *vip);
        }
    }
    let mut claims: BTreeMap<ClaimId, Claim> = BTreeMap::new();
    for (vip, address) in addresses {
        let id = ClaimId::service(lowest.of(vip));
        let claim = claims.entry(id.clone()).or_insert_with(|| Claim { id, addresses: BTreeMap::new() });
        claim.addresses.insert(vip, address);
    }
    claims
}

/// Sets of addresses, each known by its lowest.
#[derive(Default)]
struct Lowest(BTreeMap<Vip, Vip>);

impl Lowest {
    /// Chains are shortened on the way: thousands of addresses in a row would take the square of that.
    fn of(&mut self, mut vip: Vip) -> Vip {
        while let Some(lower) = self.0.get(&vip).copied() {
            if let Some(lowest) = self.0.get(&lower).copied() {
                self.0.insert(vip, lowest);
            }
            vip = lower;
        }
        vip
    }

    fn unite(&mut self, one: Vip, other: Vip) {
        let (one, other) = (self.of(one), self.of(other));
        if one != other {
            self.0.insert(one.max(other), one.min(other));
        }
    }
}
