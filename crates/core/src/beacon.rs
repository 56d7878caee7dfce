//! Addresses by which an agent is found on the wire where nothing else of its own lasts: beacons.
//!
//! The claim of all Services has a beacon for its own address. Services come and go, and nodes learn of it at different
//! times; so a holder that is asked for a Service's address may be silent and well. It wears the beacon as long as it
//! holds, with the same dead-man lifetime as any other virtual address, and that is what it is asked for.
//!
//! A beacon is an IPv4 link-local address (RFC 3927): it is never routed, every Ethernet host can wear one, and ARP
//! needs no address of the asker's own. Which one follows from the cluster and the claim, so that all nodes come to the
//! same without asking anybody, and two clusters on one segment to different ones.

use std::net::{IpAddr, Ipv4Addr};

use crate::placement::hash;
use crate::vip::Vip;

/// The third bytes that beacons have: clear of 169.254.169.0/24 to 169.254.171.0/24, where clouds have their metadata, of
/// the low ones where node-local DNS is, and of the last 256 addresses, which are reserved (RFC 3927, section 2.1).
const FIRST_NET: u64 = 172;
const NETS: u64 = 80;

/// The beacon of `what` in a cluster, which is known by a text that no other has: the uid of its `kube-system` namespace.
#[must_use]
pub fn beacon(cluster: &str, what: &str) -> Vip {
    let place = hash(format!("{cluster}/{what}").as_bytes()) % (NETS * 254);
    let byte = |value: u64| u8::try_from(value).unwrap_or(u8::MAX);
    IpAddr::V4(Ipv4Addr::new(169, 254, byte(FIRST_NET + place / 254), byte(1 + place % 254)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_beacon_is_the_same_everywhere_and_another_in_another_cluster() {
        let one = beacon("4c8c1f0e-6f3c-4a4e-9f4b-0b8f6c1d2e3f", "kube-system/plndr-svcs-lock");
        assert_eq!(one, IpAddr::from([169, 254, 229, 123]), "the wire's format: never to change");
        assert_ne!(one, beacon("another", "kube-system/plndr-svcs-lock"));
    }

    #[test]
    fn beacons_are_link_local_spread_and_clear_of_what_others_use() {
        let all: BTreeSet<Vip> = (0..20_000).map(|at: u32| beacon(&at.to_string(), "x")).collect();
        for vip in &all {
            let IpAddr::V4(v4) = vip else { panic!("{vip}") };
            let [_, _, net, host] = v4.octets();
            assert!(v4.is_link_local() && (172..252).contains(&net) && (1..255).contains(&host), "{vip}");
        }
        // 20,000 draws of 20,320 leave 1 in e out.
        assert!((12_000..14_000).contains(&all.len()), "{}", all.len());
    }
}
