//! Services spread over nodes by seats (docs/services.md, "Spreading"): what an address, a seat and the placer do when
//! something goes wrong.
//!
//! Seats' Leases are granted for 13.3 s and renewed every 5 s.

use super::*;
use mainstay_core::check::Entry;
use mainstay_core::vip::Vip;

/// A world whose nodes hold their own seats, with so many addresses placed evenly.
fn spread(seed: u64, nodes: usize, addresses: usize) -> Sim {
    let trace = std::env::var("MAINSTAY_SIM_TRACE").is_ok();
    let schedule = Schedule { addresses, ..Schedule::calm(seed, nodes) };
    let tune = Tune { trace, ping_every: ms(100), ..Tune::default() };
    let mut sim = World::new(schedule, tune);
    sim.run_for(seconds(20));
    for home in 0..nodes {
        assert_eq!(sim.seat_holders(home), [home], "seed {seed}");
    }
    for vip in all(&sim) {
        assert_eq!(sim.wearers(vip), [home_of(&sim, vip)], "seed {seed}: {vip}");
    }
    sim
}

fn all(sim: &Sim) -> Vec<Vip> {
    sim.addresses().to_vec()
}

fn home_of(sim: &Sim, vip: Vip) -> usize {
    sim.recorded_at(vip).expect("it is on record")
}

/// Every address has one wearer, whom its clients know.
#[track_caller]
fn all_served(sim: &Sim) {
    for vip in all(sim) {
        let [wearer] = sim.wearers(vip)[..] else { panic!("{vip}: {:?}", sim.wearers(vip)) };
        let right = [Entry::Empty, Entry::Node(wearer)];
        assert!(
            sim.clients_of(vip).iter().all(|entry| right.contains(entry)),
            "{vip}: {:?}",
            sim.clients_of(vip)
        );
    }
    assert_eq!(sim.broken(), []);
}

/// For how long each of these was dark at the most, in the time that passes.
fn longest_dark(sim: &mut Sim, vips: &[Vip], time: Duration) -> Duration {
    let (end, mut since, mut longest) = (sim.now() + time, vec![None; vips.len()], Duration::ZERO);
    while sim.now() < end {
        sim.run_for(ms(10));
        for (since, vip) in since.iter_mut().zip(vips) {
            let dark = sim.wearers(*vip).is_empty();
            let began = dark.then(|| since.unwrap_or(sim.now()));
            longest = longest.max(began.map_or(Duration::ZERO, |began| sim.now().saturating_sub(began)));
            *since = began;
        }
    }
    longest
}

/// The address that is recorded at a node's seat, where it is the only one.
fn at_home(sim: &Sim, home: usize) -> Vip {
    all(sim).into_iter().find(|vip| home_of(sim, *vip) == home).expect("one is recorded there")
}

/// Runs until all seats are held at home, and each address has one wearer; how long that took.
#[track_caller]
fn until_all_are_home(sim: &mut Sim, nodes: usize, limit: Duration) {
    let home = |sim: &Sim| (0..nodes).all(|home| sim.seat_holders(home) == [home]);
    let came =
        sim.run_until(limit, |sim| home(sim) && all(sim).iter().all(|vip| sim.wearers(*vip).len() == 1));
    assert!(came, "{:?}", (0..nodes).map(|home| sim.seat_holders(home)).collect::<Vec<_>>());
}

#[test]
fn a_dead_nodes_seat_is_inherited_as_a_whole_emptied_and_given_back() {
    for seed in 0..8 {
        let mut sim = spread(seed, 3, 6);
        let (lost, vips) = (1, all(&sim));
        let (were_there, elsewhere): (Vec<Vip>, Vec<Vip>) =
            vips.iter().partition(|vip| home_of(&sim, **vip) == lost);
        sim.begin(Kind::PowerLoss(lost));
        let dark = longest_dark(&mut sim, &were_there, ms(450));
        assert!(dark < ms(450), "seed {seed}: {dark:?}");
        assert!(were_there.iter().all(|vip| !sim.wearers(*vip).is_empty()), "seed {seed}: as a whole");
        assert_eq!(
            longest_dark(&mut sim, &vips, seconds(30)),
            Duration::ZERO,
            "seed {seed}: make before break"
        );
        for vip in &were_there {
            assert_ne!(home_of(&sim, *vip), lost, "seed {seed}: it is empty");
        }
        for vip in elsewhere {
            assert_ne!(home_of(&sim, vip), lost, "seed {seed}");
        }
        all_served(&sim);
        sim.end(Kind::PowerLoss(lost));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(8)), Duration::ZERO, "seed {seed}");
        until_all_are_home(&mut sim, 3, seconds(30));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(20)), Duration::ZERO, "seed {seed}");
        let back = vips.iter().filter(|vip| home_of(&sim, **vip) == lost).count();
        // Until all are within one claim of the mean, which is two.
        assert!(back >= 1, "seed {seed}: evened out: {back}");
        all_served(&sim);
    }
}

