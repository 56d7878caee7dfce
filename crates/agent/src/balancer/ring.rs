//! The nodes that a stray goes round (`mainstay_dataplane::balancer::strays`): those with an agent, as the claim knows them,
//! which need not be those with an API server. A node that does not answer is left out, or what is sent there would be lost
//! in silence.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use mainstay_core::balance::next_in_ring;
use mainstay_core::vip::Vip;
use tokio::task::JoinSet;

use super::check::reaches;
use crate::names::Members;

/// What is known of them.
pub(super) struct Ring {
    nodes: BTreeSet<IpAddr>,
    /// Those that did not answer when they were looked for last.
    unreachable: BTreeSet<IpAddr>,
    /// Those that are looked for.
    looks: JoinSet<(IpAddr, bool)>,
    /// Where they are looked for. That nobody listens there is an answer.
    port: u16,
}

impl Ring {
    pub(super) fn new(port: u16) -> Self {
        Self { nodes: BTreeSet::new(), unreachable: BTreeSet::new(), looks: JoinSet::new(), port }
    }

    /// Takes in who there is.
    pub(super) fn take(&mut self, members: &Members) {
        let addresses = members.values().flat_map(|member| &member.addresses);
        self.nodes = addresses.copied().filter(|address| !is_link_local(*address)).collect();
        self.unreachable.retain(|address| self.nodes.contains(address));
    }

    /// Looks for all of them but `known`, of whom others tell.
    pub(super) fn look(&mut self, known: &BTreeSet<IpAddr>) {
        for address in self.nodes.difference(known).copied() {
            let at = SocketAddr::new(address, self.port);
            self.looks.spawn(async move { (address, reaches(at).await) });
        }
    }

    /// Takes in the next answer; `None` while nobody is looked for.
    pub(super) async fn looked(&mut self) -> Option<anyhow::Result<()>> {
        let looked = self.looks.join_next().await?;
        Some(looked.map(|(address, reached)| self.reached(address, reached)).map_err(Into::into))
    }

    /// Takes in whether a host is there.
    pub(super) fn reached(&mut self, address: IpAddr, reached: bool) {
        if reached {
            self.unreachable.remove(&address);
        } else if self.nodes.contains(&address) {
            self.unreachable.insert(address);
        }
    }

    /// Who comes after the host with the addresses `own`, for each family of these VIPs.
    pub(super) fn next(&self, own: &BTreeSet<IpAddr>, vips: &[Vip]) -> BTreeSet<IpAddr> {
        let there = self.nodes.difference(&self.unreachable).copied().collect();
        vips.iter().filter_map(|vip| next_in_ring(&there, own, *vip)).collect()
    }
}

/// No gateway can be one without an interface.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use mainstay_core::names::NodeName;
    use mainstay_core::snapshot::Member;

    use super::*;

    fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn who_does_not_answer_is_left_out_until_it_does() {
        let member = |texts: &[&str]| Member {
            addresses: addresses(texts).into_iter().collect(),
            ..Member::default()
        };
        let members: Members = [("n1", "10.0.0.1"), ("n2", "10.0.0.2"), ("n3", "10.0.0.3")]
            .map(|(name, address)| (NodeName::new(name), member(&[address, "fe80::1"])))
            .into();
        let mut ring = Ring::new(6443);
        ring.take(&members);
        let (own, vips) = (
            addresses(&["10.0.0.1"]),
            ["10.0.0.100", "fd00::100"].map(|text| text.parse().expect("an address")),
        );
        assert_eq!(
            ring.next(&own, &vips),
            addresses(&["10.0.0.2"]),
            "of IPv6 there is none but link-local ones"
        );
        ring.reached("10.0.0.2".parse().expect("an address"), false);
        assert_eq!(ring.next(&own, &vips), addresses(&["10.0.0.3"]));
        ring.reached("10.0.0.2".parse().expect("an address"), true);
        assert_eq!(ring.next(&own, &vips), addresses(&["10.0.0.2"]));
        ring.reached("10.0.0.9".parse().expect("an address"), false);
        ring.take(&members);
        assert!(ring.unreachable.is_empty(), "it is none of them");
    }
}
