//! Rule 14: the claim's names are resolved anew, and every node sees the new answer at another time.

use std::net::IpAddr;

use mainstay_core::vip::Vip;
use mainstay_lab::sim::VIP;

use super::*;

const OTHER: Vip = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 101));
/// Between the first node that sees a new answer and the last: the interval of look-ups, and caches.
const SPREAD: Duration = Duration::from_secs(20);

/// Node after node sees the answer, in an order that the seed chooses; the last after [`SPREAD`].
fn answer(sim: &mut Sim, nodes: usize, seed: u64, vips: &[Vip]) {
    let first = usize::try_from(seed).expect("small") % nodes;
    for turn in 0..nodes {
        sim.tell_vips((first + turn) % nodes, vips);
        if turn + 1 < nodes {
            sim.run_for(SPREAD / u32::try_from(nodes - 1).expect("small"));
        }
    }
}

fn told(sim: &mut Sim, nodes: usize) {
    (0..nodes).for_each(|node| sim.tell_vips(node, &[VIP]));
    sim.run_for(seconds(3));
}

fn addresses(sim: &Sim, since: Duration) -> Vec<&Event> {
    let named = |event: &Event| matches!(event.kind(), "AddressesChanged" | "AddressesDropped");
    events_since(sim, since).map(|(_, _, event)| event).filter(|event| named(event)).collect()
}

/// There and back, with and without an authority: no client of the old address misses a ping, nobody takes anything.
#[test]
fn rule_14_a_new_answer_that_nodes_see_at_different_times_moves_nothing() {
    for seed in 0..12 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        let out = seed % 2 == 0;
        if out {
            sim.begin(outage(OUTAGES[usize::try_from(seed / 2).expect("small") % OUTAGES.len()]));
        }
        let since = sim.now();
        answer(&mut sim, 3, seed, &[OTHER]);
        sim.run_for(seconds(15));
        answer(&mut sim, 3, seed + 1, &[VIP]);
        sim.run_for(seconds(120));
        if out {
            sim.end(outage(OUTAGES[usize::try_from(seed / 2).expect("small") % OUTAGES.len()]));
            sim.run_for(seconds(20));
        }
        assert_eq!(took(&sim, since), [], "seed {seed}");
        assert_eq!(
            (only_holder(&sim), lost(&sim), sim.lease_holder()),
            (holder, 0, Some(holder)),
            "seed {seed}"
        );
        assert_eq!(
            addresses(&sim, since).len(),
            9,
            "there, back and dropped on each: {:?}",
            addresses(&sim, since)
        );
        clean(&sim);
    }
}

/// The holder dies while the others know different answers: both addresses come back with its successor, as fast as ever.
#[test]
fn rule_14_a_holder_that_dies_while_the_answer_is_new_is_succeeded_as_fast_as_ever() {
    for seed in 0..12 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        if seed % 2 == 0 {
            sim.begin(outage(ApiForm::Refused));
            sim.run_for(seconds(4));
        }
        answer(&mut sim, 3, seed, &[OTHER]);
        let since = sim.now();
        sim.run_for(ms(seed * 700));
        sim.begin(Kind::PowerLoss(holder));
        assert!(sim.run_until(seconds(3), |sim| sim.view().lit()), "seed {seed}: dark for 3 s");
        let successor = took(&sim, since).first().map(|(_, node, ..)| *node).expect("somebody took it");
        assert!(sim.wears(successor), "seed {seed}: the old address, too");
        sim.run_for(seconds(20));
        assert_eq!(only_holder(&sim), successor, "seed {seed}");
        clean(&sim);
    }
}

