//! Addresses: of the VIP, and of networks.

use std::net::{IpAddr, SocketAddr};

use mainstay_core::vip::Vip;

use crate::config::refusal::Fault;
use crate::config::{Address, DnsName};

const REMEDY: &str = "write an unused IPv4 or IPv6 address of the interface's network, such as 192.0.2.10";

/// One virtual address or several, separated by commas, each an IP address or a DNS name; a repeated one once.
pub(in crate::config) fn addresses_of(text: &str) -> Result<Vec<Address>, Fault> {
    let mut addresses: Vec<Address> = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let address = address(part)?;
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Fault::new("no virtual address given", "set address to the VIP, such as 192.0.2.10"));
    }
    Ok(addresses)
}

fn address(text: &str) -> Result<Address, Fault> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return match unusable(ip) {
            None => Ok(Address::Ip(ip)),
            Some(kind) => Err(Fault::new(format!("{ip} is {kind} and cannot be a VIP"), REMEDY)),
        };
    }
    match DnsName::parse(text) {
        Some(name) => Ok(Address::Name(name)),
        None => Err(Fault::new(format!("{text:?} is no IP address and no DNS name"), REMEDY)),
    }
}

/// What an address is that cannot be a VIP, wherever it comes from.
pub(crate) fn unusable(vip: Vip) -> Option<&'static str> {
    Some(match vip {
        _ if vip.is_unspecified() => "the unspecified address",
        _ if vip.is_loopback() => "a loopback address",
        _ if vip.is_multicast() => "a multicast address",
        IpAddr::V4(v4) if v4.is_broadcast() => "the broadcast address",
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => "an IPv4 address in IPv6's clothes",
        IpAddr::V6(v6) if v6.is_unicast_link_local() => "a link-local address",
        _ => return None,
    })
}

/// Addresses of backends, separated by commas, each with or without a port.
pub(in crate::config) fn backends(text: &str) -> Result<Vec<(IpAddr, Option<u16>)>, Fault> {
    let mut backends = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let backend = backend(part)?;
        if backends.contains(&backend) {
            return Err(Fault::new(format!("{part} is there twice"), "name each backend once"));
        }
        backends.push(backend);
    }
    Ok(backends)
}

fn backend(part: &str) -> Result<(IpAddr, Option<u16>), Fault> {
    const REMEDY: &str =
        "write IP or IP:PORT, such as 192.0.2.1:6443 or [2001:db8::1]:6443, separated by commas";
    let with_port = || part.parse::<SocketAddr>().ok().map(|one| (one.ip(), Some(one.port())));
    let alone = || part.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|ip| (ip, None));
    match with_port().or_else(alone) {
        Some((_, Some(0))) => Err(Fault::new(format!("{part} has port 0, which nobody listens on"), REMEDY)),
        Some((ip, _)) if unusable(ip).is_some_and(|kind| kind != "a link-local address") => {
            let kind = unusable(ip).unwrap_or_default();
            Err(Fault::new(format!("{ip} is {kind} and cannot be a backend"), REMEDY))
        }
        Some(backend) => Ok(backend),
        None => Err(Fault::new(format!("{part:?} is no address of a backend"), REMEDY)),
    }
}

/// `vip_subnet`: prefix lengths separated by commas, each with or without a slash, or `auto`.
pub(in crate::config) fn prefixes(text: &str) -> Result<(), Fault> {
    let good = |part: &str| {
        let part = part.trim().trim_start_matches('/');
        part.is_empty() || part == "auto" || part.parse::<u8>().is_ok_and(|length| length <= 128)
    };
    match text.split(',').find(|part| !good(part)) {
        None => Ok(()),
        Some(bad) => {
            Err(Fault::new(format!("{bad:?} is no prefix length"), "leave it out, or write 32 or 128"))
        }
    }
}

/// Networks separated by commas: `10.244.0.0/16`.
pub(in crate::config) fn networks(text: &str) -> Result<Vec<(IpAddr, u8)>, Fault> {
    let network = |part: &str| {
        let (address, length) = part.split_once('/')?;
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    };
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            network(part).ok_or_else(|| {
                Fault::new(
                    format!("{part:?} is no network"),
                    "write networks such as 10.244.0.0/16, with commas",
                )
            })
        })
        .collect()
}
