//! One node's core: the face that drivers see.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::effect::Effect;
use crate::event::Event;
use crate::input::{EffectId, Input};
use crate::names::{ClaimId, NodeName};
use crate::ownership::Machine;
use crate::seats::{Joined, Seats, Turn};
use crate::settings::{Found, Settings};
use crate::status::ClaimStatus;
use crate::time::Moment;

/// What handling an input asks for and tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Orders, to be carried out in this order.
    pub effects: Vec<Effect>,
    /// Things worth telling.
    pub events: Vec<Event>,
}

/// How long a node that waits for nothing sleeps at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// The core of one loop: a claim, and beside it the seats that Services are spread over, if they are.
#[derive(Clone, Debug)]
pub struct Node {
    claim: Machine,
    id: ClaimId,
    seats: Seats,
    joined: Joined,
    now: Moment,
}

/// The fingerprint of all that decides what the node does from now on: see `ownership/fingerprint.rs`.
impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // `now` only keeps time from going back, and the next input comes later; what was ordered follows from the rest.
        let Self { claim, id: _, seats, joined: _, now: _ } = self;
        (claim, seats).hash(state);
    }
}

impl Node {
    /// A node that starts `now` with what it `found`; `seed` feeds its jitter. Call `handle(now, Input::Tick)` next.
    #[must_use]
    pub fn new(settings: Settings, found: Found, now: Moment, seed: u64) -> Self {
        let (id, seats) = (settings.claim.clone(), Seats::new(&settings, &found, seed));
        let mut joined = Joined::default();
        found.memory.iter().for_each(|memory| joined.remember(&id, memory));
        Self { claim: Machine::new(settings, found, now, seed), id, seats, joined, now }
    }

    /// Takes in what happened. `now` never goes back; an earlier one counts as the last.
    pub fn handle(&mut self, now: Moment, input: &Input) -> Output {
        self.now = self.now.max(now);
        let (mut own, mut output) = (Output::default(), Output::default());
        if self.concerns_claim(input) {
            self.claim.handle(self.now, input, &mut own);
        }
        output.events = own.events;
        for effect in own.effects {
            self.joined.take(&self.id, effect, &mut output);
        }
        self.seats.handle(input, &mut Turn::new(self.now, &mut self.joined, &mut output));
        lost_homes(&output.events).for_each(|home| self.claim.suspect(self.now, &home));
        if self.joined.all_stopped(1 + self.seats.count()) {
            output.effects.push(Effect::Stop);
        }
        output
    }

    /// What is about a seat, and nothing else, is not the claim's.
    fn concerns_claim(&self, input: &Input) -> bool {
        match input {
            Input::Seats(_) | Input::SeatLease { .. } => false,
            Input::Outcome { id, .. } => self.seats.of_effect(*id).is_none(),
            Input::Frame(frame) => !self.seats.has(frame.sender.unwrap_or(frame.target)),
            Input::Tick => !self.seats.are_there() || self.claim.promised().is_none_or(|at| at <= self.now),
            _ => true,
        }
    }

    /// When `handle` wants to be called with `Input::Tick` at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        let next = [self.claim.promised(), self.seats.promised()].into_iter().flatten().min();
        next.unwrap_or(self.now + LONGEST_SLEEP)
    }

    /// What there is to see of the claim.
    #[must_use]
    pub fn status(&self, now: Moment) -> ClaimStatus {
        self.claim.status(now.max(self.now))
    }

    /// What there is to see of the seats.
    #[must_use]
    pub fn seats(&self, now: Moment) -> Vec<ClaimStatus> {
        self.seats.statuses(now.max(self.now))
    }

    /// Whose effect it is.
    #[must_use]
    pub fn claim_of(&self, id: EffectId) -> &ClaimId {
        self.seats.of_effect(id).unwrap_or(&self.id)
    }
}

/// Nodes whose seats another holds from now on. Most of them handed over; but one may have died.
fn lost_homes(events: &[Event]) -> impl Iterator<Item = NodeName> + '_ {
    events.iter().filter_map(|event| match event {
        Event::HolderChanged { claim, holder: Some(holder), .. } => {
            claim.home().filter(|home| home.as_str() != holder)
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ClaimId, InstanceId, NodeName};
    use crate::settings::{Authority, Detection, LeaseTiming, OnAuthorityLoss};
    use crate::snapshot::Member;

    /// However long it has been running: a deadline in the past would keep the loop awake.
    #[test]
    fn a_node_that_waits_for_nothing_sleeps() {
        let settings = Settings {
            node: NodeName::new("n1"),
            instance: InstanceId(1),
            boot_id: "boot".to_owned(),
            claim: ClaimId::control_plane(),
            vips: vec![std::net::IpAddr::from([10, 0, 0, 100])],
            own: Member::default(),
            witnesses: vec![],
            lease: LeaseTiming::default(),
            authority: Authority::Standalone,
            detection: Detection::default(),
            on_authority_loss: OnAuthorityLoss::Hold,
            lifetime: Duration::from_secs(15),
            restart_grace: Duration::from_secs(600),
            report_failures: false,
        };
        let mut node = Node::new(settings, Found::default(), Moment::ZERO, 1);
        for hours in 0..3 {
            let now = Moment::ZERO + LONGEST_SLEEP * hours + Duration::from_secs(120);
            node.handle(now, &Input::Tick);
            assert!(node.next_deadline() > now, "its link is down, {hours} hours after its start");
        }
    }
}
