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
