//! Rule 5: what a holder hears in its VIP's name.

use super::*;

/// Rule 5: the holder's question for its own VIP is judged as an announcement, by its mark.
#[test]
fn a_holders_question_is_judged_as_an_announcement() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.run(Duration::from_secs(12));
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    let mark = Mark { tenure: Tenure::Confirmed, epoch: 9, node: NodeName::new("n2").id() };
    let question = Frame { heard_at: world.now, mac: PEER_MAC, sender: None, target: VIP, mark: Some(mark) };
    world.give(Input::Frame(question));
    assert!(!world.worn, "it shows the better mark");
}

/// Rule 5: renewals already go unanswered, so there is nothing to verify with; detached, it yields at once.
#[test]
fn a_confirmed_holder_whose_renewals_go_unanswered_yields_to_a_higher_epoch_at_once() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.api = Api::Refuses;
    world.run(Duration::from_secs(4));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "the grant is younger than the renew deadline");
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    assert!(!world.worn);
}

/// Rule 5: while the authority is asked about a higher epoch, the holder defends.
#[test]
fn a_holder_defends_while_it_verifies() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.effects.clear();
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    assert!(world.effects.iter().any(|e| matches!(e, Effect::Announce { pace: Pace::Defend, .. })));
}

/// Rule 5: a member's kernel answers a holder that may have a rival, which shows its mark.
#[test]
fn a_holder_that_may_have_a_rival_shows_its_mark_to_an_unmarked_member() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.run(Duration::from_secs(12));
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    world.effects.clear();
    world.hear(PEER_MAC, None);
    assert!(world.effects.iter().any(|e| matches!(e, Effect::Announce { pace: Pace::Defend, .. })));
    assert!(world.worn);
}

#[test]
fn a_rogue_is_answered_once_a_second_and_never_yielded_to() {
    let mut world = World::holder();
    world.effects.clear();
    for _ in 0..50 {
        world.hear(STRANGER, None);
        world.run(Duration::from_millis(100));
    }
    let defences =
        world.effects.iter().filter(|e| matches!(e, Effect::Announce { pace: Pace::Defend, .. })).count();
    assert!((4..=6).contains(&defences), "{defences} defences in 5 s");
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    assert_eq!(world.happened("Conflict"), 1, "one line, not fifty");
}

#[test]
fn a_misconfigured_member_is_told_and_otherwise_ignored() {
    let mut world = World::holder();
    world.effects.clear();
    world.hear(PEER_MAC, None);
    assert_eq!(world.happened("Conflict"), 1);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
    assert!(world.worn);
}

#[test]
fn a_higher_epoch_is_verified_with_the_authority_before_yielding() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    world.run(VERIFIED_LONG_AGO);
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "the authority says that it is ours");
    world.api = Api::Refuses;
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    world.run(WINDOW_OF_EARLIER - Duration::from_millis(50));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "defending while the question is open");
    world.run(Duration::from_millis(300));
    assert_eq!(world.tenure(), Some(Tenure::Detached), "not verified is not confirmed");
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    assert!(!world.worn, "and a detached holder yields to a confirmed one");
}

#[test]
fn a_detached_holder_defends_once_against_a_foreign_elector() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.grant_peer(3);
    world.lease.as_mut().expect("granted").annotations.clear();
    world.touch();
    world.api = Api::Refuses;
    world.give(Input::Lease(LeaseReport::WatchLost));
    world.run(Duration::from_secs(60));
    assert_eq!(world.tenure(), Some(Tenure::Provisional), "{:?}", world.events);
    world.hear(STRANGER, None);
    assert!(world.worn, "defended once");
    world.run(Duration::from_secs(2));
    world.hear(STRANGER, None);
    assert!(!world.worn, "it cannot read marks, and it is still there");
}

#[test]
fn a_denied_holder_waits_half_a_second_for_its_successor() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.effects.clear();
    world.grant_peer(epoch + 1);
    let shown =
        |effect: &Effect| matches!(effect, Effect::Probe { mark: Some(mark), .. } if mark.epoch == epoch);
    assert!(world.effects.iter().any(shown), "the successor is to see that we are here, and to announce");
    world.run(Duration::from_millis(400));
    assert!(world.worn && world.announcing.is_none());
    world.run(Duration::from_millis(200));
    assert!(!world.worn);
}

#[test]
fn marks_of_a_higher_epoch_in_a_storm_are_no_storm_of_requests() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.effects.clear();
    for _ in 0..1_000 {
        world.peer_announces(Tenure::Confirmed, epoch + 7);
        world.now = world.now + Duration::from_millis(1);
    }
    let requests = world.effects.iter().filter(|effect| matches!(effect, Effect::Lease { .. })).count();
    assert!((2..=10).contains(&requests), "{requests} in a second");
    assert!(world.worn, "the authority says that it is ours");
}

/// A renewal of a moment ago says nothing of a grant made since: a successor's burst is believed within a second, although
/// its first frame came right after a renewal and the authority answers no more (simulation, long seed 382).
#[test]
fn a_renewal_of_a_moment_ago_delays_the_verification_by_little() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    world.api = Api::Hangs;
    let began = world.now;
    for after in [0, 50, 150, 500] {
        world.run((began + Duration::from_millis(after)).since(world.now));
        world.peer_announces(Tenure::Confirmed, epoch + 1);
    }
    world.run((began + Duration::from_millis(990)).since(world.now));
    assert_eq!(world.tenure(), Some(Tenure::Detached), "not verified is not confirmed");
}

/// Of two rivals the one with the later grant is to win, and soon: the shorter time counts, from the first of the marks.
#[test]
fn a_later_grant_shortens_the_verification_that_an_earlier_one_began() {
    let mut world = World::follower();
    (world.peer_answers, world.vip_answers) = (false, false);
    world.run(Duration::from_secs(40));
    let epoch = world.lease.as_ref().expect("held").transitions;
    assert_eq!((world.tenure(), epoch), (Some(Tenure::Confirmed), 4), "{:?}", world.events);
    world.api = Api::Hangs;
    world.peer_announces(Tenure::Confirmed, epoch - 1);
    world.run(Duration::from_millis(50));
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    world.run(WINDOW_OF_EARLIER - Duration::from_millis(60));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "defending while the question is open");
    world.run(Duration::from_millis(60));
    assert_eq!(world.tenure(), Some(Tenure::Detached), "not verified is not confirmed");
}
