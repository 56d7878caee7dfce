//! What happened lately to each claim, for people who ask why it is as it is.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use mainstay_core::event::Event;
use mainstay_core::names::ClaimId;

use crate::admin::reply::Happened;

/// Events that are remembered of each claim. There are as many claims as seats.
const REMEMBERED: usize = 20;

/// The latest events of each claim, and of none. Shared.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<BTreeMap<Option<ClaimId>, VecDeque<Entry>>>);

#[derive(Debug)]
struct Entry {
    at: Instant,
    text: String,
    rule: Option<u8>,
}

impl History {
    /// Remembers it in the place of the oldest.
    pub(crate) fn remember(&self, event: &Event) {
        // They come by the hundred, and the Service says so itself.
        if matches!(event, Event::ServicesChanged { .. } | Event::AddressAccepted { .. }) {
            return;
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = all.entry(event.claim().cloned()).or_default();
        if entries.len() >= REMEMBERED {
            entries.pop_front();
        }
        entries.push_back(Entry { at: Instant::now(), text: event.to_string(), rule: event.rule() });
    }

    /// What happened to it, and to what all claims have in common; the latest first.
    pub(crate) fn of(&self, claim: &ClaimId) -> Vec<Happened> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |key: &Option<ClaimId>| all.get(key).into_iter().flatten();
        let mut entries: Vec<&Entry> = of(&None).chain(of(&Some(claim.clone()))).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.at));
        entries.truncate(REMEMBERED);
        let happened = |entry: &Entry| Happened {
            seconds_ago: entry.at.elapsed().as_secs_f64(),
            text: entry.text.clone(),
            rule: entry.rule,
        };
        entries.into_iter().map(happened).collect()
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::event::{TakeReason, YieldReason};
    use mainstay_core::vip::Tenure;

    use super::*;

    #[test]
    fn the_latest_are_remembered_of_each_claim_with_their_rules() {
        let history = History::default();
        let (one, other) = (ClaimId::control_plane(), ClaimId::services());
        for epoch in 0..30 {
            let reason = TakeReason::Evidence;
            history.remember(&Event::Took { claim: one.clone(), tenure: Tenure::Confirmed, epoch, reason });
        }
        let yielded = Event::Yielded { claim: other.clone(), epoch: 1, reason: YieldReason::HandOver };
        history.remember(&yielded);
        history.remember(&Event::Link { up: false });
        let of_one = history.of(&one);
        let texts: Vec<&str> = of_one.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(of_one.len(), REMEMBERED);
        assert!(texts[0].contains("link") && texts[1].contains("epoch 29"), "{texts:?}");
        assert_eq!((of_one[0].rule, of_one[1].rule), (None, Some(7)));
        assert_eq!(history.of(&other).iter().filter_map(|one| one.rule).collect::<Vec<_>>(), [11]);
    }
}
