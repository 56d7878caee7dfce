//! Rules 9, 10 and 13: restarts, freezes, addresses that go, links that come back.

use super::*;

#[test]
fn a_restart_in_an_outage_goes_on_detached_and_with_the_old_epoch() {
    let memory = ClaimMemory { epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.run(Duration::from_millis(50));
    assert!(world.worn, "kept");
    assert_eq!(world.announcing, None, "but not announced before a probe");
    world.give(Input::Lease(LeaseReport::WatchLost));
    world.run(Duration::from_millis(600));
    let mark = world.announcing.expect("announced after the probe found no other");
    assert_eq!((mark.tenure, mark.epoch), (Tenure::Detached, 4));
    assert_eq!(world.happened("Yielded"), 0);
}

#[test]
fn a_freeze_is_followed_by_questions_before_announcements() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.now = world.now + Duration::from_secs(12);
    world.give(Input::Tick);
    assert_eq!(world.happened("Resumed"), 1);
    assert!(world.worn && world.announcing.is_none());
    world.run(Duration::from_secs(2));
    assert_eq!(world.announcing.map(|mark| mark.tenure), Some(Tenure::Detached));
}

#[test]
fn a_frozen_holder_that_was_succeeded_never_announces_again() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.now = world.now + Duration::from_secs(12);
    let mut record = world.lease.clone().expect("held");
    record.holder = Some("n2".to_owned());
    record.transitions = epoch + 1;
    world.version += 1;
    record.resource_version = world.version.to_string();
    record.annotations.remove(annotations::GRANT);
    world.lease = Some(record);
    world.effects.clear();
    world.give(Input::Tick);
    world.run(Duration::from_secs(1));
    assert!(!world.worn);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
}

#[test]
fn an_address_deleted_by_hand_is_ordered_again_at_once() {
    let mut world = World::holder();
    world.effects.clear();
    world.worn = false;
    world.give(Input::Address(AddressChange::Removed { vip: VIP, expired: false }));
    assert!(world.worn, "within the same step");
    assert_eq!(world.happened("AddressRestored"), 1);
    assert!(
        matches!(
            world.effects[..],
            [Effect::Assign { .. }, Effect::Silence { .. }, Effect::Announce { pace: Pace::Burst, .. }]
        ),
        "announced anew when the kernel has it: {:?}",
        world.effects
    );
}

#[test]
fn a_deleted_address_that_the_kernel_refuses_is_no_longer_announced() {
    let mut world = World::holder();
    world.kernel_refuses = true;
    world.effects.clear();
    world.give(Input::Address(AddressChange::Removed { vip: VIP, expired: false }));
    world.run(Duration::from_secs(5));
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
    assert_eq!(world.happened("Yielded"), 1, "a peer lives, and its kernel may take it");
}

#[test]
fn an_expired_address_is_not_restored_before_the_authority_was_asked() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.worn = false;
    world.give(Input::Address(AddressChange::Removed { vip: VIP, expired: true }));
    assert!(!world.worn);
    assert_eq!(world.happened("AddressExpired"), 1);
    world.api = Api::Serves;
    world.run(Duration::from_secs(5));
    assert!(world.worn, "the grant was still ours");
}

#[test]
fn a_link_down_for_a_moment_moves_nothing_and_is_probed_before_announcing() {
    let mut world = World::holder();
    world.give(Input::Link(Link::Down));
    assert_eq!(world.announcing, None);
    world.run(Duration::from_millis(500));
    world.give(Input::Link(Link::Up));
    world.run(Duration::from_secs(1));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    assert!(world.announcing.is_some());
    assert_eq!(world.happened("Yielded"), 0);
}

#[test]
fn a_link_down_for_longer_resigns_where_the_authority_is_in_reach() {
    let mut world = World::holder();
    world.give(Input::Link(Link::Down));
    world.run(Duration::from_millis(1_500));
    assert!(!world.worn);
    assert_eq!(world.lease.as_ref().expect("exists").holder, None, "released");
}

#[test]
fn a_link_down_in_an_outage_keeps_what_is_held() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.run(Duration::from_secs(12));
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    world.give(Input::Link(Link::Down));
    world.run(Duration::from_secs(3));
    assert!(world.worn);
    world.give(Input::Link(Link::Up));
    world.run(Duration::from_secs(2));
    assert!(world.announcing.is_some());
}

#[test]
fn what_is_remembered_is_not_asked_for_while_another_wears_it() {
    let memory = ClaimMemory { epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.api = Api::Serves;
    world.grant_peer(4);
    world.effects.clear();
    for _ in 0..40 {
        world.peer_announces(Tenure::Confirmed, 4);
        world.run(Duration::from_millis(50));
    }
    assert!(!world.worn, "the authority names another, and that one is there");
    let asked = |effect: &Effect| matches!(effect, Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } if draft.holder.as_deref() == Some("n1"));
    assert!(!world.effects.iter().any(asked));
}

/// Found by the simulation (seed 11986): two were restarted, each wore the VIP and heard the other's kernel, the Lease
/// named nobody, and both waited for ever.
#[test]
fn two_that_were_restarted_do_not_wait_for_each_other() {
    let memory = ClaimMemory { epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.vip_answers = true;
    world.api = Api::Serves;
    world.grant_peer(4);
    let record = world.lease.as_mut().expect("granted");
    (record.holder, record.duration_seconds) = (None, 1);
    record.annotations.remove(annotations::GRANT);
    world.touch();
    world.run(Duration::from_millis(900));
    assert_eq!(world.announcing, None, "a holder shall have the time to show its mark");
    world.run(Duration::from_secs(1));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "the Lease named nobody, so it decides");
}

#[test]
fn one_deleted_address_of_several_silences_no_other() {
    let second = IpAddr::from([10, 0, 0, 101]);
    let mut world = World::holder_with(Settings { vips: vec![VIP, second], ..settings() });
    for (vip, silenced) in [(second, false), (VIP, true)] {
        world.kernel_refuses = true;
        world.effects.clear();
        world.give(Input::Address(AddressChange::Removed { vip, expired: false }));
        let silent = world.effects.iter().any(|effect| matches!(effect, Effect::Silence { .. }));
        let ordered = world.effects.iter().any(|effect| matches!(effect, Effect::Assign { .. }));
        assert_eq!((silent, ordered), (silenced, true), "{vip}");
    }
    world.kernel_refuses = false;
    world.run(Duration::from_secs(2));
    assert!(world.announcing.is_some(), "when they are back");
}
