//! Interfaces as the kernel describes them, and the routes that say where the gateway is.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mainstay_core::input::Link;
use mainstay_core::names::Mac;
use mainstay_core::snapshot::Member;

use crate::kernel::{Kernel, KernelError};
use crate::linux::addresses::LinkAddresses;
use crate::linux::message::{Message, Request, attributes, u16_at, u32_at};
use crate::linux::route::Route;
use crate::plan::{self, Owner, Present};

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_OPERSTATE: u16 = 16;
const IFLA_EXT_MASK: u16 = 29;
/// Leaves statistics out of the answer: they cost more than the rest.
const RTEXT_FILTER_SKIP_STATS: u32 = 8;

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;

/// `struct ifinfomsg`: family, padding, device type, index, flags, change mask.
const LINK_HEADER: usize = 16;
/// `struct rtmsg`: family, destination and source length, type of service, table, protocol, scope, type, flags.
const ROUTE_HEADER: usize = 12;

const IFF_UP: u32 = 1;
const IFF_RUNNING: u32 = 1 << 6;
const IFF_LOWER_UP: u32 = 1 << 16;
/// `ARPHRD_ETHER`.
const ETHERNET: u16 = 1;
/// RFC 2863 `ifOperStatus`, in the kernel's numbers (`IF_OPER_*`).
const OPER_UNKNOWN: u8 = 0;
const OPER_UP: u8 = 6;

/// One link message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LinkMessage {
    pub(crate) gone: bool,
    pub(crate) index: u32,
    pub(crate) name: String,
    pub(crate) ethernet: bool,
    pub(crate) state: Link,
    pub(crate) mac: Option<Mac>,
    pub(crate) mtu: u32,
}

/// What there is to know of an interface before anything is done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkDescription {
    /// Its name.
    pub name: String,
    /// Its index in this network namespace.
    pub index: u32,
    /// Its hardware address, and the addresses by which the host itself can be found on it.
    pub own: Member,
    /// The addresses on it that are not ours, link-local ones included. A virtual address that another agent put
    /// there is among them: whoever looks for the host's own leaves out what the claim names.
    pub addresses: Vec<IpAddr>,
    /// Those of `addresses` that look like what another VIP agent left behind, and that an order takes over in place:
    /// permanent, with a host's prefix, beside an address of the host's own.
    pub left_over: Vec<IpAddr>,
    /// Virtual addresses on it that are ours: left by an earlier run, perhaps one with other settings. One without
    /// an end to its lifetime is not believed (rule 9).
    pub found: Vec<Present>,
    /// Its largest packet, in bytes.
    pub mtu: u32,
    /// Whether frames can pass.
    pub state: Link,
    /// The next hops of the default routes through it, IPv4 first.
    pub gateways: Vec<IpAddr>,
}

impl LinkDescription {
    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.own.macs.first().copied().unwrap_or(Mac([0; 6]))
    }
}

/// All that a resync reads.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    pub(crate) links: Vec<LinkMessage>,
    /// The addresses on the VIP's interface; empty if it is not there.
    pub(crate) addresses: Vec<Present>,
}

