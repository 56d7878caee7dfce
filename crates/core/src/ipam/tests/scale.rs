//! Ten thousand Services cost little, however large the pools.
#![expect(clippy::disallowed_types, reason = "what is asserted is time")]

use std::time::{Duration, Instant};

use super::*;

const SERVICES: i64 = 10_000;

/// Far above what it takes (well under 0.5 s, twice, with the debug profile on an idle core), and far below what a search
/// through lists would (a minute).
const BOUND: Duration = Duration::from_secs(5);

fn crowd(entries: &[(&str, &str)], service: impl Fn(i64) -> Service) -> World {
    let mut world = World::new(entries);
    for number in 0..SERVICES {
        let name = name(&format!("web/service-{number}"));
        world.services.insert(name, service(number).created(number));
    }
    world
}

/// How many got addresses, within the bound, and again once that is written.
fn given(world: &World) -> usize {
    let begun = Instant::now();
    let decisions = world.allocate();
    let again = world.after(&decisions).allocate();
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    assert!(again.iter().all(|(name, decision)| decision.addresses() == decisions[name].addresses()));
    decisions.values().filter(|decision| !decision.addresses().is_empty()).count()
}

#[test]
fn huge_pools_cost_nothing() {
    let families = [Family::Ipv4, Family::Ipv6];
    let both = |_| dual(FamilyPolicy::RequireDualStack, &families);
    for order in ["asc", "desc"] {
        let entries = [("cidr-global", "10.0.0.0/8,fd00::/64"), ("search-order", order)];
        assert_eq!(given(&crowd(&entries, both)), 10_000);
    }
}

#[test]
fn an_exhausted_pool_costs_nothing() {
    assert_eq!(given(&crowd(&[("cidr-global", "10.0.0.0/21")], |_| web())), 8 * 254);
}

#[test]
fn a_pool_in_many_pieces_costs_little() {
    let pieces: Vec<_> = (0..SERVICES / 2).map(|n| format!("10.{}.{}.7/32", n / 250, n % 250)).collect();
    assert_eq!(given(&crowd(&[("cidr-global", &pieces.join(","))], |_| web())), 5_000);
}

/// Every Service has the same port, so that each search passes all that others share; a few pools, so that what one
/// offers is nothing to the other; and a second port, by which they differ.
#[test]
fn sharing_a_pool_in_many_pieces_costs_little() {
    let pieces = |second: i64| {
        let piece = |n: i64| format!("10.{}.{}.{}/32", second + n / 250, n % 250, 7 + 2 * (n % 2));
        (0..SERVICES / 2).map(piece).collect::<Vec<_>>().join(",")
    };
    let (one, other) = (pieces(0), pieces(100));
    for order in ["asc", "desc"] {
        let entries =
            [("cidr-a", &*one), ("cidr-b", &*other), ("allow-share-global", "true"), ("search-order", order)];
        for own in [false, true] {
            let mut world = World::new(&entries);
            for number in 0..SERVICES {
                let other_port =
                    Port { port: 1_000 + u16::try_from(number).unwrap(), protocol: Protocol::Tcp };
                let ports = [Some(port("80/TCP")), Some(other_port).filter(|_| own)];
                let service = Service { ports: ports.into_iter().flatten().collect(), ..web() };
                let space = if number % 2 == 0 { "a" } else { "b" };
                world.services.insert(name(&format!("{space}/service-{number}")), service.created(number));
            }
            assert_eq!(given(&world), 10_000);
        }
    }
}

#[test]
fn sharing_costs_little() {
    let entries = [("cidr-global", "10.0.0.0/8"), ("allow-share-global", "true")];
    let same = crowd(&entries, |_| web());
    assert_eq!(given(&same), 10_000);
    let ports = |number: i64| Port { port: 1_000 + u16::try_from(number).unwrap(), protocol: Protocol::Tcp };
    let own = crowd(&entries, |number| Service { ports: [ports(number)].into(), ..Service::default() });
    assert_eq!(given(&own), 10_000);
    let both = crowd(&entries, |number| Service {
        ports: [port("80/TCP"), ports(number)].into(),
        ..Service::default()
    });
    assert_eq!(given(&both), 10_000);
}
