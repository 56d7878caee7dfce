//! Rule 14 where a node and the holder know different addresses: its name server is dead, or gave it another first answer.

use super::*;

/// The holder wears the new address, says so, and never the old one, which is all that this node knows.
fn ignorant() -> World {
    let mut world = follower();
    tell_worn(&mut world, &[NEW]);
    world.vip_answers = false;
    world.peer_wears.insert(NEW);
    follow(&mut world, 30 * SECOND);
    assert!(!world.worn, "it renews");
    world
}

fn begin_outage(world: &mut World) {
    world.api = Api::Refuses;
    world.give(Input::Lease(LeaseReport::WatchLost));
}

#[test]
fn an_outage_alone_moves_nothing_to_a_node_that_knows_another_address() {
    let mut world = ignorant();
    let listens =
        |effect: &Effect| matches!(effect, Effect::Listen { vips, .. } if *vips == set(&[OLD, NEW]));
    assert!(world.effects.iter().any(listens), "and is heard by");
    assert_eq!(asked_for(&mut world, SECOND), set(&[NEW]), "what the holder says that it wears");
    begin_outage(&mut world);
    world.run(120 * SECOND);
    assert!(!world.worn, "its kernel answers: {:?}", world.events);
    world.api = Api::Serves;
    follow(&mut world, 60 * SECOND);
    assert!(!world.worn, "{:?}", world.events);
}

/// Round robin: the first record that is read says it.
#[test]
fn two_first_answers_are_no_two_holders() {
    let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
    world.give(Input::Vips(vec![OLD]));
    world.grant_peer(3);
    tell_worn(&mut world, &[NEW]);
    world.peer_wears.insert(NEW);
    follow(&mut world, 5 * SECOND);
    begin_outage(&mut world);
    world.run(60 * SECOND);
    assert!(!world.worn, "{:?}", world.events);
}

/// Of several that it wears, one that this node would put on as well.
#[test]
fn what_both_know_is_asked_for_before_what_the_holder_alone_does() {
    let mut world = follower();
    world.give(Input::Vips(vec![OLD, THIRD]));
    world.peer_wears.extend([NEW, THIRD]);
    tell_worn(&mut world, &[NEW, THIRD]);
    follow(&mut world, 20 * SECOND);
    assert_eq!(asked_for(&mut world, SECOND / 2), set(&[THIRD]));
}

/// The last survivor, whose name server is dead as well, still takes over, and as fast as ever.
#[test]
fn a_holder_that_dies_is_succeeded_for_other_addresses_too() {
    for outage in [false, true] {
        let mut world = ignorant();
        if outage {
            begin_outage(&mut world);
            world.run(30 * SECOND);
        }
        world.peer_wears.clear();
        world.run(2 * SECOND);
        assert_eq!(world.wears, set(&[OLD]), "outage: {outage}");
        let asks =
            |effect: &Effect| matches!(effect, Effect::Probe { target, mark: Some(_), .. } if *target == OLD);
        let asked = world.effects.iter().position(asks);
        let took = world.effects.iter().position(|effect| matches!(effect, Effect::Assign { .. }));
        assert!(!outage || asked.is_some_and(|asked| Some(asked) < took), "for what it is about to wear");
    }
}

/// While the authority is out of reach, the holder cannot say that it wears another.
#[test]
fn what_is_heard_long_after_the_word_on_the_lease_is_newer() {
    for (wait, asked) in [(5 * SECOND, NEW), (20 * SECOND, OLD)] {
        let mut world = follower();
        world.peer_wears.insert(NEW);
        tell_worn(&mut world, &[NEW]);
        begin_outage(&mut world);
        world.run(wait);
        announce(&mut world, OLD, Tenure::Detached);
        assert_eq!(asked_for(&mut world, SECOND / 2), set(&[asked]), "{wait:?} after it");
    }
    let mut world = follower();
    world.peer_wears.insert(NEW);
    tell_worn(&mut world, &[NEW]);
    follow(&mut world, 20 * SECOND);
    announce(&mut world, OLD, Tenure::Confirmed);
    assert_eq!(asked_for(&mut world, SECOND / 2), set(&[NEW]), "it could say so");
}

/// Marks never meet where no address is common, so that who is confirmed is seen on the Lease.
#[test]
fn who_holds_without_a_grant_gives_way_to_a_holder_that_wears_others() {
    let mut world = ignorant();
    begin_outage(&mut world);
    world.peer_wears.clear();
    world.run(5 * SECOND);
    assert_eq!(world.tenure(), Some(Tenure::Provisional), "it heard nothing of the holder");
    world.api = Api::Serves;
    world.run(10 * SECOND);
    assert_eq!(world.tenure(), Some(Tenure::Provisional), "the holder has its time to renew");
    assert_eq!(asked_for(&mut world, SECOND), set(&[OLD]), "a rival is looked for where it would be met");
    follow(&mut world, 2 * SECOND);
    assert_eq!((world.wears.clone(), world.happened("Yielded")), (set(&[]), 1), "and lives");
    let holder = world.lease.as_ref().and_then(|lease| lease.holder.clone());
    assert_eq!(holder.as_deref(), Some("n2"));
}