#[test]
fn an_inherited_seat_empties_at_once() {
    for seed in 0..4 {
        let mut sim = spread(seed, 3, 12);
        let vips = all(&sim);
        let at_lost = |sim: &Sim| vips.iter().filter(|vip| home_of(sim, **vip) == 1).count();
        let had = at_lost(&sim);
        sim.begin(Kind::PowerLoss(1));
        assert!(sim.run_until(seconds(5), |sim| at_lost(sim) < had), "seed {seed}: it is inherited");
        // One at a time it would take a second and a half.
        assert!(
            sim.run_until(seconds(1), |sim| at_lost(sim) == 0),
            "seed {seed}: {} of {had}",
            at_lost(&sim)
        );
        sim.run_for(seconds(5));
        all_served(&sim);
    }
}

#[test]
fn an_outage_alone_moves_nothing_of_what_is_spread() {
    for (seed, form) in (0..).zip(OUTAGES) {
        let mut sim = spread(seed, 3, 4);
        let vips = all(&sim);
        let before: Vec<_> = vips.iter().map(|vip| sim.wearers(*vip)).collect();
        sim.begin(outage(form));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(90)), Duration::ZERO, "{form:?}");
        sim.end(outage(form));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(60)), Duration::ZERO, "{form:?}");
        let after: Vec<_> = vips.iter().map(|vip| sim.wearers(*vip)).collect();
        assert_eq!(before, after, "{form:?}");
        all_served(&sim);
    }
}

#[test]
fn a_node_that_dies_in_an_outage_is_inherited_and_the_outages_end_moves_nothing() {
    for (seed, form) in (0..).zip(OUTAGES) {
        let mut sim = spread(seed, 3, 3);
        let (lost, vip) = (2, at_home(&sim, 2));
        sim.begin(outage(form));
        sim.run_for(seconds(20));
        sim.begin(Kind::PowerLoss(lost));
        let dark = longest_dark(&mut sim, &[vip], seconds(10));
        assert!(dark < seconds(5), "{form:?}: {dark:?}");
        assert_eq!(sim.wearers(vip).len(), 1, "{form:?}");
        sim.end(outage(form));
        assert_eq!(longest_dark(&mut sim, &[vip], seconds(60)), Duration::ZERO, "{form:?}");
        all_served(&sim);
    }
}

/// The new wearer sees the record two seconds late, or the old one does.
#[test]
fn an_address_that_is_recorded_elsewhere_moves_make_before_break() {
    for seed in 0..6 {
        let mut sim = spread(seed, 3, 3);
        let (vip, late) = (at_home(&sim, 0), usize::from(seed % 2 == 0));
        sim.begin(Kind::WatchLate(late, 2_000));
        sim.place_at(vip, 1);
        assert_eq!(longest_dark(&mut sim, &[vip], ms(1_500)), Duration::ZERO, "seed {seed}");
        assert!(
            sim.wearers(vip).contains(&0),
            "seed {seed}: until its new wearer is heard: {:?}",
            sim.wearers(vip)
        );
        assert_eq!(longest_dark(&mut sim, &[vip], seconds(4)), Duration::ZERO, "seed {seed}");
        sim.end(Kind::WatchLate(late, 2_000));
        assert_eq!(sim.wearers(vip), [1], "seed {seed}");
        all_served(&sim);
    }
}

/// One read that an address was placed elsewhere, and the other did not before no API server answered.
#[test]
fn two_that_know_different_records_in_an_outage_settle_it_on_the_wire() {
    for seed in 0..6 {
        let mut sim = spread(seed, 2, 2);
        let (from, to) = if seed % 2 == 0 { (0, 1) } else { (1, 0) };
        let vip = at_home(&sim, from);
        sim.begin(Kind::WatchSilent(from));
        sim.place_at(vip, to);
        sim.run_for(ms(300));
        sim.begin(outage(ApiForm::Refused));
        assert_eq!(longest_dark(&mut sim, &[vip], seconds(30)), Duration::ZERO, "seed {seed}");
        assert_eq!(sim.wearers(vip).len(), 1, "seed {seed}: {:?}", sim.wearers(vip));
        sim.end(Kind::WatchSilent(from));
        sim.end(outage(ApiForm::Refused));
        assert_eq!(longest_dark(&mut sim, &[vip], seconds(20)), Duration::ZERO, "seed {seed}");
        assert_eq!(sim.wearers(vip), [to], "seed {seed}: the record says so");
        all_served(&sim);
    }
}

