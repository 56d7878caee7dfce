//! Many nodes die in one moment, as where a rack loses its power: with a node die those that follow it on the ring, which
//! ask for its seat ten times a second. All others ask once a second, and so the seat is missed soon all the same.

use std::cmp::Reverse;
use std::time::Duration;

use super::world::{World, name, own, seat, vip};
use super::{SECOND, all_are_at_home, first, settled};
use crate::placement::score;

/// The nodes as they follow on the ring after `home`, which is the first.
fn ring(hosts: usize, home: usize) -> Vec<usize> {
    let mut ring: Vec<usize> = (0..hosts).collect();
    ring.sort_by_key(|host| Reverse(score(&seat(home), name(*host).id())));
    ring
}

/// Takes the power of `home` and of so many that follow it; for how long each one's address was dark, and who has its seat
/// in the end.
fn lose_a_rack(world: &mut World, hosts: usize, (home, dead): (usize, usize)) -> Vec<(Duration, Vec<usize>)> {
    let (lost, died) = (ring(hosts, home)[..dead].to_vec(), world.now);
    lost.iter().for_each(|host| world.power_off(*host));
    world.run(20 * SECOND);
    lost.iter().map(|host| (world.dark(vip(first(*host)), died), world.holders(*host))).collect()
}

/// The bound: a node's probers and all bystanders need two questions and a witness; in an outage ten intervals and the
/// ranks of those that died count as well.
#[track_caller]
fn all_are_served(lost: &[(Duration, Vec<usize>)]) {
    for (dark, holders) in lost {
        assert!(*dark < 5 * SECOND, "{lost:?}");
        assert_eq!(holders.len(), 1, "{lost:?}");
    }
}

#[test]
fn a_seat_whose_probers_all_died_with_its_home_is_taken_within_seconds() {
    let (hosts, dead) = (8, 5);
    let mut world = settled(hosts, 1);
    let lost = lose_a_rack(&mut world, hosts, (0, dead));
    all_are_served(&lost);
    assert!(lost[0].0 > SECOND / 2, "its probers would have been faster: {:?}", lost[0].0);
}

/// The promise in its own numbers: a rack of ten nodes, of fifty. Fifty nodes with fifty seats each are asked for every frame:
/// it takes a hundred seconds.
#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a test may be long, and says so")]
fn ten_nodes_of_fifty_that_die_at_once_are_served_elsewhere_within_seconds() {
    if std::env::var_os("MAINSTAY_LONG").is_none() {
        eprintln!("skipped: it takes a hundred seconds; MAINSTAY_LONG=1 runs it");
        return;
    }
    let (mut world, rack) = (World::new(50), ring(50, 0)[..10].to_vec());
    let address = |host: usize| vip(u8::try_from(host).expect("few hosts"));
    world.run(5 * SECOND);
    rack.iter().for_each(|host| world.place(address(*host), *host));
    world.run(10 * SECOND);
    let died = world.now;
    rack.iter().for_each(|host| world.power_off(*host));
    world.run(8 * SECOND);
    let lost = rack.iter().map(|host| (world.dark(address(*host), died), world.holders(*host)));
    all_are_served(&lost.collect::<Vec<_>>());
}

#[test]
fn so_it_is_without_an_authority() {
    let (hosts, dead) = (8, 5);
    let mut world = settled(hosts, 1);
    world.fail_api();
    world.run(20 * SECOND);
    all_are_served(&lose_a_rack(&mut world, hosts, (0, dead)));
}

/// The placer dies with its rack, and another is there as soon as the seats are held.
#[test]
fn so_it_is_where_the_placer_was_among_them() {
    let (hosts, dead) = (7, 4);
    let mut world = settled(hosts, 1);
    all_are_at_home(&world, hosts, 1);
    let [placer] = world.holders_of_all()[..] else { panic!("{:?}", world.holders_of_all()) };
    let lost = lose_a_rack(&mut world, hosts, (placer, dead));
    all_are_served(&lost);
    let [next] = world.holders_of_all()[..] else { panic!("{:?}", world.holders_of_all()) };
    assert!(!ring(hosts, placer)[..dead].contains(&next));
}

/// Each seat's machine has to know who lives, and one answer tells it to all.
#[test]
fn members_are_asked_once_for_all_seats() {
    let mut world = settled(6, 0);
    world.run(60 * SECOND);
    world.questions.clear();
    world.run(100 * SECOND);
    for host in 0..6 {
        let asked: u64 =
            world.questions.iter().filter(|((_, of), _)| *of == own(host)).map(|(_, count)| count).sum();
        // Five others, each every ten seconds, for its seats and for the claim of all Services.
        assert!((40..=110).contains(&asked), "{asked} questions to host {host}");
    }
}
