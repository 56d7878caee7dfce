//! From Services to claims: who is given which address, and what moves together.
//!
//! Addresses are decided one by one, and on each the oldest Service comes first. So nothing that a younger Service says
//! takes an address away from an older one, and a refusal on one address touches no other.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::name::ObjectName;
use super::ours::{NotOurs, Rules, is_ours};
use super::service::{AddressSource, AddressWish, Family, FamilyPolicy, InterfaceWish, Port, Service, Wish};
use super::{Intent, NotYetListed};
use crate::names::{ClaimId, NodeName};
use crate::vip::Vip;

/// All that follows from the intent for Services, for every node the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// What is to be held.
    pub claims: BTreeMap<ClaimId, Claim>,
    /// Services that are not ours, and why.
    pub not_ours: BTreeMap<ObjectName, NotOurs>,
    /// What was asked for and is not given.
    pub refused: BTreeMap<ObjectName, Vec<Refused>>,
    /// Services of ours that need an address from a pool.
    pub needs: BTreeMap<ObjectName, AddressNeed>,
}

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
    /// The Services, the oldest first. Not empty.
    pub services: Vec<ObjectName>,
    /// The interface, as the oldest Service that says one has it.
    pub interface: Option<InterfaceWish>,
}

impl Claim {
    /// Its Services. A Service has one claim at most.
    #[must_use]
    pub fn services(&self) -> BTreeSet<&ObjectName> {
        self.addresses.values().flat_map(|address| &address.services).collect()
    }
}

/// One wish that is not granted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// What was asked for.
    pub wish: AddressWish,
    /// Why it is not given.
    pub why: Refusal,
}

/// Why a wish is not granted. The Service's other addresses, and all other Services, are not touched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// Addresses from DHCP are not built yet.
    #[error("addresses from DHCP are not built yet: name an address")]
    Dhcp,
    /// DNS names are not built yet.
    #[error("addresses by DNS name are not built yet: name an address")]
    DnsName,
    /// No host can have such an address.
    #[error(
        "no interface can serve it (loopback, multicast, broadcast or unspecified): name a unicast address"
    )]
    NotUnicast,
    /// The Service has no endpoints of that family.
    #[error("the service has no {0} (spec.ipFamilies): kube-proxy would drop what is sent there")]
    Family(Family),
    /// The control plane's address.
    #[error("the control plane has it: name another address")]
    Reserved,
    /// Another load balancer published a node's own address in the status (k3s's servicelb does).
    #[error(
        "it is node {0}'s own address, which another load balancer published: name an address that no host has"
    )]
    NodeAddress(NodeName),
    /// An older Service has that port of the address.
    #[error("service {with}, which is older, has {port} there: use another port or another address")]
    PortClash {
        /// The port.
        port: Port,
        /// Who has it.
        with: ObjectName,
    },
    /// The address is asked for twice by one Service.
    #[error("it is asked for twice")]
    Twice,
}

/// A Service of ours that needs an address from a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressNeed {
    /// The families to allocate, the Service's first one first. Empty where the API server said none: whatever there is.
    pub families: Vec<Family>,
    /// What it means if there is no address of the second.
    pub policy: FamilyPolicy,
}

/// Decides what is to be held.
///
/// # Errors
/// Some kind was never listed: nothing can be decided yet.
pub fn decide(intent: &Intent, rules: &Rules) -> Result<Decisions, NotYetListed> {
    intent.complete()?;
    let mut decisions = Decisions::default();
    let mut asked: BTreeMap<Vip, Vec<Request<'_>>> = BTreeMap::new();
    for (name, service) in intent.services.iter() {
        if let Err(why) = is_ours(name, service, rules) {
            decisions.not_ours.insert(name.clone(), why);
            continue;
        }
        let (requests, refused) = Gate { intent, rules, name, service }.pass();
        decisions.needs.extend(need(service, &requests, &refused).map(|need| (name.clone(), need)));
        decisions.refuse(name, refused);
        requests.into_iter().for_each(|(vip, request)| asked.entry(vip).or_default().push(request));
    }
    let seated = asked.into_iter().map(|(vip, requests)| (vip, decisions.seat(requests))).collect();
    decisions.claims = join(seated);
    Ok(decisions)
}

/// One Service's request for one address.
struct Request<'a> {
    name: &'a ObjectName,
    service: &'a Service,
    wish: &'a AddressWish,
}

impl Decisions {
    fn refuse(&mut self, name: &ObjectName, refused: Vec<Refused>) {
        if !refused.is_empty() {
            self.refused.entry(name.clone()).or_default().extend(refused);
        }
    }

