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

fn ports() -> impl Strategy<Value = BTreeSet<Port>> {
    let some = subsequence(["80/TCP", "443/TCP", "53/TCP", "53/UDP"].map(port).to_vec(), 0..=3);
    some.prop_map(|ports| ports.into_iter().collect())
}

fn annotation() -> impl Strategy<Value = Vec<Wish>> {
    let entries =
        ADDRESSES.into_iter().chain(["", "nonsense", "127.0.0.1", "0.0.0.0", "::"]).collect::<Vec<_>>();
    let some = subsequence(entries, 1..=3).prop_shuffle().prop_map(|entries| Wish::list(&entries.join(",")));
    prop_oneof![3 => Just(vec![]), 1 => some]
}

/// What is published, with some of the Service's ports and some of others, or with none.
fn published_with() -> impl Strategy<Value = Vec<Published>> {
    let some = subsequence(ADDRESSES.map(ip).to_vec(), 0..=3).prop_shuffle();
    let all = (some, ports()).prop_map(|(addresses, ports)| {
        let one = |address| Published { wish: Wish::Address(address), ports: ports.clone() };
        addresses.into_iter().map(one).collect()
    });
    prop_oneof![1 => Just(vec![]), 1 => all]
}

fn service() -> impl Strategy<Value = Service> {
    let spec =
        prop_oneof![5 => Just(None), 1 => select(ADDRESSES.to_vec()).prop_map(|one| Some(Wish::of(one)))];
    let by = prop_oneof![5 => Just(NamedBy::Person), 1 => Just(NamedBy::CloudProvider)];
    let named = (annotation(), spec, by).prop_map(|(annotation, spec, by)| Named { annotation, spec, by });
    let deleting = prop_oneof![9 => Just(false), 1 => Just(true)];
    (0_i64..3, families(), policy(), ports(), named, published_with(), deleting).prop_map(
        |(created, families, family_policy, ports, named, published, deleting)| Service {
            created,
            deleting,
            families,
            family_policy,
            ports,
            named,
            published,
            ..web()
        },
    )
}

/// A Service that asks for nothing but an address, and has none.
fn newcomer() -> impl Strategy<Value = Service> {
    (service(), families()).prop_map(|(service, families)| Service {
        families,
        deleting: false,
        named: Named::default(),
        published: vec![],
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

/// Whether a person names `address`: said again, in other words than the code's.
fn names(service: &Service, address: IpAddr) -> bool {
    let wish = Wish::Address(address);
    service.named.by != NamedBy::CloudProvider
        && (service.named.annotation.contains(&wish) || service.named.spec == Some(wish))
}

/// Whether anything is named by a person.
fn asks(service: &Service) -> bool {
    service.named.by != NamedBy::CloudProvider
        && (service.named.spec.is_some() || !service.named.annotation.is_empty())
}

fn publishes(service: &Service, address: IpAddr) -> bool {
    service.published.iter().any(|one| one.wish == Wish::Address(address))
}

fn agrees(world: &World, name: &ObjectName, address: IpAddr) -> bool {
    names(&world.services[name], address) || world.pools.allows_sharing(name.namespace())
}

fn may_share(world: &World, one: &ObjectName, other: &ObjectName, address: IpAddr) -> bool {
    let ports = [one, other].map(|name| world.services[name].ports.iter().collect::<BTreeSet<_>>());
    ports.iter().all(|ports| !ports.is_empty())
        && ports[0].is_disjoint(&ports[1])
        && agrees(world, one, address)
        && agrees(world, other, address)
}

/// Whether somebody wrote that `name` is to have `address`, other than in its status: a person as a wish, or
/// kube-vip-cloud-provider.
fn is_written(world: &World, name: &ObjectName, address: IpAddr) -> bool {
    let service = &world.services[name];
    names(service, address) || (!publishes(service, address) && service.assigned().contains(&address))
}

fn seniority<'a>(world: &'a World, name: &'a ObjectName) -> (i64, &'a ObjectName) {
    (world.services[name].created, name)
}

fn have_a_port_in_common(world: &World, one: &ObjectName, other: &ObjectName) -> bool {
    !world.services[one].ports.is_disjoint(&world.services[other].ports)
}

/// Who else has been assigned `address`.
fn rivals<'a>(
    world: &'a World,
    name: &'a ObjectName,
    address: IpAddr,
) -> impl Iterator<Item = &'a ObjectName> {
    let others =
        world.services.iter().filter(move |(other, service)| *other != name && publishes(service, address));
    others.map(|(other, _)| other)
}

