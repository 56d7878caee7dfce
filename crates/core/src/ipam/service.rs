//! A Service as the allocator sees it: what it wants, and what the API says it has.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::intent::{Family, FamilyPolicy, ObjectName, Port};
use crate::names::{Mac, NodeName};

/// The annotation that names a Service's addresses.
pub const ANNOTATION: &str = "kube-vip.io/loadbalancerIPs";

/// What one Service wants and has, as the API says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.creationTimestamp`, since the Unix epoch. The API does not say when an address was assigned, so that
    /// the older Service counts as the one with the older assignment.
    pub created_after_epoch: Duration,
    /// `spec.ipFamilies`, in its order.
    pub ip_families: Vec<Family>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: FamilyPolicy,
    /// `spec.ports`.
    pub ports: Vec<Port>,
    /// The annotation [`ANNOTATION`], as it is written.
    pub annotation: Option<String>,
    /// `spec.loadBalancerIP`, as it is written.
    pub load_balancer_ip: Option<String>,
    /// What it has been assigned: the addresses of `status.loadBalancer.ingress`.
    pub assigned: Vec<IpAddr>,
}

/// Who has an address that is not one of our Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// A node, as its own.
    Node(NodeName),
    /// The control plane's VIP.
    ControlPlane,
    /// A Service that another controller serves.
    Service(ObjectName),
    /// Some host that answers for it on the wire.
    Host(Mac),
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::ControlPlane => f.write_str("the control plane"),
            Self::Service(service) => write!(f, "the Service {service} of another controller"),
            Self::Host(mac) => write!(f, "the host with hardware address {mac}"),
        }
    }
}
