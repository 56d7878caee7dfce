//! One decision on its way: who stays, who goes at once, and how many claims each node has by that.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::{Decision, Demand, Move, Seats};
use crate::names::{ClaimId, NodeId, NodeName};
use crate::placement::{Candidate, Fitness, scores};
use crate::time::Moment;

/// Where each claim is to be, as far as that is decided.
pub(super) struct Plan<'a> {
    seats: &'a Seats,
    /// Ordered by claim.
    pub(super) places: Vec<Place<'a>>,
    loads: BTreeMap<Key<'a>, Load>,
    passed_over: BTreeSet<ClaimId>,
}

/// A node by its id first: comparing names costs more.
pub(super) type Key<'a> = (NodeId, &'a NodeName);

/// The key of `node`.
pub(super) fn key(node: &NodeName) -> Key<'_> {
    (node.id(), node)
}

/// A node that holds a seat.
#[derive(Clone, Copy, Default)]
pub(super) struct Load {
    /// How many claims are at the seats that it holds.
    pub(super) claims: usize,
    /// Whether it holds its own seat, and an agent is known on it: claims may be placed there.
    pub(super) is_target: bool,
}

/// One claim, and where it is to be.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) demand: &'a Demand,
    pub(super) seat: Option<&'a NodeName>,
    standing: Standing<'a>,
}

/// What a claim is to its place.
#[derive(Clone, Copy)]
enum Standing<'a> {
    /// It may stay: the seat's holder could hold it.
    Held(&'a Candidate),
    /// It has to stay: nobody knows who holds the seat, or nobody else could.
    Fixed,
    /// It is to be placed, and can be.
    Open,
}

impl<'a> Place<'a> {
    /// Who holds the claim, where it is on record here, and may stay.
    pub(super) fn settled(&self) -> Option<(&'a NodeName, &'a Candidate)> {
        let Standing::Held(by) = self.standing else { return None };
        let seat = self.seat.filter(|seat| self.demand.records.first() == Some(seat))?;
        Some((seat, by))
    }
}

/// What goes before load: never from more to less of it, if it is not at once.
fn standing(candidate: &Candidate) -> (bool, u32) {
    (candidate.fitness == Fitness::Fit, candidate.weight)
}

impl<'a> Plan<'a> {
    /// All that stays is where it is; the rest is open.
    pub(super) fn new(demands: impl IntoIterator<Item = &'a Demand>, seats: &'a Seats) -> Self {
        let mut demands: Vec<&Demand> = demands.into_iter().collect();
        demands.sort_by(|one, other| one.claim.cmp(&other.claim));
        let (places, passed_over) = (Vec::with_capacity(demands.len()), BTreeSet::new());
        let mut plan = Self { seats, places, loads: loads(seats), passed_over };
        for demand in demands {
            let place = plan.stay(demand);
            plan.count(place.seat);
            plan.places.push(place);
        }
        plan
    }

    /// These claims are not moved slowly.
    pub(super) fn passing_over(self, passed_over: BTreeSet<ClaimId>) -> Self {
        Self { passed_over, ..self }
    }

    /// Whether a slow move of it is tried.
    pub(super) fn may_move(&self, place: &Place<'_>) -> bool {
        !self.passed_over.contains(&place.demand.claim)
    }

    fn stay(&self, demand: &'a Demand) -> Place<'a> {
        let recorded = demand.records.first();
        let place = |seat, standing| Place { demand, seat, standing };
        if recorded.is_some_and(|seat| self.is_unseen(seat)) {
            return place(recorded, Standing::Fixed);
        }
        // Where claims joined, the first that could hold the whole keeps it: one at home before one that was inherited.
        let mut held = demand.records.iter().filter_map(|seat| self.held(seat, demand));
        let at_home = held.clone().find(|(seat, by)| **seat == by.node);
        let inherited = held.next().filter(|(_, by)| !self.has_as_good(demand, by));
        if let Some((seat, by)) = at_home.or(inherited) {
            return place(Some(seat), Standing::Held(by));
        }
        if demand.candidates.iter().any(|one| self.is_target(&one.node)) {
            return place(None, Standing::Open);
        }
        place(recorded.map(|seat| self.heir(seat).unwrap_or(seat)), Standing::Fixed)
    }

    /// A seat with its holder, if that could hold the claim.
    fn held(&self, seat: &'a NodeName, demand: &'a Demand) -> Option<(&'a NodeName, &'a Candidate)> {
        Some((seat, demand.candidate(self.holder(seat)?)?))
    }

    /// Whether there is a target that is no worse than who holds it now at a seat that is not its own.
    fn has_as_good(&self, demand: &Demand, by: &Candidate) -> bool {
        demand.candidates.iter().any(|one| standing(one) >= standing(by) && self.is_target(&one.node))
    }

    /// The own seat of whoever inherited this one. What nobody could hold goes on with it there: an inherited seat that is
    /// never empty never goes home, and who is not at home is given nothing.
    fn heir(&self, seat: &NodeName) -> Option<&'a NodeName> {
        self.holder(seat).filter(|holder| *holder != seat && self.is_target(holder))
    }

