//! One node's core: the face that drivers see.

use crate::effect::Effect;
use crate::event::Event;
use crate::input::Input;
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

/// The core of one agent.
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// A node that starts `now` with what it `found`; `seed` feeds its jitter. Call `handle(now, Input::Tick)` next.
    #[must_use]
    pub fn new(_settings: Settings, _found: Found, _now: Moment, _seed: u64) -> Self {
        Self {}
    }

    /// Takes in what happened. `now` never goes back.
    pub fn handle(&mut self, _now: Moment, _input: &Input) -> Output {
        Output::default()
    }

    /// When `handle` wants to be called with `Input::Tick` at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Moment {
        Moment::ZERO
    }

    /// What there is to see.
    #[must_use]
    pub fn status(&self, _now: Moment) -> ClaimStatus {
        unimplemented!("the machine comes with its rules")
    }
}
