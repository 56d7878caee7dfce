//! Laws that hold the allocator and the claims together, whatever has been published by whom.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::*;
use super::world::{World, complete, name, pools, port, present, service};
use crate::ipam::Pools;

const ADDRESSES: [&str; 6] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9", "fd00::1", "fd00::2"];

const NODES_OWN: &str = "10.0.0.9";

fn ports() -> impl Strategy<Value = BTreeSet<Port>> {
    subsequence(vec![80, 81, 82], 1..=2).prop_map(|ports| ports.into_iter().map(port).collect())
}

fn some_pools() -> impl Strategy<Value = Pools> {
    select(vec![
        pools(&[]),
        pools(&[("range-global", "10.0.0.1-10.0.0.3,fd00::1-fd00::2")]),
        pools(&[("range-global", "10.0.0.1-10.0.0.3"), ("allow-share-global", "true")]),
        pools(&[("range-global", "10.0.0.2-10.0.0.3"), ("cidr-a", "10.0.0.0/30"), ("allow-share-a", "true")]),
    ])
}

/// What a status has. A node's own address stands there alone, as other load balancers publish it.
fn published() -> impl Strategy<Value = Vec<&'static str>> {
    let ours: Vec<_> = ADDRESSES.into_iter().filter(|one| *one != NODES_OWN).collect();
    prop_oneof![9 => subsequence(ours, 0..=2), 1 => Just(vec![NODES_OWN])]
}

prop_compose! {
    fn any_service()(
        named in subsequence(ADDRESSES.to_vec(), 0..=2),
        spec in prop::option::weighted(0.1, select(ADDRESSES.to_vec())),
        by in select(vec![NamedBy::Person, NamedBy::Person, NamedBy::Person, NamedBy::CloudProvider]),
        published in published(),
        published_ports in prop::option::of(ports()),
        ports in ports(),
        created in 0_i64..4,
        asks in prop::bool::ANY,
        deleting in prop::bool::weighted(0.1),
        another in prop::bool::weighted(0.1),
    ) -> Service {
        let published_ports = published_ports.unwrap_or_default();
        let one = |text: &&str| Published { wish: Wish::of(text), ports: published_ports.clone() };
        let named = if asks { named } else { vec![] };
        Service {
            named: Named { spec: spec.map(Wish::of), by, ..service(&named.join(" ")).named },
            published: published.iter().map(one).collect(),
            class: another.then(|| "example.org/other".to_owned()),
            ports,
            created,
            deleting,
            ..service("")
        }
    }
}

fn services() -> impl Strategy<Value = BTreeMap<ObjectName, Service>> {
    let named = (select(vec!["a", "b"]), 0..4).prop_map(|(space, number)| name(&format!("{space}/{number}")));
    prop::collection::btree_map(named, any_service(), 1..7)
}

fn world(services: &BTreeMap<ObjectName, Service>) -> World {
    let world =
        World::new(&[]).node("n1", |n1| n1.addresses.extend([NODES_OWN.parse::<IpAddr>().expect("one")]));
    services.iter().fold(world, |world, (name, one)| world.service(&name.to_string(), one.clone()))
}

fn granted(decisions: &Decisions) -> BTreeMap<(IpAddr, &ObjectName), &Grant> {
    let all = decisions.grants.iter();
    all.flat_map(|(name, grants)| grants.iter().map(move |one| ((one.address, name), one))).collect()
}

/// What changes, in the order of one object's history.
type History = (ObjectName, Vec<Option<Service>>);

fn histories() -> impl Strategy<Value = Vec<History>> {
    let history = prop::collection::vec(prop::option::weighted(0.8, any_service()), 1..4);
    prop::collection::btree_map(0..5, history, 1..5).prop_map(|all| {
        all.into_iter().map(|(number, history)| (name(&format!("a/{number}")), history)).collect()
    })
}

/// The events of all histories, in an order that `seed` chooses: each object's own order stays, as the API server has it.
fn interleaved(histories: &[History], seed: u64) -> Vec<(ObjectName, Option<Service>)> {
    let mut rng = crate::rng::Rng::new(seed);
    let mut left: Vec<_> = histories.iter().map(|(name, history)| (name, history.iter())).collect();
    let mut events = Vec::new();
    while !left.is_empty() {
        let index = usize::try_from(rng.next_u64() % u64::try_from(left.len()).expect("few")).expect("few");
        match left[index].1.next() {
            Some(state) => events.push((left[index].0.clone(), state.clone())),
            None => drop(left.swap_remove(index)),
        }
    }
    events
}

