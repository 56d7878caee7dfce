//! The load balancer behind the control plane's VIP: which API servers a new connection may go to, and how it is chosen.
//!
//! Pure. [`Pool`] takes in who is listed and what the checks of each answered, and says who serves; [`Balance`] is what a
//! kernel's balancer is told, whole, each time. The kernel chooses one of [`Balance::slots`] for each connection.

mod pool;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::vip::Vip;

pub use pool::{Failing, Health, Listed, Member, Pool, Serving, Thresholds};

/// How a backend is chosen for a new connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    /// One after another.
    #[default]
    RoundRobin,
    /// By the client's address: a client stays with its backend for as long as that serves, whoever comes or goes.
    SourceHash,
}

/// What the kernel's balancer is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Balance {
    /// The addresses that clients connect to. Each goes to backends of its own family.
    pub vips: BTreeSet<Vip>,
    /// The TCP port that clients connect to.
    pub port: u16,
    /// How a backend is chosen.
    pub distribution: Distribution,
    /// Where new connections go.
    pub takes: BTreeSet<SocketAddr>,
    /// Whose established connections stay: all that take new ones, and those that only do not any more. The connections of
    /// any other are ended.
    pub keeps: BTreeSet<SocketAddr>,
}

/// Slots for turns: 1 to 8 backends share them evenly, to the last one.
const TURNS: usize = 840;
/// Slots for clients: enough that the parts of a few backends differ by little.
const CLIENTS: usize = 1_680;

impl Distribution {
    /// Among how many slots the kernel chooses.
    #[must_use]
    pub const fn slots(self) -> usize {
        match self {
            Self::RoundRobin => TURNS,
            Self::SourceHash => CLIENTS,
        }
    }
}

impl Balance {
    /// Nothing is balanced, on this port.
    #[must_use]
    pub fn nothing(port: u16, distribution: Distribution) -> Self {
        Self { port, distribution, ..Self::default() }
    }

    /// The backend of each slot, for VIPs of the family of `like`; empty where none of that family serves.
    #[must_use]
    pub fn slots(&self, like: Vip) -> Vec<SocketAddr> {
        let backends: Vec<_> =
            self.takes.iter().copied().filter(|one| one.is_ipv4() == like.is_ipv4()).collect();
        let slots = 0..if backends.is_empty() { 0 } else { self.distribution.slots() };
        match self.distribution {
            Distribution::RoundRobin => {
                slots.filter_map(|at| backends.get(at % backends.len()).copied()).collect()
            }
            Distribution::SourceHash => slots.filter_map(|at| heaviest(at, &backends)).collect(),
        }
    }

    /// The VIPs that some backend serves.
    pub fn served(&self) -> impl Iterator<Item = Vip> {
        let has = |vip: &Vip| self.takes.iter().any(|one| one.is_ipv4() == vip.is_ipv4());
        self.vips.iter().copied().filter(has)
    }
}

/// The node, of these addresses and of the family of `like`, that a node with the addresses of `here` sends strays on to: the
/// one that comes after its own, the first one after the last. Whoever is not among them sends them to the first.
#[must_use]
pub fn next_in_ring(nodes: &BTreeSet<IpAddr>, here: &BTreeSet<IpAddr>, like: Vip) -> Option<IpAddr> {
    let ring = || nodes.iter().filter(|node| node.is_ipv4() == like.is_ipv4());
    let own = ring().find(|node| here.contains(node));
    let others = || ring().filter(|node| !here.contains(node));
    others().find(|node| Some(*node) > own).or_else(|| others().next()).copied()
}

/// Rendezvous hashing: the backend with the greatest weight has the slot. When one goes, its slots alone go elsewhere.
fn heaviest(slot: usize, backends: &[SocketAddr]) -> Option<SocketAddr> {
    backends.iter().copied().max_by_key(|backend| (weight(slot, *backend), *backend))
}

/// The same on every node, and in every version: a client that meets another holder meets the same backend.
fn weight(slot: usize, backend: SocketAddr) -> u64 {
    let octets = match backend.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let slot = u64::try_from(slot).unwrap_or(u64::MAX).to_be_bytes();
    let bytes = slot.iter().chain(&octets).copied().chain(backend.port().to_be_bytes());
    // FNV-1a, 64 bits, and the last step of SplitMix64, for FNV alone mixes the last bytes too little.
    let sum = bytes
        .fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (sum ^ sum >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
