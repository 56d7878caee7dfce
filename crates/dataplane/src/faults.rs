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

/// Orders remembered beside those that something refused is tried again by: a claim's own addresses and those of Services
/// are ordered apart, and the report of one may come after the next was given.
const ORDERS_KEPT: usize = 8;

/// The addresses refused, and when they are tried again.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Each with the kernel's words.
    refused: BTreeMap<Vip, String>,
    /// By which order each was refused last: the one that the next attempt repeats.
    refused_in: BTreeMap<Vip, EffectId>,
    news: Vec<FaultNews>,
    /// Orders whose reports count, each with its lifetime. Ids grow.
    orders: BTreeMap<EffectId, Duration>,
    /// Addresses withdrawn, each with the last order before that: what becomes of that one and of those before it is no
    /// longer asked of them.
    withdrawn: BTreeMap<Vip, EffectId>,
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
        self.orders.insert(id, lifetime);
        let repeated: BTreeSet<EffectId> = self.refused_in.values().copied().collect();
        let surplus = self.orders.len().saturating_sub(ORDERS_KEPT + repeated.len());
        let old = self.orders.keys().copied().filter(|id| !repeated.contains(id)).take(surplus);
        for id in old.collect::<Vec<_>>() {
            self.orders.remove(&id);
        }
        let oldest = self.orders.keys().next().copied().unwrap_or(id);
        self.withdrawn.retain(|_, last| *last >= oldest);
    }

    /// These are to be there no more: nobody tries them, and nobody needs to know.
    pub(crate) fn withdrawing(&mut self, vips: &[Vip]) {
        for vip in vips {
            self.forget(vip);
        }
        if let Some((last, _)) = self.orders.last_key_value() {
            self.withdrawn.extend(vips.iter().map(|vip| (*vip, *last)));
        }
        if self.refused.is_empty() {
            self.retry = None;
        }
    }

    fn forget(&mut self, vip: &Vip) -> Option<String> {
        self.refused_in.remove(vip);
        self.refused.remove(vip)
    }

    /// What became of order `id`, or of an attempt of ours that repeats it. An address that was withdrawn meanwhile is
    /// nobody's any more: it is not tried again on a node that no longer holds, or holds others.
    pub(crate) fn note(&mut self, now: Moment, id: EffectId, applied: &Applied) {
        if !self.orders.contains_key(&id) {
            return;
        }
        for vip in &applied.done {
            if self.forget(vip).is_some() {
                self.news.push(FaultNews::Accepted { vip: *vip });
            }
        }
        if !applied.done.is_empty() {
            for (vip, cause) in &applied.failed {
                self.note_refused(id, *vip, cause);
            }
        }
        if self.refused.is_empty() {
            self.retry = None;
        } else if self.retry.is_none() {
            self.retry = Some(Retry { at: now + RETRY_FIRST, wait: RETRY_FIRST });
        }
    }

    fn note_refused(&mut self, id: EffectId, vip: Vip, cause: &str) {
        if self.withdrawn.get(&vip).is_some_and(|last| id <= *last) {
            return;
        }
        self.refused_in.insert(vip, id);
        if self.refused.insert(vip, cause.to_owned()).is_none_or(|before| before != cause) {
            self.news.push(FaultNews::Refused { vip, cause: cause.to_owned() });
        }
    }

    /// What is to be tried again now, by which orders and with which lifetimes.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<(EffectId, Duration, Vec<Vip>)> {
        let Some(retry) = self.retry.filter(|retry| retry.at <= now) else { return Vec::new() };
        let wait = (retry.wait * 2).min(RETRY_LAST);
        self.retry = Some(Retry { at: now + wait, wait });
        let mut tried: BTreeMap<EffectId, Vec<Vip>> = BTreeMap::new();
        for (vip, id) in &self.refused_in {
            tried.entry(*id).or_default().push(*vip);
        }
        tried.into_iter().filter_map(|(id, vips)| Some((id, *self.orders.get(&id)?, vips))).collect()
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
            assert_eq!(faults.due(before), [], "not before");
            assert_eq!(faults.due(at), [(EffectId(1), Duration::from_secs(15), vec![vip(9)])]);
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
        let tried = faults.due(Moment::from_millis(1_000));
        assert_eq!(tried, [(EffectId(1), Duration::from_secs(15), vec![vip(8)])]);
        assert!(faults.take_news().is_empty());
        faults.withdrawing(&[vip(8)]);
        faults.note(Moment::ZERO, EffectId(1), &applied(&[], &[8]));
        faults.ordered(EffectId(2), Duration::from_secs(15));
        faults.note(Moment::ZERO, EffectId(2), &applied(&[7], &[9]));
        assert_eq!(faults.take_news().len(), 1, "unless it is ordered anew");
    }

    /// The claim's own address lives shorter than those of Services, and is ordered between two orders of theirs.
    #[test]
    fn one_is_tried_again_with_the_lifetime_of_its_own_order_whatever_else_is_ordered() {
        let mut faults = Faults::default();
        faults.ordered(EffectId(1), Duration::from_secs(60));
        faults.ordered(EffectId(2), Duration::from_secs(15));
        faults.note(Moment::ZERO, EffectId(2), &applied(&[1], &[]));
        faults.note(Moment::ZERO, EffectId(1), &applied(&[7], &[8]));
        assert_eq!(faults.refused().len(), 1, "its report came after the next order");
        for later in 3..40 {
            faults.ordered(EffectId(later), Duration::from_secs(15));
        }
        assert!(faults.orders.len() <= ORDERS_KEPT + 1);
        let tried = faults.due(Moment::from_millis(1_000));
        assert_eq!(tried, [(EffectId(1), Duration::from_secs(60), vec![vip(8)])]);
        faults.note(Moment::from_millis(1_000), EffectId(1), &applied(&[8], &[]));
        assert!(faults.refused().is_empty() && faults.next_deadline().is_none());
    }

    #[test]
    fn what_was_withdrawn_is_not_kept_for_ever() {
        let mut faults = faults();
        faults.withdrawing(&[vip(8)]);
        for later in 2..40 {
            faults.ordered(EffectId(later), Duration::from_secs(15));
        }
        assert!(faults.withdrawn.is_empty());
    }
}
