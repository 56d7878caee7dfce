//! Rule 14 where something stands against a change: a kernel that refuses the new address, a restart in the middle, and
//! renewals that are far apart.

use super::*;

/// Make before break: the kernel took the old address, and refuses the new one.
#[test]
fn an_address_stays_as_long_as_the_kernel_has_none_of_the_new_ones() {
    let mut world = holder();
    let told = |world: &World| annotations::addresses(world.lease.as_ref().expect("held"));
    world.refuses.insert(NEW);
    world.give(Input::Vips(vec![NEW]));
    world.run(DROPPED_KEPT * 5);
    assert_eq!((world.wears.clone(), world.happened("AddressesDropped")), (set(&[OLD]), 0));
    assert_eq!(told(&world), Some(vec![OLD]), "nobody takes the silence of the new one for death");
    world.refuses.clear();
    world.wears.insert(NEW);
    world.give(Input::Address(AddressChange::Accepted { vip: NEW }));
    world.run(ADOPTED_AFTER / 3);
    assert_eq!((world.wears.clone(), told(&world)), (set(&[OLD, NEW]), Some(vec![NEW, OLD])));
    world.run(DROPPED_KEPT);
    assert_eq!(world.wears, set(&[NEW]), "a change like any other from then on");
}

#[test]
fn what_the_kernel_has_stays_through_answers_that_it_refuses() {
    let mut world = holder();
    for host in 0..100 {
        let refused = IpAddr::from([10, 0, 1, host]);
        world.refuses.insert(refused);
        world.give(Input::Vips(vec![refused]));
        world.run(SECOND / 2);
    }
    assert_eq!(world.wears, set(&[OLD]));
    world.give(Input::Vips(vec![NEW]));
    world.run(DROPPED_KEPT);
    assert_eq!((world.wears.clone(), world.happened("Yielded")), (set(&[NEW]), 0));
}

// === restarts ===

fn left(old: Vip) -> Found {
    let memory =
        ClaimMemory { epoch: 3, uid: "uid".to_owned(), leaving: vec![old], ..ClaimMemory::default() };
    Found { memory: Some(memory), addresses: vec![], link_up: true }
}

#[test]
fn an_address_that_was_leaving_and_is_gone_does_not_come_back() {
    let mut world = World::new(Settings { vips: vec![NEW], ..settings() }, left(OLD));
    world.give(Input::Vips(vec![NEW]));
    world.run(5 * SECOND);
    assert_eq!(world.wears, set(&[NEW]));
}

#[test]
fn what_is_asked_for_after_a_restart_is_never_what_was_leaving() {
    let found = Found { addresses: vec![OLD], ..left(OLD) };
    let world = World::new(Settings { vips: vec![NEW], ..settings() }, found);
    assert_eq!(world.machine.watcher.vip(), NEW);
}

/// What came while the agent did not run is put on when the claim is known to be ours.
#[test]
fn a_restart_puts_nothing_new_on_before_it_is_known_whose_the_claim_is() {
    let memory = ClaimMemory { epoch: 4, held: true, leaving: vec![OLD], ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![OLD], link_up: true };
    let mut world = World::under(Api::Hangs, Settings { vips: vec![NEW], ..settings() }, found);
    world.vip_answers = true;
    world.give(Input::Vips(vec![NEW]));
    world.run(SECOND / 2);
    assert_eq!((world.wears.clone(), world.announcing), (set(&[OLD]), None));
    (world.api, world.vip_answers) = (Api::Serves, false);
    world.run(15 * SECOND);
    let announced = |effect: &Effect| match effect {
        Effect::Announce { vips, .. } => Some(vips.clone()),
        _ => None,
    };
    let first = world.effects.iter().find_map(announced);
    assert_eq!(first, Some(vec![OLD]), "the new one when the kernel has it");
    assert_eq!((world.wears.clone(), world.announces.clone()), (set(&[OLD, NEW]), vec![NEW, OLD]));
}

#[test]
fn a_stop_while_it_is_unsure_puts_nothing_new_on() {
    let memory = ClaimMemory { epoch: 4, held: true, leaving: vec![OLD], ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![OLD], link_up: true };
    let mut world = World::under(Api::Hangs, Settings { vips: vec![NEW], ..settings() }, found);
    world.vip_answers = true;
    world.give(Input::Shutdown);
    assert_eq!((world.wears.clone(), world.stopped), (set(&[OLD]), true));
}

/// The newest answer waits at a stop, and is in the snapshot: the next run begins with it.
#[test]
fn what_is_left_at_a_stop_is_known_to_the_next_run() {
    let mut world = World::holder();
    world.give(Input::Vips(vec![OLD]));
    world.give(Input::Shutdown);
    world.give(Input::Vips(vec![NEW]));
    world.peer_answers = false;
    world.run(60 * SECOND);
    assert!(world.stopped && world.wears == set(&[OLD]), "nobody took it: {:?}", world.wears);
    let memory = saved(&world).expect("saved");
    let found = Found { memory: Some(memory), addresses: vec![OLD], link_up: true };
    let mut world = World::new(Settings { vips: vec![NEW], ..settings() }, found);
    world.give(Input::Vips(vec![NEW]));
    world.run(DROPPED_KEPT * 2);
    assert_eq!(world.wears, set(&[NEW]), "nothing is left behind");
}

#[test]
fn where_renewals_are_rare_an_address_goes_later() {
    let lease = LeaseTiming { duration: 40 * SECOND, renew_deadline: 30 * SECOND, retry_period: 10 * SECOND };
    let mut world = World::holder_with(Settings { lease, ..settings() });
    world.give(Input::Vips(vec![OLD]));
    world.give(Input::Vips(vec![NEW]));
    world.run(56 * SECOND);
    assert_eq!(annotations::addresses(world.lease.as_ref().expect("held")), Some(vec![NEW]));
    world.run(18 * SECOND);
    assert_eq!(world.wears, set(&[OLD, NEW]), "three renewals after it was told to go");
    world.run(SECOND);
    assert_eq!(world.wears, set(&[NEW]));
}