/// A world that saw every intermediate state; some of the events by a list of all that is there at that moment.
fn replayed(histories: &[History], seed: u64) -> World {
    let mut rng = crate::rng::Rng::new(!seed);
    let mut there: BTreeMap<ObjectName, Service> = BTreeMap::new();
    let mut world = world(&BTreeMap::new());
    for (name, state) in interleaved(histories, seed) {
        match &state {
            Some(service) => drop(there.insert(name.clone(), service.clone())),
            None => drop(there.remove(&name)),
        }
        if rng.next_u64().is_multiple_of(4) && !there.is_empty() {
            world.0.services.replace(complete(Kind::Service, there.clone().into_iter().rev()));
        } else {
            world.0.services.apply(state.map_or(Change::Gone(name.clone()), |one| present(name, one)));
        }
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Nobody has two ports of an address, neither as decided nor while only some of the decisions are written.
    #[test]
    fn nothing_is_granted_twice_on_one_port(services in services(), pools in some_pools(), written: u64) {
        let world = world(&services);
        let decisions = world.decide_with(&pools);
        let granted = granted(&decisions);
        for ((address, name), grant) in &granted {
            let others = granted.iter().filter(|((at, other), _)| at == address && other != name);
            for ((_, other), second) in others {
                prop_assert!(grant.ports.is_disjoint(&second.ports), "{name} and {other}: {address}");
            }
        }
        let mut rng = crate::rng::Rng::new(written);
        let mut half = decisions.clone();
        half.unpublished.retain(|_| rng.next_u64().is_multiple_of(2));
        let after = world.clone().published(&half);
        for ((address, name), grant) in granted.iter().filter(|(_, one)| one.basis != Basis::Published) {
            for (other, one) in after.0.services.iter().filter(|(other, _)| other != name) {
                let has = one.addresses_published().contains(address);
                prop_assert!(!has || grant.ports.is_disjoint(&one.ports), "{name} and {other}: {address}");
            }
        }
    }

    /// What the allocator keeps is granted, and all that is granted and no pool's choice of the moment is on a claim.
    #[test]
    fn what_is_kept_is_granted_and_held(services in services(), pools in some_pools()) {
        let world = world(&services);
        let decisions = world.decide_with(&pools);
        let ours = services.iter().filter(|(name, _)| !decisions.not_ours.contains_key(*name));
        let in_use = BTreeMap::new();
        let free = world.clone().node("n1", |n1| n1.addresses.clear()).0;
        let again = decide(&free, &pools, &Rules::default()).expect("all is listed");
        for (name, verdict) in crate::ipam::allocate(&pools, ours, &in_use) {
            let granted: Vec<IpAddr> = again.grants.get(name).into_iter().flatten().map(|one| one.address).collect();
            if services.values().all(|one| one.class.is_none()) {
                prop_assert_eq!(verdict.addresses(), &granted[..], "{}", name);
            }
        }
        let held: BTreeSet<(IpAddr, ObjectName)> = decisions.claims.values().flat_map(|claim| claim.addresses.clone())
            .flat_map(|(vip, on)| on.services.into_iter().map(move |name| (vip, name))).collect();
        let expected: BTreeSet<_> = granted(&decisions).into_iter()
            .filter(|(_, grant)| grant.basis != Basis::Pool).map(|((address, name), _)| (address, name.clone())).collect();
        prop_assert_eq!(held, expected);
    }

    /// Its own result, written back, changes nothing but that new addresses are published now; and where somebody had to
    /// leave an address, it comes to rest after as many rounds as there are Services.
    #[test]
    fn written_back_it_is_stable(services in services(), pools in some_pools()) {
        let mut world = world(&services);
        for _ in 0..=services.len() {
            let decisions = world.decide_with(&pools);
            world = world.published(&decisions);
            let again = world.decide_with(&pools);
            let addresses = |decisions: &Decisions| -> Vec<(IpAddr, ObjectName)> {
                granted(decisions).keys().map(|(address, name)| (*address, (*name).clone())).collect()
            };
            if again.unpublished.is_empty() {
                prop_assert_eq!(addresses(&decisions), addresses(&again));
                prop_assert_eq!(world.clone().published(&again).decide_with(&pools), again);
                return Ok(());
            }
        }
        prop_assert!(false, "it does not come to rest");
    }

    /// The facts decide, and not how they came to be known.
    #[test]
    fn any_order_of_events_gives_the_same_result(
        histories in histories(),
        pools in some_pools(),
        seeds: (u64, u64),
    ) {
        let (one, other) = (replayed(&histories, seeds.0), replayed(&histories, seeds.1));
        prop_assert_eq!(&one.0, &other.0);
        prop_assert_eq!(one.decide_with(&pools), other.decide_with(&pools));
    }

    /// Whatever an older Service is made to name, or to serve: a younger one that has its address and its ports in its
    /// status stays.
    #[test]
    fn no_edit_drives_out_who_is_there(services in services(), pools in some_pools(), edited in any_service(), index: prop::sample::Index) {
        let mut world = world(&services);
        for _ in 0..=services.len() {
            let decisions = world.decide_with(&pools);
            world = world.published(&decisions);
        }
        let before = world.decide_with(&pools);
        let name = index.get(&services.keys().collect::<Vec<_>>()).to_owned().clone();
        let was = world.0.services.get(&name).cloned().expect("it is known");
        let (published, class) = (was.published, was.class);
        let world = world.service(&name.to_string(), Service { published, class, created: -1, ..edited });
        let after = world.decide_with(&pools);
        // Another load balancer that published a node's own address said nothing of ports.
        for (address, other) in granted(&before).keys().filter(|(at, other)| **other != name && at.to_string() != NODES_OWN) {
            // The edit may let another have what it named all along: then it moves there of its own accord.
            if after.grants.get(other).into_iter().flatten().any(|one| one.basis == Basis::Named) {
                continue;
            }
            prop_assert!(granted(&after).contains_key(&(*address, other)), "{other} lost {address} to {name}");
        }
    }
}

#[test]
fn events_are_interleaved() {
    let histories = [(name("a/1"), vec![None, None]), (name("a/2"), vec![None])];
    let orders: BTreeSet<Vec<ObjectName>> = (0..50)
        .map(|seed| interleaved(&histories, seed).into_iter().map(|(name, _)| name).collect())
        .collect();
    assert_eq!(orders.len(), 3, "a/2 at each of three places");
}
