//! Whether this host's kernel speaks for addresses that only another of its interfaces has.
//!
//! Linux answers ARP for any of its addresses on any of its interfaces, unless `arp_ignore` says otherwise
//! (`Documentation/networking/ip-sysctl.rst`). kube-proxy in IPVS mode puts all addresses of Services on the interface
//! `kube-ipvs0` of every node: each of them would answer for what one of them holds. IPv6 has no such thing: neighbour
//! discovery is answered for the addresses of the interface that was asked on.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use mainstay_core::vip::Vip;

use crate::kernel::KernelError;
use crate::linux::addresses;
use crate::linux::links::{self, DescribeError};
use crate::linux::route::Route;

/// kube-proxy's, in IPVS mode.
const KUBE_IPVS: &str = "kube-ipvs0";
/// What kube-proxy's strict ARP sets for all interfaces: answer only for the interface's own addresses (`arp_ignore`),
/// ask only in their name (`arp_announce`).
const STRICT: (u8, u8) = (1, 2);

/// This host speaks on an interface for addresses that it has on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LooseArp {
    /// The virtual addresses' interface.
    pub interface: String,
    /// The other.
    pub other: String,
    /// A virtual address that the other has; none where it is kube-proxy's, which is to get them.
    pub vip: Option<Vip>,
    /// `arp_ignore` and `arp_announce` as they are in force.
    pub in_force: (u8, u8),
}

impl fmt::Display for LooseArp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, other, vip, in_force: (ignore, announce) } = self;
        match vip {
            Some(vip) => write!(f, "{other} has {vip} as well")?,
            None => write!(f, "{other} is there (kube-proxy in IPVS mode)")?,
        }
        write!(
            f,
            ", and this host answers ARP on {interface} for what other interfaces have, also while another node holds it \
             (arp_ignore={ignore}, arp_announce={announce}): set ipvs.strictARP: true in kube-proxy's configuration \
             (--ipvs-strict-arp), or net.ipv4.conf.all.arp_ignore=1 and net.ipv4.conf.all.arp_announce=2 on the host"
        )
    }
}

/// Whether this host speaks on `interface` for one of `vips` that it has elsewhere, or will when kube-proxy has put it there.
/// `None` where all is well.
///
/// # Errors
///
/// When the kernel does not tell.
pub fn loose_arp(interface: &str, vips: &BTreeSet<Vip>) -> Result<Option<LooseArp>, DescribeError> {
    let in_force = in_force(interface)?;
    if in_force.0 >= STRICT.0 && in_force.1 >= STRICT.1 {
        return Ok(None);
    }
    let mut route = Route::open()?;
    let links = links::links(&mut route)?;
    let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
    let has = addresses::on_all(&mut route)?.into_iter().find_map(|one| {
        let vip = Some(one.present.ip).filter(|ip| ip.is_ipv4() && vips.contains(ip))?;
        let other = name(one.index).filter(|other| other != interface)?;
        Some((other, Some(vip)))
    });
    let kube_proxy = || {
        let there = links.iter().any(|link| link.name == KUBE_IPVS) && interface != KUBE_IPVS;
        there.then(|| (KUBE_IPVS.to_owned(), None))
    };
    let loose = |(other, vip): (String, Option<IpAddr>)| LooseArp {
        interface: interface.to_owned(),
        other,
        vip,
        in_force,
    };
    Ok(has.or_else(kube_proxy).map(loose))
}

/// `arp_ignore` and `arp_announce` of an interface: the greater of its own and that of all.
fn in_force(interface: &str) -> Result<(u8, u8), KernelError> {
    let read = |of: &str, which: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/{of}/{which}");
        let text = std::fs::read_to_string(&path)
            .map_err(|cause| KernelError::Refused { what: format!("reading {path}"), cause })?;
        Ok(text.trim().parse::<u8>().unwrap_or_default())
    };
    let greater = |which: &str| Ok(read("all", which)?.max(read(interface, which)?));
    Ok((greater("arp_ignore")?, greater("arp_announce")?))
}
