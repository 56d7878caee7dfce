//! What one Service asks of us.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::name::ObjectName;
use super::node::NodeSelector;
use super::wish::{NAMED_MAX, Named, NamedBy, Published, Wish};
use crate::names::NodeName;

/// What one Service asks of us. Its name is its key in [`super::Intent`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Service {
    /// Nothing of it is understood but its type and what it has: it is not ours until it is, and keeps its addresses from
    /// others.
    #[serde(skip_serializing_if = "is_default")]
    pub unreadable: bool,
    /// `metadata.creationTimestamp`, in seconds since 1970 by the API server's clock. It orders Services by age, and is
    /// compared with nothing else.
    pub created: i64,
    /// Whether it is being deleted. It is held until it is gone, and given nothing new.
    #[serde(skip_serializing_if = "is_default")]
    pub deleting: bool,
    /// `spec.type`.
    pub service_type: ServiceType,
    /// `spec.loadBalancerClass`.
    #[serde(skip_serializing_if = "is_default")]
    pub class: Option<String>,
    /// `kube-vip.io/ignore`.
    #[serde(skip_serializing_if = "is_default")]
    pub ignore: bool,
    /// The addresses that it names.
    #[serde(skip_serializing_if = "is_default")]
    pub named: Named,
    /// What it has been assigned: `status.loadBalancer.ingress`.
    #[serde(skip_serializing_if = "is_default")]
    pub published: Vec<Published>,
    /// Those of its addresses that a DHCP server gave: `kube-vip.io/requestedIP`.
    #[serde(skip_serializing_if = "is_default")]
    pub leased: BTreeSet<IpAddr>,
    /// `spec.ipFamilies`; empty where the API server said none.
    #[serde(skip_serializing_if = "is_default")]
    pub families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    #[serde(skip_serializing_if = "is_default")]
    pub family_policy: FamilyPolicy,
    /// `spec.ports`.
    #[serde(skip_serializing_if = "is_default")]
    pub ports: BTreeSet<Port>,
    /// `spec.externalTrafficPolicy`.
    #[serde(skip_serializing_if = "is_default")]
    pub traffic_policy: TrafficPolicy,
    /// `kube-vip.io/serviceInterface`; `None` leaves it to the agent's settings.
    #[serde(skip_serializing_if = "is_default")]
    pub interface: Option<InterfaceWish>,
    /// `kube-vip.io/leaseName`, where there is one.
    #[serde(skip_serializing_if = "is_default")]
    pub lease: Option<ObjectName>,
    /// `kube-vip.io/vipHost`: the node that last wrote that it holds the Service's addresses.
    #[serde(skip_serializing_if = "is_default")]
    pub vip_host: Option<NodeName>,
    /// `mainstay.io/seat`: the home of the seat that its claim is placed at ([`crate::spread`]).
    #[serde(skip_serializing_if = "is_default")]
    pub seat: Option<NodeName>,
    /// `kube-vip.io/allow-reconcile-without-endpoints`.
    #[serde(skip_serializing_if = "is_default")]
    pub without_endpoints: bool,
    /// `kube-vip.io/ignore-service-security`: its addresses let in everything.
    #[serde(skip_serializing_if = "is_default")]
    pub unfiltered: bool,
    /// `kube-vip.io/forcePerServiceElection`.
    #[serde(skip_serializing_if = "is_default")]
    pub force_election: bool,
    /// `mainstay.io/preferred-nodes`: the weight of each.
    #[serde(skip_serializing_if = "is_default")]
    pub preferred_nodes: BTreeMap<NodeName, u32>,
    /// `mainstay.io/node-selector`: the nodes that may hold it.
    #[serde(skip_serializing_if = "is_default")]
    pub node_selector: NodeSelector,
}

impl Service {
    /// The Lease by which kube-vip's `svc_election` elects this Service's holder: `kubevip-NAME` beside it, or the one of
    /// `kube-vip.io/leaseName`, which kube-vip refuses where the traffic policy is not Cluster (kube-vip
    /// `pkg/lease`, `pkg/services`).
    #[must_use]
    pub fn kube_vip_lease(&self, name: &ObjectName) -> ObjectName {
        let common = self.lease.clone().filter(|_| self.traffic_policy == TrafficPolicy::Cluster);
        common.unwrap_or_else(|| name.beside(format!("kubevip-{}", name.name())))
    }

