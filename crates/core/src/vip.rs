//! Virtual addresses and the marks that announcements of them carry.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::NodeId;

/// One virtual address, IPv4 or IPv6. On an interface it is always a /32 or a /128.
pub type Vip = IpAddr;

/// How a node holds a claim, in rising order of right.
///
/// The order is the order of marks (rule 5): confirmed beats detached beats provisional; a candidate holds nothing
/// and only asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tenure {
    /// Holds nothing: the mark of a probe.
    Candidate,
    /// Taken without a grant, while the authority was out of reach.
    Provisional,
    /// Held by a grant, and the authority is out of reach.
    Detached,
    /// Held by a fresh grant.
    Confirmed,
}

/// What an announcement or a probe of ours carries, in the ARP frame's padding or in an experimental ND option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// How the sender holds the claim.
    pub tenure: Tenure,
    /// The fencing number of its grant.
    pub epoch: u32,
    /// Who sends.
    pub node: NodeId,
}
