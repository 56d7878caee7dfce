//! The last known valid state, kept across a restart of the agent.
//!
//! A snapshot is bound to the boot: after a reboot the kernel holds nothing of ours and another node may hold the
//! claim, so what an earlier boot knew is not believed.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::names::{ClaimId, InstanceId, Mac, NodeName};

/// What an agent writes down whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The boot it belongs to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The run that wrote it; a restart in the same boot goes on as the same run.
    pub instance: InstanceId,
    /// What was known of each claim.
    pub claims: BTreeMap<ClaimId, ClaimMemory>,
    /// API servers learned, as URLs. The core carries them and does not look.
    pub api_servers: Vec<String>,
}

/// What is remembered of one claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimMemory {
    /// The Lease's uid.
    pub uid: String,
    /// The highest epoch seen in that uid.
    pub epoch: u32,
    /// Whether this node held the claim, and by grant of `epoch`, when the snapshot was written.
    pub held: bool,
    /// The members published on the Lease.
    pub members: BTreeMap<NodeName, Member>,
}

/// A node of the claim as it published itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Hardware addresses of the VIP's interface.
    pub macs: Vec<Mac>,
    /// Its own addresses on that interface, of each of the VIPs' families.
    pub addresses: Vec<IpAddr>,
}
