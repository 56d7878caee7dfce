mod cut;
mod members;
mod rack;
mod world;

use std::time::Duration;

use world::{World, beacon, name, seat, vip};

use crate::input::{Health, Input};

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

fn first(host: usize) -> u8 {
    10 * u8::try_from(host).expect("few hosts")
}

/// Some nodes that have settled, with so many addresses placed at each seat: host `n` has those from `10 n` on.
fn settled(hosts: usize, each: u8) -> World {
    let mut world = World::new(hosts);
    world.run(5 * SECOND);
    for host in 0..hosts {
        (0..each).for_each(|number| world.place(vip(number + first(host)), host));
    }
    world.run(30 * SECOND);
    world
}

#[track_caller]
fn all_are_at_home(world: &World, hosts: usize, each: u8) {
    for host in 0..hosts {
        assert_eq!(world.holders(host), [host]);
        assert_eq!(world.wearers(beacon(host)), [host]);
        for number in 0..each {
            assert_eq!(world.wearers(vip(number + first(host))), [host], "address {number} of host {host}");
        }
    }
}

/// The node that holds a dead one's seat, of three.
#[track_caller]
fn successor(world: &World, dead: usize) -> usize {
    let [holder] = world.holders(dead)[..] else { panic!("{:?}", world.holders(dead)) };
    assert_ne!(holder, dead);
    holder
}

#[test]
fn each_node_holds_its_own_seat_and_wears_what_is_placed_there() {
    all_are_at_home(&settled(3, 2), 3, 2);
}

#[test]
fn a_dead_nodes_seat_is_taken_as_a_whole_on_evidence() {
    let mut world = settled(3, 3);
    let (died, writes) = (world.now, world.writes);
    world.power_off(2);
    world.run(600 * MILLISECOND);
    let next = successor(&world, 2);
    for number in 0..3 {
        assert_eq!(world.wearers(vip(first(2) + number)), [next]);
        let dark = world.dark(vip(first(2) + number), died);
        assert!(dark < 500 * MILLISECOND, "{dark:?}");
    }
    assert!(world.writes - writes <= 3, "one write takes all: {}", world.writes - writes);
    world.run(60 * SECOND);
    assert_eq!(successor(&world, 2), next, "and it stays there");
}

/// Of all that hear its silence, the one that places Services says it, also of a node at whose seat nothing is; and if
/// that one died, the next.
#[test]
fn a_dead_node_is_told_once_and_by_the_placer() {
    for dead in 0..4 {
        let mut world = settled(4, 1);
        let before = world.holders_of_all();
        world.power_off(dead);
        world.run(3 * SECOND);
        let after = world.holders_of_all();
        assert_eq!(after.len(), 1);
        assert_eq!(before == after, before != [dead]);
        assert_eq!(world.failed, [(after[0], name(dead))], "within 3 s: its seat was taken");
        world.run(120 * SECOND);
        assert_eq!(world.failed.len(), 1, "{:?}", world.failed);
    }
}

#[test]
fn a_dead_node_at_whose_seat_nothing_is_is_told_as_well() {
    let mut world = settled(4, 0);
    let placer = world.holders_of_all();
    let dead = (0..4).find(|host| placer != [*host]).expect("four");
    world.power_off(dead);
    world.run(15 * SECOND);
    assert_eq!(world.failed, [(placer[0], name(dead))], "each member is asked every 10 s");
}

/// Its beacons go with the lifetime of their addresses, and its seat is taken; but its host answers.
#[test]
fn a_node_whose_agent_alone_died_is_not_told_dead() {
    for killed in 0..4 {
        let mut world = settled(4, 1);
        world.kill(killed);
        world.run(10 * SECOND);
        world.expire(killed);
        world.run(120 * SECOND);
        assert_ne!(world.holders(killed), [killed], "its seat was taken");
        assert_eq!(world.failed, []);
    }
}

/// Kubelets renew as often.
#[test]
fn leases_of_seats_are_renewed_every_ten_seconds() {
    let mut world = settled(5, 2);
    let writes = world.writes;
    world.run(100 * SECOND);
    let written = world.writes - writes;
    // Five seats, and the Lease of who places.
    assert!((55..=65).contains(&written), "{written}");
}

