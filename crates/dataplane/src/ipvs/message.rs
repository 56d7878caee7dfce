//! The messages of the kernel's IPVS (`linux/ip_vs.h`) by generic netlink (`linux/genetlink.h`): requests to bytes, answers
//! to values. Numbers are in the host's byte order, ports and addresses in the network's.

use std::net::{IpAddr, SocketAddr};

use super::plan::{Change, Destination, Service};
use crate::linux::message::{Attributes, Message, Request, attributes, u16_at, u32_at};
use crate::nftables::TCP;
use crate::nftables::rows::{address, octets};

/// The family's name, `IPVS_GENL_NAME`, and version.
const FAMILY: &str = "IPVS";
const VERSION: u8 = 1;
/// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
const CONTROL: u16 = 0x10;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Bytes of `struct genlmsghdr`: command, version, two reserved.
const HEADER: usize = 4;

/// `IPVS_CMD_ATTR_SERVICE`, `IPVS_CMD_ATTR_DEST`.
const SERVICE: u16 = 1;
const DESTINATION: u16 = 2;
/// `IPVS_SVC_ATTR_*`: address family, protocol, address, port, scheduler, flags, time-out, netmask.
const SERVICE_FAMILY: u16 = 1;
const SERVICE_PROTOCOL: u16 = 2;
const SERVICE_ADDRESS: u16 = 3;
const SERVICE_PORT: u16 = 4;
const SERVICE_SCHEDULER: u16 = 6;
const SERVICE_FLAGS: u16 = 7;
const SERVICE_TIMEOUT: u16 = 8;
const SERVICE_NETMASK: u16 = 9;
/// `IPVS_DEST_ATTR_*`: address, port, method, weight, upper and lower threshold, connections, address family.
const ADDRESS: u16 = 1;
const PORT: u16 = 2;
const METHOD: u16 = 3;
const WEIGHT: u16 = 4;
const UPPER: u16 = 5;
const LOWER: u16 = 6;
const ACTIVE: u16 = 7;
const INACTIVE: u16 = 8;
const ADDRESS_FAMILY: u16 = 11;

/// `IP_VS_SVC_F_HASHED`, which the kernel sets itself.
const HASHED: u32 = 2;
/// `IP_VS_CONN_F_FWD_MASK`.
const METHODS: u32 = 7;
/// Bytes of `union nf_inet_addr`.
const ADDRESS_LENGTH: usize = 16;

/// `IPVS_CMD_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    NewService = 1,
    SetService = 2,
    DeleteService = 3,
    GetService = 4,
    NewDestination = 5,
    SetDestination = 6,
    DeleteDestination = 7,
    GetDestinations = 8,
}

impl Change {
    /// As a request about the service `at` of the family with this number.
    pub(crate) fn request(&self, family: u16, at: SocketAddr) -> Request {
        let about = |command, all: &Attributes| request(family, command, libc::NLM_F_ACK, at).with_all(all);
        let whole = |command, service: &Service| {
            let all = Attributes::default().nested(SERVICE, &full(at, service));
            bare(family, command, libc::NLM_F_ACK).with_all(&all)
        };
        let of = |destination: Attributes| Attributes::default().nested(DESTINATION, &destination);
        match self {
            Self::Make(service) => whole(Command::NewService, service),
            Self::Alter(service) => whole(Command::SetService, service),
            Self::Remove => request(family, Command::DeleteService, libc::NLM_F_ACK, at),
            Self::Add(to, one) => about(Command::NewDestination, &of(ordered(*to, one))),
            Self::Set(to, one) => about(Command::SetDestination, &of(ordered(*to, one))),
            Self::Drop(to) => about(Command::DeleteDestination, &of(place(*to))),
        }
    }
}

/// The question for the number of the family.
pub(crate) fn ask_family() -> Request {
    let name = [FAMILY.as_bytes(), &[0]].concat();
    Request::new(CONTROL, libc::NLM_F_ACK, &[GET_FAMILY, 1, 0, 0]).with(FAMILY_NAME, &name)
}

/// The number in the answer.
pub(crate) fn read_family(message: &Message<'_>) -> Option<u16> {
    let body = message.body.get(HEADER..).filter(|_| message.kind == CONTROL)?;
    find(body, FAMILY_ID).and_then(|number| u16_at(number, 0))
}

/// A request about the service `at`: `flags` besides `NLM_F_REQUEST`.
pub(crate) fn request(family: u16, command: Command, flags: libc::c_int, at: SocketAddr) -> Request {
    bare(family, command, flags).with_all(&Attributes::default().nested(SERVICE, &key(at)))
}

