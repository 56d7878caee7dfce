//! What should be announced, and what is there to be announced: an address is announced only while it is on the
//! interface, whatever the order in which orders, outcomes and removals come. Pure.

use std::collections::{BTreeMap, BTreeSet};
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
    vips: BTreeSet<Vip>,
    mark: Mark,
    /// Those that are announced: the ones that are there.
    shown: BTreeSet<Vip>,
    /// How those that are missing will start when they come.
    owed: Option<Pace>,
}

impl Desired {
    /// The addresses of the claim that are there.
    fn there(&self, present: &BTreeMap<Vip, Moment>) -> Vec<Vip> {
        self.vips.iter().copied().filter(|vip| present.contains_key(vip)).collect()
    }

    /// Announces those that are there at this pace from now on.
    fn show(&mut self, now: Moment, there: Vec<Vip>, (claim, pacer): (&ClaimId, &mut Pacer), pace: Pace) {
        pacer.set(now, claim, &there, self.mark, pace);
        if there.len() == self.vips.len() {
            self.owed = None;
        }
        self.shown = there.into_iter().collect();
    }
}

impl Books {
    pub(crate) fn new(pacer: Pacer) -> Self {
        Self { present: BTreeMap::new(), desired: BTreeMap::new(), pacer }
    }

    /// Announce those of them that are there, and the others as soon as they are. An address that the claim did not have
    /// before is taken over, whatever the pace: it begins with a burst of its own.
    pub(crate) fn announce(&mut self, now: Moment, claim: &ClaimId, wanted: (&[Vip], Mark), pace: Pace) {
        let (vips, mark) = (wanted.0.iter().copied().collect::<BTreeSet<Vip>>(), wanted.1);
        let before = self.desired.remove(claim);
        let new: Vec<Vip> =
            before.as_ref().map_or_else(Vec::new, |before| vips.difference(&before.vips).copied().collect());
        let (shown, owed) = before.map_or((BTreeSet::new(), None), |before| (before.shown, before.owed));
        let owed = owed.map_or(pace, |owed| stronger(owed, pace));
        let owed = if new.is_empty() { owed } else { Pace::Burst };
        let mut desired = Desired { vips, mark, shown, owed: Some(owed) };
        let there = desired.there(&self.present);
        if !there.is_empty() {
            let pace = if desired.shown.is_empty() { owed } else { pace };
            desired.show(now, there, (claim, &mut self.pacer), pace);
            self.pacer.burst(now, claim, &new);
        }
        self.desired.insert(claim.clone(), desired);
    }

    /// Whether it is on the interface by our doing.
    pub(crate) fn has(&self, vip: Vip) -> bool {
        self.present.contains_key(&vip)
    }

    pub(crate) fn silence(&mut self, claim: &ClaimId) {
        self.desired.remove(claim);
        self.pacer.silence(claim);
    }

    /// The kernel has these addresses now, until `until`.
    pub(crate) fn assigned(&mut self, now: Moment, vips: &[Vip], until: Moment) {
        self.present.extend(vips.iter().map(|vip| (*vip, until)));
        let Self { present, desired, pacer } = self;
        for (claim, desired) in desired {
            let Desired { vips: wanted, shown, .. } = &*desired;
            let is_new = |vip: &&Vip| wanted.contains(vip) && !shown.contains(vip);
            let new: Vec<Vip> = vips.iter().filter(is_new).copied().collect();
            if new.is_empty() {
                continue;
            }
            let there = desired.there(present);
            match desired.owed.unwrap_or(Pace::Steady) {
                // Those that were there before have had theirs.
                Pace::Burst if !desired.shown.is_empty() => {
                    desired.show(now, there, (claim, pacer), Pace::Steady);
                    pacer.burst(now, claim, &new);
                }
                pace => desired.show(now, there, (claim, pacer), pace),
            }
        }
    }

    /// Everything anew, as at a take-over: this host is to be found elsewhere than before.
    pub(crate) fn announce_anew(&mut self, now: Moment) {
        let Self { desired, pacer, .. } = self;
        for (claim, desired) in desired.iter().filter(|(_, one)| !one.shown.is_empty()) {
            let shown: Vec<Vip> = desired.shown.iter().copied().collect();
            pacer.set(now, claim, &shown, desired.mark, Pace::Burst);
        }
    }

    /// These addresses are going, by order: announced no more.
    pub(crate) fn withdrawing(&mut self, vips: &[Vip]) {
        for vip in vips {
            self.gone(*vip);
        }
    }

    /// An address went. `Some(expired)` if it should have been there; `zero_left` is the kernel's own word, if any.
    pub(crate) fn removed(&mut self, now: Moment, vip: Vip, zero_left: Option<bool>) -> Option<bool> {
        let until = self.gone(vip)?;
        Some(zero_left.unwrap_or_else(|| until.since(now) < NEARLY_OVER))
    }

    /// Compares with all that the kernel has: what should be there and is not, and whether it expired.
    pub(crate) fn compare(&mut self, now: Moment, present: &[Present]) -> Vec<(Vip, bool)> {
        let ours = present.iter().filter(|one| one.owner == Owner::Ours);
        let there: BTreeSet<Vip> = ours.map(|one| one.ip).collect();
        let missing: Vec<_> = self.present.keys().copied().filter(|vip| !there.contains(vip)).collect();
        missing.into_iter().filter_map(|vip| Some((vip, self.removed(now, vip, None)?))).collect()
    }

    /// Everything that should be there, and no longer is: the interface itself went.
    pub(crate) fn lose_all(&mut self, now: Moment) -> Vec<(Vip, bool)> {
        self.compare(now, &[])
    }

    fn gone(&mut self, vip: Vip) -> Option<Moment> {
        let until = self.present.remove(&vip)?;
        let Self { desired, pacer, .. } = self;
        // What is left of a claim goes on; the rest begins again when it is back.
        let concerned = |one: &Desired| one.vips.contains(&vip) || one.shown.contains(&vip);
        for (claim, desired) in desired.iter_mut().filter(|(_, one)| concerned(one)) {
            desired.owed = Some(desired.owed.map_or(Pace::Steady, |owed| stronger(owed, Pace::Steady)));
            pacer.drop_one(claim, vip);
            desired.shown.remove(&vip);
        }
        Some(until)
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
