//! Rule 14: addresses that change under a claim, on the holder, on a follower, and on nodes that know the answer at
//! different times.

mod others;
mod refused;

use super::super::vips::ADOPTED_AFTER;
use super::*;

const OLD: IpAddr = VIP;
const NEW: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 101));
const THIRD: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 102));
/// With the usual timing.
const DROPPED_KEPT: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

fn set(vips: &[Vip]) -> BTreeSet<Vip> {
    vips.iter().copied().collect()
}

fn withdrawn(world: &World) -> Vec<Vec<Vip>> {
    let one = |effect: &Effect| match effect {
        Effect::Withdraw { vips, .. } => Some(vips.clone()),
        _ => None,
    };
    world.effects.iter().filter_map(one).collect()
}

fn asked_for(world: &mut World, within: Duration) -> BTreeSet<Vip> {
    world.effects.clear();
    world.run(within);
    let vips = [OLD, NEW, THIRD];
    let one = |effect: &Effect| match effect {
        Effect::Probe { target, .. } => Some(*target).filter(|target| vips.contains(target)),
        _ => None,
    };
    world.effects.iter().filter_map(one).collect()
}

/// A holder whose addresses come from names.
fn holder() -> World {
    let mut world = World::holder();
    world.give(Input::Vips(vec![OLD]));
    world.effects.clear();
    world
}

/// A follower whose holder was heard to wear the address, and renews.
fn follower() -> World {
    let mut world = World::follower();
    world.give(Input::Vips(vec![OLD]));
    follow(&mut world, 3 * SECOND);
    world
}

/// Lets time pass while the peer renews its grant, every second.
fn follow(world: &mut World, duration: Duration) {
    for _ in 0..duration.as_secs() {
        world.renew_peer();
        world.run(SECOND);
    }
}

fn announce(world: &mut World, vip: Vip, tenure: Tenure) {
    let mark = Mark { tenure, epoch: 3, node: NodeName::new("n2").id() };
    let frame = world.frame(PEER_MAC, vip, Some(mark));
    world.give(frame);
}