    /// Whether the seat is there, and nobody knows who holds it.
    fn is_unseen(&self, seat: &NodeName) -> bool {
        self.seats.get(seat).is_some_and(|seat| seat.holder.is_none())
    }

    fn holder(&self, seat: &NodeName) -> Option<&'a NodeName> {
        self.seats.get(seat)?.holder.as_ref()
    }

    fn load(&mut self, seat: Option<&NodeName>) -> Option<&mut Load> {
        let holder = self.holder(seat?)?;
        self.loads.get_mut(&key(holder))
    }

    fn count(&mut self, seat: Option<&NodeName>) {
        if let Some(load) = self.load(seat) {
            load.claims += 1;
        }
    }

    fn uncount(&mut self, seat: Option<&NodeName>) {
        if let Some(load) = self.load(seat) {
            load.claims -= 1;
        }
    }

    /// The load of a node that claims may be placed at.
    pub(super) fn target(&self, node: &NodeName) -> Option<Load> {
        self.loads.get(&key(node)).copied().filter(|load| load.is_target)
    }

    fn is_target(&self, node: &NodeName) -> bool {
        self.target(node).is_some()
    }

    /// All nodes that claims may be placed at.
    pub(super) fn targets(&self) -> impl Iterator<Item = (Key<'a>, Load)> {
        self.loads.iter().filter(|(_, load)| load.is_target).map(|(key, load)| (*key, *load))
    }

    /// Moves a claim, if that is still a move: it is on record where it was, may stay there, and may be where it is to go.
    pub(super) fn shift(&mut self, the: &Move) -> bool {
        let found = self.places.binary_search_by(|place| place.demand.claim.cmp(&the.claim));
        let Some(place) = found.ok().and_then(|index| self.places.get(index)).copied() else { return false };
        let from = place.settled().map(|(seat, _)| seat).filter(|seat| **seat == the.from);
        let to = place.demand.candidate(&the.to).filter(|to| self.is_target(&to.node));
        let (Some(_), Some(to), Ok(index)) = (from, to, found) else { return false };
        self.uncount(place.seat);
        self.put(index, to);
        true
    }

    /// Places what is open, and says where: first what was placed `before`, so that it is counted, and stays.
    pub(super) fn place(&mut self, before: &BTreeMap<ClaimId, NodeName>) -> BTreeMap<ClaimId, NodeName> {
        let open = |(_, place): &(usize, &Place<'_>)| matches!(place.standing, Standing::Open);
        let open: Vec<usize> = self.places.iter().enumerate().filter(open).map(|(index, _)| index).collect();
        let (known, new): (Vec<usize>, Vec<usize>) =
            open.into_iter().partition(|index| self.is_known(*index, before));
        let mut placed = BTreeMap::new();
        for index in known.into_iter().chain(new) {
            let demand = self.places[index].demand;
            if let Some(best) = self.best(demand, before.get(&demand.claim)) {
                placed.insert(demand.claim.clone(), best.node.clone());
                self.put(index, best);
            }
        }
        placed
    }

    fn is_known(&self, index: usize, before: &BTreeMap<ClaimId, NodeName>) -> bool {
        let demand = self.places[index].demand;
        let placed = before.get(&demand.claim).and_then(|node| demand.candidate(node));
        placed.is_some_and(|one| self.is_target(&one.node))
    }

    fn put(&mut self, index: usize, at: &'a Candidate) {
        let place = &mut self.places[index];
        (place.seat, place.standing) = (Some(&at.node), Standing::Held(at));
        self.count(Some(&at.node));
    }

    /// The best target: a fit one, then the most preferred, then where it was `placed` already, then the one with the
    /// fewest claims, then the first in the claim's order.
    fn best(&self, demand: &'a Demand, placed: Option<&NodeName>) -> Option<&'a Candidate> {
        let score = scores(&demand.claim);
        let order = |one: &'a Candidate| {
            let fewest = Reverse(self.target(&one.node)?.claims);
            let id = one.node.id();
            Some((standing(one), placed == Some(&one.node), fewest, score(id), id, Reverse(&one.node)))
        };
        let ordered = demand.candidates.iter().filter_map(|one| Some((order(one)?, one)));
        ordered.max_by(|(one, _), (other, _)| one.cmp(other)).map(|(_, best)| best)
    }

    /// What was decided.
    pub(super) fn decision(&self, look_again: Option<Moment>) -> Decision {
        let seat = |place: &Place<'_>| Some((place.demand.claim.clone(), place.seat?.clone()));
        Decision { seats: self.places.iter().filter_map(seat).collect(), look_again }
    }
}

/// The nodes that hold a seat, without any claim.
fn loads(seats: &Seats) -> BTreeMap<Key<'_>, Load> {
    let mut loads: BTreeMap<Key<'_>, Load> = BTreeMap::new();
    for (home, seat) in seats {
        if let Some(holder) = &seat.holder {
            loads.entry(key(holder)).or_default().is_target |= holder == home && seat.has_agent;
        }
    }
    loads
}
