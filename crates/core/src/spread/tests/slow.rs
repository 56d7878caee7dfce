//! Moves that nobody is in a hurry for: their rate, their order, their end.

use super::super::*;
use super::world::{World, id, node};

const EQUAL: &str = "n1 n2 n3";

/// `number` claims for all nodes, recorded at `seat`, beginning with `first`.
fn crowd(world: &mut World, first: u32, number: u32, seat: &str) {
    for claim in first..first + number {
        world.claim(claim, EQUAL).recorded(claim, seat);
    }
}

fn loads(world: &World) -> Vec<usize> {
    world.loads().into_values().collect()
}

#[test]
fn what_is_inherited_goes_at_once_where_there_is_least() {
    let mut world = World::of("n1 n2 n3");
    crowd(&mut world, 0, 4, "n1");
    crowd(&mut world, 4, 4, "n2");
    crowd(&mut world, 8, 4, "n3");
    let begin = world.now;
    world.hold("n3", "n1");
    let moved = world.settle();
    assert!(moved.iter().all(|(_, _, from, _)| *from == node("n3")), "and nothing else moves: {moved:?}");
    assert!(moved.iter().all(|(moment, ..)| *moment == begin), "one write for each, and none waits");
    assert_eq!((moved.len(), loads(&world)), (4, vec![6, 6]));
    assert!(!world.has_record(&node("n3")), "so that the seat can go home");
}

/// A node that came, with nothing: six of nine are to leave the other two.
fn uneven() -> World {
    let mut world = World::of("n1 n2 n3");
    crowd(&mut world, 0, 9, "n1");
    world.decision();
    world.now = world.now + MOVE_EVERY;
    world
}

#[test]
fn the_first_move_is_not_a_moment_too_early() {
    let mut world = World::of("n1 n2 n3");
    crowd(&mut world, 0, 3, "n1");
    let decision = world.decision();
    assert!(decision.seats.values().all(|seat| *seat == node("n1")));
    assert_eq!(decision.look_again, Some(world.now + MOVE_EVERY));
    world.now = world.now + MOVE_EVERY - Duration::from_nanos(1);
    assert_eq!(world.decision(), decision);
}

#[test]
fn the_next_move_waits_for_the_record_of_the_last() {
    let mut world = uneven();
    let ordered = world.decision();
    let moving = |decision: &Decision| decision.seats.values().filter(|seat| **seat != node("n1")).count();
    let given_up = Some(world.now + GIVEN_UP_AFTER);
    assert_eq!((moving(&ordered), ordered.look_again), (1, given_up), "its record is what is waited for");
    world.now = world.now + GIVEN_UP_AFTER - Duration::from_nanos(1);
    assert_eq!(world.decision(), ordered, "and nothing else, until it is given up");
    world.write_all(&ordered);
    let next = world.decision();
    assert_eq!((moving(&next), next.look_again), (2, Some(world.now + GIVEN_UP_AFTER)), "long due");
}

/// A move that cannot be made any more is none that would hold up the others.
#[test]
fn a_move_whose_target_is_gone_is_forgotten() {
    let mut world = uneven();
    let ordered = world.decision().seats;
    let target = ordered.values().find(|seat| **seat != node("n1")).expect("a move").clone();
    world.lose(target.as_str());
    let after = world.decision();
    assert!(after.seats.values().all(|seat| *seat == node("n1")));
    assert_eq!(after.look_again, Some(world.now + MOVE_EVERY), "the next one's turn");
}

#[test]
fn a_move_ends_where_its_claim_goes_at_once_or_is_gone() {
    let ordered = || {
        let mut world = uneven();
        let ordered = world.decision().seats;
        let claim = ordered.iter().find(|(_, seat)| **seat != node("n1")).expect("a move").0.clone();
        (world, claim)
    };
    let (mut world, claim) = ordered();
    world.demands.remove(&claim);
    assert_eq!(world.decision().look_again, Some(world.now + MOVE_EVERY), "the next one's turn");
    let (mut world, claim) = ordered();
    world.demands.get_mut(&claim).expect("it is there").records = vec![node("n2")];
    let decision = world.decision();
    assert_eq!(decision.seats[&claim], node("n2"), "somebody else moved it: that is on record, and stays");
    assert_eq!(decision.look_again, Some(world.now + MOVE_EVERY));
}

