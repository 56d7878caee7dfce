//! What the host says of itself: facts that settings are checked against, and defaults that depend on it.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;

use mainstay_dataplane::{DescribeError, addresses_on, default_interface, describe};

/// Where a Pod's service account says its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Facts about this host. Tests write their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// All network interfaces.
    pub interfaces: Vec<String>,
    /// Those of them that are no Ethernet: a VIP cannot be announced there.
    pub not_ethernet: Vec<String>,
    /// The default route's interface.
    pub default_interface: Option<String>,
    /// Next hops of default routes, and the interface of each.
    pub gateways: Vec<(String, IpAddr)>,
    /// Addresses on its interfaces that no Mainstay agent put there, each with its interface.
    pub own_addresses: BTreeSet<(IpAddr, String)>,
    /// Those of them that another VIP agent left behind, as it seems: taken over in place on the VIP's interface.
    pub left_over: BTreeSet<(IpAddr, String)>,
    /// The host's name.
    pub hostname: Option<String>,
    /// The namespace of the Pod this runs in.
    pub namespace: Option<String>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

impl Host {
    /// The first of these that is the host's own, and where. What another VIP agent left on `interface` is not: it is taken
    /// over in place, so that the VIP stays up during a migration; left on another interface, it would answer there in the
    /// VIP's name.
    pub(crate) fn own_among(&self, vips: &[IpAddr], interface: &str) -> Option<&(IpAddr, String)> {
        let taken_over = |on: &(IpAddr, String)| on.1 == interface && self.left_over.contains(on);
        self.own_addresses.iter().find(|one| vips.contains(&one.0) && !taken_over(one))
    }

    /// Asks the running system. What cannot be read is left out: the check that needs it will say so.
    #[must_use]
    pub fn read() -> Self {
        let interfaces = interfaces();
        // One that is no Ethernet (the loopback, a tunnel) can neither wear a VIP nor be described.
        let described: Vec<_> = interfaces.iter().filter_map(|name| describe(name).ok()).collect();
        let gateways =
            described.iter().flat_map(|link| link.gateways.iter().map(|hop| (link.name.clone(), *hop)));
        let own = described.iter().flat_map(|link| link.addresses.iter().map(|ip| (*ip, link.name.clone())));
        // An address on the loopback answers on every interface.
        let others = interfaces.iter().filter(|name| described.iter().all(|link| link.name != **name));
        let is_none = |name: &&String| matches!(describe(name), Err(DescribeError::NotEthernet { .. }));
        let not_ethernet: Vec<String> = others.clone().filter(is_none).cloned().collect();
        let others = others.flat_map(|name| {
            let addresses = addresses_on(name).unwrap_or_default();
            addresses.into_iter().map(|ip| (ip, name.clone()))
        });
        let left_over =
            described.iter().flat_map(|link| link.left_over.iter().map(|ip| (*ip, link.name.clone())));
        Self {
            default_interface: default_interface().ok().flatten(),
            gateways: gateways.collect(),
            own_addresses: own.chain(others).collect(),
            left_over: left_over.collect(),
            interfaces,
            not_ethernet,
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
