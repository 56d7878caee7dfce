//! The rules, each by an example.

mod laws;
mod scale;
mod slow;
mod world;

use super::*;
use crate::intent::{AddressUse, Change, ObjectName, Reading, Rules, Service};
use world::{World, node};

#[test]
fn what_is_recorded_with_a_holder_that_could_stays() {
    let mut world = World::of("n1 n2 n3");
    for claim in 1..=4 {
        world.claim(claim, "n1 n2=5 n3").recorded(claim, "n1");
    }
    world.claim(5, "n1~ n2 n3").recorded(5, "n1");
    assert_eq!(
        world.placer_decides(),
        "n1 n1 n1 n1 n1",
        "neither load, nor weight, nor a cordon takes it away"
    );
}

#[test]
fn what_its_holder_could_not_hold_goes_at_once_to_the_best_target() {
    let mut world = World::of("n1 n2 n3");
    world.claim(1, "n2 n3=7").recorded(1, "n1").claim(2, "n2 n3").recorded(2, "n1");
    world.claim(3, "n1 n2 n3").recorded(3, "n1");
    assert_eq!(world.placer_decides(), "n3 n2 n1");
    world.hold("n1", "n2").claim(4, "n1 n3~").recorded(4, "n1");
    assert_eq!(world.decision().seats.get(&world::id(4)), Some(&node("n3")), "so it is at an inherited seat");
}

#[test]
fn what_nobody_could_hold_stays_where_it_is_recorded_and_else_is_nowhere() {
    let mut world = World::of("n1 n2 n3");
    world.lose("n3").claim(1, "").recorded(1, "n1").claim(2, "").claim(3, "").recorded(3, "gone");
    world.claim(4, "n3").recorded(4, "n1").claim(5, "n3");
    assert_eq!(world.placer_decides(), "n1 - gone n1 -");
}

#[test]
fn what_is_not_recorded_or_at_no_seat_is_placed() {
    let mut world = World::of("n1 n2");
    world.claim(1, "n1 n2=3").claim(2, "n1 n2=3").recorded(2, "gone").claim(3, "n1=9~ n2");
    assert_eq!(world.placer_decides(), "n2 n2 n2", "weight comes before load, and fitness before weight");
    let mut world = World::of("n1 n2");
    world
        .claim(1, "n1")
        .claim(2, "n1")
        .recorded(2, "n1")
        .claim(3, "n1 n2")
        .claim(4, "n1 n2")
        .claim(5, "n1 n2");
    let decision = world.placer_decides();
    assert!(
        decision.starts_with("n1 n1 n2 n2 n"),
        "the fewest claims, with those placed just now: {decision}"
    );
    let equal = world.decision().seats[&world::id(5)].clone();
    let rank = |name| crate::placement::score(&world::id(5), node(name).id());
    assert_eq!(equal == node("n1"), rank("n1") > rank("n2"), "of equals the first in the claim's order");
}

#[test]
fn only_a_seat_that_its_home_holds_is_a_target() {
    let mut world = World::of("n1 n2 n3 n4 n5");
    world.hold("n1", "n2").lose("n3").without_agent("n4");
    world.claim(1, "n1=9 n2 n3=9 n4=9 n6=9 n5~");
    assert_eq!(world.placer_decides(), "n2");
}

/// n1 has its own seat and n3's, which it is to empty: of those claims it gets what makes it even with n2.
#[test]
fn what_is_inherited_is_counted_where_it_goes() {
    let mut world = World::of("n1 n2 n3");
    world.hold("n3", "n1").claim(1, "n1 n2").recorded(1, "n1");
    for claim in [2, 3] {
        world.claim(claim, "n1 n2").recorded(claim, "n3");
    }
    world.claim(4, "n1 n2").recorded(4, "n2").claim(5, "n1 n2").recorded(5, "n2").claim(6, "n1 n2");
    let decision = world.decision();
    world.write_all(&decision);
    assert_eq!(world.loads().into_values().collect::<Vec<_>>(), [3, 3]);
}

#[test]
fn a_seat_of_which_the_holder_is_unknown_keeps_what_it_has() {
    let mut world = World::of("n1 n2");
    world.lose("n1").claim(1, "n2").recorded(1, "n1").claim(2, "n1=9 n2").claim(3, "n1 n2");
    world.claim(4, "n1 n2").recorded(4, "n1");
    assert_eq!(world.settle(), []);
    assert_eq!(world.records(), "n1 n2 n2 n1");
}

#[test]
fn where_no_agent_is_known_what_is_there_stays_and_nothing_comes() {
    let mut world = World::of("n1 n2");
    world.without_agent("n1").claim(1, "n1 n2").recorded(1, "n1").claim(2, "n1 n2");
    assert_eq!(world.placer_decides(), "n1 n2");
}

#[test]
fn of_claims_that_joined_the_first_record_counts() {
    let mut world = World::of("n1 n2 n3");
    world.claim(1, "n1 n2 n3").recorded(1, "n2 n1");
    world.claim(2, "n1 n3=9").recorded(2, "n2 n1").claim(3, "n1 n2 n3").recorded(3, "gone n3");
    world.claim(4, "n3").recorded(4, "n2 n1");
    assert_eq!(world.placer_decides(), "n2 n1 n3 n3", "of the others the first that could hold the whole");
    world.lose("n2");
    assert_eq!(world.placer_decides(), "n2 n2 n3 n2", "nothing is known of it");
}

