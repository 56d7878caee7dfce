//! A search that goes on where the last one ended finds what a search from the beginning would.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::shares::Shares;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Offer(IpAddr, BTreeSet<Port>),
    Find(usize, BTreeSet<Port>),
}

fn step() -> impl Strategy<Value = Step> {
    let ports = |least| {
        prop::sample::subsequence(["80/TCP", "81/TCP", "82/TCP"].map(port).to_vec(), least..=2)
            .prop_map(|ports| ports.into_iter().collect())
    };
    prop_oneof![
        (address(), ports(0)).prop_map(|(address, ports)| Step::Offer(address, ports)),
        (0_usize..2, ports(1)).prop_map(|(pool, ports)| Step::Find(pool, ports)),
    ]
}

/// Mostly IPv4, for nothing else is found.
fn address() -> impl Strategy<Value = IpAddr> {
    let six = |last| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
    prop_oneof![4 => (0_u8..24).prop_map(|last| IpAddr::from([10, 0, 0, last])), 1 => (0_u16..4).prop_map(six)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_found_is_the_first(steps in prop::collection::vec(step(), 0..40), descending: bool) {
        let order = if descending { "desc" } else { "asc" };
        let pools = pools(&[
            ("cidr-a", "10.0.0.1-10.0.0.3,10.0.0.6/32,10.0.0.9-10.0.0.20,fd00::1-fd00::2"),
            ("cidr-b", "10.0.0.3-10.0.0.4,10.0.0.8-10.0.0.10,10.0.0.22/32,fd00::2/127"),
            ("search-order", order),
        ]);
        let of = ["a", "b"].map(|namespace| pools.serving(namespace).expect("a pool"));
        let mut shares = Shares::new(pools.order);
        let mut taken: BTreeMap<IpAddr, BTreeSet<Port>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Offer(address, ports) => {
                    shares.offer(address, &ports);
                    taken.entry(address).or_default().extend(ports);
                }
                Step::Find(pool, ports) => {
                    let free = |(at, taken): &(&IpAddr, &BTreeSet<Port>)| of[pool].1.addresses.contains(**at) && taken.is_disjoint(&ports);
                    let mut all = taken.iter().filter(|(at, _)| at.is_ipv4());
                    let expected = if descending { all.rfind(free) } else { all.find(free) };
                    prop_assert_eq!(shares.first(of[pool], &ports), expected.map(|(at, _)| *at));
                }
            }
        }
    }
}
