//! Whatever the pools and the Services: nothing twice, nothing lost, and the same for everybody.
//!
//! The world is small, so that Services meet: a dozen addresses, three namespaces, four ports.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::address::is_buggy;
use super::*;
use crate::names::NodeName;

const ADDRESSES: [&str; 14] = [
    "10.0.0.0",
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.0.4",
    "10.0.0.5",
    "10.0.0.6",
    "10.0.0.255",
    "192.168.7.7",
    "fd00::",
    "fd00::1",
    "fd00::2",
    "fd00::3",
    "fd00:1::",
];

const NAMESPACES: [&str; 3] = ["a", "b", "c"];

fn pool() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![
        1 => Just(None),
        5 => select(vec![
            "10.0.0.0/30",
            "10.0.0.2-10.0.0.4",
            "10.0.0.1-10.0.0.2,fd00::1-fd00::2",
            "10.0.0.4/31,10.0.0.254-10.0.1.0",
            "fd00::/127",
            "10.0.0.0/29,fd00::/126",
            "0.0.0.0/32,fd00::/126",
            "0.0.0.0/32",
        ])
        .prop_map(Some),
    ]
}

fn configuration() -> impl Strategy<Value = Pools> {
    let keys = ["cidr-a", "cidr-global", "range-b", "range-global"];
    let options = subsequence(
        vec![
            ("allow-share-a", "true"),
            ("allow-share-b", "false"),
            ("allow-share-global", "true"),
            ("search-order", "desc"),
            ("skip-end-ips-in-cidr", "true"),
            ("avoid-buggy-ips", "false"),
        ],
        0..=6,
    );
    (prop::array::uniform4(pool()), options).prop_map(move |(pools, options)| {
        let pools = keys.into_iter().zip(pools).filter_map(|(key, value)| Some((key, value?)));
        let entries: Vec<_> = pools.chain(options).collect();
        Configuration::of(&data(&entries)).pools
    })
}

fn families() -> impl Strategy<Value = Vec<Family>> {
    use Family::{Ipv4 as V4, Ipv6 as V6};
    select(vec![vec![], vec![V4], vec![V6], vec![V4, V6], vec![V6, V4]])
}

fn policy() -> impl Strategy<Value = FamilyPolicy> {
    use FamilyPolicy::{PreferDualStack, RequireDualStack, SingleStack};
    select(vec![SingleStack, SingleStack, PreferDualStack, RequireDualStack])
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    subsequence(["80/TCP", "443/TCP", "53/TCP", "53/UDP"].map(port).to_vec(), 0..=3)
}

fn annotation() -> impl Strategy<Value = Option<String>> {
    let entries =
        ADDRESSES.into_iter().chain(["", "nonsense", "127.0.0.1", "0.0.0.0", "::"]).collect::<Vec<_>>();
    let some = subsequence(entries, 1..=3).prop_shuffle().prop_map(|entries| Some(entries.join(",")));
    prop_oneof![3 => Just(None), 1 => some]
}

fn service() -> impl Strategy<Value = Service> {
    let spec =
        prop_oneof![5 => Just(None), 1 => select(ADDRESSES.to_vec()).prop_map(|one| Some(one.to_owned()))];
    let assigned = prop_oneof![
        1 => Just(vec![]),
        1 => subsequence(ADDRESSES.map(ip).to_vec(), 0..=3).prop_shuffle(),
    ];
    (0_u64..3, families(), policy(), ports(), annotation(), spec, assigned).prop_map(
        |(created, ip_families, ip_family_policy, ports, annotation, load_balancer_ip, assigned)| Service {
            created_after_epoch: Duration::from_secs(created),
            ip_families,
            ip_family_policy,
            ports,
            annotation,
            load_balancer_ip,
            assigned,
        },
    )
}

/// A Service that asks for nothing but an address, and has none.
fn newcomer() -> impl Strategy<Value = Service> {
    (service(), families()).prop_map(|(service, ip_families)| Service {
        ip_families,
        annotation: None,
        load_balancer_ip: None,
        assigned: vec![],
        ..service
    })
}

fn service_name() -> impl Strategy<Value = ObjectName> {
    (select(NAMESPACES.to_vec()), 0..4).prop_map(|(namespace, number)| name(&format!("{namespace}/{number}")))
}

fn world() -> impl Strategy<Value = World> {
    let services = prop::collection::btree_map(service_name(), service(), 0..9);
    let in_use = subsequence(ADDRESSES.map(ip).to_vec(), 0..=2);
    (configuration(), services, in_use).prop_map(|(pools, services, in_use)| {
        let node = || Occupant::Node(NodeName::new("n1"));
        World { pools, services, in_use: in_use.into_iter().map(|address| (address, node())).collect() }
    })
}

