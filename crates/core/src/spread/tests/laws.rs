//! Laws, over small clusters of every sort.

use proptest::prelude::*;

use super::super::*;
use super::world::{Moved, World, id, node};
use crate::placement::{Fitness, Reluctance};
use crate::rng::Rng;

const HOMES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// Mostly a seat that its home holds; else another holds it, or nobody knows, or it is not there.
fn seat(home: &'static str) -> impl Strategy<Value = Option<(NodeName, Seat)>> {
    let holder = prop_oneof![
        6 => Just(Some(Some(node(home)))),
        2 => prop::sample::select(&HOMES[..]).prop_map(|other| Some(Some(node(other)))),
        1 => Just(Some(None)),
        1 => Just(None),
    ];
    (holder, prop::bool::weighted(0.9))
        .prop_map(move |(holder, has_agent)| holder.map(|holder| (node(home), Seat { holder, has_agent })))
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let of_one = |home: &'static str| {
        let fitness = prop_oneof![
            4 => Just(Fitness::Fit),
            1 => Just(Fitness::Reluctant(Reluctance::Unschedulable)),
        ];
        let weight = prop_oneof![4 => Just(0), 1 => 1_u32..3];
        let one = (fitness, weight).prop_map(move |(fitness, weight)| Candidate {
            node: node(home),
            fitness,
            weight,
        });
        prop::option::weighted(0.8, one)
    };
    HOMES.map(of_one).prop_map(|all| all.into_iter().flatten().collect())
}

fn records() -> impl Strategy<Value = Vec<NodeName>> {
    let name = prop_oneof![9 => prop::sample::select(&HOMES[..]), 1 => Just("gone")];
    prop::collection::vec(name.prop_map(node), 0..=2).prop_map(distinct)
}

prop_compose! {
    fn worlds()(
        seats in HOMES.map(seat),
        claims in prop::collection::vec((candidates(), records()), 0..30),
    ) -> World {
        let mut world = World::of("");
        world.seats = seats.into_iter().flatten().collect();
        for (number, (candidates, records)) in (0..).zip(claims) {
            world.demands.insert(id(number), Demand { claim: id(number), records, candidates });
        }
        world
    }
}

fn holder<'a>(seats: &'a Seats, seat: &NodeName) -> Option<&'a NodeName> {
    seats.get(seat)?.holder.as_ref()
}

/// Where it stays by what is on record, as the rules have it.
fn kept<'a>(demand: &'a Demand, seats: &Seats) -> Option<&'a NodeName> {
    let first = demand.records.first()?;
    if seats.get(first).is_some_and(|seat| seat.holder.is_none()) {
        return Some(first);
    }
    let could = |seat: &&NodeName| holder(seats, seat).is_some_and(|by| candidate(demand, by).is_some());
    let at_home = |seat: &&NodeName| could(seat) && holder(seats, seat) == Some(*seat);
    let kept = demand.records.iter().find(at_home).or_else(|| demand.records.iter().find(could))?;
    let by = holder(seats, kept).and_then(|by| candidate(demand, by))?;
    let as_good = targets(demand, seats).iter().any(|one| standing(one) >= standing(by));
    (by.node == *kept || !as_good).then_some(kept)
}

fn may_stay(demand: &Demand, seats: &Seats) -> bool {
    demand.records.first().is_some_and(|first| kept(demand, seats) == Some(first))
}

fn targets(demand: &Demand, seats: &Seats) -> Vec<Candidate> {
    let is_target = |one: &&Candidate| {
        seats.get(&one.node).is_some_and(|seat| seat.holder.as_ref() == Some(&one.node) && seat.has_agent)
    };
    demand.candidates.iter().filter(is_target).cloned().collect()
}

fn standing(one: &Candidate) -> (bool, u32) {
    (one.fitness == Fitness::Fit, one.weight)
}

fn candidate<'a>(demand: &'a Demand, node: &NodeName) -> Option<&'a Candidate> {
    demand.candidates.iter().find(|one| one.node == *node)
}

fn shuffled<T>(mut all: Vec<T>, rng: &mut Rng) -> Vec<T> {
    for end in (1..all.len()).rev() {
        let other = rng.below(u64::try_from(end + 1).expect("few"));
        all.swap(end, usize::try_from(other).expect("few"));
    }
    all
}