/// Whether the annotation goes before what the spec says of `address`.
fn is_overruled(service: &Service, address: IpAddr) -> bool {
    !service.named.annotation.is_empty() && !service.named.annotation.contains(&Wish::Address(address))
}

/// Whether every Service keeps everything it has, so that there is nothing to leave: but for those that another load
/// balancer serves, and those that have nothing in their status and get nothing.
fn nothing_is_given_up(world: &World, decisions: &BTreeMap<ObjectName, Decision>) -> bool {
    let keeps = |(name, service): (&ObjectName, &Service)| {
        let has = decisions[name].addresses();
        decisions[name].serves_elsewhere
            || (service.published.is_empty() && has.is_empty())
            || service.assigned().iter().all(|address| has.contains(address))
    };
    world.services.iter().all(keeps)
}

/// How many addresses can be given up. No Service gives up one twice: it is one that it does not want, or that another
/// has a port of, and after the first step no two have one port. What kube-vip-cloud-provider wrote counts as assigned
/// once the status is empty.
fn what_can_be_given_up(world: &World) -> usize {
    let one = |service: &Service| {
        let Named { annotation, spec, by } = &service.named;
        let written = annotation.len() + usize::from(spec.is_some());
        service.published.len() + if *by == NamedBy::CloudProvider { written } else { 0 }
    };
    world.services.values().map(one).sum()
}

