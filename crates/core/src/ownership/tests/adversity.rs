//! Kernels that refuse, nodes that share a name, floods: what nobody ordered and some host will meet.

use super::*;

/// How many orders of one kind there were since they were last cleared.
fn count(world: &World, kind: fn(&Effect) -> bool) -> usize {
    world.effects.iter().filter(|effect| kind(effect)).count()
}

fn is_write(effect: &Effect) -> bool {
    matches!(effect, Effect::Lease { request: LeaseRequest::Create(_) | LeaseRequest::Update { .. }, .. })
}

#[test]
fn a_withdrawal_that_the_kernel_refuses_is_ordered_again() {
    let mut world = World::holder();
    let epoch = world.lease.as_ref().expect("held").transitions;
    world.kernel_refuses = true;
    world.grant_peer(epoch + 1);
    world.peer_announces(Tenure::Confirmed, epoch + 1);
    assert!(world.worn && world.announcing.is_none(), "yielded, and the address is still there");
    let successor_speaks_for = |world: &mut World, milliseconds: u32| {
        for _ in 0..milliseconds / 100 {
            world.run(Duration::from_millis(100));
            world.peer_announces(Tenure::Confirmed, epoch + 1);
        }
    };
    successor_speaks_for(&mut world, 2_500);
    assert!(count(&world, |effect| matches!(effect, Effect::Withdraw { .. })) >= 3, "asked again and again");
    world.kernel_refuses = false;
    successor_speaks_for(&mut world, 1_100);
    assert!(!world.worn);
    world.effects.clear();
    successor_speaks_for(&mut world, 5_000);
    assert_eq!(
        count(&world, |effect| matches!(effect, Effect::Withdraw { .. })),
        0,
        "once it is done, it is done"
    );
}

#[test]
fn a_holder_without_any_of_its_addresses_lets_a_living_member_have_the_claim() {
    let one = settings();
    let mut two = one.clone();
    two.vips.push("fd00::100".parse().expect("an address"));
    for settings in [one, two] {
        gives_the_claim_away(World::new(settings, Found::default()));
    }
}

fn gives_the_claim_away(mut world: World) {
    world.kernel_refuses = true;
    world.give(Input::Link(Link::Up));
    world.run(Duration::from_secs(1));
    assert!(world.lease.is_none() || !world.worn);
    world.run(Duration::from_secs(30));
    let record = world.lease.clone().expect("made");
    assert_eq!(record.holder.as_deref(), Some("n1"), "alone, it goes on trying");
    world.list_peer();
    world.run(Duration::from_secs(5));
    assert_eq!(world.lease.as_ref().expect("made").holder, None, "released: {:?}", world.events);
    world.kernel_refuses = false;
    world.run(Duration::from_secs(8));
    assert!(!world.worn, "it stays out for one lease duration, so that another can take it");
    world.run(Duration::from_secs(15));
    assert!(world.worn, "nobody else did");
}

/// Two agents on two hosts were given one node name, and the other has just been granted the claim.
fn namesake_takes(world: &mut World) -> u32 {
    let mut record = world.lease.clone().expect("held");
    let epoch = record.transitions + 1;
    let grant = Grant { holder: "n1".to_owned(), epoch, instance: InstanceId(9) };
    record.transitions = epoch;
    record.renew_time = "namesake".to_owned();
    record
        .annotations
        .insert(annotations::GRANT.to_owned(), serde_json::to_string(&grant).expect("plain data"));
    world.lease = Some(record);
    world.touch();
    epoch
}

#[test]
fn namesakes_do_not_take_the_grant_from_each_other_without_end() {
    let mut world = World::holder();
    world.effects.clear();
    namesake_takes(&mut world);
    world.run(Duration::from_secs(3));
    assert_eq!(count(&world, is_write), 0, "the other renewed a moment ago: it lives");
    world.run(Duration::from_secs(10));
    assert_eq!(world.tenure(), Some(Tenure::Confirmed), "it renews no more: a run of before that died");
}

