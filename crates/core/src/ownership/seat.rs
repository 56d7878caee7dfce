//! The claim of a node's seat: its home takes it, whoever else has it gives it back once nothing is placed there.

use super::*;

/// How long a seat that is given back is worn until its home is heard. Nothing is placed there: nobody is left dark.
pub(super) const SEAT_WAIT: Duration = Duration::from_secs(2);

impl Machine {
    /// Nothing is placed at another node's seat: there is nothing to take it for.
    pub(super) fn is_empty_seat_of_another(&self) -> bool {
        let home = self.settings.claim.home();
        home.is_some_and(|home| home != self.settings.node) && !self.services.are_there()
    }

    /// Nothing is placed at a seat: there is nothing to hand over, and nobody would take it.
    pub(super) fn is_empty_seat(&self) -> bool {
        self.settings.claim.home().is_some() && !self.services.are_there()
    }

    /// How long whoever stops waits for a successor: one lease duration, of a seat's slow Lease as much as of a single
    /// claim's, for that is what the agent's end waits for.
    pub(super) fn hand_over_wait(&self) -> Duration {
        let duration = self.settings.lease.duration;
        self.settings.claim.home().map_or(duration, |_| duration * 3 / 8)
    }

    /// Another node's seat, which this one has taken, is empty: its home may have it, if it lives.
    pub(super) fn gives_seat_back(&self, now: Moment) -> bool {
        let empty = self.is_empty_seat_of_another() && self.services.are_said();
        empty && self.lease.in_reach() && self.lease.is_fresh(now)
    }

    /// Ends the claim on this node: there is no such seat any more. Nothing waits for a successor.
    pub(crate) fn retire(&mut self, now: Moment, out: &mut Output) {
        self.stopping = true;
        if self.wears() {
            self.withdraw(now, YieldReason::HandOver, out);
        }
        self.handle(now, &Input::Tick, out);
    }

    /// Whether the claim is held here, by whatever right.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.state, State::Holding(_))
    }

    /// Whether it is held by a fresh grant.
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(&self.state, State::Holding(holding) if holding.tenure == Tenure::Confirmed)
    }

    /// Whether the authority is out of reach.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.lease.out_since().is_some()
    }
}