#[test]
fn what_is_inherited_goes_to_no_node_that_is_worse_than_its_holder() {
    let mut world = World::of("n1 n2 n3");
    world.hold("n3", "n1").hold("n1", "n2").hold("n2", "n2");
    world.claim(1, "n1 n2~").recorded(1, "n3").claim(2, "n1=3 n2=2").recorded(2, "n3");
    assert_eq!(world.settle(), [], "n1 is no target, and serves well");
    world.claim(3, "n1~ n2~").recorded(3, "n3").claim(4, "n1=3 n2=3").recorded(4, "n3");
    world.claim(5, "n1=9~ n2").recorded(5, "n3");
    let moved: Vec<ClaimId> = world.settle().into_iter().map(|(_, claim, ..)| claim).collect();
    assert_eq!(moved, [3, 4, 5].map(id), "to one that is as good it goes");
}

#[test]
fn a_home_that_comes_back_before_anything_is_on_record_elsewhere_keeps_all() {
    let mut world = World::of("n1 n2 n3");
    crowd(&mut world, 0, 4, "n1");
    crowd(&mut world, 4, 4, "n2");
    crowd(&mut world, 8, 4, "n3");
    world.hold("n3", "n1").decision();
    world.hold("n3", "n3");
    assert_eq!(world.settle(), []);
}

/// Loads before, how many claims move, and loads after. The mean is 100, 10 or 1: the band is 10 % of it, or 1.
#[test]
fn an_uneven_load_is_evened_out_and_no_further_than_it_need_be() {
    for (before, moves, after) in [
        ([120, 90, 90], 0, [120, 90, 90]),
        ([121, 90, 89], 11, [110, 95, 95]),
        ([121, 100, 79], 11, [110, 100, 90]),
        ([110, 110, 80], 0, [110, 110, 80]),
        ([12, 9, 9], 0, [12, 9, 9]),
        ([13, 9, 8], 2, [11, 10, 9]),
        ([2, 1, 0], 0, [2, 1, 0]),
        ([3, 0, 0], 1, [2, 1, 0]),
        ([1, 0, 0], 0, [1, 0, 0]),
        ([1, 1, 0], 0, [1, 1, 0]),
    ] {
        let mut world = World::of("n1 n2 n3");
        let mut first = 0;
        for (number, seat) in before.into_iter().zip(["n1", "n2", "n3"]) {
            crowd(&mut world, first, number, seat);
            first += number;
        }
        let moved = world.settle();
        assert_eq!((moved.len(), loads(&world)), (moves, after.to_vec()), "{before:?}");
        let is_slow = |two: &[super::world::Moved]| two[1].0.since(two[0].0) >= MOVE_EVERY;
        assert!(moved.windows(2).all(is_slow) && moved.iter().all(|(_, _, from, _)| *from == node("n1")));
    }
}

#[test]
fn the_busiest_gives_to_the_least_busy_that_could() {
    let mut world = World::of("n1 n2 n3");
    crowd(&mut world, 0, 5, "n2");
    for claim in 5..15 {
        world.claim(claim, "n1 n2").recorded(claim, "n1");
    }
    let moved = world.settle();
    let (from, to) = (&moved[0].2, &moved[0].3);
    assert_eq!((from, to), (&node("n1"), &node("n2")), "n3 has less, and could hold none of n1's");
    let mut world = World::of("n1 n2 n3");
    crowd(&mut world, 0, 5, "n2");
    for claim in 5..15 {
        world.claim(claim, "n1").recorded(claim, "n1");
    }
    let (from, to) =
        world.settle().first().map(|(_, _, from, to)| (from.clone(), to.clone())).expect("a move");
    assert_eq!((from, to), (node("n2"), node("n3")), "the busiest can give none");
    assert_eq!(loads(&world), [10, 3, 2], "and then they are even");
}

