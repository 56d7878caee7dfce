//! What the kernel refuses of the addresses ordered: known while it lasts, told once.

use mainstay_core::effect::Effect;
use mainstay_core::event::Event;
use mainstay_core::input::{EffectId, Outcome};
use mainstay_core::names::ClaimId;
use mainstay_dataplane::FaultNews;

/// The refusals of one claim's addresses.
#[derive(Debug)]
pub(super) struct Refusals {
    claim: ClaimId,
    /// The last order of addresses, whose outcome counts.
    order: Option<EffectId>,
    /// What the kernel said to it, if it refused all of them.
    failure: Option<String>,
    /// The refusal that was told last, while it lasts.
    told: Option<String>,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self { claim: ClaimId::control_plane(), order: None, failure: None, told: None }
    }

    /// An order went out.
    pub(super) fn ordered(&mut self, effect: &Effect) {
        match effect {
            Effect::Assign { id, claim, .. } => {
                self.claim.clone_from(claim);
                self.order = Some(*id);
            }
            Effect::Withdraw { .. } => (self.order, self.failure) = (None, None),
            _ => {}
        }
    }

    /// What became of an order.
    pub(super) fn concluded(&mut self, id: EffectId, outcome: &Outcome) {
        if self.order != Some(id) {
            return;
        }
        self.failure = match outcome {
            Outcome::Failed(cause) => Some(cause.clone()),
            _ => None,
        };
        if self.failure.is_none() {
            self.told = None;
        }
    }

    /// What the kernel says to all of the addresses, if it refuses them.
    pub(super) fn failure(&self) -> Option<&String> {
        self.failure.as_ref()
    }

    /// Whether an event is news: a refusal that is met again at each attempt is not.
    pub(super) fn is_news(&mut self, event: &Event) -> bool {
        match event {
            Event::AddressFailed { cause, .. } => self.told.replace(cause.clone()).as_ref() != Some(cause),
            _ => true,
        }
    }

    /// The event of one address among several.
    pub(super) fn event(&self, news: FaultNews) -> Event {
        let claim = self.claim.clone();
        match news {
            FaultNews::Refused { vip, cause } => Event::AddressRefused { claim, vip, cause },
            FaultNews::Accepted { vip } => Event::AddressAccepted { claim, vip },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_once_until_the_kernel_takes_an_address_or_says_something_else() {
        let mut refusals = Refusals::new();
        let claim = ClaimId::control_plane();
        let lifetime = std::time::Duration::from_secs(10);
        refusals.ordered(&Effect::Assign { id: EffectId(1), claim: claim.clone(), vips: vec![], lifetime });
        let failed = |cause: &str| Event::AddressFailed { claim: claim.clone(), cause: cause.to_owned() };
        assert_eq!(["no", "no", "nay"].map(|cause| refusals.is_news(&failed(cause))), [true, false, true]);
        refusals.concluded(EffectId(7), &Outcome::Done);
        assert!(!refusals.is_news(&failed("nay")), "the outcome of another order");
        refusals.concluded(EffectId(1), &Outcome::Done);
        assert!(refusals.is_news(&failed("nay")));
    }
}
