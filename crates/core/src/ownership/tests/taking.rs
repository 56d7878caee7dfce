//! Rules 2, 6, 7 and 8, and their exceptions: when a node takes what another had, and when it does not.

use super::*;

/// Rule 6: what the VIP serves fails, and this node could serve it; whoever wears it then has no grace.
#[test]
fn an_expired_holder_has_no_grace_while_what_the_vip_serves_fails() {
    let lease = settings().lease.duration;
    for (service, own, takes) in [
        (Health::Unhealthy, Health::Healthy, true),
        (Health::Unhealthy, Health::Unhealthy, false),
        (Health::Healthy, Health::Healthy, false),
    ] {
        let mut world = World::follower();
        world.give(Input::Health(own));
        world.give(Input::Service(service));
        world.run(lease - Duration::from_secs(1));
        assert!(!world.worn, "not before it has expired");
        world.run(Duration::from_secs(2));
        assert_eq!(world.worn, takes, "what the VIP serves is {service:?}, this node {own:?}");
    }
}

/// Rule 7: another elector on a node that we know, and whose path we know, is waited for all the same.
#[test]
fn a_silent_holder_is_evidence_only_if_it_is_a_mainstay_agent() {
    for mainstay in [true, false] {
        let mut world = World::follower();
        if !mainstay {
            world.lease.as_mut().expect("granted").annotations.remove(annotations::GRANT);
            world.touch();
        }
        world.run(Duration::from_secs(3));
        assert!(!world.worn, "it answers");
        world.vip_answers = false;
        world.run(Duration::from_secs(2));
        assert_eq!(world.worn, mainstay, "an agent of ours: {mainstay}");
    }
}

/// Rule 7: a takeover is compare-and-swap, and rules 7 to 9 are off for a strict singleton.
#[test]
fn a_strict_singleton_is_not_taken_on_evidence() {
    let patience = Duration::from_secs(30);
    let strict = Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(patience), ..settings() };
    let mut world = World::follower_with(strict);
    world.run(Duration::from_secs(3));
    world.vip_answers = false;
    world.run(Duration::from_secs(5));
    assert!(!world.worn, "silent, and not expired");
    world.run(Duration::from_secs(12));
    assert!(world.worn, "expired, and silent");
}

/// Rule 9 is off for a strict singleton: what it finds at a start in an outage it takes off.
#[test]
fn a_strict_singleton_keeps_nothing_through_a_start_in_an_outage() {
    let patience = Duration::from_secs(5);
    let strict = Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(patience), ..settings() };
    let memory = ClaimMemory { epoch: 4, held: true, ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![VIP], link_up: true };
    let mut world = World::under(Api::Refuses, strict, found);
    world.run(Duration::from_secs(2));
    assert!(!world.worn);
    assert!(!world.effects.iter().any(|effect| matches!(effect, Effect::Announce { .. })));
}

/// Rule 2: nobody on the link answers, so this node leaves an expired claim to others for one lease duration more.
#[test]
fn a_node_that_nobody_answers_leaves_the_claim_to_others_at_first() {
    for answered in [true, false] {
        let mut world = World::follower();
        world.peer_answers = answered;
        // Long enough for what was heard at the start to be forgotten.
        for _ in 0..4 {
            world.run(Duration::from_secs(10));
            world.renew_peer();
        }
        world.run(Duration::from_secs(32));
        assert_eq!(world.worn, answered, "its grace is over, somebody answers: {answered}");
        world.run(Duration::from_secs(15));
        assert!(world.worn, "a lease duration later");
    }
}

/// Rule 12: who handed over on its own invitation stays out for one lease duration.
#[test]
fn who_handed_over_stays_out_for_one_lease_duration() {
    let mut world = World::holder();
    world.give(Input::Health(Health::Unhealthy));
    world.run(Duration::from_secs(3));
    let epoch = world.lease.as_ref().expect("held").transitions + 1;
    world.grant_peer(epoch);
    world.peer_announces(Tenure::Confirmed, epoch);
    world.give(Input::Health(Health::Healthy));
    assert!(!world.worn);
    let record = world.lease.as_mut().expect("granted");
    record.holder = None;
    record.duration_seconds = 1;
    world.touch();
    world.run(Duration::from_secs(14));
    assert!(!world.worn, "free, and not for who has just left");
    world.run(Duration::from_secs(3));
    assert!(world.worn, "one lease duration later as good as any other");
}

/// Rule 8: alone, and the holder was never heard: much longer silence stands in for path and witness.
#[test]
fn without_any_witness_two_lease_durations_of_silence_are_waited_for() {
    let mut world = World::follower();
    world.run(Duration::from_secs(3));
    (world.vip_answers, world.peer_answers, world.api) = (false, false, Api::Refuses);
    world.give(Input::Lease(LeaseReport::WatchLost));
    world.run(Duration::from_secs(29));
    assert!(!world.worn, "no witness");
    world.run(Duration::from_secs(3));
    assert_eq!(world.tenure(), Some(Tenure::Provisional));
}

