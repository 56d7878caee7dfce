//! Rules 1, 11 and 12: strict singletons, invitations, stops.

use super::*;

#[test]
fn a_strict_singleton_lets_go_and_does_not_come_back_by_itself() {
    let patience = Duration::from_secs(5);
    let strict = Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(patience), ..settings() };
    let mut world = World::holder_with(strict);
    world.api = Api::Refuses;
    world.run(Duration::from_millis(2_900));
    assert!(world.worn, "the last renewal is at most a retry period older than the outage");
    world.run(Duration::from_secs(3));
    assert!(!world.worn, "five seconds after the last renewal, not after it was missed");
    world.run(Duration::from_secs(60));
    assert!(!world.worn);
    assert_eq!(world.happened("Took"), 1, "no succession");
}

#[test]
fn an_unhealthy_holder_invites_holds_on_and_yields_to_the_guest() {
    let mut world = World::holder();
    world.give(Input::Health(Health::Unhealthy));
    world.run(Duration::from_secs(3));
    let record = world.lease.clone().expect("held");
    assert!(annotations::invited(&record) && world.worn, "invited, and still held");
    world.grant_peer(record.transitions + 1);
    world.peer_announces(Tenure::Confirmed, record.transitions + 1);
    assert!(!world.worn);
    world.run(Duration::from_millis(500));
    assert!(!world.worn);
}

/// `n2` holds, cannot serve, and says so.
fn a_peer_invites(world: &mut World) {
    world.grant_peer(3);
    world.peer_announces(Tenure::Confirmed, 3);
    let grant = Grant { holder: "n2".to_owned(), epoch: 3, instance: InstanceId(2) };
    let text = serde_json::to_string(&grant).expect("plain data");
    world.lease.as_mut().expect("granted").annotations.insert(annotations::INVITATION.to_owned(), text);
    world.touch();
}

#[test]
fn an_invitation_is_answered_by_the_healthy_only() {
    for (health, takes) in [(Some(Health::Unhealthy), false), (Some(Health::Healthy), true), (None, false)] {
        let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
        if let Some(health) = health {
            world.give(Input::Health(health));
        }
        a_peer_invites(&mut world);
        world.run(Duration::from_millis(100));
        assert_eq!(world.worn, takes, "{health:?}");
    }
}

#[test]
fn a_stop_hands_over_make_before_break() {
    let mut world = World::holder();
    world.give(Input::Shutdown);
    world.run(Duration::from_millis(200));
    let record = world.lease.clone().expect("exists");
    assert_eq!((record.holder.as_deref(), record.duration_seconds), (None, 1), "released");
    assert!(world.worn && world.announcing.is_some(), "until the successor is heard");
    world.grant_peer(record.transitions + 1);
    world.peer_announces(Tenure::Confirmed, record.transitions + 1);
    assert!(!world.worn);
    assert!(world.stopped);
}

#[test]
fn a_stop_right_after_the_take_over_hands_over_to_members_not_heard_yet() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.peer_answers = false;
    world.run(Duration::from_millis(1_500));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    world.list_peer();
    world.give(Input::Shutdown);
    world.run(Duration::from_millis(200));
    assert_eq!(world.lease.as_ref().expect("exists").holder, None, "released, not kept");
}

#[test]
fn a_stop_without_a_successor_leaves_the_vip_for_the_restart() {
    let mut world = World::holder();
    world.api = Api::Refuses;
    world.run(Duration::from_secs(11));
    world.effects.clear();
    world.give(Input::Shutdown);
    assert!(world.worn && world.stopped);
    let grace = Duration::from_secs(600);
    assert!(world.effects.iter().any(|e| matches!(e, Effect::Assign { lifetime, .. } if *lifetime == grace)));
    assert!(world.lease.as_ref().expect("exists").holder.is_some(), "and the grant is kept");
}

#[test]
fn a_stop_of_the_only_node_keeps_its_grant_and_waits_for_nobody() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.run(Duration::from_secs(3));
    world.give(Input::Shutdown);
    assert!(world.worn && world.stopped);
    assert!(world.lease.as_ref().expect("exists").holder.is_some());
}

/// Another elector's node, which lists nobody, holds the Lease; `None` releases it.
fn another_elector_writes(world: &mut World, holder: Option<&str>, transitions: u32) {
    let before = world
        .lease
        .clone()
        .unwrap_or_else(|| LeaseRecord { uid: "uid".to_owned(), ..LeaseRecord::default() });
    world.lease = Some(LeaseRecord {
        holder: holder.map(str::to_owned),
        duration_seconds: if holder.is_some() { 15 } else { 1 },
        renew_time: format!("{holder:?} {transitions}"),
        transitions,
        ..before
    });
    world.touch();
}

#[test]
fn a_stop_hands_over_to_an_elector_that_held_before_and_only_asks_since() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    another_elector_writes(&mut world, Some("kube-vip-node"), 3);
    world.run(Duration::from_secs(1));
    another_elector_writes(&mut world, None, 3);
    world.run(Duration::from_secs(1));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    world.run(Duration::from_secs(3_600));
    world.give(Input::Shutdown);
    world.run(Duration::from_millis(200));
    let record = world.lease.clone().expect("exists");
    assert_eq!(record.holder, None, "released: nobody knows whether it waits");
    assert!(world.worn && world.announcing.is_some(), "and kept until then");
    another_elector_writes(&mut world, Some("kube-vip-node"), record.transitions + 1);
    world.run(SUCCESSOR_WAIT);
    assert!(!world.worn && world.stopped, "it announces in its own time, without a mark");
}

#[test]
fn a_stop_whose_release_no_elector_takes_leaves_the_vip_for_the_restart() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    another_elector_writes(&mut world, Some("kube-vip-node"), 3);
    another_elector_writes(&mut world, None, 3);
    world.run(Duration::from_secs(1));
    world.give(Input::Shutdown);
    world.run(settings().lease.duration - Duration::from_secs(1));
    assert!(!world.stopped && world.announcing.is_some(), "it has the time of a lease");
    world.run(Duration::from_secs(2));
    assert!(world.worn && world.stopped);
}

#[test]
fn a_strict_singleton_withdraws_before_it_releases() {
    let strict =
        Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(Duration::from_secs(5)), ..settings() };
    let mut world = World::holder_with(strict);
    world.effects.clear();
    world.give(Input::Shutdown);
    world.run(Duration::from_secs(1));
    let place = |wanted: fn(&Effect) -> bool| world.effects.iter().position(wanted);
    let withdrawn = place(|effect| matches!(effect, Effect::Withdraw { .. }));
    let released = place(
        |effect| matches!(effect, Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } if draft.holder.is_none()),
    );
    assert!(withdrawn.is_some() && withdrawn < released, "{:?}", world.effects);
    assert!(world.stopped);
}

/// Rule 12: API servers that come back together, or answer now and then, do not make the VIP wander.
#[test]
fn who_was_ill_answers_no_invitation_for_one_lease_duration() {
    let lease = settings().lease.duration;
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    for health in [Health::Healthy, Health::Unhealthy, Health::Healthy] {
        world.give(Input::Health(health));
    }
    a_peer_invites(&mut world);
    world.vip_answers = true;
    for _ in 0..lease.as_secs() - 1 {
        world.run(Duration::from_secs(1));
        world.renew_peer();
        assert!(!world.worn, "it may go again");
    }
    world.run(Duration::from_secs(2));
    assert!(world.worn, "well for long enough");
}
