//! Addresses of Services beside the claim's own: on the holder, on a follower, and across a restart.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn service(host: u8) -> Vip {
    IpAddr::from([10, 1, 0, host])
}

fn services(hosts: &[u8]) -> Vec<Vip> {
    hosts.iter().copied().map(service).collect()
}

/// The claim's own address and those.
fn with_own(hosts: &[u8]) -> Vec<Vip> {
    [vec![VIP], services(hosts)].concat()
}

fn set(vips: &[Vip]) -> BTreeSet<Vip> {
    vips.iter().copied().collect()
}

fn tell(world: &mut World, hosts: &[u8]) {
    world.effects.clear();
    world.give(Input::Services(services(hosts)));
}

/// Orders for addresses, each with whether it puts them there.
fn orders(world: &World) -> Vec<(&'static str, Vec<Vip>)> {
    let one = |effect: &Effect| match effect {
        Effect::Assign { vips, .. } => Some(("assign", vips.clone())),
        Effect::Withdraw { vips, .. } => Some(("withdraw", vips.clone())),
        _ => None,
    };
    world.effects.iter().filter_map(one).collect()
}

/// Those that were ordered for this address.
fn lifetimes(world: &World, of: Vip) -> Vec<Duration> {
    let one = |effect: &Effect| match effect {
        Effect::Assign { vips, lifetime, .. } if vips.contains(&of) => Some(*lifetime),
        _ => None,
    };
    world.effects.iter().filter_map(one).collect()
}

fn many(count: u32) -> Vec<Vip> {
    (0..count).map(|place| IpAddr::from((0x0a02_0000 + place).to_be_bytes())).collect()
}

fn delete(world: &mut World, vip: Vip) {
    world.wears.remove(&vip);
    world.give(Input::Address(AddressChange::Removed { vip, expired: false }));
}

fn saved(world: &World) -> Vec<Vip> {
    let one = |effect: &Effect| match effect {
        Effect::Save(snapshot) => Some(snapshot.claims[&ClaimId::control_plane()].services.clone()),
        _ => None,
    };
    world.effects.iter().rev().find_map(one).expect("saved")
}

#[test]
fn services_come_and_go_at_once_and_alone() {
    let mut world = World::holder();
    tell(&mut world, &[1, 2]);
    assert_eq!(orders(&world), [("assign", services(&[1, 2]))], "and nothing that is there already");
    assert_eq!(world.announces, with_own(&[1, 2]));
    assert_eq!(saved(&world), services(&[1, 2]));
    tell(&mut world, &[2, 3]);
    assert_eq!(orders(&world), [("assign", vec![service(3)]), ("withdraw", vec![service(1)])]);
    assert_eq!((world.announces.clone(), world.wears.clone()), (with_own(&[2, 3]), set(&with_own(&[2, 3]))));
    let listens = world
        .effects
        .iter()
        .any(|effect| matches!(effect, Effect::Listen { vips, .. } if *vips == set(&with_own(&[2, 3]))));
    assert!(listens, "rivals for them are listened for");
    tell(&mut world, &[]);
    assert_eq!(orders(&world), [("withdraw", services(&[2, 3]))]);
    assert_eq!(world.announces, [VIP], "the claim's own stays");
    assert_eq!(world.happened("ServicesChanged"), 3);
    assert_eq!((world.happened("Yielded"), world.tenure()), (0, Some(Tenure::Confirmed)));
}

#[test]
fn the_same_services_again_cost_nothing() {
    let mut world = World::holder();
    tell(&mut world, &[1, 2]);
    world.effects.clear();
    world.give(Input::Services(services(&[2, 1, 2])));
    world.give(Input::Services([services(&[1, 2]), vec![VIP]].concat()));
    assert_eq!(world.effects, [], "nor does the claim's own address among them");
}

#[test]
fn a_thousand_services_are_refreshed_all_together_and_seldom() {
    let mut world = World::holder();
    let many: Vec<Vip> =
        (0..4).flat_map(|net| (0..250).map(move |host| IpAddr::from([10, 2, net, host]))).collect();
    world.give(Input::Services(many));
    world.run(30 * SECOND);
    world.effects.clear();
    world.run(60 * SECOND);
    let refreshed = |of: &dyn Fn(&Vip) -> bool| -> usize {
        orders(&world).iter().map(|(_, vips)| vips.iter().filter(|vip| of(vip)).count()).sum()
    };
    assert_eq!(refreshed(&|vip| *vip != VIP), 3 * 1_000, "50 a second");
    assert_eq!(refreshed(&|vip| *vip == VIP), 12, "the claim's own as often as if it were alone");
    assert_eq!(lifetimes(&world, VIP), [15 * SECOND; 12], "and with the lifetime of one that is alone");
    assert_eq!(lifetimes(&world, IpAddr::from([10, 2, 0, 0])), [60 * SECOND; 3]);
    assert_eq!(world.announces.len(), 1_001);
}