/// Reads a virtual service over TCP, with where it is.
pub(crate) fn read_service(message: &Message<'_>) -> Option<(SocketAddr, Service)> {
    let body = find(message.body.get(HEADER..)?, SERVICE)?;
    let value = |kind| find(body, kind);
    value(SERVICE_PROTOCOL).and_then(|one| u16_at(one, 0)).filter(|one| *one == u16::from(TCP))?;
    let family = value(SERVICE_FAMILY).and_then(|one| u16_at(one, 0))?;
    let at = socket_address(family, value(SERVICE_ADDRESS)?, value(SERVICE_PORT)?)?;
    let scheduler = String::from_utf8_lossy(value(SERVICE_SCHEDULER)?).trim_end_matches('\0').to_owned();
    let flags = u32_at(value(SERVICE_FLAGS)?, 0)? & !HASHED;
    Some((at, Service { scheduler, flags }))
}

/// Reads a destination of the service `of`, whose address family it has where the kernel tells none (before 3.18).
pub(crate) fn read_destination(message: &Message<'_>, of: SocketAddr) -> Option<(SocketAddr, Destination)> {
    let body = find(message.body.get(HEADER..)?, DESTINATION)?;
    let number = |kind| find(body, kind).and_then(|value| u32_at(value, 0));
    let told = find(body, ADDRESS_FAMILY).and_then(|value| u16_at(value, 0));
    let at = socket_address(told.unwrap_or(family_of(of)), find(body, ADDRESS)?, find(body, PORT)?)?;
    let count = |kind| u64::from(number(kind).unwrap_or_default());
    let destination = Destination {
        forwarding: number(METHOD)? & METHODS,
        weight: number(WEIGHT)?,
        limits: (number(UPPER).unwrap_or_default(), number(LOWER).unwrap_or_default()),
        connections: count(ACTIVE) + count(INACTIVE),
    };
    Some((at, destination))
}

fn bare(family: u16, command: Command, flags: libc::c_int) -> Request {
    Request::new(family, flags, &[command as u8, VERSION, 0, 0])
}

/// What a service is known by.
fn key(at: SocketAddr) -> Attributes {
    Attributes::default()
        .with(SERVICE_FAMILY, &family_of(at).to_ne_bytes())
        .with(SERVICE_PROTOCOL, &u16::from(TCP).to_ne_bytes())
        .with(SERVICE_ADDRESS, &padded(at.ip()))
        .with(SERVICE_PORT, &at.port().to_be_bytes())
}

/// All of a service: what is not said of a new one is an error.
fn full(at: SocketAddr, service: &Service) -> Attributes {
    // Persistence is off, and takes no part of an address away: for IPv6 that is told by the length of a prefix.
    let netmask: u32 = if at.is_ipv4() { u32::MAX } else { 128 };
    let flags = [service.flags.to_ne_bytes(), u32::MAX.to_ne_bytes()].concat();
    key(at)
        .with(SERVICE_SCHEDULER, &[service.scheduler.as_bytes(), &[0]].concat())
        .with(SERVICE_FLAGS, &flags)
        .with(SERVICE_TIMEOUT, &0_u32.to_ne_bytes())
        .with(SERVICE_NETMASK, &netmask.to_ne_bytes())
}

/// What a destination is known by.
fn place(at: SocketAddr) -> Attributes {
    Attributes::default()
        .with(ADDRESS, &padded(at.ip()))
        .with(PORT, &at.port().to_be_bytes())
        .with(ADDRESS_FAMILY, &family_of(at).to_ne_bytes())
}

fn ordered(at: SocketAddr, one: &Destination) -> Attributes {
    place(at)
        .with(METHOD, &one.forwarding.to_ne_bytes())
        .with(WEIGHT, &one.weight.to_ne_bytes())
        .with(UPPER, &one.limits.0.to_ne_bytes())
        .with(LOWER, &one.limits.1.to_ne_bytes())
}

/// `AF_INET`, `AF_INET6`.
fn family_of(at: SocketAddr) -> u16 {
    let family = if at.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u16::try_from(family).unwrap_or_default()
}

fn padded(ip: IpAddr) -> Vec<u8> {
    let mut bytes = octets(ip);
    bytes.resize(ADDRESS_LENGTH, 0);
    bytes
}

fn socket_address(family: u16, bytes: &[u8], port: &[u8]) -> Option<SocketAddr> {
    let length = match i32::from(family) {
        libc::AF_INET => 4,
        libc::AF_INET6 => ADDRESS_LENGTH,
        _ => return None,
    };
    let port = u16::from_be_bytes(port.get(..2)?.try_into().ok()?);
    Some(SocketAddr::new(address(bytes.get(..length)?)?, port))
}

fn find(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
}
