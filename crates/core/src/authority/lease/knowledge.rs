//! What one node knows of its Lease, and how fresh that is.

use std::time::Duration;

use super::{Known, LeaseMachine};
use crate::authority::{Standing, annotations};
use crate::input::LeaseRecord;
use crate::time::Moment;

impl LeaseMachine {
    /// What the authority last told this node.
    #[must_use]
    pub fn standing(&self) -> Standing {
        match (&self.held, &self.known) {
            (Some(held), _) => Standing::Granted { epoch: held.epoch },
            (None, Known::Nothing) => Standing::Unknown,
            (None, Known::Absent) => Standing::Absent,
            (None, Known::Record(record)) => match &record.holder {
                None => Standing::Vacant { epoch: record.transitions },
                Some(holder) => Standing::Denied { holder: holder.clone(), epoch: record.transitions },
            },
        }
    }

    /// What the record's annotations say.
    #[must_use]
    pub fn facts(&self) -> &annotations::Facts {
        &self.facts
    }

    /// Whether another elector than ours held the lease before: it may be there still, and one that follows only reads,
    /// so that nobody can know.
    #[must_use]
    pub fn knows_other_elector(&self) -> bool {
        self.other_elector
    }

    /// The record as last known.
    #[must_use]
    pub fn record(&self) -> Option<&LeaseRecord> {
        match &self.known {
            Known::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Until when our grant is fresh: the last successful renewal plus the renew deadline.
    #[must_use]
    pub fn fresh_until(&self) -> Option<Moment> {
        let held = self.held.as_ref().filter(|held| !held.contested)?;
        held.renewed_at.map(|at| at + self.timing.renew_deadline)
    }

    /// Whether our grant is fresh.
    #[must_use]
    pub fn is_fresh(&self, now: Moment) -> bool {
        self.fresh_until().is_some_and(|until| now < until)
    }

    /// Since when every known server has failed us, if that is so.
    #[must_use]
    pub fn out_since(&self) -> Option<Moment> {
        self.out_since
    }

    /// Whether the authority answers.
    #[must_use]
    pub fn in_reach(&self) -> bool {
        self.contact.is_some() && self.out_since.is_none()
    }

    /// Since when this node has seen the election as it is.
    #[must_use]
    pub fn unchanged_since(&self) -> Moment {
        self.observed_at
    }

    /// The last successful contact.
    #[must_use]
    pub fn contact(&self) -> Option<Moment> {
        self.contact
    }

    /// Failed requests in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.backoff.failures()
    }

    /// The highest epoch ever seen.
    #[must_use]
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// Whether the present holder proved itself a Mainstay node: only from such a one may evidence take (rule 7).
    #[must_use]
    pub fn holder_is_mainstay(&self) -> bool {
        self.facts.mainstay
    }

    /// When another's lease expires or has expired, as far as an unbroken chain of contacts can tell.
    /// A deleted Lease is an expired one.
    #[must_use]
    pub fn expires_at(&self) -> Option<Moment> {
        if self.held.is_some() || !self.in_reach() {
            return None;
        }
        match &self.known {
            Known::Nothing => None,
            Known::Absent => Some(self.observed_at.max(self.chain_since)),
            Known::Record(record) => {
                let duration = Duration::from_secs(u64::from(record.duration_seconds));
                record.holder.as_ref().map(|_| self.observed_at.max(self.chain_since) + duration)
            }
        }
    }

    /// Whether expiry may be acted on now: the last contact is recent enough to vouch for the chain.
    #[must_use]
    pub fn is_current(&self, now: Moment) -> bool {
        self.in_reach() && self.contact.is_some_and(|contact| now.since(contact) <= self.longest_gap())
    }

    /// The count of false takeovers now: as last written, halved every ten minutes since.
    #[must_use]
    pub fn false_takeovers(&self, now: Moment) -> u32 {
        let written = self.facts.false_takeovers;
        let halvings =
            u32::try_from(now.since(self.false_takeovers_at).as_secs() / 600).unwrap_or(31).min(31);
        written >> halvings
    }

    /// Whether nothing has to be read back before the standing can be believed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.read_back
    }

    /// Whether the record was seen to change since the authority last came into reach: its holder lives.
    #[must_use]
    pub fn renewed_in_reach(&self) -> bool {
        self.in_reach() && self.observed_at > self.chain_since
    }

    /// Whether the record was seen to change after `since`: its holder lived then.
    #[must_use]
    pub fn renewed_since(&self, since: Moment) -> bool {
        self.observed_at > since
    }

    /// Whether the record was seen to change so lately, in reach, that its holder must be alive.
    #[must_use]
    pub fn renewed_lately(&self, now: Moment) -> bool {
        self.renewed_in_reach() && now.since(self.observed_at) <= self.longest_silence()
    }

    /// Whether there is a grant of ours to give back.
    #[must_use]
    pub fn owes_release(&self) -> bool {
        self.held.as_ref().is_some_and(|held| !held.contested)
    }

    /// When the last successful write of our grant was sent.
    #[must_use]
    pub fn renewed_at(&self) -> Option<Moment> {
        self.held.as_ref().and_then(|held| held.renewed_at)
    }
}