#[test]
fn nothing_is_moved_to_a_node_of_less_weight_or_a_cordoned_one() {
    let mut world = World::of("n1 n2 n3");
    for claim in 0..12 {
        world.claim(claim, "n1=2 n2=1 n3=2~").recorded(claim, "n1");
    }
    assert_eq!(world.settle(), []);
    world.claim(3, "n1=2 n2=2 n3~").recorded(3, "n1").claim(4, "n1=2 n2=3 n3~").recorded(4, "n1");
    let mut moved: Vec<ClaimId> = world.settle().into_iter().map(|(_, claim, ..)| claim).collect();
    moved.sort();
    assert_eq!(moved, [id(3), id(4)]);
}

/// Excluded nodes have agents and seats; a cordoned one keeps what it has. Neither makes the others uneven.
#[test]
fn nodes_that_could_take_nothing_do_not_count() {
    let mut world = World::of("n1 n2 n3 n4");
    for (claim, seat) in (0..).zip(["n1"; 6].into_iter().chain(["n2"; 5]).chain(["n4"; 9])) {
        world.claim(claim, "n1 n2 n4~").recorded(claim, seat);
    }
    assert_eq!(world.settle(), []);
}

/// It begins above 1.2 times the mean, and ends below 1.1 times: between the two it goes on if it had begun.
#[test]
fn it_ends_later_than_it_begins() {
    let half_way = || {
        let mut world = World::of("n1 n2 n3");
        crowd(&mut world, 0, 121, "n1");
        crowd(&mut world, 121, 90, "n2");
        crowd(&mut world, 211, 89, "n3");
        world.decision();
        for _ in 0..5 {
            world.now = world.now + MOVE_EVERY;
            let decision = world.decision();
            world.write_all(&decision);
        }
        world
    };
    let mut world = half_way();
    assert_eq!(loads(&world)[0], 116);
    assert_eq!(world.settle().len(), 6);
    let mut world = half_way();
    world.placer = Placer::default();
    assert_eq!(world.settle(), [], "another placer finds it even enough");
}

/// The busiest can give nothing; that is no reason to move what is near the mean.
#[test]
fn what_is_near_the_mean_does_not_give_to_what_is_near_it() {
    let mut world = World::of("n1 n2 n3 n4");
    for claim in 0..125 {
        world.claim(claim, "n1").recorded(claim, "n1");
    }
    for (claim, seat) in (125..).zip(["n2"; 94].into_iter().chain(["n3"; 91]).chain(["n4"; 90])) {
        world.claim(claim, "n2 n3 n4").recorded(claim, seat);
    }
    assert_eq!(world.settle(), []);
}

/// What could not be evened out is not gone on with, below the mark at which it would begin.
#[test]
fn what_is_stuck_is_over() {
    let mut world = World::of("n1 n2");
    for claim in 0..10 {
        world.claim(claim, "n1").recorded(claim, "n1");
    }
    world.claim(10, "n2").recorded(10, "n2");
    assert_eq!(world.settle(), []);
    for claim in 0..100 {
        world.claim(claim, "n1 n2").recorded(claim, if claim < 57 { "n1" } else { "n2" });
    }
    assert_eq!(world.settle(), []);
}

#[test]
fn what_is_inherited_goes_first_and_then_the_rest_is_evened_out_slowly() {
    let mut world = World::of("n1 n2 n3 n4");
    crowd(&mut world, 0, 9, "n1");
    crowd(&mut world, 9, 2, "n4");
    world.hold("n4", "n1");
    let moved = world.settle();
    let from: Vec<&str> = moved.iter().map(|(_, _, from, _)| from.as_str()).collect();
    assert_eq!(from[..2], ["n4", "n4"]);
    assert!(from.len() > 2 && from[2..].iter().all(|from| *from == "n1"), "{from:?}");
    assert!(moved[2..].windows(2).all(|two| two[1].0.since(two[0].0) >= MOVE_EVERY));
}

/// Claims that are being placed are on their way: they are not sent elsewhere before they came.
#[test]
fn only_what_is_on_record_is_moved_slowly() {
    let mut world = World::of("n1 n2");
    for claim in 0..6 {
        world.claim(claim, "n1 n2=1");
    }
    world.decision();
    for claim in 0..6 {
        world.claim(claim, "n1 n2");
    }
    let before = world.decision();
    assert!(before.seats.values().all(|seat| *seat == node("n2")));
    assert_eq!(before.look_again, None);
    world.write_all(&before);
    assert_eq!(world.settle().len(), 2, "4 and 2 are within one of the mean");
}
