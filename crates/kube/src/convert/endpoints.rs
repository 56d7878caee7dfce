//! What is behind Services: slices, and the older kind, which knows less.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointSlice};
use mainstay_core::intent::{Family, Flaw, ObjectName, Readiness, Slice, Tally};
use mainstay_core::names::NodeName;

use super::{flaw, remark};

const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Set to `truncated` on an Endpoints object that has no room for all.
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";

/// A slice in the core's words.
pub(super) fn slice(name: &ObjectName, object: &EndpointSlice) -> Result<Slice, Flaw> {
    let labels = object.metadata.labels.as_ref();
    let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
    let service = service.and_then(|service| ObjectName::new(name.namespace(), service).ok());
    let mut slice = match object.address_type.as_str() {
        "IPv4" => blank(service, Family::Ipv4),
        "IPv6" => blank(service, Family::Ipv6),
        // Names of hosts; kube-proxy passes them over as well, and so there is nothing behind them.
        "FQDN" => return Ok(blank(service, Family::Ipv4)),
        other => return Err(flaw("addressType", other, "IPv4, IPv6 or FQDN")),
    };
    for endpoint in &object.endpoints {
        count(&mut slice, node(endpoint), readiness(endpoint.conditions.as_ref()));
    }
    Ok(slice)
}

/// An Endpoints object in the core's words. It does not say which endpoints are ending, and has one family.
pub(super) fn endpoints(name: &ObjectName, object: &Endpoints, told: &mut Vec<Flaw>) -> Result<Slice, Flaw> {
    let annotations = object.metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(OVER_CAPACITY)) {
        told.push(Flaw::Truncated);
    }
    let mut counted: BTreeMap<Family, Slice> = BTreeMap::new();
    for subset in object.subsets.iter().flatten() {
        let ready = subset.addresses.iter().flatten().map(|one| (one, Some(Readiness::Ready)));
        let others = subset.not_ready_addresses.iter().flatten().map(|one| (one, None));
        for (address, readiness) in ready.chain(others) {
            let family = family(address)?;
            let slice = counted.entry(family).or_insert_with(|| blank(Some(name.clone()), family));
            count(slice, said(address.node_name.as_ref(), address.hostname.as_ref()), readiness);
        }
    }
    let mut counted = counted.into_values();
    let first = counted.next().unwrap_or_else(|| blank(Some(name.clone()), Family::Ipv4));
    told.extend(
        counted.map(|other| remark("subsets", other.family, "addresses of one family, or EndpointSlices")),
    );
    Ok(first)
}

fn blank(service: Option<ObjectName>, family: Family) -> Slice {
    Slice { service, family, nodes: BTreeMap::new(), elsewhere: Tally::default() }
}

fn count(slice: &mut Slice, node: Option<NodeName>, readiness: Option<Readiness>) {
    let tally = match node {
        Some(node) => slice.nodes.entry(node).or_default(),
        None => &mut slice.elsewhere,
    };
    tally.count(readiness);
}

fn node(endpoint: &Endpoint) -> Option<NodeName> {
    said(endpoint.node_name.as_ref(), endpoint.hostname.as_ref())
}

/// The node, or what stands in for it where none is said: kube-vip compares the host name as well.
fn said(node: Option<&String>, hostname: Option<&String>) -> Option<NodeName> {
    let text = node.or(hostname).filter(|text| !text.is_empty());
    text.map(|text| NodeName::new(text))
}

/// What the conditions come to. One that is absent counts as the API has it: ready unless said otherwise, serving as
/// ready, and not ending (KEP-1672).
fn readiness(conditions: Option<&EndpointConditions>) -> Option<Readiness> {
    let ready = conditions.and_then(|all| all.ready).unwrap_or(true);
    let serving = conditions.and_then(|all| all.serving).unwrap_or(ready);
    let terminating = conditions.and_then(|all| all.terminating).unwrap_or(false);
    if terminating {
        return (serving || ready).then_some(Readiness::Draining);
    }
    ready.then_some(Readiness::Ready)
}

fn family(address: &EndpointAddress) -> Result<Family, Flaw> {
    let parsed = address.ip.parse::<IpAddr>();
    parsed.map(Family::of).map_err(|_| flaw("subsets.addresses.ip", &address.ip, "an address"))
}
