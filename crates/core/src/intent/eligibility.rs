//! Which nodes could hold a claim, and why the others could not.
//!
//! A claim is a number of *legs*: one for each Service on it and each family of the Service's addresses. A node serves a
//! leg, serves it while it ends, or does not serve it. The nodes that serve the most legs could hold the claim, and among
//! those the nodes where the most of them last. For a single Service that says: under the policy Local a node with a
//! ready endpoint; where no node has one, a node whose endpoints end and still serve; under Cluster any node while there is
//! an endpoint anywhere. Where Services share an address, none of them can darken it for the others.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Intent;
use super::claims::{AddressUse, Claim};
use super::endpoints::{Endpoints, Readiness};
use super::name::ObjectName;
use super::node::NodeFacts;
use super::ours::{ExcludeLabel, Rules};
use super::service::{Family, Service, TrafficPolicy};
use crate::names::NodeName;
use crate::placement::{Candidate, Choice, Fitness, choose};
use crate::vip::Vip;

/// The intent, arranged for questions about nodes.
#[derive(Clone, Debug)]
pub struct Survey<'a> {
    intent: &'a Intent,
    exclude_label: ExcludeLabel,
    nodes: BTreeMap<&'a NodeName, &'a NodeFacts>,
    endpoints: BTreeMap<&'a ObjectName, Endpoints>,
}

/// What each node is to a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eligibility {
    /// Every node of the survey.
    pub nodes: BTreeMap<NodeName, Result<Fitness, Ineligible>>,
}

/// Why a node could not hold a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Ineligible {
    /// Its label says so.
    #[error("the node has the label node.kubernetes.io/exclude-from-external-load-balancers")]
    Excluded,
    /// Its taint says so.
    #[error("the node has the taint node.kubernetes.io/out-of-service")]
    OutOfService,
    /// The Service wants other nodes.
    #[error("the node's labels do not fit service {0}'s annotation mainstay.io/node-selector")]
    NotSelected(ObjectName),
    /// No endpoint serves, on any node.
    #[error("no endpoint of service {0} serves")]
    NoEndpoints(ObjectName),
    /// No endpoint on this node serves.
    #[error("no endpoint of service {0} on this node serves, and its externalTrafficPolicy is Local")]
    NoLocalEndpoint(ObjectName),
    /// Endpoints on this node end, and others last.
    #[error("endpoints on this node are ending, and others are ready elsewhere")]
    Draining,
    /// Several Services share the addresses, and another node serves more of them.
    #[error("the node serves {here} of what shares these addresses, another {best}")]
    ServesLess {
        /// Services counted once for each family, on this node.
        here: usize,
        /// The most on any node.
        best: usize,
    },
}

/// How many legs a node serves, and how many of those last. The order is: better is more.
type Score = (usize, usize);

/// What a node is to a claim, before it is compared with the others.
type Verdict = Result<(Fitness, Score), Ineligible>;

impl<'a> Survey<'a> {
    /// All nodes that are known.
    #[must_use]
    pub fn new(intent: &'a Intent, rules: &Rules) -> Self {
        Self::among(intent, rules, |_| true)
    }

    /// The nodes that `live` names. What lies on a dead node is an endpoint in the API server's eyes for up to a minute; it
    /// must not keep a claim from the living.
    #[must_use]
    pub fn among(intent: &'a Intent, rules: &Rules, live: impl Fn(&NodeName) -> bool) -> Self {
        let mut endpoints: BTreeMap<&ObjectName, Endpoints> = BTreeMap::new();
        for (_, slice) in intent.slices.iter() {
            if let Some(service) = &slice.service {
                endpoints.entry(service).or_default().add(slice);
            }
        }
        let nodes = intent.nodes.iter().filter(|(node, _)| live(node)).collect();
        Self { intent, exclude_label: rules.exclude_label, nodes, endpoints }
    }

    /// What each node is to `claim`.
    #[must_use]
    pub fn eligibility(&self, claim: &Claim) -> Eligibility {
        let legs = self.legs(claim);
        let judged = self.nodes.iter().map(|(node, facts)| (*node, self.judge(node, facts, &legs)));
        let judged: Vec<(&NodeName, Verdict)> = judged.collect();
        let best = judged.iter().filter_map(|(_, verdict)| Some(verdict.as_ref().ok()?.1)).max();
        let settle = |(fitness, score): (Fitness, Score)| {
            short_of(score, best.unwrap_or(score)).map_or(Ok(fitness), Err)
        };
        let nodes = judged.into_iter().map(|(node, verdict)| (node.clone(), verdict.and_then(settle)));
        Eligibility { nodes: nodes.collect() }
    }

    /// Whether any node could serve `vip` for one of the Services on it, where one node holds all of them: it has an endpoint
    /// somewhere, or needs none. Policy Local does not count, for nobody can be where the endpoints of all are.
    #[must_use]
    pub fn is_served(&self, vip: Vip, on: &AddressUse) -> bool {
        let family = Family::of(vip);
        on.services.iter().any(|name| {
            let needs = self.intent.services.get(name).is_none_or(Service::needs_endpoints);
            let there = self.endpoints.get(name).and_then(|endpoints| endpoints.anywhere(family));
            !needs || there.is_some()
        })
    }

    /// Whether `node` may hold anything for Services at all.
    ///
    /// # Errors
    /// Why it may not. A node that nobody knows may.
    pub fn may_serve(&self, node: &NodeName) -> Result<(), Ineligible> {
        self.nodes.get(node).map_or(Ok(()), |facts| self.admit(facts))
    }