    /// The addresses that its status has, each once.
    #[must_use]
    pub fn addresses_published(&self) -> Vec<IpAddr> {
        distinct(self.published.iter().filter_map(|one| one.wish.address()))
    }

    /// The addresses that it has been assigned, each once: what the status says, or, where that says nothing, what
    /// kube-vip-cloud-provider wrote elsewhere.
    #[must_use]
    pub fn assigned(&self) -> Vec<IpAddr> {
        let published = self.addresses_published();
        if !published.is_empty() || self.named.by == NamedBy::Person {
            return published;
        }
        let Named { annotation, spec, .. } = &self.named;
        let written = if annotation.is_empty() { spec.as_slice() } else { annotation };
        distinct(written.iter().filter_map(Wish::address))
    }

    /// The ports that it has on `address`, which is assigned to it, as far as anything says so: the published ones that
    /// it still has. Where none are published, all of its ports: nothing tells which are new.
    #[must_use]
    pub fn ports_on(&self, address: IpAddr) -> BTreeSet<Port> {
        let here = self.published.iter().filter(|one| one.wish.address() == Some(address));
        let published: BTreeSet<Port> = here.flat_map(|one| one.ports.iter().copied()).collect();
        if published.is_empty() { self.ports.clone() } else { &published & &self.ports }
    }

    /// Whether a person names `address`.
    #[must_use]
    pub fn names(&self, address: IpAddr) -> bool {
        let mut named = self.named.annotation.iter().take(NAMED_MAX).chain(&self.named.spec);
        self.named.by == NamedBy::Person && named.any(|wish| wish.address() == Some(address))
    }

    /// Whether it needs an endpoint in order to be held: kube-vip lifts that under the policy Cluster alone.
    #[must_use]
    pub fn needs_endpoints(&self) -> bool {
        !(self.without_endpoints && self.traffic_policy == TrafficPolicy::Cluster)
    }
}

/// What is not written down: 10,000 Services would say 15 times each that they say nothing.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// In order, each once.
pub(crate) fn distinct<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    all.into_iter().fold(Vec::new(), |mut kept, one| {
        if !kept.contains(&one) {
            kept.push(one);
        }
        kept
    })
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ServiceType {
    /// Also where nothing is said.
    #[default]
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// What may be ours.
    LoadBalancer,
    /// An alias.
    ExternalName,
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    Ipv4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    Ipv6,
}

impl Family {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// `0.0.0.0` or `::`, which kube-vip reads as *ask a DHCP server*.
    #[must_use]
    pub fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::Ipv4 } else { Self::Ipv6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "IPv4",
            Self::Ipv6 => "IPv6",
        })
    }
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FamilyPolicy {
    /// One family; also where nothing is said.
    #[default]
    SingleStack,
    /// Two where the cluster has two.
    PreferDualStack,
    /// Two, or nothing.
    RequireDualStack,
}

/// A port that a Service serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// The transport.
    pub protocol: Protocol,
    /// The number; not 0.
    pub port: u16,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.port, self.protocol)
    }
}

/// A transport that Services have (KEP-614 for SCTP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    /// RFC 9293.
    #[serde(rename = "TCP")]
    Tcp,
    /// RFC 768.
    #[serde(rename = "UDP")]
    Udp,
    /// RFC 9260.
    #[serde(rename = "SCTP")]
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// `spec.externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum TrafficPolicy {
    /// Any node may pass the traffic on; also where nothing is said.
    #[default]
    Cluster,
    /// Only a node with an endpoint on it can serve.
    Local,
}

/// `kube-vip.io/serviceInterface`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceWish {
    /// The interface whose network the address is in.
    Auto,
    /// That one.
    Named(String),
}

/// The longest name of an interface that Linux has, in bytes: `IFNAMSIZ` less the final NUL.
const INTERFACE_MAX: usize = 15;

/// Whether an interface can have that name: what the kernel's `dev_valid_name` lets pass.
#[must_use]
pub fn is_interface_name(text: &str) -> bool {
    let inner = |one: char| !one.is_whitespace() && !"/:".contains(one);
    (1..=INTERFACE_MAX).contains(&text.len()) && text.chars().all(inner) && text != "." && text != ".."
}

impl InterfaceWish {
    /// Reads `auto` or an interface's name; nothing if it is neither.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            name => is_interface_name(name).then(|| Self::Named(name.to_owned())),
        }
    }
}