#[test]
fn an_address_is_announced_only_when_the_kernel_has_it() {
    let mut world = World::holder();
    tell(&mut world, &[1]);
    world.kernel_hangs = true;
    tell(&mut world, &[1, 2]);
    assert_eq!(world.announces, with_own(&[1]));
    let refresh = |effect: &Effect| match effect {
        Effect::Assign { id, vips, .. } if *vips == [VIP] => Some(*id),
        _ => None,
    };
    world.run(6 * SECOND);
    let refresh = world.effects.iter().find_map(refresh).expect("due by now");
    world.give(Input::Outcome { id: refresh, outcome: Outcome::Done });
    assert_eq!(world.announces, with_own(&[1]), "an order for the claim's own says nothing of theirs");
    let Some(Effect::Assign { id, .. }) =
        world.effects.iter().find(|one| matches!(one, Effect::Assign { .. }))
    else {
        panic!("{:?}", world.effects)
    };
    let ordered = *id;
    world.wears.insert(service(2));
    world.give(Input::Outcome { id: ordered, outcome: Outcome::Done });
    assert_eq!(world.announces, with_own(&[1, 2]));
}

#[test]
fn a_refused_address_is_tried_again_and_leaves_the_others_alone() {
    let mut world = World::holder();
    tell(&mut world, &[1]);
    world.kernel_refuses = true;
    tell(&mut world, &[1, 2]);
    assert_eq!((world.announces.clone(), world.tenure()), (with_own(&[1]), Some(Tenure::Confirmed)));
    world.kernel_refuses = false;
    world.run(2 * SECOND);
    assert_eq!(world.announces, with_own(&[1, 2]));
    assert_eq!(world.happened("Yielded"), 0);
}

#[test]
fn a_follower_takes_services_along_and_asks_for_the_claims_own_address_only() {
    let mut world = World::follower();
    tell(&mut world, &[1, 2]);
    world.effects.clear();
    for round in 0..5 {
        world.renew_peer();
        world.run(SECOND);
        world.give(Input::Services(services(&[round, 2])));
    }
    assert_eq!((orders(&world), world.tenure()), (vec![], None), "it wears nothing");
    let asked = world.effects.iter().any(
        |effect| matches!(effect, Effect::Probe { target, .. } if services(&[0, 1, 2, 3, 4]).contains(target)),
    );
    assert!(!asked, "whoever comes and goes is not what the holder is known by");
    world.vip_answers = false;
    world.run(2 * SECOND);
    assert_eq!((world.tenure(), world.happened("HolderSilent")), (Some(Tenure::Confirmed), 1));
    assert_eq!(world.wears, set(&with_own(&[2, 4])));
}

#[test]
fn a_restart_in_an_outage_goes_on_with_the_services_known_before() {
    let memory = ClaimMemory { epoch: 4, held: true, services: services(&[1, 2]), ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: with_own(&[1, 2]), link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found);
    world.run(30 * SECOND);
    assert_eq!((world.announces.clone(), world.tenure()), (with_own(&[1, 2]), Some(Tenure::Detached)));
    tell(&mut world, &[2]);
    assert_eq!(orders(&world), [("withdraw", vec![service(1)])], "it had gone while the agent was away");
    assert_eq!((world.announces.clone(), saved(&world)), (with_own(&[2]), services(&[2])));
}

#[test]
fn what_is_told_while_a_successor_is_awaited_waits() {
    let mut world = World::holder();
    tell(&mut world, &[1]);
    world.vip_answers = false;
    world.grant_peer(9);
    assert_eq!(world.happened("Yielded"), 0, "until the successor is heard, or has had its time");
    tell(&mut world, &[2]);
    assert_eq!(
        (orders(&world), world.wears.clone()),
        (vec![], set(&with_own(&[1]))),
        "nothing new is put on"
    );
    world.run(SECOND);
    assert_eq!((world.wears.clone(), world.tenure()), (set(&[]), None), "and nothing is left behind");
    world.vip_answers = true;
    world.peer_announces(Tenure::Confirmed, 9);
    world.vip_answers = false;
    world.run(3 * SECOND);
    assert_eq!(world.wears, set(&with_own(&[2])), "taken back from one that died: with what was told last");
}

