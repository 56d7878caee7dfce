//! What a node remembers, of itself across a restart and of others, and when it forgets.

use super::*;

/// Lists a member at `address`, or at none, as it would have listed itself.
fn list(world: &mut World, name: &str, address: Option<[u8; 4]>) {
    let addresses = address.into_iter().map(IpAddr::from).collect();
    let record = world.lease.as_mut().expect("held");
    let member = Member { macs: vec![STRANGER], addresses };
    annotations::join(&mut record.annotations, &NodeName::new(name), &member);
    world.touch();
}

fn lists(world: &World, name: &str) -> bool {
    annotations::members(world.lease.as_ref().expect("exists")).contains_key(&NodeName::new(name))
}

/// The list of members is finite and nodes are replaced: who was not heard for an hour goes, and costs no write.
#[test]
fn a_member_that_nobody_hears_for_an_hour_is_dropped_with_a_renewal() {
    let mut world = World::holder();
    list(&mut world, "n3", Some([10, 0, 0, 3]));
    world.run(MEMBER_FORGOTTEN - Duration::from_secs(60));
    assert!(lists(&world, "n3"), "listed for less than an hour");
    world.effects.clear();
    world.run(Duration::from_secs(120));
    assert!(
        !lists(&world, "n3") && lists(&world, "n2"),
        "a dead entry takes no place; one that answers stays"
    );
    let writes = world.effects.iter().filter(|effect| matches!(effect, Effect::Lease { .. })).count();
    assert!(writes <= 61, "{writes} requests in two minutes: the renewals, and none besides");
}

/// Nobody hears a member that has no address on this link, and nothing follows from it.
#[test]
fn a_member_without_an_address_is_never_dropped() {
    let mut world = World::holder();
    list(&mut world, "n3", None);
    world.run(MEMBER_FORGOTTEN * 2);
    assert!(lists(&world, "n3"));
}

/// A holder that is cut off, or was frozen, has heard nobody: that says nothing about the others.
/// Fifty members need not write themselves down again, one conflict after the other.
#[test]
fn a_lease_that_was_deleted_is_made_again_with_its_members() {
    let mut world = World::holder();
    world.lease = None;
    world.give(Input::Lease(LeaseReport::Absent));
    world.run(Duration::from_secs(3));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    assert!(lists(&world, "n2"), "{:?}", world.lease);
}

#[test]
fn a_holder_that_could_hear_nobody_drops_nobody() {
    let mut world = World::holder();
    world.peer_answers = false;
    world.run(MEMBER_FORGOTTEN * 2);
    assert!(lists(&world, "n2"), "it hears nobody at all");
    world.peer_answers = true;
    list(&mut world, "n3", Some([10, 0, 0, 3]));
    world.run(Duration::from_secs(60));
    world.now = world.now + MEMBER_FORGOTTEN * 2;
    world.give(Input::Tick);
    world.run(Duration::from_secs(60));
    assert!(lists(&world, "n2") && lists(&world, "n3"), "it was frozen for two hours");
}

/// Rule 11 leaves the VIP on a stopped agent's host for `restart_grace`: as long must its successor look for it.
#[test]
fn who_took_the_claim_by_force_asks_for_a_rival_as_long_as_one_may_wear_the_vip() {
    let mut world = World::follower();
    world.run(Duration::from_secs(3));
    world.vip_answers = false;
    world.run(Duration::from_secs(2));
    assert!(world.worn, "taken on evidence");
    let mut asked_at = |after: Duration| {
        world.run(after);
        world.effects.clear();
        world.run(Duration::from_secs(2));
        world.effects.iter().any(|effect| matches!(effect, Effect::Probe { target, .. } if *target == VIP))
    };
    assert!(asked_at(Duration::from_secs(500)), "an agent that stopped may have left it there");
    assert!(!asked_at(Duration::from_secs(120)), "its kernel has dropped it by now");
}

/// A kernel that kube-vip left its VIP in goes on answering. While kube-vip's name is on the Lease that is another
/// elector's node; afterwards it is a rogue's like any other, and no ground for letting go.
#[test]
fn what_another_elector_left_behind_does_not_take_the_vip_from_its_next_holder() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.grant_peer(3);
    world.lease.as_mut().expect("granted").annotations.clear();
    world.touch();
    world.hear(STRANGER, None);
    let record = world.lease.as_mut().expect("granted");
    (record.holder, record.duration_seconds) = (None, 1);
    world.touch();
    world.run(Duration::from_secs(1));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "released, so taken");
    world.effects.clear();
    for _ in 0..20 {
        world.hear(STRANGER, None);
        world.run(Duration::from_millis(500));
    }
    let requests = world.effects.iter().filter(|effect| matches!(effect, Effect::Lease { .. })).count();
    assert!(requests <= 6, "{requests} in ten seconds: the renewals");
    world.api = Api::Refuses;
    for _ in 0..120 {
        world.hear(STRANGER, None);
        world.run(Duration::from_millis(500));
    }
    assert_eq!(world.tenure(), Some(Tenure::Detached), "and nothing else");
    assert!(world.worn && world.happened("Yielded") == 0);
}

/// Rule 4: another object is a reset of the authority, also for a holder that was restarted meanwhile.
#[test]
fn a_restarted_holder_contests_a_lease_that_was_made_anew_while_it_was_away() {
    for (uid, kept) in [("uid-before", true), ("uid", false)] {
        let memory = ClaimMemory { uid: uid.to_owned(), epoch: 4, held: true, ..ClaimMemory::default() };
        let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
        let mut world = World::under(Api::Refuses, settings(), found);
        world.api = Api::Serves;
        world.grant_peer(9);
        world.run(Duration::from_secs(1));
        assert_eq!(world.worn, kept, "it held under {uid}, the Lease is uid");
        if kept {
            assert_eq!(world.tenure(), Some(Tenure::Confirmed), "nobody renews there, so it is ours again");
        }
    }
}

/// Rule 4, between two restarts: a holder that has seen the new object goes on remembering the one it holds under.
#[test]
fn a_holder_remembers_the_lease_it_holds_under_and_not_the_one_it_contests() {
    let memory = ClaimMemory { uid: "uid-before".to_owned(), epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.run(Duration::from_secs(2));
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    world.grant_peer(9);
    assert!(world.worn, "another object is no denial");
    let saved = world.effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(snapshot) => Some(snapshot.claims[&ClaimId::control_plane()].uid.clone()),
        _ => None,
    });
    assert_eq!(saved.as_deref(), Some("uid-before"));
}

/// A node that has heard of its successor's grant does not come back from a restart as a holder.
#[test]
fn a_denied_holder_remembers_that_it_no_longer_holds() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.effects.clear();
    world.grant_peer(epoch + 1);
    assert!(world.worn, "it waits for its successor");
    let saved = world.effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(snapshot) => Some(snapshot.claims[&ClaimId::control_plane()].clone()),
        _ => None,
    });
    let saved = saved.expect("what changed is saved");
    assert_eq!((saved.held, saved.epoch), (false, epoch + 1));
}
