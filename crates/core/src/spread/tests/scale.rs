//! As much of it as Mainstay is built for.

use std::collections::BTreeSet;

use super::super::*;
use super::world::{World, candidate, id, node};

fn homes(number: usize) -> String {
    (1..=number).map(|number| format!("n{number} ")).collect()
}

#[test]
fn a_thousand_claims_over_five_fresh_seats_are_even() {
    let mut world = World::of(&homes(5));
    for claim in 0..1_000 {
        world.claim(claim, &homes(5));
    }
    assert_eq!(world.settle(), []);
    assert_eq!(world.loads().into_values().collect::<Vec<_>>(), [200; 5]);
    assert_eq!(world.settle(), []);
}

#[test]
fn a_thousand_claims_that_only_some_could_hold_become_even_where_they_can() {
    let mut world = World::of(&homes(5));
    for claim in 0..1_000_u32 {
        let two = format!("n{} n{}", claim % 5 + 1, (claim / 5 + claim) % 5 + 1);
        world.claim(claim, &two);
    }
    world.settle();
    let loads = world.loads();
    assert!(loads.values().all(|load| (180..=220).contains(load)), "{loads:?}");
}

/// A fifth node joins four: nothing moves at once, and then no more than it takes.
#[test]
fn a_node_that_joins_four_gets_its_part_slowly() {
    let mut world = World::of(&homes(4));
    for claim in 0..200 {
        world.claim(claim, &homes(5));
    }
    world.settle();
    world.hold("n5", "n5");
    let begun = world.now;
    let moved = world.settle();
    assert!(moved.iter().all(|(.., to)| *to == node("n5")));
    assert_eq!(moved.len(), 36, "40 less 10 %");
    let distinct: BTreeSet<&ClaimId> = moved.iter().map(|(_, claim, ..)| claim).collect();
    assert_eq!(distinct.len(), 36, "none moves twice");
    assert!(world.now.since(begun) >= MOVE_EVERY * 35);
}

/// 10,000 claims on 50 seats, as they come anew, as they are on record, with one seat inherited, and with one much
/// fuller than the others. What that takes is no law: it is printed, and asserted nowhere.
#[test]
fn ten_thousand_claims_on_fifty_seats_are_decided() {
    let mut world = World::of(&homes(50));
    let candidates: Vec<Candidate> = homes(50).split_whitespace().map(candidate).collect();
    for claim in 0..10_000 {
        let demand = Demand { claim: id(claim), records: vec![], candidates: candidates.clone() };
        world.demands.insert(id(claim), demand);
    }
    let new = timed("all new", &mut world);
    world.write_all(&new);
    assert!(world.loads().values().all(|load| *load == 200));
    assert_eq!(timed("all on record", &mut world).look_again, None);
    world.hold("n50", "n1");
    world.now = world.now + MOVE_EVERY;
    let inherited = timed("one seat inherited", &mut world);
    assert_eq!(inherited.seats.values().filter(|seat| **seat == node("n50")).count(), 0);
    assert_eq!(inherited.seats.values().filter(|seat| **seat == node("n1")).count(), 204, "as the others");
    for (number, demand) in world.demands.values_mut().enumerate() {
        demand.records = vec![node(if number < 1_000 { "n2" } else { "n3" })];
    }
    world.now = world.now + MOVE_EVERY * 2;
    let uneven = timed("uneven", &mut world);
    assert_eq!(uneven.seats.values().filter(|seat| **seat == node("n3")).count(), 8_999);
}

#[expect(clippy::disallowed_types, clippy::disallowed_macros, reason = "it says how long a decision takes")]
fn timed(what: &str, world: &mut World) -> Decision {
    let demands: Vec<&Demand> = world.demands.values().collect();
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..10 {
        let mut placer = world.placer.clone();
        let begun = std::time::Instant::now();
        placer.decide(world.now, demands.iter().copied(), &world.seats);
        times.push(begun.elapsed());
    }
    times.sort();
    println!("{what}: {:?} {:?} {:?}", times[0], times[5], times[9]);
    world.decision()
}
