//! All that follows from the intent for Services: which are ours, who has which address, and what moves together.
//!
//! Who has which address is [`crate::ipam`]'s verdict, for what is named as for what comes from pools. There is one order
//! of Services on an address: who has it in the status, then the older Service, then the name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::claims::{AddressUse, Claim, join};
use super::name::ObjectName;
use super::ours::{NotOurs, Rules, is_ours};
use super::service::{InterfaceWish, Port, Service};
use super::wish::Wish;
use super::{Intent, NotYetListed};
use crate::ipam::{self, Note, Occupant, Pools, Why};
use crate::names::ClaimId;
use crate::vip::Vip;

/// All that follows from the intent for Services, for every node the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// What is to be held.
    pub claims: BTreeMap<ClaimId, Claim>,
    /// What each Service has, in the order in which it is to be published. Services that have nothing are not named.
    pub grants: BTreeMap<ObjectName, Vec<Grant>>,
    /// Services whose status does not say what is granted, with its ports, and has to be written. They may be written in
    /// any order, and only in part.
    pub unpublished: BTreeSet<ObjectName>,
    /// Services that another load balancer serves: their status is not ours to write.
    pub elsewhere: BTreeSet<ObjectName>,
    /// Services that are not ours, and why.
    pub not_ours: BTreeMap<ObjectName, NotOurs>,
    /// What was wanted and is not given.
    pub refused: BTreeMap<ObjectName, Vec<Why>>,
    /// What is legal and may be not meant.
    pub notes: BTreeMap<ObjectName, Vec<Note>>,
}

/// One address of one Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The address.
    pub address: IpAddr,
    /// The ports that it has there: all of its own. They are to be published with the address, so that a port that it
    /// gets later is known to be new.
    pub ports: BTreeSet<Port>,
    /// On what grounds it has it.
    pub basis: Basis,
}

/// On what grounds a Service has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// It is assigned already.
    Published,
    /// A person names it.
    Named,
    /// It is new from a pool. It is on no claim before it is published: until then nothing but the facts of the moment
    /// says whose it is, and a Service that goes would move those behind it.
    Pool,
}

/// Decides what each Service has, and what is to be held. `pools` is what the `ConfigMap` says.
///
/// # Errors
/// Some kind was never listed: nothing can be decided yet.
pub fn decide(intent: &Intent, pools: &Pools, rules: &Rules) -> Result<Decisions, NotYetListed> {
    intent.complete()?;
    let judged = intent.services.iter().map(|(name, one)| (name, one, is_ours(name, one, rules)));
    let (ours, others): (Vec<_>, Vec<_>) = judged.partition(|(.., verdict)| verdict.is_ok());
    let in_use = in_use(intent, rules, others.iter().map(|(name, one, _)| (*name, *one)));
    let ours: BTreeMap<&ObjectName, &Service> = ours.into_iter().map(|(name, one, _)| (name, one)).collect();
    let verdicts = ipam::allocate(pools, ours.iter().map(|(name, one)| (*name, *one)), &in_use);
    let not_ours = others.into_iter().filter_map(|(name, _, why)| Some((name.clone(), why.err()?)));
    let mut decisions = Decisions { not_ours: not_ours.collect(), ..Decisions::default() };
    for (name, verdict) in verdicts {
        decisions.take(name, ours.get(&name), verdict);
    }
    decisions.claims = join(uses(&decisions.grants, &ours, pools));
    Ok(decisions)
}

/// What is no Service's of ours to have.
fn in_use<'a>(
    intent: &Intent,
    rules: &Rules,
    others: impl Iterator<Item = (&'a ObjectName, &'a Service)>,
) -> BTreeMap<IpAddr, Occupant> {
    let services = others.flat_map(|(name, one)| {
        one.assigned().into_iter().map(|address| (address, Occupant::Service(name.clone())))
    });
    let nodes = intent.nodes.iter().flat_map(|(node, facts)| {
        facts.addresses.iter().map(|address| (*address, Occupant::Node(node.clone())))
    });
    let reserved = rules.reserved.iter().map(|address| (*address, Occupant::ControlPlane));
    let all = services.chain(nodes).chain(reserved);
    all.map(|(address, by)| (address.to_canonical(), by)).collect()
}

impl Decisions {
    fn take(&mut self, name: &ObjectName, service: Option<&&Service>, verdict: ipam::Decision) {
        let Some(service) = service else { return };
        let grants = grants(service, verdict.addresses());
        if verdict.serves_elsewhere {
            self.elsewhere.insert(name.clone());
        } else if !is_published(service, &grants) {
            self.unpublished.insert(name.clone());
        }
        let why: Vec<Why> = verdict.refusals.into_iter().map(|refusal| refusal.why).collect();
        insert(&mut self.refused, name, why);
        insert(&mut self.notes, name, verdict.notes);
        insert(&mut self.grants, name, grants);
    }
}

fn insert<T>(map: &mut BTreeMap<ObjectName, Vec<T>>, name: &ObjectName, all: Vec<T>) {
    if !all.is_empty() {
        map.insert(name.clone(), all);
    }
}

fn grants(service: &Service, addresses: &[IpAddr]) -> Vec<Grant> {
    let assigned = service.assigned();
    let basis = |address: IpAddr| match address {
        address if assigned.contains(&address) => Basis::Published,
        address if service.names(address) => Basis::Named,
        _ => Basis::Pool,
    };
    let grant =
        |address: &IpAddr| Grant { address: *address, ports: service.ports.clone(), basis: basis(*address) };
    addresses.iter().map(grant).collect()
}

/// Whether the status says this, in whatever order.
fn is_published(service: &Service, grants: &[Grant]) -> bool {
    let published: BTreeSet<_> = service.published.iter().map(|one| (one.wish.clone(), &one.ports)).collect();
    let granted: BTreeSet<_> = grants.iter().map(|one| (Wish::Address(one.address), &one.ports)).collect();
    published == granted
}

/// A Service on an address, behind what puts it in order there: whether it is new, its age, its name.
type Ordered<'a> = ((bool, i64, &'a ObjectName), &'a Service);

/// Who is on each address that is to be held.
fn uses(
    grants: &BTreeMap<ObjectName, Vec<Grant>>,
    services: &BTreeMap<&ObjectName, &Service>,
    pools: &Pools,
) -> BTreeMap<Vip, AddressUse> {
    let mut services_on: BTreeMap<Vip, Vec<Ordered<'_>>> = BTreeMap::new();
    for (name, grants) in grants {
        let Some(service) = services.get(name) else { continue };
        for grant in grants.iter().filter(|grant| grant.basis != Basis::Pool) {
            let is_new = !service.addresses_published().contains(&grant.address);
            let order = (is_new, service.created, name);
            services_on.entry(grant.address).or_default().push((order, *service));
        }
    }
    let in_order = |(vip, mut on): (Vip, Vec<Ordered<'_>>)| {
        on.sort_by_key(|(order, _)| *order);
        let interface = on.iter().find_map(|(_, service)| service.interface.clone());
        let first = on.first().map(|((.., name), _)| name.namespace());
        let by_pools = || Some(InterfaceWish::Named(pools.interface(first?)?.to_owned()));
        let services = on.iter().map(|((.., name), _)| (*name).clone()).collect();
        (vip, AddressUse { services, interface: interface.or_else(by_pools) })
    };
    services_on.into_iter().map(in_order).collect()
}
