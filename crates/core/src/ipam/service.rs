//! A Service as the allocator sees it: what it wants, and what the API says it has.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::address::IpFamily;
use crate::names::{Mac, NodeName};

/// The annotation that names a Service's addresses.
pub const ANNOTATION: &str = "kube-vip.io/loadbalancerIPs";

/// A Service's namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// What one Service wants and has, as the API says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.creationTimestamp`, since the Unix epoch. The API does not say when an address was assigned, so that
    /// the older Service counts as the one with the older assignment.
    pub created_after_epoch: Duration,
    /// `spec.ipFamilies`, in its order.
    pub ip_families: Vec<IpFamily>,
    /// `spec.ipFamilyPolicy`.
    pub ip_family_policy: IpFamilyPolicy,
    /// `spec.ports`.
    pub ports: Vec<Port>,
    /// The annotation [`ANNOTATION`], as it is written.
    pub annotation: Option<String>,
    /// `spec.loadBalancerIP`, as it is written.
    pub load_balancer_ip: Option<String>,
    /// What it has been assigned: the addresses of `status.loadBalancer.ingress`.
    pub assigned: Vec<IpAddr>,
}

/// `spec.ipFamilyPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpFamilyPolicy {
    /// `SingleStack`, which is also what no policy means.
    #[default]
    SingleStack,
    /// `PreferDualStack`: both families where they can be had.
    PreferDualStack,
    /// `RequireDualStack`: both families or nothing.
    RequireDualStack,
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The number that clients connect to.
    pub number: u16,
    /// What they speak.
    pub protocol: Protocol,
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.protocol)
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// `TCP`.
    Tcp,
    /// `UDP`.
    Udp,
    /// `SCTP`.
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

/// Who has an address that is not one of our Services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Occupant {
    /// A node, as its own.
    Node(NodeName),
    /// The control plane's VIP.
    ControlPlane,
    /// A Service that another controller serves.
    Service(ServiceName),
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
