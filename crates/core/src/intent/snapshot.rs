//! What a restart goes on from while no API server answers: the Services that could be ours, what is behind them, and
//! the nodes.
//!
//! It is not the whole intent: a cluster has many Services that are no LoadBalancers, whose endpoints change by the
//! minute, and nothing of them decides anything.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Intent;
use super::endpoints::Slice;
use super::known::Known;
use super::name::ObjectName;
use super::node::NodeFacts;
use super::service::{Service, ServiceType};
use crate::names::NodeName;

/// How many Services of type `LoadBalancer` are kept: the scale that Mainstay is built for. Of more, the oldest are.
pub const SERVICES_MAX: usize = 10_000;

/// What is written down of an [`Intent`], so that decisions after a restart are those of before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    services: Known<ObjectName, Service>,
    slices: Known<ObjectName, Slice>,
    nodes: Known<NodeName, NodeFacts>,
}

impl Snapshot {
    /// What has to be kept of `intent`. Labels of nodes that no Service selects by are left out, so that a Service that
    /// comes to select by one after the restart has to wait for a reading of the nodes.
    #[must_use]
    pub fn of(intent: &Intent) -> Self {
        let mut kept: Vec<_> = intent.services.iter().filter(|(_, one)| is_balancer(one)).collect();
        if kept.len() > SERVICES_MAX {
            kept.sort_by_key(|(name, service)| (service.created, *name));
            kept.truncate(SERVICES_MAX);
        }
        let names: BTreeSet<&ObjectName> = kept.iter().map(|(name, _)| *name).collect();
        let labels: BTreeSet<&str> =
            kept.iter().flat_map(|(_, service)| service.node_selector.labels()).collect();
        let slices = intent.slices.clone();
        let mut nodes = intent.nodes.clone();
        nodes.for_each(|facts| facts.labels.retain(|label, _| labels.contains(label.as_str())));
        Self {
            slices: slices.filtered(|_, slice| slice.service.as_ref().is_some_and(|one| names.contains(one))),
            services: intent.services.clone().filtered(|name, _| names.contains(name)),
            nodes,
        }
    }

    /// The intent to go on from: listed, as it was.
    #[must_use]
    pub fn restore(self) -> Intent {
        let Self { services, slices, nodes } = self;
        Intent { services, slices, nodes }
    }
}

fn is_balancer(service: &Service) -> bool {
    service.service_type == ServiceType::LoadBalancer
}
