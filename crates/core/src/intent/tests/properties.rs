//! Laws, over small clusters of every sort.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::prelude::*;

use super::super::*;
use super::world::{World, complete, name, node, service, slice};
use crate::ipam::Why;

const ADDRESSES: [&str; 5] = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"];
const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];
const STATES: [&str; 3] = ["ready", "draining", "not"];

prop_compose! {
    fn services_of_one_sort()(
        addresses in prop::sample::subsequence(ADDRESSES.to_vec(), 0..=3),
        ports in prop::collection::btree_set((80_u16..84, prop::bool::ANY), 1..3),
        created in 0_i64..4,
        local: bool,
        zone in prop::option::of(prop::bool::ANY),
    ) -> Service {
        let port = |(port, udp)| Port { protocol: if udp { Protocol::Udp } else { Protocol::Tcp }, port };
        let traffic_policy = if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
        let node_selector = match zone {
            Some(true) => "zone=a".parse().expect("a selector"),
            _ => NodeSelector::default(),
        };
        let ports = ports.into_iter().map(port).collect();
        Service { ports, created, traffic_policy, node_selector, ..service(&addresses.join(" ")) }
    }
}

fn services() -> impl Strategy<Value = BTreeMap<ObjectName, Service>> {
    prop::collection::vec(services_of_one_sort(), 1..7).prop_map(|all| {
        all.into_iter().zip('a'..).map(|(one, letter)| (name(&letter.to_string()), one)).collect()
    })
}

/// Slices by (Service, node, state): one for each, so that one can be taken away alone.
fn endpoints() -> impl Strategy<Value = BTreeSet<(char, &'static str, &'static str)>> {
    let one =
        (prop::char::range('a', 'f'), prop::sample::select(&NODES[..]), prop::sample::select(&STATES[..]));
    prop::collection::btree_set(one, 0..16)
}

fn world(services: &BTreeMap<ObjectName, Service>, endpoints: &BTreeSet<(char, &str, &str)>) -> World {
    let world = World::new(&NODES).node("n2", |n2| drop(n2.labels.insert("zone".into(), "a".into())));
    let world = world.node("n3", |n3| n3.unschedulable = true);
    let world =
        services.iter().fold(world, |world, (name, one)| world.service(&name.to_string(), one.clone()));
    endpoints.iter().fold(world, |world, (service, on, state)| {
        let one = slice(&service.to_string(), Family::Ipv4, &format!("{on}:{state}"));
        let one_six = slice(&service.to_string(), Family::Ipv6, &format!("{on}:{state}"));
        world
            .slice(&format!("{service}-{on}-{state}"), one)
            .slice(&format!("{service}-{on}-{state}-6"), one_six)
    })
}

/// What is granted: each address with its Services.
fn granted(decisions: &Decisions) -> BTreeMap<IpAddr, Vec<ObjectName>> {
    let addresses = decisions.claims.values().flat_map(|claim| claim.addresses.clone());
    addresses.map(|(vip, on)| (vip, on.services)).collect()
}

fn addresses_of(service: &Service) -> BTreeSet<IpAddr> {
    service.named.annotation.iter().filter_map(Wish::address).collect()
}

/// All that can be come to from `from` over Services that are on the same address.
fn reachable(granted: &BTreeMap<IpAddr, Vec<ObjectName>>, from: IpAddr) -> BTreeSet<IpAddr> {
    let mut reached = BTreeSet::from([from]);
    loop {
        let services: BTreeSet<_> = reached.iter().flat_map(|vip| &granted[vip]).collect();
        let next: BTreeSet<IpAddr> = granted
            .iter()
            .filter(|(_, on)| on.iter().any(|one| services.contains(one)))
            .map(|(vip, _)| *vip)
            .collect();
        if next.is_subset(&reached) {
            return reached;
        }
        reached.extend(next);
    }
}

