//! What a node remembers, of itself across a restart and of others, and when it forgets.

use super::*;

fn lists_peer(world: &World) -> bool {
    annotations::members(world.lease.as_ref().expect("exists")).contains_key(&NodeName::new("n2"))
}

/// The list of members is finite and nodes are replaced: who was not heard for an hour goes, and costs no write.
#[test]
fn a_member_that_nobody_hears_for_an_hour_is_dropped_with_a_renewal() {
    let mut world = World::holder();
    world.run(MEMBER_FORGOTTEN / 2);
    world.peer_answers = false;
    world.run(MEMBER_FORGOTTEN - Duration::from_secs(60));
    assert!(lists_peer(&world), "heard within the hour");
    world.effects.clear();
    world.run(Duration::from_secs(120));
    assert!(!lists_peer(&world), "a dead entry takes no place");
    let writes = world.effects.iter().filter(|effect| matches!(effect, Effect::Lease { .. })).count();
    assert!(writes <= 61, "{writes} requests in two minutes: the renewals, and none besides");
    world.peer_answers = true;
    world.list_peer();
    world.run(Duration::from_secs(30));
    assert!(lists_peer(&world), "one that returns is a member again");
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

/// Rule 5: an elector that cannot read marks is known by what it did while it held; a confirmed holder asks the
/// authority about it, instead of taking it for a rogue.
#[test]
fn a_confirmed_holder_asks_the_authority_about_a_foreign_electors_node() {
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
    world.hear(STRANGER, None);
    let asked =
        |effect: &Effect| matches!(effect, Effect::Lease { request: LeaseRequest::Update { .. }, .. });
    assert!(world.effects.iter().any(asked), "is the grant still ours?");
    world.run(Duration::from_secs(1));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "it is");
    world.grant_peer(9);
    world.run(Duration::from_secs(1));
    assert!(!world.worn, "and now it is not");
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
