//! One Service under consideration: what it asks for by name, and which families.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::pools::Pool;
use super::reason::{Refusal, Why};
use crate::intent::{AddressSource, Family, FamilyPolicy, NamedBy, ObjectName, Service, Wish, distinct};

/// What a Service asks for, and what of its own it still has.
pub(super) struct Candidate<'a> {
    pub(super) name: &'a ObjectName,
    pub(super) service: &'a Service,
    /// What it has been assigned, each once.
    pub(super) assigned: Vec<IpAddr>,
    /// What it has been assigned and may keep.
    pub(super) held: Vec<IpAddr>,
    /// Why it may not keep the rest.
    pub(super) lost: BTreeMap<IpAddr, Why>,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(name: &'a ObjectName, service: &'a Service) -> Self {
        Self { name, service, assigned: service.assigned(), held: vec![], lost: BTreeMap::new() }
    }

    /// What its status has.
    pub(super) fn published(&self) -> Vec<IpAddr> {
        self.service.addresses_published()
    }

    /// What it asks for by name. kube-vip's order: the annotation, else what the status says, else `spec.loadBalancerIP`.
    /// But a spec that names another address of a family that the status has was changed since, and is what is meant.
    pub(super) fn request(&self) -> Option<(AddressSource, &'a [Wish])> {
        let named = &self.service.named;
        if named.by == NamedBy::CloudProvider {
            return None;
        }
        if !named.annotation.is_empty() {
            return Some((AddressSource::Annotation, &named.annotation));
        }
        let spec = named.spec.as_ref().filter(|spec| self.held.is_empty() || self.differs(spec))?;
        Some((AddressSource::Spec, std::slice::from_ref(spec)))
    }

    /// Whether `spec` names something else for a family that the Service has.
    fn differs(&self, spec: &Wish) -> bool {
        match spec {
            Wish::Address(address) => self.has(Family::of(*address)) && !self.held.contains(address),
            Wish::Dhcp(family) => self.has(*family) && self.leased(*family).is_none(),
            Wish::Name(_) | Wish::Unreadable(_) => false,
        }
    }

    /// Whether `spec.loadBalancerIP` says where it belongs, so that no pool is asked.
    pub(super) fn is_specified(&self) -> bool {
        self.service.named.by == NamedBy::Person && self.service.named.spec.is_some()
    }

    /// Why another load balancer is taken to serve it: it published a name, or a node's own address (k3s's servicelb
    /// does). Two that write one status would never end.
    pub(super) fn serves_elsewhere(&self) -> Option<Why> {
        let name = self.service.published.iter().find_map(|one| match &one.wish {
            Wish::Name(name) => Some(Why::Published { name: name.clone() }),
            _ => None,
        });
        name.or_else(|| self.lost.values().find(|why| matches!(why, Why::NodeAddress { .. })).cloned())
    }

    /// What a DHCP server has given it of `family`.
    pub(super) fn leased(&self, family: Family) -> Option<IpAddr> {
        let is_leased = |one: &IpAddr| Family::of(*one) == family && self.service.leased.contains(one);
        self.held.iter().copied().filter(is_leased).min()
    }

    /// Whether `family` is one that nothing behind the Service speaks.
    pub(super) fn lacks(&self, family: Family) -> bool {
        let families = &self.service.families;
        !self.requires_both() && !families.is_empty() && !families.contains(&family)
    }

    pub(super) fn requires_both(&self) -> bool {
        self.service.family_policy == FamilyPolicy::RequireDualStack
    }

    pub(super) fn prefers_both(&self) -> bool {
        self.service.family_policy == FamilyPolicy::PreferDualStack
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.held.iter().any(|address| Family::of(*address) == family)
    }

    /// The families that it is to have, the first one first.
    pub(super) fn wanted(&self, pool: Option<&Pool>) -> Vec<Family> {
        let listed = &self.service.families;
        match self.service.family_policy {
            FamilyPolicy::SingleStack => {
                vec![listed.first().copied().unwrap_or_else(|| self.only_family(pool))]
            }
            FamilyPolicy::PreferDualStack if !listed.is_empty() => distinct(listed.iter().copied()),
            FamilyPolicy::PreferDualStack | FamilyPolicy::RequireDualStack => {
                distinct(listed.iter().copied().chain(Family::ALL))
            }
        }
    }

    /// The family of a Service that names none: what it has, else what its pool offers.
    fn only_family(&self, pool: Option<&Pool>) -> Family {
        let offered = |family: &Family| pool.is_some_and(|pool| pool.offers(*family));
        let held = self.held.first().map(|address| Family::of(*address));
        held.or_else(|| Family::ALL.into_iter().find(offered)).unwrap_or(Family::Ipv4)
    }

    pub(super) fn refusal(&self, why: Why) -> Refusal {
        Refusal { service: self.name.clone(), why }
    }

    pub(super) fn refusals(&self, reasons: impl IntoIterator<Item = Why>) -> Vec<Refusal> {
        reasons.into_iter().map(|why| self.refusal(why)).collect()
    }
}
