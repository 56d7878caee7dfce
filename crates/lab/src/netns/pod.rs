//! Pods: namespaces behind a host, which passes on what is for them, as a CNI plugin without an overlay has it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::host::Host;
use super::{Namespace, Segment, sysctl};

/// A pod on a host, whose gateway the host is. It goes when this is dropped.
#[derive(Debug)]
pub struct Pod {
    namespace: Namespace,
    number: u8,
}

impl Pod {
    /// A pod with 10.244.`number`.2 and fd00:244:`number`::2 on `node`; the other hosts of the segment have routes to it.
    ///
    /// # Errors
    /// If there is one of this number, or iproute2 refuses something.
    pub fn new(segment: &Segment, node: &Host, number: u8) -> Result<Self> {
        let namespace = Namespace::new(format!("{}pod{number}", segment.0.prefix))?;
        namespace.enter(|| sysctl("net/ipv6/conf/default/accept_dad", "0"))??;
        let pod = Self { namespace, number };
        pod.join(node)?;
        for other in segment.hosts().iter().filter(|other| other.name() != node.name()) {
            other.batch(
                "ip",
                &[
                    format!("route replace 10.244.{number}.0/24 via {}", node.ipv4()),
                    format!("route replace fd00:244:{number}::/64 via {}", node.ipv6()),
                ],
            )?;
        }
        Ok(pod)
    }

    fn join(&self, node: &Host) -> Result<()> {
        let Self { namespace, number } = self;
        node.enter(|| {
            sysctl("net/ipv4/ip_forward", "1").and_then(|()| sysctl("net/ipv6/conf/all/forwarding", "1"))
        })??;
        node.batch(
            "ip",
            &[
                format!("link add pod{number} type veth peer name eth0 netns {}", namespace.name),
                format!("addr add 10.244.{number}.1/24 dev pod{number}"),
                format!("addr add fd00:244:{number}::1/64 dev pod{number} nodad"),
                format!("link set pod{number} up"),
            ],
        )?;
        namespace.batch(
            "ip",
            &[
                "link set lo up".to_owned(),
                format!("addr add {}/24 dev eth0", self.ipv4()),
                format!("addr add {}/64 dev eth0 nodad", self.ipv6()),
                "link set eth0 up".to_owned(),
                format!("route add default via 10.244.{number}.1"),
                format!("route add ::/0 via fd00:244:{number}::1"),
            ],
        )
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn ipv4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 244, self.number, 2)
    }

    /// Its IPv6 address. The number stands in it in decimal, as it does in the IPv4 one.
    #[must_use]
    pub fn ipv6(&self) -> Ipv6Addr {
        let number = u16::from_str_radix(&self.number.to_string(), 16).unwrap_or_default();
        Ipv6Addr::new(0xfd00, 0x244, number, 0, 0, 0, 0, 2)
    }

    /// Runs `work` on a thread of its own inside this pod and waits for it. Sockets made there stay in the pod.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        self.namespace.enter(work)
    }
}

impl Host {
    fn batch(&self, tool: &str, lines: &[String]) -> Result<()> {
        self.inside().batch(tool, lines)
    }

    /// Loads rules in nftables' language.
    ///
    /// # Errors
    /// If nft refuses them: none is in force then.
    pub fn load_rules(&self, rules: &str) -> Result<()> {
        self.inside()
            .feed(Command::new("nft").args(["-f", "-"]), rules)
            .with_context(|| format!("host {}", self.name()))
    }
}