#[test]
fn an_outage_moves_nothing_however_long() {
    let mut world = settled(3, 2);
    let began = world.now;
    world.fail_api();
    world.run(600 * SECOND);
    all_are_at_home(&world, 3, 2);
    world.heal_api();
    world.run(60 * SECOND);
    all_are_at_home(&world, 3, 2);
    assert!((0..3).all(|host| world.dark(vip(first(host)), began) == Duration::ZERO));
}

#[test]
fn a_node_that_dies_in_an_outage_is_succeeded_and_the_grant_is_asked_for_after_it() {
    let mut world = settled(3, 2);
    world.fail_api();
    world.run(60 * SECOND);
    let died = world.now;
    world.power_off(1);
    world.run(5 * SECOND);
    let next = successor(&world, 1);
    assert_eq!(world.wearers(vip(first(1))), [next]);
    let dark = world.dark(vip(first(1)), died);
    assert!(dark < 3 * SECOND, "{dark:?}");
    world.heal_api();
    world.run(60 * SECOND);
    assert_eq!(successor(&world, 1), next);
    assert_eq!(world.dark(vip(first(1)), died), dark, "the return of the authority moves nothing");
}

#[test]
fn an_agent_that_is_restarted_in_an_outage_goes_on_with_what_it_remembers() {
    let mut world = settled(3, 2);
    world.fail_api();
    world.run(20 * SECOND);
    let began = world.now;
    world.kill(0);
    world.hosts[0].sees.clear();
    world.run(200 * MILLISECOND);
    world.start(0);
    world.run(60 * SECOND);
    all_are_at_home(&world, 3, 2);
    assert_eq!(world.dark(vip(first(0)), began), Duration::ZERO);
}

#[test]
fn a_node_that_returns_takes_nothing_and_has_its_seat_back_when_it_is_empty() {
    let mut world = settled(3, 2);
    world.power_off(2);
    world.run(5 * SECOND);
    let (next, back) = (successor(&world, 2), world.now);
    world.start(2);
    world.run(60 * SECOND);
    assert_eq!(world.holders(2), [next], "non-revertive");
    assert_eq!(world.wearers(vip(first(2))), [next]);
    world.place(vip(first(2)), 0);
    world.run(5 * SECOND);
    world.place(vip(first(2) + 1), 1);
    world.run(5 * SECOND);
    assert_eq!((world.wearers(vip(first(2))), world.wearers(vip(first(2) + 1))), (vec![0], vec![1]));
    world.run(10 * SECOND);
    assert_eq!(world.holders(2), [2]);
    for number in 0..2 {
        assert_eq!(world.dark(vip(first(2) + number), back), Duration::ZERO, "make before break");
    }
}

#[test]
fn an_address_that_is_placed_elsewhere_moves_without_a_moment_away() {
    let mut world = settled(3, 2);
    let began = world.now;
    for round in 0..6_u32 {
        let to = usize::try_from(round % 3).expect("small");
        world.place(vip(first(0)), to);
        world.run(2 * SECOND);
        assert_eq!(world.wearers(vip(first(0))), [to], "round {round}");
    }
    assert_eq!(world.dark(vip(first(0)), began), Duration::ZERO);
}

#[test]
fn an_address_that_goes_for_good_goes_at_once() {
    let mut world = settled(2, 2);
    world.placed.remove(&vip(first(0)));
    (0..2).for_each(|host| world.show(host));
    world.run(10 * MILLISECOND);
    assert!(world.wearers(vip(first(0))).is_empty());
    assert_eq!(world.wearers(vip(first(0) + 1)), [0]);
}

/// Whoever is to have it does not see the record yet, or is about to die.
#[test]
fn an_address_stays_where_it_is_until_its_new_wearer_is_heard() {
    let mut world = settled(3, 1);
    let began = world.now;
    world.placed.insert(vip(first(0)), world::name(1));
    world.show(0);
    world.fail_api();
    world.run(60 * SECOND);
    assert_eq!(world.wearers(vip(first(0))), [0], "nobody else knows of it");
    world.heal_api();
    world.run(5 * SECOND);
    assert_eq!(world.wearers(vip(first(0))), [1]);
    assert_eq!(world.dark(vip(first(0)), began), Duration::ZERO);
}

