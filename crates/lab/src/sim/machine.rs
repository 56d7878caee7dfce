//! What the simulation needs of an agent's core.

use mainstay_core::input::{EffectId, Input};
use mainstay_core::names::ClaimId;
use mainstay_core::node::{Node, Output};
use mainstay_core::settings::{Found, Settings};
use mainstay_core::status::ClaimStatus;
use mainstay_core::time::Moment;

/// What decides in an agent. The one real implementation is the core's [`Node`]; the tests of the simulation put
/// machines here that break promises, to see that the checker catches them.
pub trait Machine {
    /// A machine that starts now.
    fn start(settings: Settings, found: Found, now: Moment, seed: u64) -> Self;
    /// Takes in what happened.
    fn handle(&mut self, now: Moment, input: &Input) -> Output;
    /// When it wants a tick at the latest.
    fn next_deadline(&self) -> Moment;
    /// Itself in words, for the trace.
    fn describe(&self, now: Moment) -> String;
    /// Whose effect it is, where it has seats beside its claim; `None` is its claim's.
    fn seat_of(&self, _id: EffectId) -> Option<ClaimId> {
        None
    }
    /// Its claim, where it has seats.
    fn status(&self, _now: Moment) -> Option<ClaimStatus> {
        None
    }
    /// Its seats.
    fn seats(&self, _now: Moment) -> Vec<ClaimStatus> {
        Vec::new()
    }
}

impl Machine for Node {
    fn start(settings: Settings, found: Found, now: Moment, seed: u64) -> Self {
        Self::new(settings, found, now, seed)
    }

    fn handle(&mut self, now: Moment, input: &Input) -> Output {
        Self::handle(self, now, input)
    }

    fn next_deadline(&self) -> Moment {
        Self::next_deadline(self)
    }

    fn describe(&self, now: Moment) -> String {
        format!("{:?}", Self::status(self, now))
    }

    fn seat_of(&self, id: EffectId) -> Option<ClaimId> {
        Some(self.claim_of(id)).filter(|claim| claim.home().is_some()).cloned()
    }

    fn status(&self, now: Moment) -> Option<ClaimStatus> {
        Some(Self::status(self, now))
    }

    fn seats(&self, now: Moment) -> Vec<ClaimStatus> {
        Self::seats(self, now)
    }
}