/// Two writes of one claim: the Services' order and not the order of arrival says where it is.
#[test]
fn records_are_read_by_address_and_seat_on_it() {
    let name = |text: &str| text.parse::<ObjectName>().expect("a name");
    let mut intent = Intent::default();
    for (service, seat) in [("d/a", Some("n3")), ("d/b", Some("n1")), ("d/c", Some("n2")), ("d/d", None)] {
        let service_of = Service { seat: seat.map(NodeName::new), ..Service::default() };
        intent.services.apply(Change::Present(Reading::read(name(service), service_of, vec![])));
    }
    let on = |services: &[&str]| AddressUse {
        services: services.iter().map(|one| name(one)).collect(),
        interface: None,
    };
    let addresses =
        [([10, 0, 0, 2].into(), on(&["d/a"])), ([10, 0, 0, 1].into(), on(&["d/d", "d/c", "d/b", "d/gone"]))];
    let claim = Claim { id: world::id(1), addresses: addresses.into() };
    assert_eq!(records(&claim, &intent), [&node("n2"), &node("n1"), &node("n3")]);
    let demand = Demand::of(&claim, &intent, &Survey::new(&intent, &Rules::default()));
    assert_eq!(demand.records, [node("n2"), node("n1"), node("n3")]);
    assert_eq!((demand.claim, demand.candidates), (world::id(1), vec![]));
}

/// A write is under way when the next decision is made: if that were another, the claim would move twice.
#[test]
fn what_was_placed_and_is_not_on_record_yet_is_placed_there_again() {
    let mut world = World::of("n1 n2 n3");
    for claim in 1..=30 {
        world.claim(claim, "n1 n2 n3");
    }
    let first = world.decision();
    for claim in [3, 4, 11, 12, 13, 29] {
        world.write(&first, claim);
    }
    for claim in 31..=60 {
        world.claim(claim, "n1 n2 n3");
    }
    world.claim(0, "n1 n2 n3");
    let second = world.decision();
    assert!(first.seats.iter().all(|(claim, seat)| second.seats.get(claim) == Some(seat)));
    let on = |name: &str| second.seats.values().filter(|seat| **seat == node(name)).count();
    let loads = [on("n1"), on("n2"), on("n3")];
    assert!(loads.iter().all(|load| [20, 21].contains(load)), "what is new counts them: {loads:?}");
    world.lose("n2");
    assert!(world.decision().seats.values().all(|seat| *seat != node("n2") || world.has_record(seat)));
}

#[test]
fn what_was_placed_goes_elsewhere_where_its_node_may_take_nothing_any_more() {
    let mut world = World::of("n1 n2");
    world.claim(1, "n1=1 n2").decision();
    assert_eq!(world.claim(1, "n1=1~ n2").decision().seats[&world::id(1)], node("n2"));
}

/// New claims have lower names than those that are placed and not on record: they are placed after them all the same.
#[test]
fn what_is_new_is_placed_after_what_was_placed_before() {
    let mut world = World::of("n1 n2");
    for claim in 20..40 {
        world.claim(claim, "n1");
    }
    world.decision();
    for claim in 0..20 {
        world.claim(claim, "n1 n2");
    }
    let second = world.decision();
    let on_n1 = second.seats.values().filter(|seat| **seat == node("n1")).count();
    assert_eq!(on_n1, 20);
}

#[test]
fn what_its_home_alone_could_hold_does_not_keep_that_from_coming_home() {
    let mut world = World::of("n1 n2 n3");
    world.hold("n3", "n1").claim(1, "n3").recorded(1, "n3").claim(2, "n1 n2 n3").recorded(2, "n3");
    let _ = world.settle();
    for _ in 0..10_000 {
        world.now = world.now + Duration::from_secs(1);
        let decision = world.decision();
        world.write_all(&decision);
    }
    assert_ne!(
        world.demands[&world::id(1)].records,
        [node("n3")],
        "still at the seat that n1 holds, which cannot serve it"
    );
}

#[test]
fn a_service_that_cannot_be_written_keeps_no_other_where_it_is() {
    let mut world = World::of("n1 n2 n3");
    for claim in 1..=6 {
        world.claim(claim, "n1 n2 n3").recorded(claim, "n1");
    }
    for _ in 0..10_000 {
        world.now = world.now + Duration::from_secs(1);
        let decision = world.decision();
        for claim in 2..=6 {
            world.write(&decision, claim);
        }
    }
    assert_ne!(world.records(), "n1 n1 n1 n1 n1 n1");
}

/// A record at a seat that its home holds is none to leave for one that was inherited.
#[test]
fn of_claims_that_joined_one_at_home_keeps_the_whole_before_one_that_was_inherited() {
    let mut world = World::of("n1 n2 n3 n4");
    world.hold("n3", "n1");
    for claim in [2, 3] {
        world.claim(claim, "n1 n2 n4").recorded(claim, "n2");
    }
    world.claim(1, "n1 n2 n4").recorded(1, "n3 n2");
    assert_eq!(world.decision().seats[&world::id(1)], node("n2"), "half of it is there, and may stay");
}