/// The new wearer saw the record, and the old one did not before the authority went away.
#[test]
fn two_that_know_different_records_settle_it_on_the_wire() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = settled(2, 1);
        let (moved, began) = (vip(first(from)), world.now);
        world.placed.insert(moved, world::name(to));
        world.show(to);
        world.fail_api();
        world.run(SECOND);
        assert_eq!(world.wearers(moved).len(), 2, "for as long as it could be a move");
        world.run(30 * SECOND);
        assert_eq!(world.wearers(moved).len(), 1, "{:?}", world.wearers(moved));
        world.run(60 * SECOND);
        assert_eq!(world.wearers(moved).len(), 1, "and it stays so");
        world.heal_api();
        world.run(20 * SECOND);
        assert_eq!(world.wearers(moved), [to], "the record says so");
        assert_eq!(world.dark(moved, began), Duration::ZERO);
    }
}

/// What was left to a rival is taken back when that falls silent.
#[test]
fn what_was_left_to_another_is_worn_again_when_that_dies() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut world = settled(3, 1);
        let moved = vip(first(from));
        world.placed.insert(moved, world::name(to));
        world.show(to);
        world.fail_api();
        world.run(30 * SECOND);
        let [winner] = world.wearers(moved)[..] else { panic!("{:?}", world.wearers(moved)) };
        world.power_off(winner);
        world.run(20 * SECOND);
        assert_eq!(world.wearers(moved).len(), 1, "{winner} died: {:?}", world.wearers(moved));
    }
}

#[test]
fn a_move_between_two_seats_of_one_node_never_leaves_its_interface() {
    let mut world = settled(3, 1);
    world.power_off(2);
    world.run(5 * SECOND);
    let (next, began) = (successor(&world, 2), world.now);
    world.place(vip(first(2)), next);
    world.run(10 * SECOND);
    assert_eq!(world.wearers(vip(first(2))), [next]);
    assert_eq!(world.dark(vip(first(2)), began), Duration::ZERO);
    assert!(world.holders(2).is_empty(), "given back, and its home is dead");
    world.delete(next, vip(first(2)));
    world.run(SECOND);
    assert_eq!(world.wearers(vip(first(2))), [next], "the seat that has it puts it back");
}

#[test]
fn a_node_that_stops_hands_its_seat_over_make_before_break() {
    let mut world = settled(3, 2);
    let began = world.now;
    world.stop(1);
    world.run(10 * SECOND);
    assert!(world.hosts[1].stopped);
    let next = successor(&world, 1);
    assert_eq!(world.wearers(vip(first(1))), [next]);
    assert_eq!(world.dark(vip(first(1)), began), Duration::ZERO);
}

#[test]
fn a_seat_that_comes_later_moves_nothing() {
    let mut world = World::new(4);
    world.power_off(3);
    world.run(5 * SECOND);
    (0..3).for_each(|host| world.place(vip(first(host)), host));
    world.run(30 * SECOND);
    let began = world.now;
    world.start(3);
    world.run(30 * SECOND);
    all_are_at_home(&world, 4, 0);
    all_are_at_home(&world, 3, 1);
    assert!((0..3).all(|host| world.dark(vip(first(host)), began) == Duration::ZERO));
}

/// A node that may hold no Services keeps its seat until what is there is placed elsewhere, and takes no other.
#[test]
fn an_unfit_node_takes_nobodys_seat() {
    let mut world = settled(3, 1);
    world.power_off(0);
    world.run(5 * SECOND);
    let next = successor(&world, 0);
    let other = 3 - next;
    let mut world = settled(3, 1);
    world.give(next, &Input::Health(Health::Unhealthy));
    world.run(60 * SECOND);
    all_are_at_home(&world, 3, 1);
    world.power_off(0);
    world.run(5 * SECOND);
    assert_eq!(successor(&world, 0), other, "{next} is the first of the ring, and unfit");
}