#[test]
fn a_namesakes_question_is_a_claim_like_any_other() {
    let mut world = World::holder();
    let epoch = namesake_takes(&mut world);
    let mark = Mark { tenure: Tenure::Confirmed, epoch, node: NodeName::new("n1").id() };
    let question = Frame { heard_at: world.now, mac: PEER_MAC, sender: None, target: VIP, mark: Some(mark) };
    world.give(Input::Frame(question));
    assert!(!world.worn, "the granted one asked whether there is another");
}

#[test]
fn a_flood_of_strangers_is_told_in_bounded_lines_and_bounded_memory() {
    let mut world = World::holder();
    for number in 0..5_000_u16 {
        let [high, low] = number.to_be_bytes();
        let mac = Mac([6, 0, 0, 0, high, low]);
        world.hear(mac, None);
        let neighbour = world.frame(mac, IpAddr::from([10, 0, 0, 2]), None);
        world.give(neighbour);
    }
    assert!(world.happened("Conflict") <= 64, "{} lines", world.happened("Conflict"));
    assert!(world.machine.watcher.paths_known() <= 256);
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
}

#[test]
fn a_stop_does_not_wait_for_a_grant_that_is_gone() {
    let mut world = World::holder();
    world.give(Input::Link(Link::Down));
    world.run(Duration::from_millis(900));
    world.lease = None;
    world.run(Duration::from_millis(600));
    assert!(!world.worn, "resigned, and found nothing to release");
    world.give(Input::Shutdown);
    world.run(Duration::from_secs(1));
    assert!(world.stopped, "{}", world.machine.lease.standing().word());
}

#[test]
fn a_host_that_is_found_elsewhere_is_published_so_and_judged_by_it() {
    let mut world = World::holder();
    let mac = Mac([2, 0, 0, 0, 0, 0x77]);
    let address = IpAddr::from([10, 0, 0, 31]);
    let foreign = "fd00::31".parse().expect("an address");
    world.give(Input::Own(Member { macs: vec![mac], addresses: vec![address, VIP, foreign] }));
    world.run(Duration::from_secs(3));
    let record = world.lease.clone().expect("held");
    let listed = annotations::members(&record)[&NodeName::new("n1")].clone();
    assert_eq!(
        (listed.macs, listed.addresses),
        (vec![mac], vec![address]),
        "neither the VIP nor another family"
    );
    assert_eq!(world.tenure(), Some(Tenure::Confirmed));
}

#[test]
fn an_address_that_somebody_puts_on_a_follower_goes_once_a_second_at_most() {
    let mut world = World::follower();
    world.effects.clear();
    let withdrawals = |world: &World| count(world, |effect| matches!(effect, Effect::Withdraw { .. }));
    world.give(Input::Address(AddressChange::Appeared { vip: VIP }));
    assert_eq!((withdrawals(&world), world.happened("AddressExpelled")), (1, 1), "at once, and told");
    for _ in 0..2_990 {
        world.run(Duration::from_millis(1));
        world.give(Input::Address(AddressChange::Appeared { vip: VIP }));
    }
    assert_eq!(withdrawals(&world), 3, "by somebody who puts it back at once");

    let mut holder = World::holder();
    holder.effects.clear();
    holder.give(Input::Address(AddressChange::Appeared { vip: VIP }));
    assert_eq!(withdrawals(&holder), 0, "where it belongs it stays");

    let mut successor = World::follower();
    (successor.peer_answers, successor.vip_answers, successor.api) = (false, false, Api::Refuses);
    successor.run(Duration::from_secs(40));
    assert!(successor.worn, "{:?}", successor.events);
    successor.give(Input::Address(AddressChange::Appeared { vip: VIP }));
    assert_eq!(
        successor.happened("AddressExpelled"),
        0,
        "nor by who took over from whom the authority names"
    );

    let mut newcomer = World::under(Api::Hangs, settings(), Found::default());
    newcomer.give(Input::Address(AddressChange::Appeared { vip: VIP }));
    assert_eq!(withdrawals(&newcomer), 0, "before anybody is known to have it, nothing is taken away");
}