    fn admit(&self, facts: &NodeFacts) -> Result<(), Ineligible> {
        if facts.out_of_service {
            return Err(Ineligible::OutOfService);
        }
        if facts.excluded && self.exclude_label == ExcludeLabel::Honoured {
            return Err(Ineligible::Excluded);
        }
        Ok(())
    }

    /// Who should hold `claim`, and why; `holder` is who does now.
    #[must_use]
    pub fn choose(&self, claim: &Claim, holder: Option<&NodeName>) -> Option<Choice> {
        choose(&claim.id, self.candidates(claim), holder)
    }

    /// The nodes that could hold `claim`, ordered by name, each with how much it is preferred.
    #[must_use]
    pub fn candidates(&self, claim: &Claim) -> Vec<Candidate> {
        let weights = self.weights(claim);
        let candidate = |(node, verdict): (NodeName, Result<Fitness, Ineligible>)| {
            let weight = weights.get(&node).copied().unwrap_or(0);
            Some(Candidate { node, fitness: verdict.ok()?, weight })
        };
        self.eligibility(claim).nodes.into_iter().filter_map(candidate).collect()
    }

    /// Who should hold `claim`, where several nodes hold parts of it: one Service came to name addresses of several
    /// claims, and they are one now. Of the holders that could hold it, the one that has the lowest address keeps it:
    /// the claim is named by that, and goes on under its name; the others' addresses move to it. Where none of them
    /// could, it is chosen as one that nobody holds.
    #[must_use]
    pub fn choose_joined(&self, claim: &Claim, holders: &BTreeMap<Vip, NodeName>) -> Option<Choice> {
        let eligible = self.eligibility(claim).nodes;
        let could = |holder: &&NodeName| eligible.get(*holder).is_some_and(Result::is_ok);
        let holder = claim.addresses.keys().filter_map(|vip| holders.get(vip)).find(could);
        self.choose(claim, holder)
    }

    /// How much each node is preferred: the sum over the claim's Services, as MetalLB adds up the weights of what selects
    /// an address (MetalLB 3044).
    fn weights(&self, claim: &Claim) -> BTreeMap<&'a NodeName, u32> {
        let mut weights = BTreeMap::new();
        let services = claim.services().into_iter().filter_map(|name| self.intent.services.get(name));
        for (node, weight) in services.flat_map(|service| &service.preferred_nodes) {
            let sum: &mut u32 = weights.entry(node).or_default();
            *sum = sum.saturating_add(*weight);
        }
        weights
    }

    fn legs<'b>(&'b self, claim: &'b Claim) -> Vec<Leg<'b>> {
        let of_address = |(vip, address): (&Vip, &'b AddressUse)| {
            let family = Family::of(*vip);
            address.services.iter().map(move |name| (name, family))
        };
        let legs: BTreeSet<(&ObjectName, Family)> = claim.addresses.iter().flat_map(of_address).collect();
        let leg = |(name, family)| {
            let service = self.intent.services.get(name)?;
            Some(Leg { name, service, family, endpoints: self.endpoints.get(name) })
        };
        legs.into_iter().filter_map(leg).collect()
    }

    fn judge(&self, node: &NodeName, facts: &NodeFacts, legs: &[Leg<'_>]) -> Verdict {
        self.admit(facts)?;
        let score = score(node, facts, legs)?;
        Ok((facts.reluctance().map_or(Fitness::Fit, Fitness::Reluctant), score))
    }
}

/// What a node serves of a claim. A node that serves nothing is told the first reason.
fn score(node: &NodeName, facts: &NodeFacts, legs: &[Leg<'_>]) -> Result<Score, Ineligible> {
    let (mut served, mut ready, mut reason) = (0, 0, None);
    for leg in legs {
        match leg.on(node, facts) {
            Ok(readiness) => {
                served += 1;
                ready += usize::from(readiness == Readiness::Ready);
            }
            Err(why) => reason = reason.or(Some(why)),
        }
    }
    match reason {
        Some(why) if served == 0 => Err(why),
        _ => Ok((served, ready)),
    }
}

fn short_of(here: Score, best: Score) -> Option<Ineligible> {
    if here.0 < best.0 {
        return Some(Ineligible::ServesLess { here: here.0, best: best.0 });
    }
    (here.1 < best.1).then_some(Ineligible::Draining)
}

/// One Service, in one family.
struct Leg<'a> {
    name: &'a ObjectName,
    service: &'a Service,
    family: Family,
    endpoints: Option<&'a Endpoints>,
}

impl Leg<'_> {
    fn on(&self, node: &NodeName, facts: &NodeFacts) -> Result<Readiness, Ineligible> {
        if !self.service.node_selector.matches(&facts.labels) {
            return Err(Ineligible::NotSelected(self.name.clone()));
        }
        if !self.service.needs_endpoints() {
            return Ok(Readiness::Ready);
        }
        let anywhere = self.endpoints.and_then(|endpoints| endpoints.anywhere(self.family));
        let here = self.endpoints.and_then(|endpoints| endpoints.on(node, self.family));
        match (self.service.traffic_policy, anywhere) {
            (_, None) => Err(Ineligible::NoEndpoints(self.name.clone())),
            // The node passes on whatever there is: where the endpoints end makes no node better than another.
            (TrafficPolicy::Cluster, Some(_)) => Ok(Readiness::Ready),
            (TrafficPolicy::Local, Some(_)) => {
                here.ok_or_else(|| Ineligible::NoLocalEndpoint(self.name.clone()))
            }
        }
    }
}
