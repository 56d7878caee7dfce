//! The annotations of a Service: kube-vip's, and our own.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use mainstay_core::intent::{Flaw, InterfaceWish, NodeSelector, ObjectName, Service, TrafficPolicy};
use mainstay_core::names::NodeName;

use super::{flaw, remark};
use crate::reflect::{SEAT, VIP_HOST};

/// A list of addresses.
pub(super) const LOAD_BALANCER_IPS: &str = "kube-vip.io/loadbalancerIPs";
/// The address that a DHCP server gave, and that is asked for again.
pub(super) const REQUESTED_IP: &str = "kube-vip.io/requestedIP";
const IGNORE: &str = "kube-vip.io/ignore";
const INTERFACE: &str = "kube-vip.io/serviceInterface";
const LEASE: &str = "kube-vip.io/leaseName";
const WITHOUT_ENDPOINTS: &str = "kube-vip.io/allow-reconcile-without-endpoints";
const UNFILTERED: &str = "kube-vip.io/ignore-service-security";
const FORCE_ELECTION: &str = "kube-vip.io/forcePerServiceElection";
const PREFERRED_NODES: &str = "mainstay.io/preferred-nodes";
const NODE_SELECTOR: &str = "mainstay.io/node-selector";

/// The greatest weight, as for preferences of Pods.
const WEIGHT_MAX: u32 = 100;

/// An object's annotations.
pub(super) struct Annotations<'a>(Option<&'a BTreeMap<String, String>>);

impl<'a> Annotations<'a> {
    pub(super) fn of(metadata: &'a ObjectMeta) -> Self {
        Self(metadata.annotations.as_ref())
    }

    /// What one says, without blanks around it; `None` where there is none, or nothing in it.
    pub(super) fn get(&self, key: &str) -> Option<&'a str> {
        self.0?.get(key).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// `service`, with what the annotations say. What would widen where it may be held is no remark but a flaw.
    pub(super) fn apply(
        &self,
        name: &ObjectName,
        service: Service,
        told: &mut Vec<Flaw>,
    ) -> Result<Service, Flaw> {
        Ok(Service {
            ignore: self.switch(IGNORE, told),
            interface: self.get(INTERFACE).map(interface).transpose()?,
            lease: self.lease(name, service.traffic_policy, told),
            vip_host: self.get(VIP_HOST).map(NodeName::new),
            seat: self.seat(told),
            without_endpoints: self.switch(WITHOUT_ENDPOINTS, told),
            unfiltered: self.switch(UNFILTERED, told),
            force_election: self.switch(FORCE_ELECTION, told),
            preferred_nodes: self.preferred_nodes(told),
            node_selector: self.get(NODE_SELECTOR).map(node_selector).transpose()?.unwrap_or_default(),
            ..service
        })
    }

    /// `true`, and anything else is not. kube-vip takes upper case for [`WITHOUT_ENDPOINTS`] alone.
    fn switch(&self, key: &str, told: &mut Vec<Flaw>) -> bool {
        let Some(text) = self.get(key) else { return false };
        if !["true", "false"].contains(&text.to_ascii_lowercase().as_str()) {
            told.push(remark(key, text, "true or false"));
        }
        text == "true" || (key == WITHOUT_ENDPOINTS && text.eq_ignore_ascii_case("true"))
    }

    /// `[NAMESPACE/]NAME`. kube-vip refuses it where the traffic policy is not Cluster: its lease's holder may be a node
    /// without an endpoint.
    fn lease(&self, name: &ObjectName, policy: TrafficPolicy, told: &mut Vec<Flaw>) -> Option<ObjectName> {
        let text = self.get(LEASE)?;
        let (namespace, lease) = text.split_once('/').unwrap_or((name.namespace(), text));
        let lease = ObjectName::new(namespace, lease).ok();
        let lease = lease.filter(|_| policy == TrafficPolicy::Cluster);
        if lease.is_none() {
            told.push(remark(LEASE, text, "[NAMESPACE/]NAME, with spec.externalTrafficPolicy Cluster"));
        }
        lease
    }

    /// A name that no node can have counts as none: the claim is placed anew.
    fn seat(&self, told: &mut Vec<Flaw>) -> Option<NodeName> {
        let text = self.get(SEAT)?;
        let seat = node_name(text);
        if seat.is_none() {
            told.push(remark(SEAT, text, "a node's name, or nothing: the agents write it"));
        }
        seat
    }

    fn preferred_nodes(&self, told: &mut Vec<Flaw>) -> BTreeMap<NodeName, u32> {
        let text = self.get(PREFERRED_NODES).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let nodes: Option<BTreeMap<NodeName, u32>> = parts.map(preferred).collect();
        nodes.unwrap_or_else(|| {
            told.push(remark(
                PREFERRED_NODES,
                text,
                "NODE[=WEIGHT], separated by commas, with weights from 1 to 100",
            ));
            BTreeMap::new()
        })
    }
}

/// `NODE` or `NODE=WEIGHT`.
fn preferred(part: &str) -> Option<(NodeName, u32)> {
    let (node, weight) = part.split_once('=').unwrap_or((part, "1"));
    // Rust reads `+5` as a number; nobody who reads this annotation elsewhere need do so.
    let digits = Some(weight.trim()).filter(|text| text.bytes().all(|one| one.is_ascii_digit()));
    let weight: u32 = digits?.parse().ok()?;
    let node = node.trim();
    (!node.is_empty() && (1..=WEIGHT_MAX).contains(&weight)).then(|| (NodeName::new(node), weight))
}

/// The longest name of a node, in bytes: a DNS subdomain's (RFC 1123, and Kubernetes' `IsDNS1123Subdomain`).
const NODE_NAME_MAX: usize = 253;

/// The name of a node, if one can have it; upper case becomes lower case, as with every name of a node.
fn node_name(text: &str) -> Option<NodeName> {
    let at_the_end = |one: Option<char>| one.is_some_and(|one| one.is_ascii_alphanumeric());
    let inner = |one: char| one.is_ascii_alphanumeric() || one == '-';
    let label = |part: &str| {
        at_the_end(part.chars().next()) && at_the_end(part.chars().last()) && part.chars().all(inner)
    };
    let good = text.len() <= NODE_NAME_MAX && text.split('.').all(label);
    good.then(|| NodeName::new(text))
}

fn interface(text: &str) -> Result<InterfaceWish, Flaw> {
    InterfaceWish::of(text).ok_or_else(|| flaw(INTERFACE, text, "auto or an interface's name"))
}

fn node_selector(text: &str) -> Result<NodeSelector, Flaw> {
    text.parse().map_err(|_| flaw(NODE_SELECTOR, text, "LABEL or LABEL=VALUE, separated by commas"))
}