/// A node whose name server is dead never sees the new answer, and does not take the claim for it.
#[test]
fn rule_14_a_node_that_never_sees_the_new_answer_takes_nothing() {
    for seed in 0..6 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        let (since, ill) = (sim.now(), other_than(holder));
        (0..3).filter(|node| *node != ill).for_each(|node| sim.tell_vips(node, &[OTHER]));
        sim.run_for(seconds(180));
        assert_eq!(took(&sim, since), [], "seed {seed}");
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}");
        assert!(!sim.wears(holder), "the old address is dropped");
    }
}

/// The same through an outage: what the holder said last that it wears is what is asked for.
#[test]
fn rule_14_a_node_that_never_saw_the_new_answer_takes_nothing_in_an_outage() {
    for seed in 0..6 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        let (since, ill) = (sim.now(), other_than(holder));
        (0..3).filter(|node| *node != ill).for_each(|node| sim.tell_vips(node, &[OTHER]));
        sim.run_for(seconds(40 + seed * 10));
        let form = OUTAGES[usize::try_from(seed).expect("small") % OUTAGES.len()];
        sim.begin(outage(form));
        sim.run_for(seconds(120));
        sim.end(outage(form));
        sim.run_for(seconds(60));
        assert_eq!(took(&sim, since), [], "seed {seed}");
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}");
    }
}

/// The same where it is restarted in the outage: what the holder said last is remembered.
#[test]
fn rule_14_a_node_that_never_saw_the_new_answer_and_restarts_in_an_outage_takes_nothing() {
    for seed in 0..6 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        let (since, ill) = (sim.now(), other_than(holder));
        (0..3).filter(|node| *node != ill).for_each(|node| sim.tell_vips(node, &[OTHER]));
        sim.run_for(seconds(90 + seed));
        let form = OUTAGES[usize::try_from(seed).expect("small") % OUTAGES.len()];
        sim.begin(outage(form));
        sim.run_for(seconds(10));
        for _ in 0..2 {
            sim.begin(Kind::Crash(ill));
            sim.run_for(seconds(1));
            sim.end(Kind::Crash(ill));
            sim.tell_vips(ill, &[VIP]);
            sim.run_for(seconds(60));
        }
        sim.end(outage(form));
        sim.run_for(seconds(60));
        assert_eq!(took(&sim, since), [], "seed {seed}");
        assert_eq!(sim.lease_holder(), Some(holder), "seed {seed}");
    }
}

/// What was remembered keeps nobody from taking over: the holder is dead as well.
#[test]
fn rule_14_a_node_that_restarts_in_an_outage_succeeds_a_holder_that_died_in_it() {
    for seed in 0..4 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        let survivor = other_than(holder);
        (0..3).filter(|node| *node != survivor).for_each(|node| sim.tell_vips(node, &[OTHER]));
        sim.run_for(seconds(90));
        sim.begin(outage(ApiForm::Refused));
        sim.run_for(seconds(10));
        sim.begin(Kind::Crash(survivor));
        (0..3).filter(|node| *node != survivor).for_each(|node| sim.begin(Kind::PowerLoss(node)));
        sim.end(Kind::Crash(survivor));
        sim.tell_vips(survivor, &[VIP]);
        sim.run_for(seconds(40));
        assert!(sim.wears(survivor), "seed {seed}");
    }
}

/// The last survivor of an outage knows the old address alone, and takes over.
#[test]
fn rule_14_the_last_survivor_takes_over_whatever_it_knows() {
    for seed in 0..4 {
        let (mut sim, holder) = settled(seed, 3);
        told(&mut sim, 3);
        let survivor = other_than(holder);
        (0..3).filter(|node| *node != survivor).for_each(|node| sim.tell_vips(node, &[OTHER]));
        sim.run_for(seconds(90));
        if seed % 2 == 0 {
            sim.begin(outage(ApiForm::Refused));
            sim.run_for(seconds(10));
        }
        (0..3).filter(|node| *node != survivor).for_each(|node| sim.begin(Kind::PowerLoss(node)));
        sim.run_for(seconds(40));
        assert!(sim.wears(survivor), "seed {seed}");
    }
}
