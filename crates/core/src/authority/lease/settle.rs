//! What a record says about our grant: late or new, ours or another's, a reset or a later grant.

use super::{Held, LeaseMachine, Source};
use crate::authority::annotations;
use crate::input::LeaseRecord;
use crate::time::Moment;

impl LeaseMachine {
    /// A record older than what is known. Resource versions of one resource are comparable numbers (KEP-5504); where
    /// they are not numbers, the order of arrival counts.
    pub(super) fn is_late(&self, record: &LeaseRecord, source: Source) -> bool {
        let Some(known) = self.record() else { return false };
        let (Ok(old), Ok(new)) =
            (known.resource_version.parse::<u64>(), record.resource_version.parse::<u64>())
        else {
            return false;
        };
        match source {
            Source::Watch => new < old,
            // A read sent after what is known was learned speaks of later: then going back is a reset.
            Source::Read(sent_at) | Source::Write(sent_at) => new < old && sent_at < self.known_at,
        }
    }

    pub(super) fn settle_grant(&mut self, now: Moment, record: &LeaseRecord, source: Source) {
        if self.is_ours(record) {
            self.confirm_grant(now, record, source);
            return;
        }
        // Only what a quorum said settles an unresolved write; a late watch event proves nothing about it.
        if source != Source::Watch {
            self.unresolved = None;
        }
        if self.releasing && record.holder.is_none() {
            self.held = None;
        }
        if let Some(held) = &mut self.held {
            let later = record.uid == held.uid && record.transitions > held.epoch;
            let other_in_same_epoch = record.uid == held.uid && record.transitions == held.epoch;
            if record.holder.is_some() && (later || other_in_same_epoch) {
                self.held = None;
            } else {
                held.contested = true;
            }
        }
    }

    fn is_ours(&self, record: &LeaseRecord) -> bool {
        annotations::grant(record) == Some(self.grant_of(record.transitions))
    }

    fn confirm_grant(&mut self, now: Moment, record: &LeaseRecord, source: Source) {
        let before =
            self.held.as_ref().filter(|held| held.uid == record.uid && held.epoch == record.transitions);
        let proven = match source {
            Source::Write(sent_at) => Some(sent_at),
            Source::Read(_) | Source::Watch => {
                let done = self.unresolved.as_ref().filter(|write| write.is_done_in(record));
                done.map(|write| write.sent_at)
            }
        };
        // A watch event from before the write says nothing about it; whatever else was said has settled it.
        if proven.is_some() || source != Source::Watch {
            self.unresolved = None;
        }
        let renewed_at = proven.max(before.and_then(|held| held.renewed_at));
        let renew_due = match (proven, before) {
            (Some(_), _) => now + self.timing.retry_period,
            (None, Some(held)) => held.renew_due,
            (None, None) => now,
        };
        self.held = Some(Held {
            uid: record.uid.clone(),
            epoch: record.transitions,
            renewed_at,
            renew_due,
            contested: false,
        });
    }
}
