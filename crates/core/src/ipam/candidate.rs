//! One Service under consideration: what it asks for by name, and which families.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::pools::Pool;
use super::reason::{Refusal, Source, Why};
use super::service::Service;
use crate::intent::{Family, FamilyPolicy, ObjectName};

/// What a Service asks for, and what of its own it still has.
pub(super) struct Candidate<'a> {
    pub(super) name: &'a ObjectName,
    pub(super) service: &'a Service,
    /// What the annotation names, in its order.
    annotated: Vec<Result<IpAddr, Why>>,
    /// What `spec.loadBalancerIP` names.
    specified: Vec<Result<IpAddr, Why>>,
    /// What it has been assigned, each once. An IPv4 address that is written as an IPv6 one is that IPv4 address.
    pub(super) assigned: Vec<IpAddr>,
    /// What it has been assigned and may keep.
    pub(super) held: Vec<IpAddr>,
    /// Why it may not keep the rest.
    pub(super) lost: BTreeMap<IpAddr, Why>,
}

impl<'a> Candidate<'a> {
    pub(super) fn new(name: &'a ObjectName, service: &'a Service) -> Self {
        let annotated = named(Source::Annotation, service.annotation.as_deref());
        let specified = named(Source::LoadBalancerIp, service.load_balancer_ip.as_deref());
        let assigned = distinct(service.assigned.iter().map(IpAddr::to_canonical));
        Self { name, service, annotated, specified, assigned, held: vec![], lost: BTreeMap::new() }
    }

    /// What it asks for by name. kube-vip's order: the annotation, else what the status says, else
    /// `spec.loadBalancerIP`.
    pub(super) fn request(&self) -> Option<(Source, &[Result<IpAddr, Why>])> {
        if !self.annotated.is_empty() {
            Some((Source::Annotation, &self.annotated))
        } else if self.held.is_empty() && !self.specified.is_empty() {
            Some((Source::LoadBalancerIp, &self.specified))
        } else {
            None
        }
    }

    /// Whether `spec.loadBalancerIP` says where it belongs, so that no pool is asked.
    pub(super) fn is_specified(&self) -> bool {
        !self.specified.is_empty()
    }

    /// Whether it asks for `address` itself.
    pub(super) fn names(&self, address: IpAddr) -> bool {
        self.annotated.iter().chain(&self.specified).any(|entry| *entry == Ok(address))
    }

    /// Whether `family` is one that nothing behind the Service speaks.
    pub(super) fn lacks(&self, family: Family) -> bool {
        let families = &self.service.ip_families;
        !self.requires_both() && !families.is_empty() && !families.contains(&family)
    }

    pub(super) fn requires_both(&self) -> bool {
        self.service.ip_family_policy == FamilyPolicy::RequireDualStack
    }

    pub(super) fn prefers_both(&self) -> bool {
        self.service.ip_family_policy == FamilyPolicy::PreferDualStack
    }

    pub(super) fn has(&self, family: Family) -> bool {
        self.held.iter().any(|address| Family::of(*address) == family)
    }

    /// The families that it is to have, the first one first.
    pub(super) fn wanted(&self, pool: Option<&Pool>) -> Vec<Family> {
        let listed = &self.service.ip_families;
        match self.service.ip_family_policy {
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

/// How many addresses a Service may name. Whoever may write a Service could empty a pool with one annotation.
pub(super) const NAMED_MAX: usize = 64;

/// The addresses of a list with commas, without repetitions; nothing if it is blank.
fn named(named_in: Source, list: Option<&str>) -> Vec<Result<IpAddr, Why>> {
    let Some(list) = list.map(str::trim).filter(|list| !list.is_empty()) else { return vec![] };
    let mut entries = list.split(',').map(str::trim);
    let malformed = |value: &str| Why::Malformed { named_in, value: value.to_owned() };
    let parse = |value: &str| {
        value.parse().map(|address: IpAddr| address.to_canonical()).map_err(|_| malformed(value))
    };
    let mut parsed = distinct(entries.by_ref().take(NAMED_MAX).map(parse));
    if entries.next().is_some() {
        parsed.push(Err(Why::TooMany { named_in, most: NAMED_MAX }));
    }
    parsed
}

/// In order, each once.
pub(super) fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    all.into_iter().fold(Vec::new(), |mut kept, one| {
        if !kept.contains(&one) {
            kept.push(one);
        }
        kept
    })
}
