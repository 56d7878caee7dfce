//! Addresses on an interface: how ours look, and how to tell them from the host's.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use mainstay_core::vip::Vip;

use crate::kernel::{Kernel, KernelError};
use crate::linux::message::{Message, Request, attributes, u32_at};
use crate::linux::route::Route;
use crate::plan::{Owner, Present, Step, host_prefix};

/// The number in `IFA_PROTO` that says that an address is ours (77, an `M`). The kernel itself uses 1 to 3;
/// iproute2's `/etc/iproute2/rt_addrprotos` names no other. Kernels before 5.18 drop it: see [`owner`].
pub const ADDRESS_PROTOCOL: u8 = 0x4d;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_CACHEINFO: u16 = 6;
const IFA_FLAGS: u16 = 8;
const IFA_PROTO: u16 = 11;

const IFA_F_NODAD: u32 = 0x02;
const IFA_F_NOPREFIXROUTE: u32 = 0x200;

/// Bytes of `struct ifaddrmsg`: family, prefix length, flags, scope, index.
const HEADER: usize = 8;
/// Bytes of `struct rtmsg`, and where in it the route's kind is.
const ROUTE_HEADER: usize = 12;
const ROUTE_KIND: usize = 7;
/// A lifetime that never ends.
const FOR_EVER: u32 = u32::MAX;

/// One address message, of a dump or of the monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddressMessage {
    pub(crate) index: u32,
    pub(crate) present: Present,
}

/// The addresses of one interface, through one socket.
#[derive(Debug)]
pub(crate) struct LinkAddresses<'a> {
    pub(crate) route: &'a mut Route,
    pub(crate) index: u32,
}

impl Kernel for LinkAddresses<'_> {
    fn addresses(&mut self) -> Result<Vec<Present>, KernelError> {
        let header = header(libc::AF_UNSPEC, (0, libc::RT_SCOPE_UNIVERSE), self.index);
        let mut found = Vec::new();
        let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &header);
        self.route.dump(request, "reading addresses", |message| {
            found.extend(parse(&message).filter(|one| one.index == self.index).map(|one| one.present));
        })?;
        Ok(found)
    }

    fn apply(&mut self, step: &Step) -> Result<(), KernelError> {
        let (vip, what, request) = match *step {
            Step::Add { vip, lifetime } => {
                (vip, "adding", self.put(vip, lifetime, libc::NLM_F_CREATE | libc::NLM_F_EXCL))
            }
            Step::Refresh { vip, lifetime } => {
                (vip, "refreshing", self.put(vip, lifetime, libc::NLM_F_REPLACE))
            }
            Step::Remove { vip } => (vip, "removing", self.request(libc::RTM_DELADDR, libc::NLM_F_ACK, vip)),
        };
        let what = format!("{what} {vip}");
        match (step, self.route.change(request, &what)?) {
            (_, Ok(())) => Ok(()),
            (Step::Remove { .. }, Err(cause)) if cause.raw_os_error() == Some(libc::EADDRNOTAVAIL) => Ok(()),
            (_, Err(cause)) if is_race(&cause) => Err(KernelError::Raced),
            (_, Err(cause)) => Err(KernelError::Refused { what, cause: explained(cause, vip) }),
        }
    }

    /// An IPv6 address is acknowledged before its solicited-node group is joined and its local route is there: Linux
    /// leaves both to a worker, which waits for the `rtnl` lock (`addrconf_dad_work`). Until then it answers no
    /// solicitation for it and delivers nothing to it; 134 ms were seen on a busy host. IPv4 has no such delay.
    fn delivers(&mut self, vip: Vip) -> Result<bool, KernelError> {
        if vip.is_ipv4() {
            return Ok(true);
        }
        let mut header = [0; ROUTE_HEADER];
        header[0] = u8::try_from(libc::AF_INET6).unwrap_or_default();
        header[1] = host_prefix(vip);
        let request = Request::new(libc::RTM_GETROUTE, libc::NLM_F_ACK, &header);
        let request = request.with(libc::RTA_DST, &octets(vip));
        let mut local = false;
        let asked = self.route.dump(request, "looking for a route", |message| {
            local |= message.body.get(ROUTE_KIND) == Some(&libc::RTN_LOCAL);
        });
        match asked {
            // No route at all.
            Err(KernelError::Refused { .. }) => Ok(false),
            asked => asked.map(|()| local),
        }
    }
}

impl LinkAddresses<'_> {
    /// All flags each time: a refresh that leaves one out takes it away (NODAD on IPv6).
    fn put(&self, vip: Vip, lifetime: Duration, flags: libc::c_int) -> Request {
        let mut wanted = IFA_F_NOPREFIXROUTE;
        if vip.is_ipv6() {
            wanted |= IFA_F_NODAD;
        }
        self.request(libc::RTM_NEWADDR, flags | libc::NLM_F_ACK, vip)
            .with(IFA_FLAGS, &wanted.to_ne_bytes())
            .with(IFA_CACHEINFO, &cache_info(lifetime))
            .with(IFA_PROTO, &[ADDRESS_PROTOCOL])
    }

    fn request(&self, kind: u16, flags: libc::c_int, vip: Vip) -> Request {
        let family = if vip.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let octets = octets(vip);
        Request::new(kind, flags, &header(family, (host_prefix(vip), scope(vip)), self.index))
            .with(IFA_LOCAL, &octets)
            .with(IFA_ADDRESS, &octets)
    }
}

