//! Machines with one flaw each, which only a search that looks can find: the judge judged.

use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use mainstay_core::effect::{Effect, LeaseRequest};
use mainstay_core::event::Event;
use mainstay_core::input::{EffectId, Input};
use mainstay_core::names::ClaimId;
use mainstay_core::node::{Node, Output};
use mainstay_core::settings::{Found, Settings};
use mainstay_core::time::Moment;
use mainstay_lab::sim::{Machine, VIP};

/// What a machine does wrong with what the core says.
pub(crate) trait Flaw: Send + Sync + 'static {
    /// Whether this input reaches it.
    fn hears(_: &Input) -> bool {
        true
    }

    /// What becomes of its orders.
    fn spoil(output: &mut Output);
}

/// The core's machine with a flaw.
pub(crate) struct Flawed<F>(Node, PhantomData<F>);

impl<F> Clone for Flawed<F> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<F> Hash for Flawed<F> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<F: Flaw> Machine for Flawed<F> {
    fn start(settings: Settings, found: Found, now: Moment, seed: u64) -> Self {
        Self(Node::start(settings, found, now, seed), PhantomData)
    }

    fn handle(&mut self, now: Moment, input: &Input) -> Output {
        // One that does not hear is woken all the same.
        let heard = if F::hears(input) { input } else { &Input::Tick };
        let mut output = self.0.handle(now, heard);
        F::spoil(&mut output);
        output
    }

    fn next_deadline(&self) -> Moment {
        self.0.next_deadline()
    }

    fn describe(&self, now: Moment) -> String {
        self.0.describe(now)
    }
}

/// (a) It does not hear other holders.
pub(crate) struct Deaf;
impl Flaw for Deaf {
    fn hears(input: &Input) -> bool {
        !matches!(input, Input::Frame(frame) if frame.mark.is_some())
    }

    fn spoil(_: &mut Output) {}
}

/// (b) It takes no lease from another.
pub(crate) struct Meek;
impl Flaw for Meek {
    fn spoil(output: &mut Output) {
        let takes = |effect: &Effect| match effect {
            Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } => {
                draft.transitions > 0 && draft.holder.is_some()
            }
            _ => false,
        };
        output.effects.retain(|effect| !takes(effect));
    }
}

/// (c) It lets go when the API fails, as kube-vip does.
pub(crate) struct Timid;
impl Flaw for Timid {
    fn spoil(output: &mut Output) {
        if output.events.iter().any(|event| matches!(event, Event::AuthorityLost { .. })) {
            let claim = ClaimId::control_plane();
            output.effects.push(Effect::Silence { claim: claim.clone() });
            output.effects.push(Effect::Withdraw { id: EffectId(u64::MAX), claim, vips: vec![VIP] });
        }
    }
}

/// (d) Its second succession writes the first epoch of all.
pub(crate) struct Backward;
impl Flaw for Backward {
    fn spoil(output: &mut Output) {
        for effect in &mut output.effects {
            if let Effect::Lease { request: LeaseRequest::Update { draft, .. }, .. } = effect
                && draft.transitions == 2
            {
                draft.transitions = 0;
            }
        }
    }
}

/// (e) It says the same epoch always.
pub(crate) struct Stubborn;
impl Flaw for Stubborn {
    fn spoil(output: &mut Output) {
        for effect in &mut output.effects {
            if let Effect::Announce { mark, .. } = effect {
                mark.epoch = 0;
            }
        }
    }
}

/// (f) It takes over without a word.
pub(crate) struct Mute;
impl Flaw for Mute {
    fn spoil(output: &mut Output) {
        let later = |effect: &Effect| matches!(effect, Effect::Announce { mark, .. } if mark.epoch > 0);
        output.effects.retain(|effect| !later(effect));
    }
}