proptest! {
    #[test]
    fn claims_are_a_partition_of_services(services in services()) {
        let decisions = world(&services, &BTreeSet::new()).decide();
        let mut seen = BTreeSet::new();
        for (id, claim) in &decisions.claims {
            prop_assert_eq!(id, &claim.id);
            prop_assert!(!claim.addresses.is_empty() && claim.addresses.values().all(|on| !on.services.is_empty()));
            for service in claim.services() {
                prop_assert!(seen.insert(service.clone()), "{} is in two claims", service);
            }
        }
        for (name, service) in &services {
            let is_no_pool = |why: &&Why| matches!(why, Why::NoPool { .. });
            let refused = decisions.refused.get(name).into_iter().flatten().filter(|why| !is_no_pool(why)).count();
            let wishes = service.named.annotation.len();
            prop_assert_eq!(seen.contains(name), refused < wishes, "{} is in one claim, unless all is refused", name);
        }
    }

    #[test]
    fn each_wish_is_granted_or_refused(services in services()) {
        let decisions = world(&services, &BTreeSet::new()).decide();
        let granted = granted(&decisions);
        for (name, service) in services.iter().filter(|(_, service)| !addresses_of(service).is_empty()) {
            let has = granted.iter().filter(|(_, on)| on.contains(name)).map(|(vip, _)| *vip);
            let refused = decisions.refused.get(name).into_iter().flatten();
            let mut all: Vec<IpAddr> = has.collect();
            all.extend(refused.map(|why| match why {
                Why::PortClash { address, .. } => *address,
                other => panic!("{other}"),
            }));
            all.sort();
            prop_assert_eq!(all, addresses_of(service).into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_claim_is_all_that_hangs_together_and_named_by_its_lowest(services in services()) {
        let decisions = world(&services, &BTreeSet::new()).decide();
        let granted = granted(&decisions);
        for claim in decisions.claims.values() {
            let addresses: BTreeSet<IpAddr> = claim.addresses.keys().copied().collect();
            let lowest = *addresses.first().expect("an address");
            prop_assert_eq!(claim.id.to_string(), format!("svc/{lowest}"));
            prop_assert_eq!(addresses, reachable(&granted, lowest));
        }
    }

    #[test]
    fn the_order_of_the_input_does_not_matter(services in services(), endpoints in endpoints(), seed: u64) {
        let straight = world(&services, &endpoints);
        let mut shuffled = Intent::default();
        let mut rng = crate::rng::Rng::new(seed);
        shuffled.services.replace(mixed(Kind::Service, &straight.0.services, &mut rng));
        shuffled.nodes.replace(mixed(Kind::Node, &straight.0.nodes, &mut rng));
        shuffled.slices.replace(mixed(Kind::EndpointSlice, &straight.0.slices, &mut rng));
        let shuffled = World(shuffled);
        prop_assert_eq!(straight.decide(), shuffled.decide());
        let choose = |world: &World| -> Vec<_> {
            let (rules, decisions) = (Rules::default(), world.decide());
            decisions.claims.values().map(|claim| Survey::new(&world.0, &rules).choose(claim, None)).collect()
        };
        prop_assert_eq!(choose(&straight), choose(&shuffled));
    }

    /// What a Service asks for counts, not what it is given: an older newcomer refuses another's port, and whoever that
    /// other refused may be given the address now.
    #[test]
    fn a_new_service_changes_only_claims_of_services_that_ask_for_one_of_its_addresses(
        services in services(),
        new in services_of_one_sort(),
    ) {
        let before = world(&services, &BTreeSet::new());
        let after = before.clone().service("new", new.clone()).decide();
        let asked = addresses_of(&new);
        for (id, claim) in before.decide().claims {
            if claim.services().into_iter().all(|name| addresses_of(&services[name]).is_disjoint(&asked)) {
                prop_assert_eq!(after.claims.get(&id), Some(&claim));
            }
        }
    }

    #[test]
    fn a_younger_service_takes_no_address_from_an_older(services in services(), new in services_of_one_sort()) {
        let before = world(&services, &BTreeSet::new());
        let after = granted(&before.clone().service("new", new.clone()).decide());
        let age = |name: &ObjectName| (services.get(name).map_or(new.created, |one| one.created), name.clone());
        let new_age = (new.created, name("new"));
        for (vip, on) in granted(&before.decide()) {
            let older: Vec<_> = on.into_iter().filter(|one| age(one) < new_age).collect();
            prop_assert_eq!(&after.get(&vip).cloned().unwrap_or_default()[..older.len()], &older[..]);
        }
    }

    #[test]
    fn no_two_services_have_one_port_of_an_address(services in services()) {
        for (vip, on) in granted(&world(&services, &BTreeSet::new()).decide()) {
            let ports: Vec<Port> = on.iter().flat_map(|name| services[name].ports.clone()).collect();
            let different: BTreeSet<_> = ports.iter().collect();
            prop_assert_eq!(different.len(), ports.len(), "{}", vip);
        }
    }

    /// Of the last endpoint of a Service under Cluster this does not hold: it is lost to every node.
    #[test]
    fn an_endpoint_lost_elsewhere_makes_no_node_ineligible(
        services in services(),
        endpoints in endpoints(),
        lost in prop::sample::select(&NODES[..]),
    ) {
        let serving = |service: &str, endpoints: &BTreeSet<(char, &str, &str)>| {
            endpoints.iter().any(|(of, _, state)| *state != "not" && service == of.to_string())
        };
        let mut left = endpoints.clone();
        for one in endpoints.iter().filter(|(_, on, _)| *on == lost) {
            left.remove(one);
            let service = one.0.to_string();
            let cluster = services.get(&name(&service)).is_some_and(|one| one.traffic_policy == TrafficPolicy::Cluster);
            if cluster && serving(&service, &endpoints) && !serving(&service, &left) {
                left.insert(*one);
            }
        }
        let (before, after) = (world(&services, &endpoints), world(&services, &left));
        let rules = Rules::default();
        for claim in before.decide().claims.values() {
            let was = Survey::new(&before.0, &rules).eligibility(claim).nodes;
            let is = Survey::new(&after.0, &rules).eligibility(claim).nodes;
            for here in was.iter().filter(|(here, was)| **here != node(lost) && was.is_ok()) {
                prop_assert_eq!(is.get(here.0), Some(here.1));
            }
        }
    }

    #[test]
    fn a_claim_is_dark_only_if_nothing_of_it_can_be_served(services in services(), endpoints in endpoints()) {
        let world = world(&services, &endpoints);
        let serving = |name: &ObjectName| {
            endpoints.iter().any(|(service, on, state)| {
                *state != "not" && name.name() == service.to_string()
                    && (services[name].node_selector.requirements.is_empty() || *on == "n2"
                        || services[name].traffic_policy == TrafficPolicy::Cluster)
            })
        };
        for claim in world.decide().claims.values() {
            let eligible = Survey::new(&world.0, &Rules::default()).eligibility(claim).nodes;
            let lit = claim.services().into_iter().any(serving);
            prop_assert_eq!(eligible.values().any(Result::is_ok), lit, "{:?}", eligible);
        }
    }

    #[test]
    fn what_cannot_be_read_changes_nothing(
        services in services(),
        readable in prop::collection::vec(prop::bool::ANY, 7),
        extent in prop::sample::select(vec![Extent::Partial, Extent::Complete, Extent::Confirmed]),
        nameless: bool,
    ) {
        let mut world = world(&services, &BTreeSet::new());
        let before = world.decide();
        let broken = |name: &ObjectName| Reading::unreadable((!nameless).then(|| name.clone()), vec![]);
        let readings = services.iter().zip(&readable).map(|((name, one), readable)| {
            if *readable { Reading::read(name.clone(), one.clone(), vec![]) } else { broken(name) }
        });
        world.0.services.replace(Listing { kind: Kind::Service, extent, readings: readings.collect() });
        prop_assert_eq!(world.decide(), before);
    }
}

fn mixed<K: Ord + Clone, T: Clone>(
    kind: Kind,
    known: &Known<K, T>,
    rng: &mut crate::rng::Rng,
) -> Listing<K, T> {
    let mut items: Vec<(u64, (K, T))> =
        known.iter().map(|(key, value)| (rng.next_u64(), (key.clone(), value.clone()))).collect();
    items.sort_by_key(|(place, _)| *place);
    complete(kind, items.into_iter().map(|(_, item)| item))
}