fn as_sets(decisions: &BTreeMap<ObjectName, Decision>) -> BTreeMap<&ObjectName, BTreeSet<IpAddr>> {
    decisions.iter().map(|(name, decision)| (name, decision.addresses().iter().copied().collect())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Nor while only some of the decisions are written: what is new to one is not there for another, before or after.
    /// Two that have it already need nobody's leave, and no port in common. Nobody is put with others on
    /// an IPv6 address unasked.
    #[test]
    fn never_twice_without_permission(world in world()) {
        let decisions = world.allocate();
        let had = |name: &ObjectName, address: IpAddr| publishes(&world.services[name], address);
        for (one, decision) in &decisions {
            for address in decision.addresses() {
                for (other, second) in decisions.iter().filter(|(other, _)| *other != one) {
                    let both_have = second.addresses().contains(address);
                    if !had(one, *address) && (both_have || had(other, *address)) {
                        prop_assert!(may_share(&world, one, other, *address), "{one} and {other}: {address}");
                        let mut new = [one, other].into_iter().filter(|name| !had(name, *address));
                        let is_meant = address.is_ipv4() || new.any(|name| is_written(&world, name, *address));
                        prop_assert!(is_meant, "{one} and {other}: {address}");
                    } else if both_have {
                        prop_assert!(!have_a_port_in_common(&world, one, other), "{one} and {other}: {address}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_new_is_free_to_be_given(world in world()) {
        for (name, decision) in world.allocate() {
            let service = &world.services[&name];
            for address in decision.addresses().iter().filter(|address| !service.assigned().contains(address)) {
                prop_assert!(!world.in_use.contains_key(address));
                let is_named = names(service, *address);
                let Some((_, pool)) = world.pools.serving(name.namespace()) else {
                    prop_assert!(is_named);
                    continue;
                };
                let is_avoided = is_buggy(*address) && world.pools.buggy == BuggyAddresses::Avoided;
                prop_assert!(is_named || (pool.addresses.contains(*address) && !is_avoided), "{name}: {address}");
            }
        }
    }

    /// An address stays where nobody else has a port of it; and with the oldest that has it, unless that got another
    /// port since. Unless it asks for others, or for others of its family.
    #[test]
    fn never_lost(world in world()) {
        let decisions = world.allocate();
        for (name, service) in &world.services {
            for address in &service.addresses_published() {
                let rivals: Vec<_> = rivals(&world, name, *address).collect();
                let is_oldest = rivals.iter().all(|rival| seniority(&world, name) < seniority(&world, rival));
                let is_undisturbed = rivals.iter().all(|rival| !have_a_port_in_common(&world, name, rival));
                let is_safe = is_undisturbed || (is_oldest && service.ports_on(*address) == service.ports);
                let is_asked = asks(service);
                let is_spoken = service.families.is_empty() || match service.family_policy {
                    FamilyPolicy::SingleStack => service.families[0] == Family::of(*address),
                    FamilyPolicy::PreferDualStack => service.families.contains(&Family::of(*address)),
                    FamilyPolicy::RequireDualStack => true,
                };
                let stays = if is_asked { names(service, *address) && !is_overruled(service, *address) } else { is_spoken };
                let is_ours = names(service, *address) || !world.in_use.contains_key(address);
                let is_ours = is_ours && !address.is_loopback();
                if is_safe && stays && is_ours {
                    prop_assert!(decisions[name].addresses().contains(address), "{name}: {address}");
                }
            }
        }
    }

    /// Who has something that is nobody else's is never left with nothing.
    #[test]
    fn never_left_with_nothing(world in world()) {
        for (name, decision) in world.allocate() {
            let is_others = |address: &IpAddr| {
                world.in_use.contains_key(address)
                    || address.is_loopback()
                    || rivals(&world, &name, *address).any(|rival| have_a_port_in_common(&world, &name, rival))
            };
            let is_published = !world.services[&name].published.is_empty();
            if is_published && decision.addresses().is_empty() {
                prop_assert!(world.services[&name].addresses_published().iter().all(is_others), "{name}");
            }
        }
    }

    #[test]
    fn whoever_gets_less_is_told_why(world in world()) {
        for (name, decision) in world.allocate() {
            let service = &world.services[&name];
            let is_less = decision.addresses().is_empty() && !service.deleting;
            prop_assert!(!is_less || !decision.refusals.is_empty(), "{name}");
            let lines = decision.refusals.iter().map(ToString::to_string).chain(decision.notes.iter().map(ToString::to_string));
            for line in lines {
                prop_assert!(line.starts_with(&format!("{name}: ")) && !line.contains('\n'), "{line}");
            }
            let same: BTreeSet<_> = service.assigned().into_iter().collect();
            let is_kept = matches!(decision.verdict, Verdict::Keep(_));
            let is_same = !same.is_empty() && same == decision.addresses().iter().copied().collect();
            prop_assert!(is_kept == is_same || decision.serves_elsewhere);
        }
    }

    #[test]
    fn families_are_honoured(world in world()) {
        for (name, decision) in world.allocate() {
            let service = &world.services[&name];
            let new: Vec<_> = decision.addresses().iter().filter(|one| !service.assigned().contains(one)).collect();
            let families: BTreeSet<_> = decision.addresses().iter().map(|one| Family::of(*one)).collect();
            if service.family_policy == FamilyPolicy::RequireDualStack && !new.is_empty() {
                prop_assert_eq!(families.len(), 2, "{}", name);
            }
            // What it asks for by name is in the order of names.
            if asks(service) || service.deleting || new.is_empty() {
                continue;
            }
            let place = |one: &IpAddr| service.families.iter().position(|family| *family == Family::of(*one));
            if !service.families.is_empty() && service.family_policy != FamilyPolicy::RequireDualStack {
                prop_assert!(decision.addresses().iter().all(|one| place(one).is_some()));
            }
            let last = service.families.len();
            prop_assert!(decision.addresses().is_sorted_by_key(|one| place(one).unwrap_or(last)), "{name}");
            if service.family_policy == FamilyPolicy::SingleStack {
                prop_assert_eq!(families.len(), 1);
            }
        }
    }

    #[test]
    fn the_order_of_facts_is_nothing(world in world(), seed: u64) {
        let mut rng = crate::rng::Rng::new(seed);
        let mut shuffled = world.clone();
        for service in shuffled.services.values_mut() {
            service.published.sort_by_cached_key(|_| rng.next_u64());
        }
        let (one, other) = (world.allocate(), shuffled.allocate());
        prop_assert_eq!(as_sets(&one), as_sets(&other));
    }

    /// Written and read back, decisions are what they were; where somebody gave something up, that may go to others,
    /// and then, too, there is an end: a step for each address that can be given up, at most.
    #[test]
    fn its_own_result_changes_nothing(mut world in world()) {
        for _ in 0..=what_can_be_given_up(&world) {
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
        // What somebody else serves keeps in its status what was refused to it, and is older than others perhaps.
        let elsewhere: Vec<_> = fewer.services.iter().filter(|(name, _)| decisions[*name].serves_elsewhere).collect();
        let is_left_to_others = |address| elsewhere.iter().any(|(_, other)| publishes(other, address));
        for (name, service) in &fewer.services {
            let is_plain = !asks(service) && service.families.is_empty() && !decisions[name].serves_elsewhere;
            for address in service.assigned().iter().filter(|one| is_plain && publishes(service, **one) && !one.is_loopback() && !world.in_use.contains_key(*one) && !is_left_to_others(**one)) {
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
