//! Who has an address that is not one of our Services.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::intent::ObjectName;
use crate::names::NodeName;

/// Who has an address that is not one of our Services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Occupant {
    /// A node, as its own.
    Node(NodeName),
    /// The control plane's VIP.
    ControlPlane,
    /// A Service that is not ours.
    Service(ObjectName),
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "node {node}"),
            Self::ControlPlane => f.write_str("the control plane"),
            Self::Service(service) => write!(f, "the Service {service} of another controller"),
        }
    }
}