/// Whether `text` lists `address`.
fn lists(text: Option<&String>, address: IpAddr) -> bool {
    text.is_some_and(|text| text.split(',').any(|entry| entry.parse() == Ok(address)))
}

/// Whether a Service agrees to share `address`: said again, in other words than the code's.
fn agrees(world: &World, name: &ObjectName, address: IpAddr) -> bool {
    let service = &world.services[name];
    lists(service.annotation.as_ref(), address)
        || lists(service.load_balancer_ip.as_ref(), address)
        || world.pools.allows_sharing(name.namespace())
}

fn may_share(world: &World, one: &ObjectName, other: &ObjectName, address: IpAddr) -> bool {
    let ports = [one, other].map(|name| world.services[name].ports.iter().collect::<BTreeSet<_>>());
    ports.iter().all(|ports| !ports.is_empty())
        && ports[0].is_disjoint(&ports[1])
        && agrees(world, one, address)
        && agrees(world, other, address)
}

fn seniority<'a>(world: &'a World, name: &'a ObjectName) -> (Duration, &'a ObjectName) {
    (world.services[name].created_after_epoch, name)
}

/// Whether every Service keeps everything it has.
fn nothing_is_given_up(world: &World, decisions: &BTreeMap<ObjectName, Decision>) -> bool {
    let keeps = |(name, service): (&ObjectName, &Service)| {
        service.assigned.iter().all(|address| decisions[name].addresses().contains(address))
    };
    world.services.iter().all(keeps)
}

