//! A search that goes on where the last one ended finds what a search from the beginning would.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::shares::Shares;
use super::*;

#[derive(Clone, Debug)]
enum Step {
    Offer(u8, BTreeSet<Port>),
    Find(usize, BTreeSet<Port>),
}

fn step() -> impl Strategy<Value = Step> {
    let ports = |least| {
        prop::sample::subsequence(["80/TCP", "81/TCP", "82/TCP"].map(port).to_vec(), least..=2)
            .prop_map(|ports| ports.into_iter().collect())
    };
    prop_oneof![
        (0_u8..24, ports(0)).prop_map(|(last, ports)| Step::Offer(last, ports)),
        (0_usize..2, ports(1)).prop_map(|(pool, ports)| Step::Find(pool, ports)),
    ]
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn what_is_found_is_the_first(steps in prop::collection::vec(step(), 0..40), descending: bool) {
        let order = if descending { "desc" } else { "asc" };
        let pools = pools(&[
            ("cidr-a", "10.0.0.1-10.0.0.3,10.0.0.6/32,10.0.0.9-10.0.0.20"),
            ("cidr-b", "10.0.0.3-10.0.0.4,10.0.0.8-10.0.0.10,10.0.0.22/32"),
            ("search-order", order),
        ]);
        let of = ["a", "b"].map(|namespace| pools.serving(namespace).expect("a pool"));
        let mut shares = Shares::new(pools.order);
        let mut taken: BTreeMap<IpAddr, BTreeSet<Port>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Offer(last, ports) => {
                    shares.offer(address(last), &ports);
                    taken.entry(address(last)).or_default().extend(ports);
                }
                Step::Find(pool, ports) => {
                    let free = |(at, taken): &(&IpAddr, &BTreeSet<Port>)| of[pool].1.addresses.contains(**at) && taken.is_disjoint(&ports);
                    let mut all = taken.iter();
                    let expected = if descending { all.rfind(free) } else { all.find(free) };
                    prop_assert_eq!(shares.first(of[pool], &ports), expected.map(|(at, _)| *at));
                }
            }
        }
    }
}
