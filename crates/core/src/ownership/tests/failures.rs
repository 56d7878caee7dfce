//! Which nodes are dead, and who says so.

use super::*;

const THIRD_MAC: Mac = Mac([2, 0, 0, 0, 0, 3]);
const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));
/// Longer than it takes to ask regularly, and then ten times more.
const LONG: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(2);

fn reporting() -> Settings {
    Settings { report_failures: true, ..settings() }
}

fn n2() -> NodeName {
    NodeName::new("n2")
}

/// A confirmed holder; `n2` and `n3` are members, and their hosts answer.
fn holder_with(settings: Settings) -> World {
    let mut world = World::holder_with(settings);
    world.hosts.insert(THIRD, THIRD_MAC);
    let record = world.lease.as_mut().expect("held");
    annotations::join(&mut record.annotations, &NodeName::new("n3"), &member(THIRD_MAC, 3));
    world.touch();
    world.run(LONG);
    assert_eq!(world.happened("NodeFailed"), 0, "{:?}", world.events);
    world
}

fn failed(world: &World) -> Vec<&str> {
    let failed = world.events.iter().filter_map(|event| match event {
        Event::NodeFailed { node, .. } => Some(node.as_str()),
        _ => None,
    });
    failed.collect()
}

#[test]
fn a_node_that_leaves_every_question_open_is_dead_and_told_once() {
    let mut world = holder_with(reporting());
    world.peer_answers = false;
    world.run(LONG);
    assert_eq!(failed(&world), ["n2"]);
    world.run(LONG * 10);
    assert_eq!(failed(&world), ["n2"], "once");
}

#[test]
fn a_node_that_is_suspected_is_judged_within_two_seconds() {
    for (answers, dead) in [(false, &["n2"][..]), (true, &[])] {
        let mut world = holder_with(reporting());
        world.peer_answers = answers;
        // Not the time of the regular question.
        world.run(Duration::from_millis(100));
        world.machine.suspect(world.now, &n2());
        world.run(SOON);
        assert_eq!(failed(&world), dead, "its host answers: {answers}");
    }
}

#[test]
fn nobody_is_dead_without_the_setting() {
    let mut world = holder_with(settings());
    world.peer_answers = false;
    world.machine.suspect(world.now, &n2());
    world.run(LONG);
    assert_eq!(world.happened("NodeFailed"), 0);
}

/// One answer to ten questions is enough, also from other hardware, or without a question.
#[test]
fn a_sign_of_life_acquits() {
    for mac in [PEER_MAC, STRANGER] {
        let mut world = holder_with(reporting());
        world.peer_answers = false;
        world.machine.suspect(world.now, &n2());
        world.run(Duration::from_millis(850));
        let frame = world.frame(mac, IpAddr::from([10, 0, 0, 2]), None);
        world.give(frame);
        world.run(SOON);
        assert_eq!(world.happened("NodeFailed"), 0, "heard by {mac}");
    }
}

#[test]
fn nobody_is_dead_as_long_as_no_other_answers() {
    let mut world = holder_with(reporting());
    world.peer_answers = false;
    world.hosts.clear();
    world.machine.suspect(world.now, &n2());
    world.run(LONG);
    assert_eq!(world.happened("NodeFailed"), 0, "perhaps our own link is broken");
    world.hosts.insert(THIRD, THIRD_MAC);
    world.run(LONG);
    assert_eq!(failed(&world), ["n2"], "and the other lives");
}

#[test]
fn a_node_that_was_never_heard_is_not_dead() {
    let mut world = World::holder_with(reporting());
    world.hosts.insert(THIRD, THIRD_MAC);
    let record = world.lease.as_mut().expect("held");
    annotations::join(&mut record.annotations, &NodeName::new("n3"), &member(THIRD_MAC, 3));
    annotations::join(&mut record.annotations, &NodeName::new("n4"), &member(STRANGER, 4));
    world.touch();
    world.machine.suspect(world.now, &NodeName::new("n4"));
    world.run(LONG * 2);
    assert_eq!(world.happened("NodeFailed"), 0);
}

/// The grant has to be fresh: a node that is cut off from the API may be the one that is cut off from the rest.
#[test]
fn only_a_confirmed_holder_judges() {
    let mut world = holder_with(reporting());
    world.api = Api::Refuses;
    world.run(LONG);
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    world.peer_answers = false;
    world.machine.suspect(world.now, &n2());
    world.run(LONG);
    assert_eq!(world.happened("NodeFailed"), 0);
    world.api = Api::Serves;
    world.run(LONG * 2);
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
    assert_eq!(failed(&world), ["n2"]);
}

#[test]
fn who_takes_the_claim_from_a_dead_node_judges_that_node_and_of_a_dead_agent_it_says_nothing() {
    for (host_answers, dead) in [(false, &["n2"][..]), (true, &[])] {
        let mut world = World::follower_with(reporting());
        world.hosts.insert(THIRD, THIRD_MAC);
        let record = world.lease.as_mut().expect("granted");
        annotations::join(&mut record.annotations, &NodeName::new("n3"), &member(THIRD_MAC, 3));
        world.touch();
        world.run(Duration::from_secs(3));
        // The beacon goes, with the agent or with the node.
        world.vip_answers = false;
        world.peer_answers = host_answers;
        // Without its being named, it would be asked when a question to it has been open for a second.
        world.run(Duration::from_millis(1_800));
        assert_eq!(world.tenure(), Some(Tenure::Confirmed), "{:?}", world.events);
        assert_eq!(failed(&world), dead, "its host answers: {host_answers}");
    }
}

#[test]
fn a_node_that_comes_back_is_told_and_is_not_dead_again_for_ten_minutes() {
    let mut world = holder_with(reporting());
    world.peer_answers = false;
    world.run(LONG);
    world.peer_answers = true;
    world.run(LONG);
    assert_eq!(world.happened("NodeReturned"), 1);
    world.peer_answers = false;
    world.run(LONG);
    assert_eq!(failed(&world), ["n2"]);
    world.peer_answers = true;
    world.run(Duration::from_secs(600));
    world.peer_answers = false;
    world.run(LONG);
    assert_eq!(failed(&world), ["n2", "n2"], "a later death is another");
}

/// What never left this host is no question. The others speak all the same: they announce, and look for each other.
#[test]
fn questions_that_did_not_leave_this_host_say_nothing() {
    let mut world = holder_with(reporting());
    world.probes_fail = true;
    for _ in 0..30 {
        world.run(Duration::from_secs(1));
        let unasked = world.frame(THIRD_MAC, THIRD, None);
        world.give(unasked);
    }
    assert_eq!(failed(&world), Vec::<&str>::new(), "{:?}", world.events);
}

/// Its answers had no room in the socket, and some frame of another had.
#[test]
fn answers_that_nobody_could_read_are_no_silence() {
    let mut world = holder_with(reporting());
    world.peer_answers = false;
    world.machine.suspect(world.now, &n2());
    for _ in 0..30 {
        world.run(Duration::from_millis(100));
        world.give(Input::Missed);
    }
    assert_eq!(failed(&world), Vec::<&str>::new(), "{:?}", world.events);
}