/// Rule 8: a better-ranked node asks as well; it comes first.
#[test]
fn a_candidate_defers_to_a_better_ranked_one_only() {
    let claim = ClaimId::control_plane();
    let score = |node| crate::placement::score(&claim, node);
    let own = NodeName::new("n1").id();
    let pick =
        |better| (0..64).map(NodeId).find(|node| (score(*node) > score(own)) == better).expect("of 64");
    for better in [true, false] {
        let mut world = World::follower();
        world.run(Duration::from_secs(3));
        (world.vip_answers, world.api) = (false, Api::Refuses);
        world.give(Input::Lease(LeaseReport::WatchLost));
        let asks =
            |e: &Effect| matches!(e, Effect::Probe { mark: Some(m), .. } if m.tenure == Tenure::Candidate);
        for _ in 0..4_000 {
            if world.effects.iter().any(asks) {
                break;
            }
            world.run(Duration::from_millis(1));
        }
        let mark = Mark { tenure: Tenure::Candidate, epoch: 0, node: pick(better) };
        let question =
            Frame { heard_at: world.now, mac: STRANGER, sender: None, target: VIP, mark: Some(mark) };
        world.give(Input::Frame(question));
        world.run(Duration::from_millis(150));
        assert_eq!(world.worn, !better, "better: {better}");
        world.run(Duration::from_secs(1));
        assert!(world.worn, "and it did not come");
    }
}

/// Rule 7: a silence that our own link was part of proves nothing.
#[test]
fn silence_counts_anew_when_our_own_link_is_back() {
    let mut world = World::follower();
    world.run(Duration::from_secs(3));
    world.give(Input::Link(Link::Down));
    world.run(Duration::from_secs(5));
    world.vip_answers = false;
    world.give(Input::Link(Link::Up));
    world.run(Duration::from_millis(700));
    assert!(!world.worn, "silent for less than what one not seen yet is given");
    world.run(Duration::from_secs(1));
    assert!(world.worn, "and dead");
}

/// How long after the VIP fell silent, in an outage, `own` first asks for it as a candidate; `n2` lives.
fn asks_after(own: &NodeName) -> Duration {
    let mut world = World::follower_with(Settings { node: own.clone(), ..settings() });
    world.run(Duration::from_secs(3));
    (world.vip_answers, world.api) = (false, Api::Refuses);
    world.give(Input::Lease(LeaseReport::WatchLost));
    let silent = world.now;
    let asks = |e: &Effect| matches!(e, Effect::Probe { mark: Some(m), .. } if m.tenure == Tenure::Candidate);
    while !world.effects.iter().any(asks) {
        world.run(Duration::from_millis(1));
        assert!(world.now.since(silent) < Duration::from_secs(10), "{own:?} never asks");
    }
    world.now.since(silent)
}

/// Rule 8: each better-ranked node that lives is given 200 ms to come first.
#[test]
fn a_worse_rank_waits_longer() {
    let claim = ClaimId::control_plane();
    let score = |name: &NodeName| crate::placement::score(&claim, name.id());
    let names = || (0..64).map(|number| NodeName::new(&format!("other-{number}")));
    let (first, second): (Vec<_>, Vec<_>) =
        names().partition(|name| score(name) > score(&NodeName::new("n2")));
    let (first, second) = (asks_after(&first[0]), asks_after(&second[0]));
    assert!(
        second >= first + RANK_STEP - RANK_STEP / 4,
        "the first after {first:?}, the second after {second:?}"
    );
}

/// Rule 8: where a witness answers, a holder that was never heard is waited for during one lease duration.
#[test]
fn a_holder_that_was_never_heard_is_succeeded_after_one_lease_duration() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.grant_peer(3);
    world.lease.as_mut().expect("granted").holder = Some("n3".to_owned());
    world.touch();
    world.api = Api::Refuses;
    world.give(Input::Lease(LeaseReport::WatchLost));
    world.run(Duration::from_secs(14));
    assert!(!world.worn, "silent, but was it ever to be heard here?");
    world.run(Duration::from_secs(3));
    assert_eq!(world.tenure(), Some(Tenure::Provisional));
}

/// What stands against the authority as a witness.
#[derive(Debug, PartialEq)]
enum Against {
    Nothing,
    AnotherWay,
    Renewals,
    Gateway,
}

/// Rule 7: of two nodes without a gateway, the survivor has no neighbour left to ask. The authority's answer over the
/// VIP's link is its witness; not one that came another way, nor against a holder that renews, nor where somebody else
/// could be asked.
#[test]
fn an_answer_of_the_authority_over_the_link_is_the_survivors_witness() {
    for against in [Against::Nothing, Against::AnotherWay, Against::Renewals, Against::Gateway] {
        let witnesses = match against {
            Against::Gateway => vec![IpAddr::from([10, 0, 0, 254])],
            _ => vec![],
        };
        let mut world = World::follower_with(Settings { witnesses, ..settings() });
        let local = if against == Against::AnotherWay { [127, 0, 0, 1] } else { [10, 0, 0, 1] };
        world.api_reached_from = Some(IpAddr::from(local));
        world.give(Input::Lease(LeaseReport::WatchLost));
        world.run(Duration::from_secs(3));
        world.renew_peer();
        (world.vip_answers, world.peer_answers) = (false, false);
        world.effects.clear();
        for _ in 0..7 {
            world.run(Duration::from_millis(500));
            if against == Against::Renewals {
                world.renew_peer();
                // Something else was asked, and answered over the link.
                let (local, remote) = (IpAddr::from(local), IpAddr::from([10, 0, 0, 200]));
                world.give(Input::Lease(LeaseReport::Reached { local, remote }));
            }
        }
        assert_eq!(world.worn, against == Against::Nothing, "{against:?}");
        let requests = world.effects.iter().filter(|effect| matches!(effect, Effect::Lease { .. })).count();
        assert!(requests <= 6, "{requests} requests in three and a half seconds");
    }
}
