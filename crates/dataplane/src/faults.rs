//! Addresses that the kernel refuses while it takes others of the same claim: told once, and tried again with backoff.
//! Pure.
//!
//! What is refused altogether is the order's outcome and the core's business: another node may do better. One address of
//! several (IPv6 switched off, say) is no reason to give the others away.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::input::EffectId;
use mainstay_core::time::Moment;
use mainstay_core::vip::Vip;

use crate::kernel::Applied;

/// Between attempts: from this, doubled each time ...
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// ... to this. The claim's own refreshes try as well.
const RETRY_LAST: Duration = Duration::from_secs(30);

/// Something worth telling of one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultNews {
    /// The kernel refuses it, and has others of its claim.
    Refused {
        /// Which.
        vip: Vip,
        /// The kernel's words.
        cause: String,
    },
    /// The kernel has it now.
    Accepted {
        /// Which.
        vip: Vip,
    },
}

/// The addresses refused, and when they are tried again.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    refused: BTreeMap<Vip, String>,
    news: Vec<FaultNews>,
    /// The order that the last attempt repeats.
    order: Option<(EffectId, Duration)>,
    /// Addresses withdrawn since: what becomes of the order is no longer asked of these.
    withdrawn: BTreeSet<Vip>,
    retry: Option<Retry>,
}

#[derive(Clone, Copy, Debug)]
struct Retry {
    at: Moment,
    wait: Duration,
}

impl Faults {
    /// An order that puts addresses there.
    pub(crate) fn ordered(&mut self, id: EffectId, lifetime: Duration) {
        self.order = Some((id, lifetime));
        self.withdrawn.clear();
    }

    /// These are to be there no more: nobody tries them, and nobody needs to know.
    pub(crate) fn withdrawing(&mut self, vips: &[Vip]) {
        self.refused.retain(|vip, _| !vips.contains(vip));
        self.withdrawn.extend(vips);
        if self.refused.is_empty() {
            self.retry = None;
        }
    }

    /// What became of order `id`, or of an attempt of ours that repeats it. An address that was withdrawn meanwhile is
    /// nobody's any more: it is not tried again on a node that no longer holds, or holds others.
    pub(crate) fn note(&mut self, now: Moment, id: EffectId, applied: &Applied) {
        if self.order.is_none_or(|(last, _)| last != id) {
            return;
        }
        for vip in &applied.done {
            if self.refused.remove(vip).is_some() {
                self.news.push(FaultNews::Accepted { vip: *vip });
            }
        }
        if !applied.done.is_empty() {
            for (vip, cause) in applied.failed.iter().filter(|(vip, _)| !self.withdrawn.contains(vip)) {
                if self.refused.insert(*vip, cause.clone()).as_ref() != Some(cause) {
                    self.news.push(FaultNews::Refused { vip: *vip, cause: cause.clone() });
                }
            }
        }
        if self.refused.is_empty() {
            self.retry = None;
        } else if self.retry.is_none() {
            self.retry = Some(Retry { at: now + RETRY_FIRST, wait: RETRY_FIRST });
        }
    }

    /// What is to be tried again now, by which order and with which lifetime.
    pub(crate) fn due(&mut self, now: Moment) -> Option<(EffectId, Duration, Vec<Vip>)> {
        let (id, lifetime) = self.order?;
        let retry = self.retry.filter(|retry| retry.at <= now)?;
        let wait = (retry.wait * 2).min(RETRY_LAST);
        self.retry = Some(Retry { at: now + wait, wait });
        Some((id, lifetime, self.refused.keys().copied().collect()))
    }

    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.retry.map(|retry| retry.at)
    }

    pub(crate) fn refused(&self) -> &BTreeMap<Vip, String> {
        &self.refused
    }

    pub(crate) fn take_news(&mut self) -> Vec<FaultNews> {
        std::mem::take(&mut self.news)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn vip(last: u8) -> Vip {
        IpAddr::from([10, 0, 0, last])
    }

    fn applied(done: &[u8], failed: &[u8]) -> Applied {
        let failed = failed.iter().map(|last| (vip(*last), "no".to_owned())).collect();
        Applied { done: done.iter().copied().map(vip).collect(), failed }
    }

    fn faults() -> Faults {
        let mut faults = Faults::default();
        faults.ordered(EffectId(1), Duration::from_secs(15));
        faults
    }

    #[test]
    fn one_of_two_refused_is_told_once_tried_with_backoff_and_told_when_it_is_taken() {
        let mut faults = faults();
        faults.note(Moment::ZERO, EffectId(1), &applied(&[8], &[9]));
        let refused = FaultNews::Refused { vip: vip(9), cause: "no".to_owned() };
        assert_eq!(faults.take_news(), [refused]);
        let mut waits = Vec::new();
        let mut before = Moment::ZERO;
        for _ in 0..7 {
            let at = faults.next_deadline().expect("it is tried again");
            waits.push(at.since(before).as_secs());
            assert_eq!(faults.due(before), None, "not before");
            assert_eq!(faults.due(at), Some((EffectId(1), Duration::from_secs(15), vec![vip(9)])));
            faults.note(at, EffectId(1), &applied(&[], &[9]));
            faults.note(at, EffectId(1), &applied(&[8], &[9]));
            before = at;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert!(faults.take_news().is_empty(), "told once");
        faults.note(before, EffectId(1), &applied(&[9], &[]));
        assert_eq!(faults.take_news(), [FaultNews::Accepted { vip: vip(9) }]);
        assert_eq!(faults.next_deadline(), None);
    }

    #[test]
    fn what_is_refused_altogether_or_withdrawn_is_nobodys_business_here() {
        let mut faults = faults();
        faults.note(Moment::ZERO, EffectId(1), &applied(&[], &[8, 9]));
        assert!(faults.take_news().is_empty() && faults.next_deadline().is_none());
        faults.note(Moment::ZERO, EffectId(1), &applied(&[8], &[9]));
        faults.withdrawing(&[vip(8), vip(9)]);
        assert!(faults.next_deadline().is_none() && faults.refused().is_empty());
        faults.note(Moment::ZERO, EffectId(1), &applied(&[8], &[9]));
        assert!(faults.next_deadline().is_none() && faults.refused().is_empty(), "its report comes too late");
    }

    /// Of several addresses one is dropped, while an order that named it is still with the kernel.
    #[test]
    fn one_that_was_dropped_is_not_tried_again_with_the_others() {
        let mut faults = faults();
        faults.note(Moment::ZERO, EffectId(1), &applied(&[7], &[8, 9]));
        faults.take_news();
        faults.withdrawing(&[vip(9)]);
        faults.note(Moment::ZERO, EffectId(1), &applied(&[7], &[8, 9]));
        let (.., tried) = faults.due(Moment::from_millis(1_000)).expect("the other is tried");
        assert_eq!((tried, faults.take_news()), (vec![vip(8)], vec![]));
        faults.withdrawing(&[vip(8)]);
        faults.note(Moment::ZERO, EffectId(1), &applied(&[], &[8]));
        faults.ordered(EffectId(2), Duration::from_secs(15));
        faults.note(Moment::ZERO, EffectId(2), &applied(&[7], &[9]));
        assert_eq!(faults.take_news().len(), 1, "unless it is ordered anew");
    }
}