/// The Lease's holder says that it wears these.
fn tell_worn(world: &mut World, vips: &[Vip]) {
    let record = world.lease.as_mut().expect("granted");
    let grant = record.annotations[annotations::GRANT].clone();
    let vips = serde_json::to_string(vips).expect("plain data");
    let told = format!(r#"{{"grant":{grant},"vips":{vips}}}"#);
    record.annotations.insert(annotations::ADDRESSES.to_owned(), told);
    world.touch();
}

fn saved(world: &World) -> Option<ClaimMemory> {
    world.effects.iter().rev().find_map(|effect| match effect {
        Effect::Save(snapshot) => Some(snapshot.claims[&ClaimId::control_plane()].clone()),
        _ => None,
    })
}

// === the holder ===

#[test]
fn a_holder_wears_the_new_address_at_once_and_the_old_one_for_a_minute_yet() {
    let mut world = holder();
    world.give(Input::Vips(vec![NEW]));
    assert_eq!(world.wears, set(&[OLD, NEW]), "at once");
    assert_eq!(world.announces, [NEW, OLD], "announced with it, when the kernel has it");
    let listens =
        |effect: &Effect| matches!(effect, Effect::Listen { vips, .. } if *vips == set(&[OLD, NEW]));
    assert!(world.effects.iter().any(listens), "and rivals are listened for");
    world.run(DROPPED_KEPT - SECOND);
    assert_eq!((world.wears.clone(), withdrawn(&world)), (set(&[OLD, NEW]), vec![]));
    world.run(SECOND);
    assert_eq!(
        (world.wears.clone(), withdrawn(&world)),
        (set(&[NEW]), vec![vec![OLD]]),
        "that one and no other"
    );
    assert_eq!(world.announces, [NEW]);
    assert_eq!((world.happened("AddressesChanged"), world.happened("AddressesDropped")), (1, 1));
    assert_eq!((world.happened("Yielded"), world.tenure()), (0, Some(Tenure::Confirmed)));
    world.run(DROPPED_KEPT * 2);
    assert_eq!((world.wears.clone(), withdrawn(&world).len()), (set(&[NEW]), 1), "and that is all");
}

#[test]
fn an_address_is_announced_only_when_the_kernel_has_it() {
    let mut world = holder();
    world.kernel_refuses = true;
    world.give(Input::Vips(vec![NEW]));
    world.run(3 * SECOND);
    assert_eq!(
        (world.wears.clone(), world.announces.clone()),
        (set(&[OLD]), vec![OLD]),
        "the old one goes on"
    );
    world.kernel_refuses = false;
    world.run(2 * SECOND);
    assert_eq!((world.wears.clone(), world.announces.clone()), (set(&[OLD, NEW]), vec![NEW, OLD]));
}

#[test]
fn the_same_addresses_in_another_order_and_an_empty_answer_change_nothing() {
    let mut world = World::holder_with(Settings { vips: vec![OLD, NEW], ..settings() });
    world.give(Input::Vips(vec![OLD, NEW]));
    world.run(SECOND);
    for answer in [vec![NEW, OLD], vec![OLD, NEW, OLD], vec![]] {
        world.effects.clear();
        world.give(Input::Vips(answer));
        assert!(world.effects.is_empty(), "{:?}", world.effects);
    }
    assert_eq!(world.happened("AddressesChanged"), 0);
    assert_eq!(world.machine.status(world.now).vips, [OLD, NEW]);
}

#[test]
fn what_comes_back_into_the_answer_never_left_the_interface() {
    let mut world = holder();
    world.give(Input::Vips(vec![NEW]));
    world.run(10 * SECOND);
    world.give(Input::Vips(vec![OLD]));
    assert_eq!(world.machine.status(world.now).vips, [OLD, NEW]);
    world.run(DROPPED_KEPT * 2);
    assert_eq!((world.wears.clone(), withdrawn(&world)), (set(&[OLD]), vec![vec![NEW]]));
}

/// An answer in between may have been adopted by a follower that saw it earlier, and heard here: it is dropped no sooner
/// than any other. (A design that dropped it at once was taken for dead by such a follower.)
#[test]
fn an_answer_in_between_is_worn_as_long_as_any_other() {
    let mut world = holder();
    world.give(Input::Vips(vec![NEW]));
    world.run(50 * SECOND);
    world.give(Input::Vips(vec![THIRD]));
    world.run(20 * SECOND);
    assert_eq!((world.wears.clone(), withdrawn(&world)), (set(&[NEW, THIRD]), vec![vec![OLD]]));
    world.run(39 * SECOND);
    assert_eq!(world.wears, set(&[NEW, THIRD]));
    world.run(SECOND);
    assert_eq!(world.wears, set(&[THIRD]));
}

#[test]
fn an_answer_that_changes_all_the_time_does_not_fill_the_interface() {
    let mut world = holder();
    for host in 0..100 {
        world.give(Input::Vips(vec![IpAddr::from([10, 0, 1, host])]));
        world.run(SECOND / 2);
        assert!(world.wears.len() <= 17, "{:?}", world.wears);
    }
    assert_eq!(world.wears.len(), 17);
    assert!(
        world.wears.contains(&IpAddr::from([10, 0, 1, 99]))
            && world.wears.contains(&IpAddr::from([10, 0, 1, 83]))
    );
    assert!(withdrawn(&world).iter().all(|vips| vips.len() == 1), "one for one");
    let many: Vec<Vip> = (0..40).map(|host| IpAddr::from([10, 0, 2, host])).collect();
    world.give(Input::Vips(many));
    world.run(SECOND);
    world.give(Input::Vips(vec![NEW]));
    assert_eq!(world.wears.len(), 41, "what one answer took away leaves together, however much it is");
}

#[test]
fn what_leaves_is_defended_and_put_back_until_it_goes() {
    let mut world = holder();
    world.give(Input::Vips(vec![NEW]));
    world.run(5 * SECOND);
    world.effects.clear();
    announce(&mut world, OLD, Tenure::Provisional);
    let defended = |effect: &Effect| matches!(effect, Effect::Announce { pace: Pace::Defend, .. });
    assert!(world.effects.iter().any(defended), "{:?}", world.effects);
    world.wears.remove(&OLD);
    world.give(Input::Address(AddressChange::Removed { vip: OLD, expired: false }));
    assert_eq!((world.wears.clone(), world.happened("AddressRestored")), (set(&[OLD, NEW]), 1));
    world.run(DROPPED_KEPT);
    world.give(Input::Address(AddressChange::Removed { vip: OLD, expired: false }));
    assert_eq!((world.wears.clone(), world.happened("AddressRestored")), (set(&[NEW]), 1), "ours no more");
    announce(&mut world, OLD, Tenure::Provisional);
    assert_eq!(world.machine.status(world.now).conflicts, 1, "nor anybody's rival there");
}

#[test]
fn a_holder_that_yields_puts_nothing_new_on_and_takes_everything_off() {
    let mut world = holder();
    world.give(Input::Vips(vec![NEW]));
    world.run(5 * SECOND);
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.grant_peer(epoch + 1);
    world.effects.clear();
    world.give(Input::Vips(vec![THIRD]));
    assert!(!world.wears.contains(&THIRD), "another is about to take the claim");
    world.run(SUCCESSOR_WAIT);
    assert_eq!(world.wears, set(&[]), "the new one and the one that was leaving");
    let vips = set(&world.machine.status(world.now).vips);
    assert_eq!(vips, set(&[OLD, NEW, THIRD]), "it goes by the last answer from now on");
}

#[test]
fn who_asks_whether_the_claim_is_still_its_own_puts_nothing_new_on() {
    let mut world = holder();
    world.api = Api::Hangs;
    world.vip_answers = true;
    world.now = world.now + Duration::from_secs(20);
    world.give(Input::Vips(vec![NEW]));
    assert_eq!((world.wears.clone(), world.announcing), (set(&[OLD]), None), "it stood still for 20 s");
    (world.api, world.vip_answers) = (Api::Serves, false);
    world.run(15 * SECOND);
    assert_eq!((world.wears.clone(), world.announces.clone()), (set(&[OLD, NEW]), vec![NEW, OLD]));
}

#[test]
fn what_follows_from_the_addresses_follows_them() {
    let mut world = holder();
    let address = IpAddr::from([10, 0, 0, 31]);
    let six: IpAddr = "fd00::31".parse().expect("an address");
    world.give(Input::Own(Member { macs: vec![OWN_MAC], addresses: vec![address, NEW, six] }));
    let member = |world: &World| {
        annotations::members(world.lease.as_ref().expect("held"))[&NodeName::new("n1")].clone()
    };
    world.run(3 * SECOND);
    assert_eq!(member(&world).addresses, [address, NEW], "one that is no VIP as yet");
    let vip6: IpAddr = "fd00::100".parse().expect("an address");
    world.give(Input::Vips(vec![NEW, vip6]));
    world.run(3 * SECOND);
    assert_eq!(member(&world).addresses, [address, six], "neither a VIP, nor without the new family");
    let listens = world.effects.iter().rev().find_map(|effect| match effect {
        Effect::Listen { vips, .. } => Some(vips.clone()),
        _ => None,
    });
    assert_eq!(listens, Some(set(&[OLD, NEW, vip6])));
    let status = world.machine.status(world.now);
    assert_eq!((status.vips, status.leaving), (vec![NEW, vip6, OLD], vec![OLD]));
    assert_eq!(saved(&world).expect("what changed is saved").leaving, [NEW, vip6, OLD]);
    world.run(DROPPED_KEPT);
    assert_eq!(saved(&world).expect("what changed is saved").leaving, [NEW, vip6]);
}

#[test]
fn the_lifetime_follows_the_number_of_addresses() {
    let lifetime = |world: &World| {
        world.effects.iter().rev().find_map(|effect| match effect {
            Effect::Assign { lifetime, .. } => Some(*lifetime),
            _ => None,
        })
    };
    let mut world = holder();
    let many: Vec<Vip> = (0..=255).chain(0..=44).map(|host| IpAddr::from([10, 1, 0, host])).collect();
    let more = (0..=44).map(|host| IpAddr::from([10, 2, 0, host]));
    world.give(Input::Vips(many.into_iter().chain(more).collect()));
    assert_eq!(lifetime(&world), Some(Duration::from_millis(60 * 302)), "refreshes stay under 50 a second");
    let patience = Duration::from_secs(16);
    let strict = Settings { on_authority_loss: OnAuthorityLoss::ReleaseAfter(patience), ..settings() };
    let mut world = World::holder_with(strict);
    world.give(Input::Vips((0..=255).chain(0..=44).map(|host| IpAddr::from([10, 1, host, host])).collect()));
    assert_eq!(lifetime(&world), Some(Duration::from_millis(60 * 257)));
    world.give(Input::Vips((0..=255).map(|host| IpAddr::from([10, 3, 0, host])).collect()));
    assert_eq!(lifetime(&world), Some(patience), "no longer than a strict singleton's right");
    let mut world = holder();
    world.give(Input::Vips((0..=255).chain(0..=44).map(|host| IpAddr::from([10, 1, host, host])).collect()));
    world.give(Input::Vips(vec![NEW]));
    world.run(DROPPED_KEPT * 2);
    assert_eq!(lifetime(&world), Some(settings().lifetime), "few again");
}

#[test]
fn a_restarted_holder_goes_on_wearing_what_was_leaving() {
    let memory = ClaimMemory { epoch: 4, held: true, leaving: vec![OLD, NEW], ..ClaimMemory::default() };
    let found = Found { memory: Some(memory), addresses: vec![OLD, NEW], link_up: true };
    let mut world = World::under(Api::Refuses, Settings { vips: vec![NEW], ..settings() }, found);
    world.give(Input::Vips(vec![NEW]));
    world.run(30 * SECOND);
    assert_eq!((world.wears.clone(), world.announces.clone()), (set(&[OLD, NEW]), vec![NEW, OLD]));
    world.run(DROPPED_KEPT);
    assert_eq!((world.wears.clone(), world.tenure()), (set(&[NEW]), Some(Tenure::Detached)));
}

// === a follower ===

#[test]
fn a_follower_asks_for_the_old_address_until_it_hears_the_new_one_worn() {
    let mut world = follower();
    world.give(Input::Vips(vec![NEW]));
    follow(&mut world, 5 * SECOND);
    assert_eq!(asked_for(&mut world, SECOND), set(&[OLD]));
    announce(&mut world, THIRD, Tenure::Confirmed);
    assert_eq!(asked_for(&mut world, SECOND), set(&[OLD]), "what is none of the claim's says nothing");
    announce(&mut world, NEW, Tenure::Confirmed);
    assert_eq!(asked_for(&mut world, SECOND), set(&[NEW]), "the holder wears it");
}

#[test]
fn a_follower_that_hears_nothing_of_the_new_address_adopts_it_in_the_end() {
    let mut world = follower();
    world.give(Input::Vips(vec![NEW]));
    world.run(ADOPTED_AFTER - SECOND);
    assert_eq!(asked_for(&mut world, SECOND - Duration::from_millis(1)), set(&[OLD]));
    world.run(Duration::from_millis(100));
    assert_eq!(asked_for(&mut world, SECOND), set(&[NEW]));
}

#[test]
fn an_address_that_stays_in_the_answer_is_asked_for_as_before() {
    let mut world = follower();
    world.give(Input::Vips(vec![IpAddr::from([10, 0, 0, 50]), OLD]));
    follow(&mut world, DROPPED_KEPT * 2);
    assert_eq!(asked_for(&mut world, SECOND), set(&[OLD]));
}

/// A holder that sees the new answer late, or never, is not dead.
#[test]
fn a_holder_that_was_never_heard_on_the_new_address_is_not_taken_for_dead() {
    let mut world = follower();
    world.give(Input::Vips(vec![NEW]));
    follow(&mut world, DROPPED_KEPT * 3);
    assert!(!world.worn, "it renews, and never wore what is asked for: {:?}", world.events);
    let lack = world.machine.watcher.evidence(world.now, Duration::from_millis(300));
    assert_eq!(lack, Err(crate::watcher::Lack::Path));
    world.peer_wears.insert(NEW);
    follow(&mut world, 3 * SECOND);
    world.peer_wears.clear();
    world.run(SECOND);
    assert_eq!(world.happened("HolderSilent"), 1, "now it did, and its silence is evidence");
    assert_eq!(world.wears, set(&[NEW]));
}

#[test]
fn who_takes_the_claim_while_the_answer_is_new_wears_both() {
    let mut world = follower();
    world.give(Input::Vips(vec![NEW]));
    follow(&mut world, 20 * SECOND);
    world.vip_answers = false;
    world.run(2 * SECOND);
    assert_eq!(world.happened("HolderSilent"), 1, "the old address is what it was known to wear");
    assert_eq!((world.wears.clone(), world.announces.clone()), (set(&[OLD, NEW]), vec![NEW, OLD]));
    world.run(DROPPED_KEPT);
    assert_eq!((world.wears.clone(), world.happened("Yielded")), (set(&[NEW]), 0));
}

/// A node whose name server is dead goes by an answer that the holder has long dropped.
#[test]
fn a_holder_that_says_it_wears_others_is_not_taken_for_dead() {
    let mut holder = holder();
    holder.give(Input::Vips(vec![NEW]));
    let told = |world: &World| annotations::addresses(world.lease.as_ref().expect("held"));
    holder.run(30 * SECOND);
    assert_eq!(told(&holder), Some(vec![NEW, OLD]));
    holder.run(20 * SECOND);
    assert_eq!(told(&holder), Some(vec![NEW]), "told before the old one goes");
    assert!(holder.wears.contains(&OLD));

    for told in [None, Some([NEW]), Some([OLD])] {
        let mut world = follower();
        if let Some(vips) = told {
            tell_worn(&mut world, &vips);
            follow(&mut world, 2 * SECOND);
        }
        world.vip_answers = false;
        follow(&mut world, 5 * SECOND);
        assert_eq!(world.worn, told != Some([NEW]), "the holder says that it wears {told:?}");
    }
}

/// Rule 8: a holder that is heard on the old address lives, and of one that is heard on neither, silence counts from when
/// the new one is asked for.
#[test]
fn without_an_authority_too_the_silence_of_a_new_address_counts_anew() {
    for announces in [true, false] {
        let mut world = follower();
        world.api = Api::Refuses;
        world.give(Input::Lease(LeaseReport::WatchLost));
        world.give(Input::Vips(vec![NEW]));
        for _ in 0..u32::try_from(ADOPTED_AFTER.as_secs()).expect("small") {
            world.run(SECOND);
        }
        for turn in 0..24 {
            if announces && turn % 3 == 0 {
                announce(&mut world, OLD, Tenure::Detached);
            }
            world.run(SECOND);
            let lease = settings().lease.duration;
            let may = !announces && turn >= lease.as_secs() - 1;
            assert!(!world.worn || may, "{turn} s after it was adopted");
        }
        assert_eq!(world.worn, !announces);
    }
}

/// A probe for the address of before that leaves late asks for nothing that is waited for.
#[test]
fn a_probe_for_the_old_address_is_none_for_the_new() {
    let mut world = follower();
    let id = world.machine.effect_id();
    world.machine.pending.insert(id, Pending::Probe(OLD, ProbeTo::All));
    world.give(Input::Vips(vec![NEW]));
    announce(&mut world, NEW, Tenure::Confirmed);
    let before = world.machine.watcher.settled_at();
    world.now = world.now + Duration::from_millis(1);
    world.give(Input::Outcome { id, outcome: Outcome::Sent(world.now) });
    assert_eq!(world.machine.watcher.settled_at(), before);
}

// === a claim whose addresses never change ===

#[test]
fn of_a_claim_whose_addresses_never_change_nothing_new_is_said_or_kept() {
    let world = World::holder();
    let lease = world.lease.clone().expect("held");
    assert!(!lease.annotations.contains_key(annotations::ADDRESSES));
    let text = serde_json::to_string(&saved(&world).expect("saved")).expect("plain data");
    assert!(!text.contains("leaving"), "{text}");
    assert!(world.machine.next_address_due().is_none());
}

/// A snapshot of before there were names.
#[test]
fn a_memory_without_leaving_addresses_is_read() {
    let text = r#"{"uid":"u","epoch":3,"held":true,"members":{}}"#;
    let memory: ClaimMemory = serde_json::from_str(text).expect("an old file");
    assert_eq!((memory.epoch, memory.leaving.len()), (3, 0));
}
