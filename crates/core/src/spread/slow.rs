//! The moves that nobody is in a hurry for: off nodes that have too much.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Move;
use super::plan::{Key, Place, Plan, key};
use crate::names::NodeName;
use crate::placement::{Candidate, Fitness};

impl<'a> Plan<'a> {
    /// The next claim to leave a node that has too much for one that has too little. `rebalancing` says whether the load
    /// was uneven before; it begins later than it ends, so that it does not begin over and over.
    pub(super) fn rebalance(&self, rebalancing: &mut bool) -> Option<Move> {
        let scale = Scale::of(self.takers());
        let next = if *rebalancing || scale.is_uneven() { self.next_by(&scale) } else { None };
        // What is even, or cannot be evened out, is not gone on with when something else changes.
        *rebalancing = next.is_some();
        next
    }

    /// The targets that could take anything at all. Others would only make the mean lower for those that can.
    fn takers(&self) -> BTreeMap<Key<'a>, usize> {
        let mut others: BTreeMap<Key<'_>, usize> =
            self.targets().map(|(node, load)| (node, load.claims)).collect();
        let mut takers = BTreeMap::new();
        let candidates = self.places.iter().flat_map(|place| &place.demand.candidates);
        for candidate in candidates.filter(|one| one.fitness == Fitness::Fit) {
            if others.is_empty() {
                break;
            }
            takers.extend(others.remove_entry(&key(&candidate.node)));
        }
        takers
    }

    /// From the busiest node that can give anything, to the least busy one that could take it.
    fn next_by(&self, scale: &Scale<'a>) -> Option<Move> {
        let mut givers: BTreeMap<(Reverse<usize>, Key<'_>), Vec<Giving<'a>>> = BTreeMap::new();
        for place in self.places.iter().filter(|place| self.may_move(place)) {
            let Some((seat, by)) = place.settled() else { continue };
            if let Some(claims) = scale.loads.get(&key(&by.node)) {
                let giving = Giving { place: *place, seat, by, claims: *claims };
                givers.entry((Reverse(*claims), key(&by.node))).or_default().push(giving);
            }
        }
        givers.into_values().find_map(|given| {
            let possible = given.iter().filter_map(|one| Some((one, scale.taker(one)?)));
            let (giving, (_, taker)) = possible.min_by(|(_, (one, _)), (_, (other, _))| one.cmp(other))?;
            Some(order(giving.place, giving.seat, taker))
        })
    }
}

fn order(place: Place<'_>, from: &NodeName, to: &Candidate) -> Move {
    Move { claim: place.demand.claim.clone(), from: from.clone(), to: to.node.clone() }
}

/// A claim that its holder might give away.
struct Giving<'a> {
    place: Place<'a>,
    seat: &'a NodeName,
    by: &'a Candidate,
    /// How many the holder has.
    claims: usize,
}

/// How many claims each node has that could take any.
struct Scale<'a> {
    loads: BTreeMap<Key<'a>, usize>,
    /// Of all of them: the mean, times their number.
    sum: usize,
}

impl<'a> Scale<'a> {
    fn of(loads: BTreeMap<Key<'a>, usize>) -> Self {
        let sum = loads.values().sum();
        Self { loads, sum }
    }

    /// Whether the busiest has more than 1.2 times the mean. Where it has not two claims more than the least busy one, all
    /// are near the mean, and nothing comes of it.
    fn is_uneven(&self) -> bool {
        let most = self.loads.values().max().copied().unwrap_or(0);
        most * self.loads.len() * 10 > self.sum * 12
    }

    /// Within a tenth of the mean, or one claim of it.
    fn is_near_the_mean(&self, claims: usize) -> bool {
        let off = (claims * self.loads.len()).abs_diff(self.sum);
        off * 10 <= self.sum || off <= self.loads.len()
    }

    /// The least busy node that could take the claim, with its load. Two claims less than the giver, so that the move is
    /// none that would be undone; and one of the two is far from the mean.
    fn taker(&self, giving: &Giving<'a>) -> Option<((usize, &'a NodeName), &'a Candidate)> {
        let candidates = giving.place.demand.candidates.iter();
        let fit = candidates.filter(|one| one.fitness == Fitness::Fit && one.weight >= giving.by.weight);
        let loaded = fit.filter_map(|one| Some(((*self.loads.get(&key(&one.node))?, &one.node), one)));
        let possible = loaded.filter(|((claims, _), _)| self.is_worth(giving.claims, *claims));
        possible.min_by(|(one, _), (other, _)| one.cmp(other))
    }

    fn is_worth(&self, giver: usize, taker: usize) -> bool {
        let is_far = |claims| !self.is_near_the_mean(claims);
        giver >= taker + 2 && (is_far(giver) || is_far(taker))
    }
}