/// Why an interface cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// There is none of that name.
    #[error("interface {name:?} does not exist; this host has: {present}")]
    NoSuchInterface {
        /// The name asked for.
        name: String,
        /// Those that exist.
        present: String,
    },
    /// It cannot carry ARP and neighbour discovery.
    #[error("interface {name:?} is no Ethernet: a virtual address is announced by ARP or ND, choose another")]
    NotEthernet {
        /// Its name.
        name: String,
    },
    /// The kernel did not tell.
    #[error("cannot read the interfaces")]
    Kernel(#[from] KernelError),
    /// There is no netlink socket to be had.
    #[error("cannot open a netlink socket")]
    Socket(#[from] std::io::Error),
}

/// Describes the interface `name`.
///
/// # Errors
///
/// [`DescribeError`]; when there is no such interface, it lists those there are.
pub fn describe(name: &str) -> Result<LinkDescription, DescribeError> {
    let mut route = Route::open()?;
    let links = links(&mut route)?;
    let Some(link) = links.iter().find(|link| link.name == name) else {
        let present = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(DescribeError::NoSuchInterface { name: name.to_owned(), present });
    };
    let (true, Some(mac)) = (link.ethernet, link.mac) else {
        return Err(DescribeError::NotEthernet { name: name.to_owned() });
    };
    let present = LinkAddresses { route: &mut route, index: link.index }.addresses()?;
    let host_addresses = plan::own_addresses(&present);
    let left_over = present.iter().map(|one| one.ip).filter(|ip| plan::is_left_over(*ip, &present)).collect();
    let (found, own): (Vec<_>, Vec<_>) = present.into_iter().partition(|one| one.owner == Owner::Ours);
    Ok(LinkDescription {
        name: name.to_owned(),
        index: link.index,
        own: Member { macs: vec![mac], addresses: host_addresses },
        addresses: own.into_iter().map(|one| one.ip).collect(),
        left_over,
        found: found.into_iter().filter(|one| one.remaining.is_some()).collect(),
        mtu: link.mtu,
        state: link.state,
        gateways: default_routes(&mut route)?
            .into_iter()
            .filter(|one| one.interface == link.index)
            .filter_map(|one| one.gateway)
            .collect(),
    })
}

/// The addresses on the interface `name`, of whatever kind of device, that no agent of ours put there: also of those
/// that cannot be described, such as the loopback.
///
/// # Errors
///
/// When there is no such interface, or the kernel does not answer.
pub fn addresses_on(name: &str) -> Result<Vec<IpAddr>, DescribeError> {
    let mut route = Route::open()?;
    let links = links(&mut route)?;
    let Some(link) = links.iter().find(|link| link.name == name) else {
        let present = links.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(DescribeError::NoSuchInterface { name: name.to_owned(), present });
    };
    let present = LinkAddresses { route: &mut route, index: link.index }.addresses()?;
    Ok(present.into_iter().filter(|one| one.owner != Owner::Ours).map(|one| one.ip).collect())
}

/// The interface of the default route: of IPv4, or of IPv6 where IPv4 has none.
///
/// # Errors
///
/// When the kernel does not answer.
pub fn default_interface() -> Result<Option<String>, DescribeError> {
    let mut route = Route::open()?;
    let best = default_routes(&mut route)?.into_iter().next();
    let links = links(&mut route)?;
    Ok(best
        .and_then(|best| links.into_iter().find(|link| link.index == best.interface))
        .map(|link| link.name))
}

/// Reads everything that matters of all links, and the addresses of the one called `name`.
pub(crate) fn survey(route: &mut Route, name: &str) -> Result<Survey, KernelError> {
    let links = links(route)?;
    let index = links.iter().find(|link| link.name == name).map(|link| link.index);
    let addresses = match index {
        Some(index) => LinkAddresses { route, index }.addresses()?,
        None => Vec::new(),
    };
    Ok(Survey { links, addresses })
}

/// The hardware addresses of this host.
pub(crate) fn macs(links: &[LinkMessage]) -> BTreeSet<Mac> {
    links.iter().filter_map(|link| link.mac).collect()
}

pub(crate) fn links(route: &mut Route) -> Result<Vec<LinkMessage>, KernelError> {
    let request = Request::new(libc::RTM_GETLINK, libc::NLM_F_DUMP, &[0; LINK_HEADER])
        .with(IFLA_EXT_MASK, &RTEXT_FILTER_SKIP_STATS.to_ne_bytes());
    let mut found = Vec::new();
    route.dump(request, "reading interfaces", |message| found.extend(parse(&message)))?;
    Ok(found)
}

/// Reads a link message; `None` if it is none.
pub(crate) fn parse(message: &Message<'_>) -> Option<LinkMessage> {
    let gone = message.kind == libc::RTM_DELLINK;
    if !gone && message.kind != libc::RTM_NEWLINK {
        return None;
    }
    let body = message.body;
    // A bridge tells of its ports in messages of family AF_BRIDGE: RTM_DELLINK there is a port that left the bridge.
    if body.first().copied() != Some(0) {
        return None;
    }
    let mut link = LinkMessage {
        gone,
        index: u32_at(body, 4)?,
        name: String::new(),
        ethernet: u16_at(body, 2)? == ETHERNET,
        state: Link::Down,
        mac: None,
        mtu: 0,
    };
    let mut operational = OPER_UNKNOWN;
    for (kind, value) in attributes(body.get(LINK_HEADER..)?) {
        match kind {
            IFLA_IFNAME => link.name = text(value),
            IFLA_ADDRESS => link.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
            IFLA_MTU => link.mtu = u32_at(value, 0).unwrap_or_default(),
            IFLA_OPERSTATE => operational = value.first().copied().unwrap_or(OPER_UNKNOWN),
            _ => {}
        }
    }
    link.state = if gone { Link::Down } else { state(u32_at(body, 8)?, operational) };
    Some(link)
}

/// Devices that keep no operational state (tun, some virtual ones) say `unknown`: then the carrier's flags count.
fn state(flags: u32, operational: u8) -> Link {
    let carrier = flags & (IFF_LOWER_UP | IFF_RUNNING) != 0;
    match operational {
        OPER_UP if flags & IFF_UP != 0 => Link::Up,
        OPER_UNKNOWN if flags & IFF_UP != 0 && carrier => Link::Up,
        _ => Link::Down,
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DefaultRoute {
    pub(crate) interface: u32,
    pub(crate) gateway: Option<IpAddr>,
    metric: u32,
}

/// The default routes of the main table, IPv4's first, the best metric first in each.
fn default_routes(route: &mut Route) -> Result<Vec<DefaultRoute>, KernelError> {
    let mut all = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let mut header = [0; ROUTE_HEADER];
        header[0] = u8::try_from(family).unwrap_or_default();
        let mut found = Vec::new();
        let request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_DUMP, &header);
        route.dump(request, "reading routes", |message| found.extend(parse_route(&message)))?;
        found.sort_by_key(|one| one.metric);
        all.extend(found);
    }
    Ok(all)
}

/// Reads a route message; `None` if it is of no default route of the main table.
pub(crate) fn parse_route(message: &Message<'_>) -> Option<DefaultRoute> {
    let body = message.body;
    let (destination_length, table, kind) = (*body.get(1)?, *body.get(4)?, *body.get(7)?);
    let is_default = message.kind == libc::RTM_NEWROUTE && destination_length == 0;
    if !is_default || table != libc::RT_TABLE_MAIN || kind != libc::RTN_UNICAST {
        return None;
    }
    let (mut interface, mut gateway, mut metric) = (None, None, 0);
    for (kind, value) in attributes(body.get(ROUTE_HEADER..)?) {
        match kind {
            RTA_OIF => interface = u32_at(value, 0),
            RTA_GATEWAY => gateway = address(value),
            RTA_PRIORITY => metric = u32_at(value, 0).unwrap_or_default(),
            _ => {}
        }
    }
    Some(DefaultRoute { interface: interface?, gateway, metric })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_up_by_table() {
        const RUNNING: u32 = IFF_UP | IFF_RUNNING | IFF_LOWER_UP;
        let cases = [
            ("up", RUNNING, OPER_UP, Link::Up),
            ("administratively down", 0, 2, Link::Down),
            ("no carrier", IFF_UP, 2, Link::Down),
            ("lower layer down", IFF_UP, 3, Link::Down),
            ("dormant", IFF_UP | IFF_LOWER_UP, 5, Link::Down),
            ("keeps no state, carrier there", RUNNING, OPER_UNKNOWN, Link::Up),
            ("keeps no state, carrier gone", IFF_UP, OPER_UNKNOWN, Link::Down),
        ];
        for (name, flags, operational, expected) in cases {
            assert_eq!(state(flags, operational), expected, "{name}");
        }
    }
}