/// How many addresses were announced with a burst, or defended.
fn burst(world: &World) -> usize {
    let mut before: BTreeSet<Vip> = set(&world.announces);
    let mut count = 0;
    for effect in &world.effects {
        if let Effect::Announce { vips, pace, .. } = effect {
            let now = set(vips);
            count += if *pace == Pace::Steady { now.difference(&before).count() } else { now.len() };
            before = now;
        }
    }
    count
}

#[test]
fn a_stranger_on_one_service_has_that_one_defended_once_a_second() {
    let mut world = World::holder();
    let many: Vec<Vip> = (0..250).map(|host| IpAddr::from([10, 2, 0, host])).collect();
    world.give(Input::Services(many.clone()));
    world.run(3 * SECOND);
    let elsewhere = Mark { tenure: Tenure::Confirmed, epoch: 9, node: NodeName::new("elsewhere").id() };
    for mark in [None, Some(elsewhere)] {
        world.effects.clear();
        for _ in 0..100 {
            let frame = world.frame(STRANGER, many[7], mark);
            world.give(frame);
            world.run(Duration::from_millis(100));
        }
        assert!((9..=11).contains(&burst(&world)), "{} in ten seconds", burst(&world));
        assert_eq!(world.announces.len(), 251);
    }
    assert!(world.happened("Conflict") >= 2 && world.happened("Conflict") <= 4, "a line in ten seconds");
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
}

#[test]
fn a_mark_on_a_services_address_takes_nothing_away() {
    let mut world = World::holder();
    tell(&mut world, &[1, 2]);
    world.api = Api::Refuses;
    world.run(30 * SECOND);
    assert_eq!(world.tenure(), Some(Tenure::Detached));
    let elsewhere = Mark { tenure: Tenure::Confirmed, epoch: 9, node: NodeName::new("elsewhere").id() };
    for mac in [STRANGER, PEER_MAC] {
        let frame = world.frame(mac, service(1), Some(elsewhere));
        world.give(frame);
    }
    assert_eq!((world.wears.clone(), world.tenure()), (set(&with_own(&[1, 2])), Some(Tenure::Detached)));
    world.hear(PEER_MAC, Some(elsewhere));
    assert_eq!(world.tenure(), None, "on the claim's own address it does");
}

#[test]
fn a_members_kernel_that_speaks_for_a_service_is_misconfigured() {
    let mut world = World::holder();
    tell(&mut world, &[1]);
    world.effects.clear();
    let frame = world.frame(PEER_MAC, service(1), None);
    world.give(frame);
    let verdict = world.events.iter().rev().find_map(|event| match event {
        Event::Conflict { verdict, .. } => Some(*verdict),
        _ => None,
    });
    assert_eq!((verdict, burst(&world)), (Some(Verdict::Misconfigured), 0));
}

#[test]
fn a_deleted_service_address_is_put_back() {
    let mut world = World::holder();
    tell(&mut world, &[1, 2]);
    world.wears.remove(&service(1));
    world.effects.clear();
    world.give(Input::Address(AddressChange::Removed { vip: service(1), expired: false }));
    assert!(world.wears.contains(&service(1)));
    tell(&mut world, &[2]);
    world.effects.clear();
    world.give(Input::Address(AddressChange::Removed { vip: service(1), expired: false }));
    assert_eq!(orders(&world), [], "not one that is no Service's any more");
}

#[test]
fn of_many_one_that_is_deleted_is_ordered_alone() {
    let mut world = World::holder();
    world.give(Input::Services(many(1_000)));
    world.run(3 * SECOND);
    world.effects.clear();
    delete(&mut world, many(9)[7]);
    delete(&mut world, many(9)[8]);
    assert_eq!(orders(&world), [("assign", vec![many(9)[7]]), ("assign", vec![many(9)[8]])]);
    delete(&mut world, VIP);
    assert_eq!(
        orders(&world).last(),
        Some(&("assign", vec![VIP])),
        "nor does the claim's own take them along"
    );
}

#[test]
fn all_that_are_deleted_at_once_are_put_back_once_each_and_in_few_orders() {
    let mut world = World::holder();
    world.give(Input::Services(many(1_000)));
    world.run(3 * SECOND);
    world.effects.clear();
    for vip in many(1_000).into_iter().chain([VIP]) {
        delete(&mut world, vip);
    }
    world.run(SECOND);
    let ordered: Vec<Vip> = orders(&world).into_iter().flat_map(|(_, vips)| vips).collect();
    assert!(
        ordered.len() < 1_005 && orders(&world).len() <= 12,
        "{} in {}",
        ordered.len(),
        orders(&world).len()
    );
    assert_eq!((world.wears.len(), world.announces.len()), (1_001, 1_001));
}