fn as_sets(decisions: &BTreeMap<ObjectName, Decision>) -> BTreeMap<&ObjectName, BTreeSet<IpAddr>> {
    decisions.iter().map(|(name, decision)| (name, decision.addresses().iter().copied().collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nor while only some of the decisions are written: what is new to one is not there for another, before or after.
    #[test]
    fn never_twice_without_permission(world in world()) {
        let decisions = world.allocate();
        for (one, decision) in &decisions {
            for address in decision.addresses().iter().filter(|address| !address.is_unspecified()) {
                let is_new = !world.services[one].assigned.contains(address);
                for (other, second) in decisions.iter().filter(|(other, _)| *other != one) {
                    let will_have = second.addresses().contains(address);
                    let has = world.services[other].assigned.contains(address);
                    if will_have || (is_new && has) {
                        prop_assert!(may_share(&world, one, other, *address), "{one} and {other}: {address}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_new_is_free_to_be_given(world in world()) {
        for (name, decision) in world.allocate() {
            let service = &world.services[&name];
            for address in decision.addresses().iter().filter(|address| !service.assigned.contains(address)) {
                prop_assert!(!world.in_use.contains_key(address));
                let is_named = lists(service.annotation.as_ref(), *address) || lists(service.load_balancer_ip.as_ref(), *address);
                let Some((_, pool)) = world.pools.serving(name.namespace()) else {
                    prop_assert!(is_named);
                    continue;
                };
                let is_offered = if address.is_unspecified() {
                    pool.dhcp.contains(&Family::of(*address))
                } else {
                    let is_avoided = is_buggy(*address) && world.pools.buggy == BuggyAddresses::Avoided;
                    pool.addresses.contains(*address) && !is_avoided
                };
                prop_assert!(is_named || is_offered, "{name}: {address}");
            }
        }
    }

    /// Of those that have an address the oldest keeps it, unless it asks for others, or for others of its family.
    #[test]
    fn never_lost(world in world()) {
        let decisions = world.allocate();
        for (name, service) in &world.services {
            for address in &service.assigned {
                let rivals = world.services.iter().filter(|(_, rival)| rival.assigned.contains(address));
                let is_oldest = rivals.map(|(rival, _)| seniority(&world, rival)).min() == Some(seniority(&world, name));
                let is_lone = is_oldest || address.is_unspecified();
                let is_asked = service.annotation.as_ref().is_some_and(|list| !list.trim().is_empty());
                let is_spoken = service.ip_families.is_empty() || match service.ip_family_policy {
                    FamilyPolicy::SingleStack => service.ip_families[0] == Family::of(*address),
                    FamilyPolicy::PreferDualStack => service.ip_families.contains(&Family::of(*address)),
                    FamilyPolicy::RequireDualStack => true,
                };
                let stays = if is_asked { lists(service.annotation.as_ref(), *address) } else { is_spoken };
                if is_lone && stays {
                    prop_assert!(decisions[name].addresses().contains(address), "{name}: {address}");
                }
            }
        }
    }

    /// Who has something that is nobody else's is never left with nothing.
    #[test]
    fn never_left_with_nothing(world in world()) {
        for (name, decision) in world.allocate() {
            let is_others = |address: &IpAddr| world.services.iter().any(|(other, service)| {
                other != &name && service.assigned.contains(address) && seniority(&world, other) < seniority(&world, &name)
            });
            if decision.addresses().is_empty() {
                prop_assert!(world.services[&name].assigned.iter().all(is_others), "{name}");
            }
        }
    }

    #[test]
    fn whoever_gets_less_is_told_why(world in world()) {
        for (name, decision) in world.allocate() {
            let service = &world.services[&name];
            let is_less = decision.addresses().is_empty();
            prop_assert!(!is_less || !decision.refusals.is_empty(), "{name}");
            let lines = decision.refusals.iter().map(ToString::to_string).chain(decision.notes.iter().map(ToString::to_string));
            for line in lines {
                prop_assert!(line.starts_with(&format!("{name}: ")) && !line.contains('\n'), "{line}");
            }
            let same: BTreeSet<_> = service.assigned.iter().collect();
            let is_kept = matches!(decision.verdict, Verdict::Keep(_));
            let is_same = !is_less && same == decision.addresses().iter().collect();
            prop_assert_eq!(is_kept, is_same);
        }
    }

    #[test]
    fn families_are_honoured(world in world()) {
        for (name, decision) in world.allocate() {
            let service = &world.services[&name];
            let new: Vec<_> = decision.addresses().iter().filter(|one| !service.assigned.contains(one)).collect();
            let families: BTreeSet<_> = decision.addresses().iter().map(|one| Family::of(*one)).collect();
            if service.ip_family_policy == FamilyPolicy::RequireDualStack && !new.is_empty() {
                prop_assert_eq!(families.len(), 2, "{}", name);
            }
            // What it asks for by name is in the order of names.
            if service.annotation.is_some() || service.load_balancer_ip.is_some() || new.is_empty() {
                continue;
            }
            let place = |one: &IpAddr| service.ip_families.iter().position(|family| *family == Family::of(*one));
            if !service.ip_families.is_empty() && service.ip_family_policy != FamilyPolicy::RequireDualStack {
                prop_assert!(decision.addresses().iter().all(|one| place(one).is_some()));
            }
            let last = service.ip_families.len();
            prop_assert!(decision.addresses().is_sorted_by_key(|one| place(one).unwrap_or(last)), "{name}");
            if service.ip_family_policy == FamilyPolicy::SingleStack {
                prop_assert_eq!(families.len(), 1);
            }
        }
    }

    #[test]
    fn the_order_of_facts_is_nothing(world in world(), seed: u64) {
        let mut rng = crate::rng::Rng::new(seed);
        let mut shuffled = world.clone();
        for service in shuffled.services.values_mut() {
            service.assigned.sort_by_cached_key(|_| rng.next_u64());
            service.ports.sort_by_cached_key(|_| rng.next_u64());
        }
        let (one, other) = (world.allocate(), shuffled.allocate());
        prop_assert_eq!(as_sets(&one), as_sets(&other));
    }

    /// Written and read back, decisions are what they were; where somebody gave something up, that may go to others,
    /// and then, too, there is an end.
    #[test]
    fn its_own_result_changes_nothing(mut world in world()) {
        for _ in 0..=world.services.len() {
            let decisions = world.allocate();
            let after = world.after(&decisions);
            let again = after.allocate();
            let was_given_up = !nothing_is_given_up(&world, &decisions);
            if !was_given_up {
                for (name, decision) in &again {
                    prop_assert_eq!(decision.addresses(), decisions[name].addresses(), "{}", name);
                    prop_assert!(!matches!(decision.verdict, Verdict::Assign(_)));
                }
                return Ok(());
            }
            world = after;
        }
        prop_assert!(false, "it does not come to rest");
    }

    /// A Service that comes later, and asks for nothing special, changes nothing for those that are there.
    #[test]
    fn who_comes_changes_nothing(world in world(), namespace in select(NAMESPACES.to_vec()), service in newcomer()) {
        let mut more = world.clone();
        let name = name(&format!("{namespace}/new"));
        more.services.insert(name.clone(), service.created(9));
        let mut decisions = more.allocate();
        decisions.remove(&name);
        prop_assert_eq!(decisions, world.allocate());
    }

    /// Once decisions are written, a Service that goes takes nothing away from those that ask for nothing special. (Of
    /// three that had one address before, the second may win when the first goes, against the third.)
    #[test]
    fn who_goes_takes_nothing_along(mut world in world(), service in service(), index: prop::sample::Index) {
        world.services.insert(name("a/0"), service);
        let mut fewer = world.after(&world.allocate());
        let gone = index.get(&world.services.keys().collect::<Vec<_>>()).to_owned();
        fewer.services.remove(gone);
        let decisions = fewer.allocate();
        for (name, service) in &fewer.services {
            let asks = service.annotation.is_some() || service.load_balancer_ip.is_some();
            for address in service.assigned.iter().filter(|_| !asks && service.ip_families.is_empty()) {
                prop_assert!(decisions[name].addresses().contains(address), "{name}: {address}");
            }
        }
    }

    /// What one Service that goes had is what the first in the queue gets.
    #[test]
    fn an_exhausted_pool_refuses_and_frees(free in 1_u8..6, queue in 1_u8..4, index: prop::sample::Index) {
        let mut world = World::new(&[("range-global", &format!("10.0.0.1-10.0.0.{free}"))]);
        for number in 0..free + queue {
            world.services.insert(name(&format!("a/{number}")), web().created(number.into()));
        }
        let decisions = world.allocate();
        let refused: Vec<_> = decisions.iter().filter(|(_, one)| one.addresses().is_empty()).collect();
        prop_assert_eq!(refused.len(), usize::from(queue));
        let pool = PoolKey { form: Form::Range, scope: Scope::Global };
        let why = Why::Exhausted { pool, family: Family::Ipv4, size: free.into() };
        for (name, decision) in refused {
            prop_assert_eq!(&decision.refusals, &[Refusal { service: name.clone(), why: why.clone() }]);
        }
        let mut after = world.after(&decisions);
        let holders: Vec<_> = decisions.iter().filter(|(_, one)| !one.addresses().is_empty()).collect();
        let (gone, had) = *index.get(&holders);
        after.services.remove(gone);
        let first = name(&format!("a/{free}"));
        let freed = after.allocate();
        prop_assert_eq!(freed[&first].addresses(), had.addresses());
    }

    /// A pool is in a note of an overlap if it overlaps another one, and else is not.
    #[test]
    fn every_pool_that_overlaps_is_named(spans in prop::collection::vec((0_u8..4, 1_u8..60, 0_u8..9), 0..9)) {
        let mut entries: BTreeMap<String, String> = BTreeMap::new();
        for (pool, first, length) in spans {
            let entry = format!("10.0.0.{first}-10.0.0.{}", first + length);
            let value = entries.entry(format!("cidr-n{pool}")).or_insert_with(|| entry.clone());
            value.push_str(&format!(",{entry}"));
        }
        let Configuration { pools, notes, .. } = Configuration::of(&entries);
        let mut named = BTreeSet::new();
        for note in &notes {
            let PoolNote::Overlap { one, other, span } = note else { continue };
            for key in [one, other] {
                prop_assert!(pools.pools[key].addresses.contains(span.first) && pools.pools[key].addresses.contains(span.last));
                named.insert(key);
            }
        }
        for (key, pool) in &pools.pools {
            let others = pools.pools.iter().filter(|(other, _)| *other != key).flat_map(|(_, other)| other.addresses.spans());
            let overlaps = others.flat_map(|other| pool.addresses.spans().filter_map(move |span| span.overlap(other))).count();
            prop_assert_eq!(named.contains(key), overlaps > 0, "{}", key);
        }
    }

    /// Nothing but addresses asked for, and nobody there: what is handed out is what a walk through the pool finds.
    #[test]
    fn pools_are_handed_out_in_order(
        pools in configuration(),
        services in prop::collection::btree_map(service_name(), Just(web()), 0..9),
    ) {
        let world = World { pools, services, ..World::default() };
        let mut taken = BTreeSet::new();
        for (name, decision) in world.allocate() {
            let Some((_, pool)) = world.pools.serving(name.namespace()) else { continue };
            let Some(got) = decision.addresses().first().filter(|one| !one.is_unspecified()) else { continue };
            let mut walk: Vec<_> = (0..512).map(|bits| IpAddr::from(std::net::Ipv4Addr::from_bits((10 << 24) + bits))).collect();
            walk.extend(ADDRESSES.map(ip).into_iter().filter(IpAddr::is_ipv6));
            if world.pools.order == SearchOrder::Descending {
                walk.reverse();
            }
            let is_free = |one: &&IpAddr| pool.addresses.contains(**one)
                && !taken.contains(*one)
                && Family::of(**one) == Family::of(*got)
                && !(is_buggy(**one) && world.pools.buggy == BuggyAddresses::Avoided);
            prop_assert_eq!(walk.iter().find(is_free), Some(got), "{}", name);
            taken.insert(*got);
        }
    }
}
