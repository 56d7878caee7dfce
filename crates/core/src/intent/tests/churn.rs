//! What went wrong in kube-vip while Services and endpoints came and went, by the number of the issue there.

use super::super::*;
use super::world::{World, local, name, node, port, present, service, slice};
use crate::spread::{Demand, Placer, Seat, Seats};

const NODES: [&str; 3] = ["n1", "n2", "n3"];

fn on_port(address: &str, number: u16) -> Service {
    Service { ports: [port(number)].into(), ..service(address) }
}

/// Where a placer that begins now puts each claim, of nodes that all hold their seats.
fn placed(world: &World) -> Vec<String> {
    let (decisions, rules) = (world.decide(), Rules::default());
    let survey = Survey::new(&world.0, &rules);
    let demands: Vec<Demand> =
        decisions.claims.values().map(|claim| Demand::of(claim, &world.0, &survey)).collect();
    let seat = |name: &&str| (node(name), Seat { holder: Some(node(name)), has_agent: true });
    let seats: Seats = NODES.iter().map(seat).collect();
    let decision = Placer::default().decide(crate::time::Moment::ZERO, demands.iter(), &seats);
    decision.seats.iter().map(|(claim, home)| format!("{claim}@{home}")).collect()
}

/// kube-vip 665: two Services on one address had a lease each, and so two nodes. It is the address that is elected for.
#[test]
fn issue_665_services_that_share_an_address_have_one_holder_in_whatever_order_they_are_read() {
    let all = [
        ("one/dns-tcp", on_port("10.0.0.1", 53)),
        ("two/web", Service { created: 50, ..on_port("10.0.0.1", 80) }),
        ("three/tls", Service { created: 200, ..on_port("10.0.0.1", 443) }),
    ];
    let worlds = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]].map(|order| {
        let world = order.iter().fold(World::new(&NODES), |world, place| {
            let (name, service) = &all[*place];
            world.service(name, service.clone()).endpoints(name, ":ready")
        });
        (world.claims(), placed(&world))
    });
    let (claims, homes) = &worlds[0];
    assert_eq!(*claims, ["svc/10.0.0.1 10.0.0.1=web+dns-tcp+tls"]);
    assert_eq!(homes.len(), 1, "{homes:?}");
    assert!(worlds.iter().all(|world| *world == worlds[0]), "{worlds:?}");
}

/// kube-vip 1579: with `svc_election`, what `leaseName` said decided who held an address: of Services on one address,
/// one with it, one without and one with an election of its own, each had another node. Here neither counts.
#[test]
fn issue_1579_a_lease_name_or_an_own_election_gives_no_address_a_second_holder() {
    let common = Service { lease: Some(name("common")), ..on_port("10.0.0.1", 80) };
    let forced = Service { force_election: true, created: 200, ..on_port("10.0.0.1", 443) };
    let plain = Service { created: 300, ..on_port("10.0.0.1", 53) };
    let world = World::new(&NODES).service("a", common).service("b", forced).service("c", plain);
    let world = ["a", "b", "c"].iter().fold(world, |world, name| world.endpoints(name, ":ready"));
    assert_eq!(world.claims(), ["svc/10.0.0.1 10.0.0.1=a+b+c"]);
    let before = placed(&world);
    assert_eq!(before.len(), 1, "{before:?}");
    // And the one record counts for all of them, whichever goes or comes.
    let recorded = |text: &str, home: &str| {
        let seat = Some(node(home));
        world
            .clone()
            .service(text, Service { seat, ..world.0.services.get(&name(text)).cloned().expect("known") })
    };
    for home in NODES {
        assert_eq!(placed(&recorded("c", home)), [format!("svc/10.0.0.1@{home}")], "the last one's record");
    }
    let mut left = recorded("b", "n3");
    left.0.services.apply(Change::Gone(name("a")));
    assert_eq!(placed(&left), ["svc/10.0.0.1@n3"]);
}

/// kube-vip 431: a Service with the policy Local that had no endpoint when it was made stayed pending for ever.
#[test]
fn issue_431_a_local_service_has_its_address_at_creation_and_follows_its_pods() {
    let world = World::new(&NODES).service("web", local("10.0.0.1"));
    let decisions = world.decide();
    assert!(decisions.refused.is_empty(), "{:?}", decisions.refused);
    assert!(decisions.unpublished.contains(&name("web")), "the status is written without an endpoint");
    let homes = |endpoints: &str| placed(&world.clone().published(&decisions).endpoints("web", endpoints));
    assert_eq!(homes("n1:not"), Vec::<String>::new(), "nowhere yet");
    for (endpoints, home) in
        [("n2:ready", "n2"), ("n2:draining n3:ready", "n3"), ("n3:draining", "n3"), ("n1:ready n3:not", "n1")]
    {
        assert_eq!(homes(endpoints), [format!("svc/10.0.0.1@{home}")], "{endpoints}");
    }
}

/// kube-vip 1397: in a rolling update the route was withdrawn although there were ready endpoints all the time. Three
/// replicas, one more at a time: whatever the slices say on the way, and in whichever of two slices, an address that is
/// served somewhere is served, and under Local somebody may have it.
#[test]
fn issue_1397_a_rolling_update_never_leaves_an_address_without_a_node_that_could_hold_it() {
    let steps = [
        ("n1:ready n2:ready n3:ready", ""),
        ("n1:ready n2:ready n3:ready", "n1:not"),
        ("n1:draining n2:ready n3:ready", "n1:ready"),
        ("n2:draining n3:ready", "n1:ready n2:not"),
        ("n2:draining n3:draining", "n1:ready n2:ready"),
        ("n3:draining", "n1:not n2:ready"),
        ("n3:draining", "n1:not n2:not"),
        ("", "n1:ready n2:ready n3:not"),
        ("", "n1:ready n2:ready n3:ready"),
    ];
    let world =
        World::new(&NODES).service("cluster", service("10.0.0.1")).service("local", local("10.0.0.2"));
    let told = |mut world: World, of: &str, which: &str, endpoints: &str| {
        let slice = slice(of, Family::Ipv4, endpoints);
        world.0.slices.apply(present(name(&format!("{of}-{which}")), slice));
        world
    };
    let begun = ["cluster", "local"].iter().fold(world, |world, of| told(world, of, "old", steps[0].0));
    // One slice after the other, what came before what went: what is decided in between counts as well.
    let news = steps.iter().flat_map(|(old, new)| [("new", new), ("old", old)]);
    let news =
        news.flat_map(|(which, endpoints)| [("cluster", which, endpoints), ("local", which, endpoints)]);
    let mut world = begun;
    for (of, which, endpoints) in news {
        world = told(world, of, which, endpoints);
        let (decisions, rules) = (world.decide(), Rules::default());
        let survey = Survey::new(&world.0, &rules);
        let served = |claim: &Claim| claim.addresses.iter().all(|(vip, on)| survey.is_served(*vip, on));
        assert!(decisions.claims.values().all(served), "{of}: {which} is {endpoints:?}");
        assert_eq!(placed(&world).len(), 2, "{of}: {which} is {endpoints:?}");
    }
}