#[test]
fn who_holds_without_a_grant_gets_it_when_the_holder_of_others_is_dead() {
    let mut world = ignorant();
    begin_outage(&mut world);
    world.peer_wears.clear();
    world.peer_answers = false;
    world.run(60 * SECOND);
    world.api = Api::Serves;
    world.run(settings().lease.duration * 2);
    assert_eq!((world.wears.clone(), world.tenure()), (set(&[OLD]), Some(Tenure::Confirmed)));
}

/// A claim is one: a holder by a higher mark is met on whichever address both wear, also on one that leaves.
#[test]
fn a_higher_mark_on_an_address_that_leaves_takes_the_whole_claim() {
    let mut world = holder();
    world.api = Api::Refuses;
    world.run(20 * SECOND);
    world.give(Input::Vips(vec![NEW]));
    world.run(5 * SECOND);
    let mark = Mark { tenure: Tenure::Confirmed, epoch: 9, node: NodeName::new("n2").id() };
    let frame = world.frame(PEER_MAC, OLD, Some(mark));
    world.give(frame);
    assert_eq!((world.wears.clone(), world.happened("Yielded")), (set(&[]), 1));
}

#[test]
fn machines_that_differ_in_an_address_are_two() {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let of = |other: Vip| {
        let mut world = World::new(settings(), Found { link_up: true, ..Found::default() });
        world.give(Input::Vips(vec![OLD, other]));
        world.grant_peer(3);
        world.run(3 * SECOND);
        let mut hasher = DefaultHasher::new();
        world.machine.hash(&mut hasher);
        hasher.finish()
    };
    assert_ne!(of(NEW), of(THIRD));
    assert_eq!(of(NEW), of(NEW));
}

// === a restart ===

/// A node that starts anew in an outage, its name server dead, with what it remembers.
fn restarted(memory: ClaimMemory) -> World {
    let found = Found { memory: Some(memory), link_up: true, ..Found::default() };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.peer_wears.insert(NEW);
    world.give(Input::Vips(vec![OLD]));
    world
}

#[test]
fn a_restart_in_an_outage_goes_by_what_the_holder_said_before_it() {
    let memory = saved(&ignorant()).expect("what the holder says is saved");
    assert_eq!(memory.told, [NEW]);
    let mut world = restarted(memory);
    let listens =
        |effect: &Effect| matches!(effect, Effect::Listen { vips, .. } if *vips == set(&[OLD, NEW]));
    assert!(world.effects.iter().any(listens), "and is heard by");
    assert_eq!(asked_for(&mut world, SECOND), set(&[NEW]));
    world.run(120 * SECOND);
    assert!(!world.worn, "its kernel answers: {:?}", world.events);
    let kept = saved(&world).map_or_else(|| vec![NEW], |memory| memory.told);
    assert_eq!(kept, [NEW], "a second restart goes by it as well");
    world.peer_wears.clear();
    world.run(60 * SECOND);
    assert_eq!(world.wears, set(&[OLD]), "dead: what its own answer names");
}

/// One that was told nothing asks for its own, as it always did.
#[test]
fn without_a_memory_of_it_a_restart_asks_for_its_own_address() {
    let memory = ClaimMemory { told: vec![], ..saved(&ignorant()).expect("saved") };
    let mut world = restarted(memory);
    assert_eq!(asked_for(&mut world, SECOND), set(&[OLD]));
}

/// What was remembered ends with the first record that is read.
#[test]
fn what_a_holder_said_before_a_restart_ends_with_the_first_record() {
    let memory = saved(&ignorant()).expect("saved");
    for (says, asked) in [(Some(THIRD), THIRD), (None, OLD)] {
        let mut world = restarted(memory.clone());
        world.peer_wears.extend([OLD, THIRD]);
        world.run(SECOND);
        world.api = Api::Serves;
        world.grant_peer(4);
        says.into_iter().for_each(|vip| tell_worn(&mut world, &[vip]));
        let told: Vec<Vip> = says.into_iter().collect();
        assert_eq!(saved(&world).expect("saved").told, told);
        assert_eq!(asked_for(&mut world, SECOND), set(&[asked]), "says {says:?}");
    }
}

/// What a holder wears it knows by itself; what another said before it took the claim is nobody's word any more.
#[test]
fn who_takes_the_claim_forgets_what_another_said() {
    let mut world = ignorant();
    let record = world.lease.as_mut().expect("granted");
    (record.holder, record.duration_seconds) = (None, 1);
    world.peer_wears.clear();
    world.touch();
    world.run(5 * SECOND);
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "released, so taken");
    assert_eq!(saved(&world).expect("saved").told, [] as [Vip; 0]);
}
