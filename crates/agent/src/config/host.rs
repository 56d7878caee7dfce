//! What the host says of itself: facts that settings are checked against, and defaults that depend on it.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// Where a Pod's service account says its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Facts about this host. Tests write their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// All network interfaces.
    pub interfaces: Vec<String>,
    /// Next hops of default routes, and the interface of each; the first is the best.
    pub gateways: Vec<(String, IpAddr)>,
    /// Addresses that are the host's own (not deprecated, so no VIP of any agent), and the interface of each.
    pub own_addresses: BTreeMap<IpAddr, String>,
    /// The host's name.
    pub hostname: Option<String>,
    /// The namespace of the Pod this runs in.
    pub namespace: Option<String>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Host {
    /// Asks the running system. What cannot be read is left out: the check that needs it will say so.
    #[must_use]
    pub fn read() -> Self {
        Self {
            interfaces: interfaces(),
            gateways: gateways(&text("/proc/net/route"), &text("/proc/net/ipv6_route")),
            own_addresses: BTreeMap::new(),
            hostname: line("/proc/sys/kernel/hostname"),
            namespace: line(NAMESPACE_FILE),
            home: std::env::var_os("HOME").map(PathBuf::from),
        }
    }
}

fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn line(path: &str) -> Option<String> {
    Some(text(path).trim().to_owned()).filter(|line| !line.is_empty())
}

/// Of this network namespace, even where /sys shows another's: /proc/net follows the process.
fn interfaces() -> Vec<String> {
    let mut names: Vec<String> = text("/proc/net/dev")
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .collect();
    names.sort();
    names
}

/// Next hops of default routes from the kernel's own tables (proc(5)), the lowest metric first.
pub(super) fn gateways(ipv4: &str, ipv6: &str) -> Vec<(String, IpAddr)> {
    let mut found: Vec<(u32, String, IpAddr)> =
        ipv4.lines().filter_map(ipv4_gateway).chain(ipv6.lines().filter_map(ipv6_gateway)).collect();
    found.sort_by_key(|(metric, ..)| *metric);
    found.into_iter().map(|(_, interface, address)| (interface, address)).collect()
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`, addresses as the machine's own integers.
fn ipv4_gateway(line: &str) -> Option<(u32, String, IpAddr)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [interface, "00000000", gateway, _, _, _, metric, "00000000", ..] = fields[..] else { return None };
    let address = Ipv4Addr::from(u32::from_str_radix(gateway, 16).ok()?.to_ne_bytes());
    Some((metric.parse().ok()?, interface.to_owned(), address.into()))
}

/// `dest prefix source prefix next-hop metric refcnt use flags interface`, all hexadecimal.
fn ipv6_gateway(line: &str) -> Option<(u32, String, IpAddr)> {
    const UNSPECIFIED: &str = "00000000000000000000000000000000";
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [UNSPECIFIED, "00", _, _, hop, metric, _, _, _, interface] = fields[..] else { return None };
    if hop == UNSPECIFIED || interface == "lo" {
        return None;
    }
    let address = Ipv6Addr::from(u128::from_str_radix(hop, 16).ok()?);
    Some((u32::from_str_radix(metric, 16).ok()?, interface.to_owned(), address.into()))
}
