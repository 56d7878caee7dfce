//! Who the members of all seats are: each node says so once, on the Lease of its own seat.

use super::world::{World, name, own, vip};
use super::{MILLISECOND, SECOND, first, settled, successor};
use crate::names::ClaimId;

fn names(hosts: std::ops::Range<usize>) -> Vec<String> {
    hosts.map(|host| name(host).to_string()).collect()
}

/// With so many seats that each would be many writes if a node wrote itself down on all of them.
#[test]
fn a_node_writes_itself_down_on_its_own_seats_lease_alone_and_is_a_member_of_all() {
    let world = settled(6, 1);
    assert_eq!(world.writes_of_guests, 0, "nobody writes on another's Lease");
    for host in 0..6 {
        assert_eq!(world.listed(host), [name(host)]);
        assert!(world.members(host).iter().all(|known| *known == names(0..6)), "{:?}", world.members(host));
    }
}

/// Whoever took a dead node's seat is found on the wire by what its own seat's Lease says of it.
#[test]
fn a_seat_is_taken_on_evidence_from_a_holder_that_is_not_its_home() {
    let mut world = settled(5, 2);
    world.power_off(4);
    world.run(20 * SECOND);
    let second = successor(&world, 4);
    let died = world.now;
    world.power_off(second);
    world.run(2 * SECOND);
    let third = successor(&world, 4);
    assert_ne!(third, second);
    let dark = world.dark(vip(first(4)), died);
    assert!(dark < 500 * MILLISECOND, "{dark:?}");
}

/// Six seats, and a member is asked as often as if there were one: by all of them together, and by the claim beside them.
#[test]
fn a_member_is_asked_once_in_ten_seconds_for_all_seats() {
    let mut world = settled(6, 1);
    world.questions.clear();
    world.run(100 * SECOND);
    for host in 0..6 {
        for other in (0..6).filter(|other| *other != host) {
            let asked = world.questions.get(&(host, own(other))).copied().unwrap_or_default();
            assert!((10..=24).contains(&asked), "{host} asked {other} {asked} times in 100 s");
        }
    }
}

/// In an outage as well, when they are asked once a second.
#[test]
fn so_it_is_in_an_outage() {
    let mut world = settled(6, 1);
    world.fail_api();
    world.run(5 * SECOND);
    world.questions.clear();
    world.run(20 * SECOND);
    let asked = world.questions[&(0, own(1))];
    assert!((20..=48).contains(&asked), "{asked} times in 20 s");
}

/// A seat that is named later begins with what is known of the members: it asks nobody who was just asked.
#[test]
fn seats_that_come_together_ask_each_member_once() {
    let mut world = settled(6, 1);
    world.kill(0);
    world.run(100 * MILLISECOND);
    world.questions.clear();
    world.start(0);
    world.run(500 * MILLISECOND);
    for other in 1..6 {
        let asked = world.questions.get(&(0, own(other))).copied().unwrap_or_default();
        assert!((1..=2).contains(&asked), "{asked} questions to {other}, of six seats and a claim");
    }
}

#[test]
fn a_restart_in_an_outage_knows_all_members_and_keeps_each_once() {
    let mut world = settled(4, 1);
    world.fail_api();
    world.run(5 * SECOND);
    for _ in 0..2 {
        world.kill(2);
        world.run(100 * MILLISECOND);
        world.start(2);
        world.run(5 * SECOND);
    }
    assert!(world.members(2).iter().all(|known| *known == names(0..4)), "{:?}", world.members(2));
    let kept = world.hosts[2].snapshot.as_ref().expect("kept");
    let seats = kept.claims.iter().filter_map(|(claim, memory)| Some((claim.home()?, memory)));
    for (home, memory) in seats {
        assert_eq!(memory.members.keys().collect::<Vec<_>>(), [&home]);
    }
    assert!(kept.claims[&ClaimId::services()].members.len() == 4);
}

/// A seat that is named no more has no home that is a member.
#[test]
fn a_home_is_no_member_when_its_seat_is_gone() {
    let mut world = settled(4, 0);
    world.gone.insert(3);
    (0..3).for_each(|host| world.show(host));
    world.run(60 * SECOND);
    assert!(world.members(0).iter().all(|known| *known == names(0..3)), "{:?}", world.members(0));
}

/// A node that came late is known to those that are there, and knows them.
#[test]
fn a_node_that_joins_writes_as_often_among_many_as_among_few() {
    let joined = |hosts: usize| {
        let mut world = World::new(hosts);
        world.power_off(hosts - 1);
        world.run(30 * SECOND);
        let before = world.writes;
        world.run(10 * SECOND);
        let usual = world.writes - before;
        let before = world.writes;
        world.start(hosts - 1);
        world.run(10 * SECOND);
        world.writes - before - usual
    };
    let (few, many) = (joined(3), joined(12));
    assert!(many <= few + 1, "{few} writes among three, {many} among twelve");
}
