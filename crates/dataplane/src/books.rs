//! What should be announced, and what is there to be announced: an address is announced only while it is on the
//! interface, whatever the order in which orders, outcomes and removals come. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use mainstay_core::effect::Pace;
use mainstay_core::names::ClaimId;
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Vip};

use crate::announce::Pacer;
use crate::plan::{Owner, Present};

#[cfg(test)]
mod tests;

/// A valid lifetime this close to its end has ended: the kernel counts in whole seconds.
const NEARLY_OVER: Duration = Duration::from_millis(1_000);

/// The book of one interface.
#[derive(Debug)]
pub(crate) struct Books {
    /// What is on the interface by our doing, and when the kernel will remove it.
    present: BTreeMap<Vip, Moment>,
    desired: BTreeMap<ClaimId, Desired>,
    pub(crate) pacer: Pacer,
}

#[derive(Debug)]
struct Desired {
    vips: Vec<Vip>,
    mark: Mark,
    /// The pace that has not been started because an address is missing.
    waiting: Option<Pace>,
}

impl Books {
    pub(crate) fn new(pacer: Pacer) -> Self {
        Self { present: BTreeMap::new(), desired: BTreeMap::new(), pacer }
    }

    /// Announce, as soon as all the addresses are there.
    pub(crate) fn announce(&mut self, now: Moment, claim: &ClaimId, wanted: (&[Vip], Mark), pace: Pace) {
        let (vips, mark) = wanted;
        let owed = self.desired.get(claim).and_then(|desired| desired.waiting);
        let waiting = Some(owed.map_or(pace, |owed| stronger(owed, pace)));
        self.desired.insert(claim.clone(), Desired { vips: vips.to_vec(), mark, waiting });
        self.start(now, claim);
    }

    pub(crate) fn silence(&mut self, claim: &ClaimId) {
        self.desired.remove(claim);
        self.pacer.silence(claim);
    }

    /// The kernel has these addresses now, until `until`.
    pub(crate) fn assigned(&mut self, now: Moment, vips: &[Vip], until: Moment) {
        self.present.extend(vips.iter().map(|vip| (*vip, until)));
        let claims: Vec<_> = self.desired.keys().cloned().collect();
        for claim in claims {
            self.start(now, &claim);
        }
    }

    /// These addresses are going, by order: announced no more.
    pub(crate) fn withdrawing(&mut self, now: Moment, vips: &[Vip]) {
        for vip in vips {
            self.gone(now, *vip);
        }
    }

    /// An address went. `Some(expired)` if it should have been there; `zero_left` is the kernel's own word, if any.
    pub(crate) fn removed(&mut self, now: Moment, vip: Vip, zero_left: Option<bool>) -> Option<bool> {
        let until = self.gone(now, vip)?;
        Some(zero_left.unwrap_or_else(|| until.since(now) < NEARLY_OVER))
    }

    /// Compares with all that the kernel has: what should be there and is not, and whether it expired.
    pub(crate) fn compare(&mut self, now: Moment, present: &[Present]) -> Vec<(Vip, bool)> {
        let is_there = |vip: Vip| present.iter().any(|one| one.ip == vip && one.owner == Owner::Ours);
        let missing: Vec<_> = self.present.keys().copied().filter(|vip| !is_there(*vip)).collect();
        missing.into_iter().filter_map(|vip| Some((vip, self.removed(now, vip, None)?))).collect()
    }

    /// Everything that should be there, and no longer is: the interface itself went.
    pub(crate) fn lose_all(&mut self, now: Moment) -> Vec<(Vip, bool)> {
        self.compare(now, &[])
    }

    fn gone(&mut self, now: Moment, vip: Vip) -> Option<Moment> {
        let until = self.present.remove(&vip)?;
        let touched: Vec<_> = self
            .desired
            .iter()
            .filter(|(_, one)| one.vips.contains(&vip))
            .map(|(id, _)| id.clone())
            .collect();
        for claim in touched {
            self.stop(now, &claim);
        }
        Some(until)
    }

    fn start(&mut self, now: Moment, claim: &ClaimId) {
        let Some(desired) = self.desired.get_mut(claim) else { return };
        if !desired.vips.iter().all(|vip| self.present.contains_key(vip)) {
            return;
        }
        if let Some(pace) = desired.waiting.take() {
            self.pacer.set(now, claim, &desired.vips, desired.mark, pace);
        }
    }

    /// Announces what is left of the claim; the rest begins again when it is back.
    fn stop(&mut self, now: Moment, claim: &ClaimId) {
        let Some(desired) = self.desired.get_mut(claim) else { return };
        let left: Vec<_> =
            desired.vips.iter().copied().filter(|vip| self.present.contains_key(vip)).collect();
        let owed = desired.waiting.replace(Pace::Steady);
        desired.waiting = Some(owed.map_or(Pace::Steady, |owed| stronger(owed, Pace::Steady)));
        self.pacer.set(now, claim, &left, desired.mark, Pace::Steady);
    }
}

/// Of two paces that were asked for, the one that says more on the wire.
fn stronger(one: Pace, other: Pace) -> Pace {
    match (one, other) {
        (Pace::Burst, _) | (_, Pace::Burst) => Pace::Burst,
        (Pace::Defend, _) | (_, Pace::Defend) => Pace::Defend,
        (Pace::Steady, Pace::Steady) => Pace::Steady,
    }
}
