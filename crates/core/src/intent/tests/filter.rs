//! What is let in to the addresses of Services.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::super::*;
use super::world::{World, name, pools, port, service};
use crate::filter::{Admission, Filter};
use crate::vip::Vip;

/// What each address lets in: `10.0.0.1=80,443 10.0.0.2=all`.
fn words(filter: &Filter) -> String {
    let ports = |ports: &BTreeSet<Port>| {
        let all = ports.iter().map(|one| match one.protocol {
            Protocol::Tcp => one.port.to_string(),
            _ => one.to_string(),
        });
        all.collect::<Vec<_>>().join(",")
    };
    let one = |(vip, admission): (&Vip, &Admission)| match admission {
        Admission::Everything => format!("{vip}=all"),
        Admission::Ports(all) => format!("{vip}={}", ports(all)),
    };
    filter.0.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn filter(world: &World) -> String {
    words(&Filter::of(&world.decide(), &world.0))
}

fn on(addresses: &str, ports: &[Port]) -> Service {
    Service { ports: ports.iter().copied().collect(), ..service(addresses) }
}

fn udp(number: u16) -> Port {
    Port { protocol: Protocol::Udp, port: number }
}

#[test]
fn an_address_lets_in_the_ports_of_all_services_on_it_and_everything_where_one_says_so() {
    let world = World::new(&["n1"])
        .service("web", on("10.0.0.1 fd00::1", &[port(80), port(443)]))
        .service("dns", on("10.0.0.1", &[udp(53)]))
        .service("other", on("10.0.0.2", &[port(22)]));
    assert_eq!(filter(&world), "10.0.0.1=80,443,53/UDP 10.0.0.2=22 fd00::1=80,443");
    let opted = Service { unfiltered: true, ..on("10.0.0.1", &[udp(53)]) };
    assert_eq!(filter(&world.service("dns", opted)), "10.0.0.1=all 10.0.0.2=22 fd00::1=80,443");
}

/// Neither a Service that is refused, nor one that is not ours, nor what is new from a pool and not published.
#[test]
fn only_what_is_held_is_named() {
    let not_ours = Service { ignore: true, ..on("10.0.0.3", &[port(80)]) };
    let younger = Service { created: 200, unfiltered: true, ..on("10.0.0.1", &[port(80)]) };
    let world = World::new(&["n1"])
        .service("web", on("10.0.0.1", &[port(80)]))
        .service("younger", younger)
        .service("ignored", not_ours)
        .service("pooled", on("", &[port(80)]));
    let pools = pools(&[("range-global", "10.0.0.9-10.0.0.9")]);
    let decisions = world.decide_with(&pools);
    assert!(decisions.grants.contains_key(&name("pooled")), "it has an address");
    assert_eq!(words(&Filter::of(&decisions, &world.0)), "10.0.0.1=80");
    let published = world.published(&decisions);
    assert_eq!(words(&Filter::of(&published.decide_with(&pools), &published.0)), "10.0.0.1=80 10.0.0.9=80");
}

#[test]
fn an_address_that_nobody_names_is_filtered_as_before_while_it_is_worn() {
    let before = World::new(&["n1"])
        .service("web", on("10.0.0.1 10.0.0.2", &[port(80)]))
        .service("open", Service { unfiltered: true, ..on("10.0.0.3", &[port(80)]) });
    let now = World::new(&["n1"]).service("web", on("10.0.0.2", &[port(443)]));
    let of = |world: &World| Filter::of(&world.decide(), &world.0);
    let worn = |all: &[&str]| all.iter().map(|one| one.parse().expect("an address")).collect();
    let after = |all: &[&str]| words(&of(&now).lingering(&of(&before), &worn(all)));
    assert_eq!(after(&["10.0.0.1", "10.0.0.2", "10.0.0.7"]), "10.0.0.1=80 10.0.0.2=443");
    assert_eq!(after(&["10.0.0.3"]), "10.0.0.2=443 10.0.0.3=all");
    assert_eq!(after(&[]), "10.0.0.2=443");
}

proptest! {
    /// Whatever shares whatever: each address that is held lets in exactly the ports that are granted on it.
    #[test]
    fn what_is_let_in_is_what_is_granted(
        services in prop::collection::vec(
            (subsequence(vec!["10.0.0.1", "10.0.0.2", "fd00::1"], 1..=3), subsequence(vec![80, 81, 82], 1..=2), prop::bool::weighted(0.2)),
            1..6,
        ),
    ) {
        let mut world = World::new(&["n1"]);
        for (number, (addresses, ports, unfiltered)) in services.iter().enumerate() {
            let ports: Vec<Port> = ports.iter().map(|number| port(*number)).collect();
            let one = Service { unfiltered: *unfiltered, ..on(&addresses.join(" "), &ports) };
            world = world.service(&format!("s{number}"), one);
        }
        let decisions = world.decide();
        let filter = Filter::of(&decisions, &world.0);
        let held: BTreeSet<Vip> = decisions.claims.values().flat_map(|claim| claim.addresses.keys().copied()).collect();
        prop_assert_eq!(filter.0.keys().copied().collect::<BTreeSet<_>>(), held);
        let granted = |vip: Vip, port: Port| decisions.grants.iter().any(|(_, grants)| {
            grants.iter().any(|grant| grant.address == vip && grant.ports.contains(&port))
        });
        for (vip, ports) in filter.guarded() {
            for number in [80, 81, 82] {
                prop_assert_eq!(ports.contains(&port(number)), granted(vip, port(number)));
            }
        }
    }
}

/// A Service's address becomes the control plane's, which is worn: what was said of it before does not linger.
#[test]
fn what_is_the_control_planes_is_open_whatever_it_was_before() {
    let vip: Vip = [10, 0, 0, 9].into();
    let before = Filter([(vip, Admission::Ports(BTreeSet::new()))].into());
    let worn = BTreeSet::from([vip]);
    assert_eq!(Filter::default().lingering(&before, &worn).guarded().count(), 1, "else it does");
    assert_eq!(Filter::default().but_for(&[vip]).lingering(&before, &worn).guarded().count(), 0);
    assert_eq!(before.but_for(&[vip]).guarded().count(), 0, "whoever names it");
}