#[test]
fn an_order_from_before_it_was_deleted_does_not_put_it_back() {
    let mut world = World::holder();
    world.kernel_hangs = true;
    tell(&mut world, &[1, 2]);
    let before = world.machine.next_id - 1;
    for host in [1, 2] {
        world.give(Input::Address(AddressChange::Removed { vip: service(host), expired: false }));
    }
    world.give(Input::Outcome { id: EffectId(before), outcome: Outcome::Done });
    assert_eq!(world.machine.missing, set(&services(&[1, 2])));
    assert_eq!(orders(&world)[1..], [("assign", vec![service(1)]), ("assign", vec![service(2)])]);
}

#[test]
fn an_order_from_before_a_withdrawal_says_nothing_of_what_is_ordered_after_it() {
    let mut world = World::holder();
    world.kernel_hangs = true;
    tell(&mut world, &[1]);
    let before = world.machine.next_id - 1;
    world.kernel_hangs = false;
    world.grant_peer(9);
    world.peer_announces(Tenure::Confirmed, 9);
    assert_eq!((world.tenure(), world.wears.len()), (None, 0));
    world.vip_answers = false;
    world.run(SECOND / 2);
    world.kernel_hangs = true;
    world.run(30 * SECOND);
    assert!(world.tenure().is_some(), "taken back");
    world.give(Input::Outcome { id: EffectId(before), outcome: Outcome::Done });
    assert!(world.machine.addresses.is_coming(service(1)));
}

#[test]
fn services_are_ordered_when_the_claims_own_address_is_there() {
    let mut world = World::follower();
    tell(&mut world, &[1, 2]);
    world.effects.clear();
    world.kernel_hangs = true;
    world.vip_answers = false;
    world.run(2 * SECOND);
    assert!(world.tenure().is_some(), "{:?}", world.events);
    assert_eq!(orders(&world), [("assign", vec![VIP])]);
    let own = EffectId(
        world.machine.pending.iter().find(|(_, what)| **what == Pending::Assign).expect("ordered").0.0,
    );
    world.wears.insert(VIP);
    world.give(Input::Outcome { id: own, outcome: Outcome::Done });
    assert_eq!(orders(&world)[1..], [("assign", services(&[1, 2]))]);
    assert_eq!(world.announces, [VIP], "the others when they are there");
}

#[test]
fn what_comes_when_many_have_gone_is_refreshed_before_its_own_lifetime_ends() {
    let mut world = World::holder();
    world.give(Input::Services(many(1_000)));
    world.run(90 * SECOND);
    world.give(Input::Services(vec![]));
    tell(&mut world, &[1]);
    world.run(10 * SECOND);
    assert_eq!(lifetimes(&world, service(1))[..2], [15 * SECOND; 2], "ordered, and refreshed");
    world.give(Input::Services(many(1_000)));
    world.run(9 * SECOND);
    world.effects.clear();
    world.give(Input::Services(many(3)));
    world.give(Input::Services(many(4)));
    world.run(5 * SECOND);
    assert_eq!(lifetimes(&world, many(4)[3])[..2], [15 * SECOND; 2]);
}

/// Its lifetime is the shorter one: the claim may be another's by now.
#[test]
fn a_restart_that_finds_services_without_the_claims_own_address_asks_before_it_puts_that_back() {
    let memory = ClaimMemory { epoch: 4, held: true, services: services(&[1, 2]), ..ClaimMemory::default() };
    let found = || Found { memory: Some(memory.clone()), addresses: services(&[1, 2]), link_up: true };
    let mut world = World::under(Api::Refuses, settings(), found());
    assert_eq!(orders(&world), [("assign", services(&[1, 2]))], "what is there stays for as long");
    world.run(60 * SECOND);
    assert_eq!((world.announces.clone(), world.wears.clone()), (with_own(&[1, 2]), set(&with_own(&[1, 2]))));
    let mut world = World::under(Api::Hangs, settings(), found());
    world.grant_peer(9);
    world.run(2 * SECOND);
    assert_eq!((world.tenure(), world.wears.clone()), (None, set(&[])), "another has it");
    assert!(lifetimes(&world, VIP).is_empty());
}
