//! What there is to see of one claim: `mainstay status` and the admin API show it.

use super::{Machine, NEIGHBOUR_MEMORY, State};
use crate::snapshot::Member;
use crate::status::ClaimStatus;
use crate::time::Moment;

impl Machine {
    pub(crate) fn status(&self, now: Moment) -> ClaimStatus {
        let tenure = match &self.state {
            State::Holding(holding) => Some(holding.tenure),
            State::Yielding(yielding) => Some(yielding.tenure),
            _ => None,
        };
        let next_request = self.lease.next_deadline(&self.wants(now));
        ClaimStatus {
            claim: self.settings.claim.clone(),
            vips: self.settings.vips.clone(),
            leaving: self.addresses.leaving(),
            state: self.state_word().to_owned(),
            tenure,
            since: now.since(self.state_since),
            epoch: self.lease.highest(),
            holder: self.lease.record().and_then(|record| record.holder.clone()),
            standing: self.lease.standing().word().to_owned(),
            authority_in_reach: self.lease.in_reach(),
            last_contact: self.lease.contact().map(|at| now.since(at)),
            failures_in_a_row: self.lease.failures(),
            next_request: next_request.map(|at| at.since(now)),
            conflicts: self.conflicts,
            holder_last_answer: self.watcher.last_answer().map(|at| now.since(at)),
            reason: self.explain(now),
            members: self.members.keys().map(|name| name.as_str().to_owned()).collect(),
            unheard: self.unheard(now),
        }
    }

    fn unheard(&self, now: Moment) -> Vec<String> {
        let is_heard = |member: &Member| {
            self.watcher.last_heard(member).is_some_and(|at| now.since(at) <= NEIGHBOUR_MEMORY)
        };
        let others = self.members.iter().filter(|(name, _)| **name != self.settings.node);
        others.filter(|(_, member)| !is_heard(member)).map(|(name, _)| name.as_str().to_owned()).collect()
    }

    fn state_word(&self) -> &'static str {
        match &self.state {
            State::Released => "released",
            State::Probing(_) => "probing",
            State::Holding(_) => "holding",
            State::Yielding(_) => "yielding",
            State::Stopped => "stopped",
        }
    }
}
