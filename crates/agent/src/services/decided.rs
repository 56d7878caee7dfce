//! What follows from all that is known of Services, on this node. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use mainstay_core::filter::Filter;
use mainstay_core::intent::{
    Claim, Decisions, Ineligible, Intent, InterfaceWish, ObjectName, Rules, Survey, decide,
};
use mainstay_core::ipam::Pools;
use mainstay_core::names::NodeName;
use mainstay_core::spread::{Demand, incumbents};
use mainstay_core::vip::Vip;
use mainstay_kube::{Publication, VIP_HOST, Wanted};

use super::explain::explain;
use super::placing::Placing;
use super::seating::{Place, Placeable};
use crate::admin::reply::Explanation;
use crate::names::Members;

/// All that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) intent: &'a Intent,
    pub(super) pools: &'a Pools,
    pub(super) rules: &'a Rules,
    /// This node.
    pub(super) node: &'a NodeName,
    /// The nodes with an agent that holds Services.
    pub(super) agents: &'a Members,
    /// Whether Services are spread over them.
    pub(super) spread: bool,
    /// Whether what their addresses let in is filtered.
    pub(super) filtered: bool,
    /// A Service that somebody asks about.
    pub(super) asked: Option<&'a ObjectName>,
}

/// What follows from it.
#[derive(Debug)]
pub(super) struct Decided {
    decisions: Decisions,
    /// Services that are ours.
    pub(super) ours: usize,
    /// Their uids.
    pub(super) uids: BTreeMap<ObjectName, String>,
    /// All addresses of Services.
    pub(super) wanted: BTreeSet<Vip>,
    /// Those of them with something behind.
    pub(super) served: BTreeSet<Vip>,
    /// What they let in, where that is filtered.
    pub(super) filter: Filter,
    /// Whether this node may hold them, or why not.
    pub(super) may_hold: Result<(), String>,
    /// What is to be placed, where Services are spread.
    pub(super) claims: Vec<Placeable>,
    /// What there is to say of the Service that somebody asks about.
    pub(super) explained: Option<Explanation>,
}

impl Decided {
    /// `None` as long as not everything was read once.
    pub(super) fn of(facts: &Facts<'_>) -> Option<Self> {
        let Facts { intent, pools, rules, .. } = facts;
        let decisions = decide(intent, pools, rules).ok()?;
        let survey = Survey::new(intent, rules);
        let uses = || decisions.claims.values().flat_map(|claim| &claim.addresses);
        let wanted = uses().map(|(vip, _)| *vip).collect();
        let served = uses().filter(|(vip, on)| survey.is_served(**vip, on)).map(|(vip, _)| *vip).collect();
        let ours = intent.services.iter().filter(|(name, _)| !decisions.not_ours.contains_key(name));
        let uid = |name| intent.services.uid(name).unwrap_or_default().to_owned();
        let uids: BTreeMap<_, _> = ours.map(|(name, _)| (name.clone(), uid(name))).collect();
        let may_hold = may_hold(&survey, facts);
        let placeable = |claim: &Claim| Placeable {
            demand: Demand::of(claim, intent, &survey),
            vips: claim.addresses.keys().copied().collect(),
            services: claim.services().into_iter().cloned().collect(),
            elected: incumbents::leases(claim, intent),
        };
        let spread = decisions.claims.values().filter(|_| facts.spread);
        let claims = spread.map(placeable).collect();
        let filter = if facts.filtered { Filter::of(&decisions, intent) } else { Filter::default() };
        let explained = facts.asked.map(|name| explain(name, facts, (&decisions, &survey)));
        Some(Self { ours: uids.len(), uids, wanted, served, filter, may_hold, claims, explained, decisions })
    }