/// A history: each time some of what is decided comes on record, time goes on, and now and then a placer is replaced.
fn history(world: &mut World, seed: u64, mut each: impl FnMut(&World, &Decision)) {
    let mut rng = Rng::new(seed);
    for _ in 0..60 {
        if rng.below(8) == 0 {
            world.placer = Placer::default();
        }
        let decision = world.decision();
        each(world, &decision);
        let claims: Vec<ClaimId> = decision.seats.keys().cloned().collect();
        for claim in claims.iter().filter(|_| rng.below(3) > 0) {
            world.write_claim(&decision, claim);
        }
        world.now = world.now + rng.duration(MOVE_EVERY * 2);
    }
}

fn changes(world: &World, decision: &Decision) -> Vec<(ClaimId, NodeName, NodeName)> {
    let change = |demand: &Demand| {
        let (from, to) = (demand.records.first()?, decision.seats.get(&demand.claim)?);
        (from != to).then(|| (demand.claim.clone(), from.clone(), to.clone()))
    };
    world.demands.values().filter_map(change).collect()
}

/// The own seat of whoever inherited this one, if that is held at home; else the seat itself.
fn heir<'a>(seat: &'a NodeName, seats: &'a Seats) -> &'a NodeName {
    let at_home = |node: &&NodeName| {
        seats.get(*node).is_some_and(|own| own.has_agent && own.holder.as_ref() == Some(node))
    };
    holder(seats, seat).filter(at_home).unwrap_or(seat)
}