#[test]
fn a_dead_nodes_empty_seat_is_taken_by_nobody() {
    for seed in 0..3 {
        let mut sim = spread(seed, 3, 2);
        sim.begin(Kind::PowerLoss(2));
        for _ in 0..60 {
            sim.run_for(seconds(1));
            assert!(sim.seat_holders(2).is_empty(), "seed {seed}");
        }
        sim.end(Kind::PowerLoss(2));
        until_all_are_home(&mut sim, 3, seconds(20));
        all_served(&sim);
    }
}

#[test]
fn what_a_node_may_hold_no_more_goes_at_once_and_it_takes_no_seat() {
    for seed in 0..6 {
        let mut sim = spread(seed, 3, 6);
        let (vips, dying) = (all(&sim), 0);
        // The first that follows the one that will die.
        let unfit = sim.ring(dying)[1];
        sim.begin(Kind::Unhealthy(unfit));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(2)), Duration::ZERO, "seed {seed}");
        assert!(vips.iter().all(|vip| home_of(&sim, *vip) != unfit), "seed {seed}");
        sim.begin(Kind::PowerLoss(dying));
        sim.run_for(seconds(1));
        assert!(!sim.seat_holders(dying).contains(&unfit), "seed {seed}");
        sim.run_for(seconds(20));
        all_served(&sim);
    }
}

#[test]
fn an_agent_that_restarts_in_an_outage_goes_on_with_its_seat() {
    for seed in 0..4 {
        let mut sim = spread(seed, 3, 3);
        let (vips, restarts) = (all(&sim), 1);
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(15));
        sim.begin(Kind::Crash(restarts));
        sim.run_for(seconds(2));
        sim.end(Kind::Crash(restarts));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(60)), Duration::ZERO, "seed {seed}");
        assert_eq!(sim.seat_holders(restarts), [restarts], "seed {seed}");
        sim.end(outage(ApiForm::Refused));
        sim.run_for(seconds(40));
        all_served(&sim);
    }
}

#[test]
fn a_node_whose_agent_stops_hands_its_seat_over_make_before_break() {
    for seed in 0..4 {
        let mut sim = spread(seed, 3, 3);
        let (vips, stops) = (all(&sim), 2);
        sim.begin(Kind::Shutdown(stops));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(30)), Duration::ZERO, "seed {seed}");
        assert!(vips.iter().all(|vip| !sim.wearers(*vip).contains(&stops)), "seed {seed}");
        sim.end(Kind::Shutdown(stops));
        assert_eq!(longest_dark(&mut sim, &vips, seconds(60)), Duration::ZERO, "seed {seed}");
        until_all_are_home(&mut sim, 3, seconds(20));
        all_served(&sim);
    }
}

/// A rack loses its power: a node, and with it all that would have missed it first. The placer is among them.
#[test]
fn a_rack_that_dies_at_once_is_served_elsewhere_within_seconds() {
    for (seed, cut_off) in [(0, false), (1, false), (2, true), (3, true)] {
        let (nodes, lost) = (8, 5);
        let mut sim = spread(seed, nodes, nodes);
        let vips = all(&sim);
        let rack = sim.ring(only_holder(&sim))[..lost].to_vec();
        if cut_off {
            sim.begin(outage(ApiForm::Refused));
            sim.run_for(seconds(15));
        }
        rack.iter().for_each(|node| sim.begin(Kind::PowerLoss(*node)));
        let dark = longest_dark(&mut sim, &vips, seconds(10));
        assert!(dark < seconds(5), "seed {seed}: {dark:?}");
        assert!(vips.iter().all(|vip| sim.wearers(*vip).len() == 1), "seed {seed}");
        if cut_off {
            sim.end(outage(ApiForm::Refused));
        }
        assert_eq!(longest_dark(&mut sim, &vips, seconds(60)), Duration::ZERO, "seed {seed}");
        let placed = |vip: &Vip| !rack.contains(&home_of(&sim, *vip));
        assert!(vips.iter().all(placed), "seed {seed}: another places");
        all_served(&sim);
    }
}