#[test]
fn a_seat_that_is_named_no_more_is_let_go() {
    let mut world = settled(2, 1);
    world.gone.insert(1);
    world.place(vip(first(1)), 0);
    world.run(30 * SECOND);
    assert_eq!(world.wearers(vip(first(1))), [0]);
    assert!(world.holders(1).is_empty());
    assert!(world.wearers(beacon(1)).is_empty() && world.seats(0).len() == 1);
    assert!(!world.hosts[0].snapshot.as_ref().expect("one").claims.contains_key(&seat(1)));
    world.gone.clear();
    (0..2).for_each(|host| world.show(host));
    world.run(30 * SECOND);
    assert_eq!(world.holders(1), [1], "and taken again when it is named again");
}

#[test]
fn a_node_with_an_empty_seat_ends_soon() {
    let mut world = World::new(3);
    world.run(60 * SECOND);
    let began = world.now;
    world.stop(0);
    while !world.hosts[0].stopped && world.now.since(began) < 120 * SECOND {
        world.run(100 * MILLISECOND);
    }
    let took = world.now.since(began);
    assert!(took < 5 * SECOND, "took {took:?} with an empty seat");
}

#[test]
fn a_seat_that_is_named_while_the_agent_ends_keeps_it_from_nothing() {
    use crate::input::Seat;
    use std::collections::{BTreeMap, BTreeSet};
    let mut world = settled(3, 1);
    world.stop(0);
    let all: BTreeMap<_, _> = (0..4)
        .map(|host| {
            (
                seat(host),
                Seat {
                    beacon: beacon(host),
                    services: Some(if host < 3 { [vip(first(host))].into() } else { BTreeSet::new() }),
                    memory: None,
                    found: BTreeSet::new(),
                },
            )
        })
        .collect();
    world.give(0, &Input::Seats(all));
    world.run(600 * SECOND);
    assert!(world.hosts[0].stopped, "never ends");
}

#[test]
fn what_is_kept_is_kept_of_every_claim_from_the_first_moment() {
    let mut world = settled(3, 2);
    world.fail_api();
    world.run(5 * SECOND);
    let before: Vec<_> = world.hosts[1].snapshot.as_ref().expect("one").claims.keys().cloned().collect();
    world.kill(1);
    // Longer than the lifetimes: what it wore has expired.
    world.hosts[1].worn.clear();
    world.start(1);
    let after: Vec<_> = world.hosts[1].snapshot.as_ref().expect("one").claims.keys().cloned().collect();
    assert_eq!(before, after);
}

/// n0's address moved to n1, and moves on to n2, whose agent has not seen it, within ten seconds.
#[test]
fn who_was_heard_before_an_address_moved_on_counts_for_nothing() {
    let mut world = settled(3, 1);
    let moved = vip(first(0));
    let began = world.now;
    world.place(moved, 1);
    world.run(SECOND);
    world.place(moved, 0);
    world.run(SECOND);
    assert_eq!(world.wearers(moved), [0]);
    // Now to host 2, which sees it three seconds late.
    world.placed.insert(moved, world::name(2));
    world.show(0);
    world.show(1);
    world.run(3 * SECOND);
    world.show(2);
    world.run(5 * SECOND);
    assert_eq!(world.wearers(moved), [2]);
    assert_eq!(world.dark(moved, began), Duration::ZERO);
}

/// What another node had, that died meanwhile, is known still.
#[test]
fn two_restarts_in_an_outage_forget_nobody() {
    for twice in [false, true] {
        let mut world = settled(2, 2);
        world.fail_api();
        world.run(5 * SECOND);
        for _ in 0..(1 + u8::from(twice)) {
            world.kill(0);
            world.hosts[0].worn.clear();
            world.hosts[0].sees.clear();
            world.start(0);
        }
        world.power_off(1);
        world.run(600 * SECOND);
        assert_eq!((world.wearers(vip(0)), world.wearers(vip(10))), (vec![0], vec![0]), "{twice}");
    }
}