proptest! {
    #[test]
    fn the_order_of_what_is_listed_does_not_matter(mut world in worlds(), seed: u64) {
        let mut rng = Rng::new(seed);
        for _ in 0..8 {
            let mixed = world.demands.values().map(|demand| {
                Demand { candidates: shuffled(demand.candidates.clone(), &mut rng), ..demand.clone() }
            });
            let mixed: Vec<Demand> = mixed.collect();
            let mixed = shuffled(mixed, &mut rng);
            let mut other = world.placer.clone();
            let told = other.decide(world.now, &mixed, &world.seats);
            let decision = world.decision();
            prop_assert_eq!(&told, &decision);
            prop_assert_eq!(&other, &world.placer);
            world.write_all(&decision);
            world.now = world.now + MOVE_EVERY;
        }
    }

    #[test]
    fn what_may_stay_stays_and_the_rest_is_at_a_best_target(mut world in worlds()) {
        let decision = world.decision();
        for demand in world.demands.values() {
            let seat = decision.seats.get(&demand.claim);
            let targets = targets(demand, &world.seats);
            if let Some(kept) = kept(demand, &world.seats) {
                prop_assert_eq!(seat, Some(kept));
            } else if targets.is_empty() {
                prop_assert_eq!(seat, demand.records.first().map(|seat| heir(seat, &world.seats)));
            } else {
                let at = targets.iter().find(|one| Some(&one.node) == seat);
                prop_assert_eq!(at.map(standing), targets.iter().map(standing).max());
            }
        }
    }

    /// Whatever comes back or joins.
    #[test]
    fn a_seat_that_is_added_or_goes_home_moves_nothing_by_itself(mut world in worlds(), home in prop::sample::select(&HOMES[..])) {
        let decision = world.decision();
        world.write_all(&decision);
        let at_home = |seat: &NodeName| holder(&world.seats, seat).is_none_or(|by| by == seat);
        let is_there_for_some = |demand: &&Demand| {
            may_stay(demand, &world.seats) && demand.records != [node(home)] && at_home(&demand.records[0])
        };
        let before: Vec<Demand> = world.demands.values().filter(is_there_for_some).cloned().collect();
        world.seats.insert(node(home), Seat { holder: Some(node(home)), has_agent: true });
        let after = world.decision();
        for demand in before {
            prop_assert_eq!(after.seats.get(&demand.claim), demand.records.first());
        }
    }

    /// Over any history, with placers that come and go: what may stay moves one at a time, each on grounds.
    #[test]
    fn slow_moves_are_few_and_each_makes_something_better(mut world in worlds(), seed: u64) {
        let mut last: Option<(Moment, ClaimId, NodeName)> = None;
        let mut verdict = Ok(());
        history(&mut world, seed, |world, decision| {
            let slow: Vec<_> = changes(world, decision)
                .into_iter()
                .filter(|(claim, ..)| may_stay(&world.demands[claim], &world.seats))
                .collect();
            if slow.len() > 1 {
                verdict = Err(format!("at once: {slow:?}"));
            }
            for (claim, from, to) in slow {
                let is_new = last.as_ref().is_none_or(|(_, moved, target)| (moved, target) != (&claim, &to));
                if is_new && last.as_ref().is_some_and(|(moment, ..)| world.now.since(*moment) < MOVE_EVERY) {
                    verdict = Err(format!("too fast: {claim}"));
                }
                if is_new {
                    verdict = verdict.clone().and(on_grounds(world, decision, &(claim.clone(), from, to.clone())));
                    last = Some((world.now, claim, to));
                }
            }
        });
        prop_assert_eq!(verdict, Ok(()));
    }

    #[test]
    fn it_ends_and_then_nothing_moves_by_whatever_placer(mut world in worlds(), seed: u64) {
        history(&mut world, seed, |_, _| ());
        world.settle();
        let settled = world.demands.clone();
        for placer in [world.placer.clone(), Placer::default()] {
            world.placer = placer;
            for _ in 0..5 {
                let decision = world.decision();
                prop_assert_eq!(changes(&world, &decision), []);
                prop_assert_eq!(decision.look_again, None);
                world.now = world.now + MOVE_EVERY * 3;
            }
        }
        prop_assert_eq!(&settled, &world.demands);
    }

    /// The first to decide and one that comes after it, with nothing but the records.
    #[test]
    fn two_placers_agree(world in worlds()) {
        let mut first = world.clone();
        let decision = first.decision();
        prop_assert_eq!(&world.clone().decision(), &decision);
        first.write_all(&decision);
        let mut second = World { placer: Placer::default(), now: first.now + MOVE_EVERY * 7, ..first.clone() };
        first.now = second.now;
        let known = second.decision();
        prop_assert_eq!(changes(&second, &known), []);
        second.now = second.now + MOVE_EVERY;
        prop_assert_eq!(first.decision().seats, second.decision().seats);
    }

    /// Equal nodes: what the dead one had goes to the others, evenly, and nothing else moves.
    #[test]
    fn a_death_moves_only_what_the_dead_one_had(claims in 0_u32..60, dead in 0_usize..5, heir in 1_usize..5) {
        let (dead, heir) = (HOMES[dead], HOMES[(dead + heir) % 5]);
        let mut world = World::of(&HOMES.join(" "));
        for claim in 0..claims {
            world.claim(claim, &HOMES.join(" "));
        }
        world.settle();
        let had = world.loads()[&node(dead)];
        for demand in world.demands.values_mut() {
            demand.candidates.retain(|one| one.node != node(dead));
        }
        world.hold(dead, heir);
        let moved: Vec<Moved> = world.settle();
        prop_assert!(moved.iter().all(|(_, _, from, _)| *from == node(dead)));
        prop_assert_eq!(moved.len(), had);
        let loads: Vec<usize> = world.loads().into_values().collect();
        prop_assert!(loads.iter().max().unwrap_or(&0) - loads.iter().min().unwrap_or(&0) <= 1, "{:?}", loads);
    }

    /// Claims that all could hold come within a tenth of the mean, or one claim of it.
    #[test]
    fn rebalancing_reaches_its_aim(loads in prop::collection::vec(0_u32..60, 2..5)) {
        let homes = HOMES[..loads.len()].join(" ");
        let mut world = World::of(&homes);
        let mut next = 0;
        for (home, load) in HOMES.iter().zip(&loads) {
            for claim in next..next + load {
                world.claim(claim, &homes).recorded(claim, home);
            }
            next += load;
        }
        let moved = world.settle();
        let (nodes, sum) = (loads.len(), usize::try_from(next).expect("few"));
        let after: Vec<usize> = world.loads().into_values().collect();
        let is_near = |load: &usize| (load * nodes).abs_diff(sum) <= nodes.max(sum / 10);
        let was_even = 10 * nodes * usize::try_from(*loads.iter().max().expect("two")).expect("few") <= 12 * sum;
        prop_assert!(if was_even { moved.is_empty() } else { after.iter().all(is_near) }, "{:?}", after);
    }
}

/// Why a claim that may stay moves: its holder has two claims more than the target.
fn on_grounds(
    world: &World,
    decision: &Decision,
    (claim, from, to): &(ClaimId, NodeName, NodeName),
) -> Result<(), String> {
    let demand = &world.demands[claim];
    let by = holder(&world.seats, from).and_then(|one| candidate(demand, one));
    let by = by.ok_or("nobody knows who holds it")?;
    let target = targets(demand, &world.seats).into_iter().find(|one| one.node == *to).ok_or("no target")?;
    let mut before = world.clone();
    before.write_all(decision);
    before.demands.get_mut(claim).expect("it is there").records = vec![from.clone()];
    let loads = before.loads();
    let is_good =
        target.fitness == Fitness::Fit && target.weight >= by.weight && loads[from] >= loads[to] + 2;
    if is_good { Ok(()) } else { Err(format!("no better: {claim} from {from} to {to}: {loads:?}")) }
}