    /// Who of those that ask for one address is on it: all whose ports no older one has.
    fn seat(&mut self, mut requests: Vec<Request<'_>>) -> AddressUse {
        requests.sort_by_key(|request| (request.service.created, request.name));
        let mut ports: BTreeMap<Port, &ObjectName> = BTreeMap::new();
        let mut address = AddressUse::default();
        for request in requests {
            let wanted = &request.service.ports;
            if let Some((port, with)) = wanted.iter().find_map(|port| Some((*port, *ports.get(port)?))) {
                let why = Refusal::PortClash { port, with: with.clone() };
                self.refuse(request.name, vec![Refused { wish: request.wish.clone(), why }]);
                continue;
            }
            ports.extend(wanted.iter().map(|port| (*port, request.name)));
            address.services.push(request.name.clone());
            address.interface = address.interface.or_else(|| request.service.interface.clone());
        }
        address
    }
}

/// What one Service asks for, before it is known what others ask for.
struct Gate<'a> {
    intent: &'a Intent,
    rules: &'a Rules,
    name: &'a ObjectName,
    service: &'a Service,
}

impl<'a> Gate<'a> {
    fn pass(&self) -> (BTreeMap<Vip, Request<'a>>, Vec<Refused>) {
        let (mut requests, mut refused) = (BTreeMap::new(), Vec::new());
        for wish in &self.service.wishes {
            let request = Request { name: self.name, service: self.service, wish };
            let admitted = self
                .admit(wish)
                .and_then(|vip| if requests.contains_key(&vip) { Err(Refusal::Twice) } else { Ok(vip) });
            match admitted {
                Ok(vip) => drop(requests.insert(vip, request)),
                Err(why) => refused.push(Refused { wish: wish.clone(), why }),
            }
        }
        (requests, refused)
    }

    fn admit(&self, wish: &AddressWish) -> Result<Vip, Refusal> {
        let address = match wish.wish {
            Wish::Address(address) => address,
            Wish::Dhcp(_) => return Err(Refusal::Dhcp),
            Wish::Name(_) => return Err(Refusal::DnsName),
        };
        let (family, families) = (Family::of(address), &self.service.families);
        if !is_unicast(address) {
            return Err(Refusal::NotUnicast);
        }
        if !families.is_empty() && !families.contains(&family) {
            return Err(Refusal::Family(family));
        }
        if self.rules.reserved.contains(&address) {
            return Err(Refusal::Reserved);
        }
        self.owner(address, wish.source).map_or(Ok(address), |node| Err(Refusal::NodeAddress(node.clone())))
    }

    /// The node whose own address this is, as far as that is a reason to refuse it. A person who names an address knows
    /// what for. And a kubelet reports a VIP that its node holds as the node's own (kube-vip 741): what was held before
    /// must not be given up because it was.
    fn owner(&self, address: IpAddr, source: AddressSource) -> Option<&'a NodeName> {
        if source != AddressSource::Status || self.service.vip_host.is_some() {
            return None;
        }
        let mut nodes = self.intent.nodes.iter();
        nodes.find(|(_, facts)| facts.addresses.contains(&address)).map(|(node, _)| node)
    }
}

fn is_unicast(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
}

/// What a Service needs from a pool: an address of each of its families, unless a person named what it is to have, or
/// another load balancer serves it: two that write one status would never end.
fn need(service: &Service, granted: &BTreeMap<Vip, Request<'_>>, refused: &[Refused]) -> Option<AddressNeed> {
    let by_pool =
        |wish: &AddressWish| wish.source == AddressSource::Status && matches!(wish.wish, Wish::Address(_));
    let by_another = refused.iter().any(|refused| matches!(refused.why, Refusal::NodeAddress(_)));
    if service.deleting || by_another || !service.wishes.iter().all(by_pool) {
        return None;
    }
    let has = |family: &Family| granted.keys().any(|vip| Family::of(*vip) == *family);
    let families: Vec<Family> = service.families.iter().copied().filter(|family| !has(family)).collect();
    let nothing_said = service.families.is_empty() && granted.is_empty();
    let policy = service.family_policy;
    (nothing_said || !families.is_empty()).then_some(AddressNeed { families, policy })
}

/// Joins addresses that have a Service in common, by whatever chain, into claims.
fn join(addresses: BTreeMap<Vip, AddressUse>) -> BTreeMap<ClaimId, Claim> {
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
