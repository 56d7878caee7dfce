//! A stand-in for kube-proxy: what its nftables mode (KEP-3866) does for a load balancer's address, and no more.
//!
//! Each address and port is translated to one endpoint, for what comes from outside, from pods and from the host itself; so
//! is a node port, on all addresses that the host has; and what was translated is masqueraded, so that the answer comes back
//! by the host that translated (traffic policy Cluster).

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

use crate::netns::Host;

/// What is sent to an address and TCP port of a Service goes to an endpoint of the same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forwarded {
    /// The Service's.
    pub service: SocketAddr,
    /// The Service's on every node.
    pub node_port: u16,
    /// A pod's.
    pub endpoint: SocketAddr,
}

/// Has `host` forward all of these and nothing that it forwarded before.
///
/// # Errors
/// If nft refuses the rules.
pub fn program(host: &Host, forwarded: &[Forwarded]) -> Result<()> {
    host.load_rules(&rules(forwarded))
}

fn rules(forwarded: &[Forwarded]) -> String {
    // The mark is kube-proxy's own.
    let mut rules = "table inet kube-proxy\ndelete table inet kube-proxy\ntable inet kube-proxy {\n\
                     chain services {\n"
        .to_owned();
    for Forwarded { service, node_port, endpoint } in forwarded {
        let (address, family, translated) = match service.ip() {
            IpAddr::V4(_) => ("ip daddr", "ipv4", "ip to"),
            IpAddr::V6(_) => ("ip6 daddr", "ipv6", "ip6 to"),
        };
        let (vip, port) = (service.ip(), service.port());
        let _ = writeln!(
            rules,
            "{address} {vip} tcp dport {port} meta mark set 0x4000 dnat {translated} {endpoint}"
        );
        let _ = writeln!(
            rules,
            "meta nfproto {family} fib daddr type local tcp dport {node_port} meta mark set 0x4000 dnat {translated} {endpoint}"
        );
    }
    rules
        + "}\n\
           chain prerouting { type nat hook prerouting priority dstnat; jump services; }\n\
           chain output { type nat hook output priority -100; jump services; }\n\
           chain postrouting { type nat hook postrouting priority srcnat; meta mark and 0x4000 == 0x4000 masquerade; }\n\
           }\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_family_is_translated_to_its_own() {
        let forwarded = |service: &str, endpoint: &str| Forwarded {
            service: service.parse().expect("an address and a port"),
            node_port: 30080,
            endpoint: endpoint.parse().expect("an address and a port"),
        };
        let rules = rules(&[
            forwarded("10.0.0.9:80", "10.244.1.2:8080"),
            forwarded("[fd00::9]:80", "[fd00:244:1::2]:8080"),
        ]);
        for line in [
            "ip daddr 10.0.0.9 tcp dport 80 meta mark set 0x4000 dnat ip to 10.244.1.2:8080\n",
            "meta nfproto ipv4 fib daddr type local tcp dport 30080 meta mark set 0x4000 dnat ip to 10.244.1.2:8080\n",
            "ip6 daddr fd00::9 tcp dport 80 meta mark set 0x4000 dnat ip6 to [fd00:244:1::2]:8080\n",
        ] {
            assert!(rules.contains(line), "{rules}");
        }
    }
}
