//! Which node is to hold which claim of Services, where they are spread over the nodes: by *seats*.
//!
//! Each node with an agent is the *home* of one seat. A seat is a claim of its own in the proven machine of ownership, and
//! wears the addresses of the Services' claims that are placed at it. When its holder dies, another takes it as a whole.
//! One node, the *placer*, decides which claim is at which seat, and the Services keep the record
//! (`mainstay.io/seat: HOME`), which every node reads.
//!
//! ```text
//! Services (records) ──┐
//! Survey (candidates) ─┼─► Placer::decide(now) ──► Decision: the seat of each claim, and when to look again
//! seats (holders) ─────┘        (a move that is not on record yet)
//! ```
//!
//! *What is on record stays.* A claim leaves its seat only where the holder could not hold it, the seat is gone, or another
//! than its home holds the seat: what a dead node had goes to where there is least, with one write for each Service. Else
//! it moves slowly, one claim at a time ([`MOVE_EVERY`]), off the busiest node where the load is uneven. So a node that
//! joins or comes back takes nothing by itself, and a placer that knows nothing but the records goes on where the last one
//! ended.

pub mod incumbents;
mod plan;
mod slow;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::intent::{Claim, Intent, Survey, distinct};
use crate::names::{ClaimId, NodeName};
use crate::placement::Candidate;
use crate::time::Moment;
use plan::Plan;

/// How much time is between two slow moves, at least; and between a placer's first decision and its first slow move, so
/// that two placers, one after the other, are no faster than one.
pub const MOVE_EVERY: Duration = Duration::from_millis(500);

/// A slow move that is not on record after this is given up: perhaps its Service cannot be written.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(10);
/// And for so long others go before it.
const PASSED_OVER_FOR: Duration = Duration::from_secs(300);

/// The seats that there are, by their homes.
pub type Seats = BTreeMap<NodeName, Seat>;

/// One seat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seat {
    /// Who holds it; `None` where that is not known. So it is, too, where the holder is known to be dead and nobody has
    /// the seat yet: whoever takes it takes it as a whole, and until then nothing is to be moved off it.
    pub holder: Option<NodeName>,
    /// Whether an agent is known on its home. Where there is none, what is recorded here stays, and nothing new comes.
    pub has_agent: bool,
}

/// What is to be placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The claim.
    pub claim: ClaimId,
    /// What is on record of it, as [`records`] says. The first one counts.
    pub records: Vec<NodeName>,
    /// The nodes that could hold it, each once.
    pub candidates: Vec<Candidate>,
}

impl Demand {
    /// What is to be placed for `claim`; `survey` is of `intent`.
    #[must_use]
    pub fn of(claim: &Claim, intent: &Intent, survey: &Survey<'_>) -> Self {
        let records = records(claim, intent).into_iter().cloned().collect();
        Self { claim: claim.id.clone(), records, candidates: survey.candidates(claim) }
    }

    fn candidate(&self, node: &NodeName) -> Option<&Candidate> {
        self.candidates.iter().find(|one| one.node == *node)
    }
}

/// The seats that the Services of `claim` are recorded at, each once: by address, the lowest first, and in the order of
/// Services on it. The first is where the claim is, for every node the same; there are several only where claims joined, or
/// while the Services are being written.
#[must_use]
pub fn records<'a>(claim: &Claim, intent: &'a Intent) -> Vec<&'a NodeName> {
    let services = claim.addresses.values().flat_map(|address| &address.services);
    distinct(services.filter_map(|name| intent.services.get(name)?.seat.as_ref()))
}

/// Where each claim is to be, as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The seat of each claim, by its home: what is to be on record of all of its Services. Of a claim that is not here
    /// nothing is to be written.
    pub seats: BTreeMap<ClaimId, NodeName>,
    /// When to decide again although nothing was learned: a slow move waits for its time.
    pub look_again: Option<Moment>,
}

/// Decides which claim is at which seat. What it remembers only makes it steady: what it ordered and is not on record yet,
/// and when it moved something last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placer {
    /// What was placed at once and is not on record yet: what is decided next must not send it elsewhere.
    placed: BTreeMap<ClaimId, NodeName>,
    /// The slow move that is not on record yet.
    moving: Option<Move>,
    /// When the last slow move was ordered, or the first decision made.
    moved_at: Option<Moment>,
    /// Claims whose moves were given up, and until when they are passed over.
    passed_over: BTreeMap<ClaimId, Moment>,
    /// Whether the load was uneven, and is not even again.
    rebalancing: bool,
}

/// One claim that leaves its seat although it could stay.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Move {
    claim: ClaimId,
    from: NodeName,
    to: NodeName,
}

impl Placer {
    /// Where each claim is to be. The order of `demands`, and of the candidates in them, does not matter.
    pub fn decide<'a>(
        &mut self,
        now: Moment,
        demands: impl IntoIterator<Item = &'a Demand>,
        seats: &'a Seats,
    ) -> Decision {
        let due = *self.moved_at.get_or_insert(now) + MOVE_EVERY;
        self.give_up(now);
        let mut plan = Plan::new(demands, seats).passing_over(self.passed_over.keys().cloned().collect());
        self.moving = self.moving.take().filter(|under_way| plan.shift(under_way));
        self.placed = plan.place(&self.placed);
        let next = if self.moving.is_none() { plan.rebalance(&mut self.rebalancing) } else { None };
        let Some(next) = next else { return plan.decision(self.given_up_at()) };
        if now < due {
            return plan.decision(Some(due));
        }
        plan.shift(&next);
        (self.moving, self.moved_at) = (Some(next), Some(now));
        plan.decision(self.given_up_at())
    }

    /// When the move under way is looked at again though nothing was learned.
    fn given_up_at(&self) -> Option<Moment> {
        self.moving.as_ref().and(self.moved_at).map(|at| at + GIVEN_UP_AFTER)
    }

    /// One Service that cannot be written must not keep all others where they are.
    fn give_up(&mut self, now: Moment) {
        self.passed_over.retain(|_, until| *until > now);
        let late = self.moved_at.is_some_and(|at| now.since(at) >= GIVEN_UP_AFTER);
        if let Some(given_up) = self.moving.take_if(|_| late) {
            self.passed_over.insert(given_up.claim, now + PASSED_OVER_FOR);
        }
    }
}

#[cfg(test)]
mod tests;