    /// What is refused, in one line for each Service: also that its addresses are on `interface`, where another was asked for.
    pub(super) fn refused(&self, interface: &str) -> BTreeMap<ObjectName, String> {
        let refused = self.decisions.refused.iter();
        let mut lines: BTreeMap<ObjectName, Vec<String>> = refused
            .map(|(name, why)| (name.clone(), why.iter().map(ToString::to_string).collect()))
            .collect();
        for (vip, on) in self.decisions.claims.values().flat_map(|claim| &claim.addresses) {
            let Some(InterfaceWish::Named(other)) = &on.interface else { continue };
            for service in on.services.iter().filter(|_| other != interface) {
                lines.entry(service.clone()).or_default().push(format!(
                    "{vip} is on {interface} (vip_servicesinterface), not on {other} (kube-vip.io/serviceInterface, or the \
                     pools' interface- key): there is one interface for all Services of an agent"
                ));
            }
        }
        lines.into_iter().map(|(name, lines)| (name, lines.join("; "))).collect()
    }

    /// Which of `addresses` each Service has, and by which node, in one line.
    pub(super) fn held(
        &self,
        addresses: &[Vip],
        holder: impl Fn(&ObjectName) -> Option<NodeName>,
    ) -> BTreeMap<ObjectName, String> {
        let held: BTreeSet<&Vip> = addresses.iter().collect();
        let uses = self.decisions.claims.values().flat_map(|claim| &claim.addresses);
        let mut by_service: BTreeMap<ObjectName, Vec<Vip>> = BTreeMap::new();
        for (vip, on) in uses.filter(|(vip, _)| held.contains(vip)) {
            for service in &on.services {
                by_service.entry(service.clone()).or_default().push(*vip);
            }
        }
        let line = |(service, vips): (ObjectName, Vec<Vip>)| {
            let line = format!("node {} holds {}", holder(&service)?, listed(&vips, ", "));
            Some((service, line))
        };
        by_service.into_iter().filter_map(line).collect()
    }

    /// What Services shall say, where it is this node that says it: who holds their addresses; and where they are spread,
    /// at which seat they are.
    pub(super) fn wanted(&self, by: Option<&NodeName>, placing: &Placing) -> Wanted {
        let Placing { places, left, .. } = placing;
        let Some(node) = by else {
            return Wanted { services: BTreeMap::new(), elsewhere: self.uids.keys().cloned().collect() };
        };
        let here = Arc::new(BTreeMap::from([(VIP_HOST.to_owned(), node.to_string())]));
        let placed: BTreeMap<&Place, Arc<_>> =
            places.iter().flatten().map(|(_, place)| (place, Arc::new(place.annotations()))).collect();
        let annotations = |name: &ObjectName| match places {
            None => Arc::clone(&here),
            // What comes from a pool has its address first, and then its place.
            Some(places) => places.get(name).map(|place| Arc::clone(&placed[place])).unwrap_or_default(),
        };
        let elsewhere: BTreeSet<ObjectName> =
            self.decisions.elsewhere.iter().chain(left.keys()).cloned().collect();
        let granted = self.decisions.grants.iter();
        let ours = granted.filter(|(name, _)| !elsewhere.contains(*name));
        let services = ours.filter_map(|(name, grants)| {
            let publication = Publication {
                uid: self.uids.get(name)?.clone(),
                ingress: grants.iter().map(|grant| grant.address).collect(),
                ports: grants.iter().flat_map(|grant| &grant.ports).copied().collect(),
                annotations: annotations(name),
            };
            Some((name.clone(), publication))
        });
        Wanted { services: services.collect(), elsewhere }
    }
}

/// Whether this node may hold Services, or why not. kubeadm puts the label that says it may not on every control-plane
/// node: where all agents are on such nodes, it says nothing.
fn may_hold(survey: &Survey<'_>, facts: &Facts<'_>) -> Result<(), String> {
    let mut others = facts.agents.keys().filter(|name| *name != facts.node);
    match survey.may_serve(facts.node) {
        Err(Ineligible::Excluded) if !others.any(|name| survey.may_serve(name).is_ok()) => Ok(()),
        verdict => verdict.map_err(|why| why.to_string()),
    }
}

fn listed<T: Display>(all: &[T], between: &str) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(between)
}
