//! What a Service says of addresses, each place by itself: who of them is believed is the core's to decide.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, PortStatus, Service};
use mainstay_core::intent::{Flaw, Named, NamedBy, Port, Published, Wish};

use super::annotations::{Annotations, LOAD_BALANCER_IPS, REQUESTED_IP};
use super::service::protocol;
use super::{flaw, remark};

const SPEC: &str = "spec.loadBalancerIP";
const STATUS: &str = "status.loadBalancer.ingress";
const FORM: &str = "addresses (192.0.2.10, 2001:db8::10) or a host's name";
/// With this value kube-vip-cloud-provider marks the Services whose annotation it wrote (its `pkg/provider`).
const IMPLEMENTATION: (&str, &str) = ("implementation", "kube-vip");

/// What the Service names. A spec that cannot be read is passed over where there is a status, for the API server lets
/// anything stand there.
pub(super) fn named(
    object: &Service,
    annotations: &Annotations<'_>,
    told: &mut Vec<Flaw>,
) -> Result<Named, Flaw> {
    let annotation = Wish::list(annotations.get(LOAD_BALANCER_IPS).unwrap_or_default());
    if let Some(Wish::Unreadable(text)) = annotation.iter().find(|wish| is_unreadable(wish)) {
        return Err(flaw(LOAD_BALANCER_IPS, text, FORM));
    }
    let text = object.spec.as_ref().and_then(|spec| spec.load_balancer_ip.as_deref()).map(str::trim);
    let spec = text.filter(|text| !text.is_empty()).map(Wish::of);
    let spec = match spec {
        Some(Wish::Unreadable(text)) if ingress(object).next().is_some() || !annotation.is_empty() => {
            told.push(remark(SPEC, text, FORM));
            None
        }
        Some(Wish::Unreadable(text)) => return Err(flaw(SPEC, text, FORM)),
        spec => spec,
    };
    Ok(Named { annotation, spec, by: named_by(object) })
}

fn is_unreadable(wish: &Wish) -> bool {
    matches!(wish, Wish::Unreadable(_))
}

fn named_by(object: &Service) -> NamedBy {
    let (label, value) = IMPLEMENTATION;
    let labels = object.metadata.labels.as_ref();
    let is_marked = labels.and_then(|labels| labels.get(label)).is_some_and(|text| text == value);
    if is_marked { NamedBy::CloudProvider } else { NamedBy::Person }
}

/// What the status says.
pub(super) fn published(object: &Service, told: &mut Vec<Flaw>) -> Vec<Published> {
    let mut all = Vec::new();
    for one in ingress(object) {
        match Wish::of(said(one).unwrap_or_default()) {
            Wish::Unreadable(text) if text.is_empty() => {}
            Wish::Unreadable(text) => told.push(remark(STATUS, text, FORM)),
            wish => all.push(Published { wish, ports: ports(one) }),
        }
    }
    all
}

fn ingress(object: &Service) -> impl Iterator<Item = &LoadBalancerIngress> {
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    status.and_then(|status| status.ingress.as_ref()).into_iter().flatten()
}

fn said(ingress: &LoadBalancerIngress) -> Option<&str> {
    let address = ingress.ip.as_deref().filter(|text| !text.is_empty());
    address.or(ingress.hostname.as_deref()).filter(|text| !text.is_empty())
}

/// The ports that are published with an address. One that cannot be read counts as not published.
fn ports(ingress: &LoadBalancerIngress) -> BTreeSet<Port> {
    let port = |one: &PortStatus| {
        let number = u16::try_from(one.port).ok().filter(|number| *number > 0)?;
        Some(Port { protocol: protocol(Some(&one.protocol))?, port: number })
    };
    ingress.ports.iter().flatten().filter_map(port).collect()
}

/// What a DHCP server gave the Service, as kube-vip wrote it down.
pub(super) fn leased(annotations: &Annotations<'_>) -> BTreeSet<IpAddr> {
    let written = Wish::list(annotations.get(REQUESTED_IP).unwrap_or_default());
    written.iter().filter_map(Wish::address).collect()
}