/// The addresses of ours that this host wears, on whatever interface.
pub(crate) fn worn(route: &mut Route) -> Result<BTreeSet<Vip>, KernelError> {
    let all = on_all(route)?.into_iter().map(|one| one.present);
    Ok(all.filter(|one| one.owner == Owner::Ours).map(|one| one.ip).collect())
}

/// The addresses of all interfaces of this host.
pub(crate) fn on_all(route: &mut Route) -> Result<Vec<AddressMessage>, KernelError> {
    let header = header(libc::AF_UNSPEC, (0, libc::RT_SCOPE_UNIVERSE), 0);
    let request = Request::new(libc::RTM_GETADDR, libc::NLM_F_DUMP, &header);
    let mut all = Vec::new();
    route.dump(request, "reading addresses", |message| all.extend(parse(&message)))?;
    Ok(all)
}

/// Reads an address message; `None` if it is none, or names no address.
pub(crate) fn parse(message: &Message<'_>) -> Option<AddressMessage> {
    if ![libc::RTM_NEWADDR, libc::RTM_DELADDR].contains(&message.kind) {
        return None;
    }
    let body = message.body;
    let mut read = Read::default();
    for (kind, value) in attributes(body.get(HEADER..)?) {
        read.attribute(kind, value);
    }
    // On a point-to-point link IFA_ADDRESS is the peer; IFA_LOCAL, where there is one, is always ours.
    let ip = read.local.or(read.address)?;
    let prefix = *body.get(1)?;
    let remaining = (read.valid != FOR_EVER).then(|| Duration::from_secs(read.valid.into()));
    let present = Present { ip, prefix, owner: read.owner(ip, prefix), remaining };
    Some(AddressMessage { index: u32_at(body, 4)?, present })
}

struct Read {
    local: Option<IpAddr>,
    address: Option<IpAddr>,
    flags: u32,
    protocol: Option<u8>,
    preferred: u32,
    valid: u32,
}

impl Default for Read {
    fn default() -> Self {
        Self { local: None, address: None, flags: 0, protocol: None, preferred: FOR_EVER, valid: FOR_EVER }
    }
}

impl Read {
    fn attribute(&mut self, kind: u16, value: &[u8]) {
        match kind {
            IFA_LOCAL => self.local = ip(value),
            IFA_ADDRESS => self.address = ip(value),
            IFA_FLAGS => self.flags = u32_at(value, 0).unwrap_or_default(),
            IFA_PROTO => self.protocol = value.first().copied(),
            IFA_CACHEINFO => {
                self.preferred = u32_at(value, 0).unwrap_or(FOR_EVER);
                self.valid = u32_at(value, 4).unwrap_or(FOR_EVER);
            }
            _ => {}
        }
    }

    /// Ours by its mark; where the kernel keeps no such mark (before 5.18), by what nobody else sets together: a
    /// host's prefix without a prefix route, for a limited time, and never preferred.
    fn owner(&self, ip: IpAddr, prefix: u8) -> Owner {
        let looks_ours = prefix == host_prefix(ip)
            && self.valid != FOR_EVER
            && self.preferred == 0
            && self.flags & IFA_F_NOPREFIXROUTE != 0;
        match self.protocol {
            Some(ADDRESS_PROTOCOL) => Owner::Ours,
            None | Some(0) if looks_ours => Owner::Ours,
            _ => Owner::Other,
        }
    }
}

/// A beacon is no source for what leaves the link (RFC 3927, section 2.7): of IPv6 the kernel knows that by itself.
fn scope(vip: Vip) -> u8 {
    match vip {
        IpAddr::V4(v4) if v4.is_link_local() => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    }
}

fn header(family: libc::c_int, (prefix, scope): (u8, u8), index: u32) -> [u8; HEADER] {
    let [a, b, c, d] = index.to_ne_bytes();
    let family = u8::try_from(family).unwrap_or_default();
    [family, prefix, 0, scope, a, b, c, d]
}

/// `struct ifa_cacheinfo`: preferred, valid, and two stamps that only the kernel writes. Preferred zero keeps the
/// address out of source-address selection (IPv6). The kernel refuses a valid lifetime of zero seconds.
fn cache_info(lifetime: Duration) -> [u8; 16] {
    let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(FOR_EVER - 1).clamp(1, FOR_EVER - 1);
    let mut bytes = [0; 16];
    bytes[4..8].copy_from_slice(&seconds.to_ne_bytes());
    bytes
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}

fn octets(vip: Vip) -> Vec<u8> {
    match vip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// There already when added; or gone when refreshed, for which IPv4 and IPv6 have different words.
fn is_race(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EEXIST | libc::ENOENT | libc::EADDRNOTAVAIL))
}

/// The kernel's word with the remedy, where it has one.
fn explained(error: io::Error, vip: Vip) -> io::Error {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM) => "give the agent CAP_NET_ADMIN",
        Some(libc::EACCES) if vip.is_ipv6() => "IPv6 is off here: set net.ipv6.conf.INTERFACE.disable_ipv6=0",
        Some(libc::ENODEV) => "the interface is gone",
        _ => return error,
    };
    io::Error::new(error.kind(), format!("{error}; {remedy}"))
}
