//! What to do to the interface's addresses so that they are as ordered: a pure comparison.
//!
//! The host's own addresses are never touched. A virtual address is a /32 or /128, so the same address with another
//! prefix is the host's; so is one with the host's prefix length that the host got by DHCP, or that is all the host
//! has of its family. A permanent /32 or /128 beside an address of the host's own is what another VIP agent left
//! behind (kube-vip puts its addresses so), and is taken over in place: the VIP stays up during a migration.

use std::net::IpAddr;
use std::time::Duration;

use mainstay_core::vip::Vip;

#[cfg(test)]
mod tests;

/// One address that the kernel says is on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// The address.
    pub ip: IpAddr,
    /// Its prefix length.
    pub prefix: u8,
    /// Who put it there.
    pub owner: Owner,
    /// What is left of its valid lifetime; `None` for ever.
    pub remaining: Option<Duration>,
}

/// Who put an address on the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// It carries our address-protocol number.
    Ours,
    /// The host, or another agent.
    Other,
}

/// One change to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put it there; to fail if it is there already.
    Add {
        /// Which.
        vip: Vip,
        /// Its valid lifetime.
        lifetime: Duration,
    },
    /// It is there: set its lifetime, flags and mark anew.
    Refresh {
        /// Which.
        vip: Vip,
        /// Its valid lifetime.
        lifetime: Duration,
    },
    /// Take it away.
    Remove {
        /// Which.
        vip: Vip,
    },
}

/// Why an address is not taken for a virtual one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is there with the prefix of a subnet.
    #[error(
        "{vip} is the host's own address here ({vip}/{prefix}): choose a virtual address that no host has as its own"
    )]
    HasSubnet {
        /// Which.
        vip: Vip,
        /// The prefix it is there with.
        prefix: u8,
    },
    /// It is there for a limited time, and not by us: DHCP or router advertisements.
    #[error("{vip} is here by DHCP or router advertisement: choose a virtual address that no host is given")]
    Leased {
        /// Which.
        vip: Vip,
    },
    /// It is all the host has of its family.
    #[error(
        "{vip} is the host's only address of its family on this interface: choose another virtual address"
    )]
    OnlyOne {
        /// Which.
        vip: Vip,
    },
}

/// The prefix length of every virtual address: a subnet's would let its expiry take the host's address along.
#[must_use]
pub fn host_prefix(vip: Vip) -> u8 {
    if vip.is_ipv4() { 32 } else { 128 }
}

/// What makes `vip` present with `lifetime` left.
///
/// # Errors
///
/// [`Refused`] when the address is the host's own.
pub fn assign(vip: Vip, lifetime: Duration, present: &[Present]) -> Result<Step, Refused> {
    let Some(found) = find(vip, present) else { return Ok(Step::Add { vip, lifetime }) };
    if found.prefix != host_prefix(vip) {
        return Err(Refused::HasSubnet { vip, prefix: found.prefix });
    }
    if found.owner == Owner::Other {
        if found.remaining.is_some() {
            return Err(Refused::Leased { vip });
        }
        if !present.iter().any(|other| is_host_own(other, vip)) {
            return Err(Refused::OnlyOne { vip });
        }
    }
    Ok(Step::Refresh { vip, lifetime })
}

/// Whether `vip` is there, not by us, and an order would take it over in place: what another VIP agent left behind.
#[must_use]
pub fn is_left_over(vip: Vip, present: &[Present]) -> bool {
    find(vip, present).is_some_and(|found| found.owner == Owner::Other)
        && assign(vip, Duration::ZERO, present).is_ok()
}

/// The addresses by which the host itself can be found: neither ours nor what another VIP agent left behind, for that
/// moves; unless the host has nothing else of that family, as where all its addresses are without a subnet.
#[must_use]
pub fn own_addresses(present: &[Present]) -> Vec<IpAddr> {
    let others = || present.iter().filter(|one| one.owner == Owner::Other);
    let moves = |one: &Present| one.prefix == host_prefix(one.ip) && one.remaining.is_none();
    let has_lasting = |is_ipv4: bool| {
        others().any(|one| one.ip.is_ipv4() == is_ipv4 && !moves(one) && !is_link_local(one.ip))
    };
    let (lasting_v4, lasting_v6) = (has_lasting(true), has_lasting(false));
    let better = |one: &Present| if one.ip.is_ipv4() { lasting_v4 } else { lasting_v6 };
    others().filter(|one| !(moves(one) && better(one))).map(|one| one.ip).collect()
}

/// What makes `vip` absent: nothing, if it is absent, or neither ours nor what another VIP agent left behind.
#[must_use]
pub fn withdraw(vip: Vip, present: &[Present]) -> Option<Step> {
    let ours =
        present.iter().any(|one| one.ip == vip && one.prefix == host_prefix(vip) && one.owner == Owner::Ours);
    (ours || is_left_over(vip, present)).then_some(Step::Remove { vip })
}

/// The entry that matters: a host's own counts before ours, should both be there (IPv4 allows it).
fn find(vip: Vip, present: &[Present]) -> Option<Present> {
    let named = || present.iter().filter(|one| one.ip == vip).copied();
    named().find(|one| one.prefix != host_prefix(vip)).or_else(|| named().next())
}

fn is_host_own(other: &Present, vip: Vip) -> bool {
    other.owner == Owner::Other
        && other.ip != vip
        && other.ip.is_ipv4() == vip.is_ipv4()
        && !is_link_local(other.ip)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(_) => false,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}
