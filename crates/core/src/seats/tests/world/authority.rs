//! The API server of a world of seats: it is there or not, for all nodes or for one that is cut off.

use super::*;

impl World {
    pub(in crate::seats::tests) fn fail_api(&mut self) {
        self.api = false;
        (0..self.hosts.len()).for_each(|host| self.lose_api(host));
    }

    pub(in crate::seats::tests) fn heal_api(&mut self) {
        self.api = true;
        (0..self.hosts.len()).for_each(|host| self.reach_api(host));
    }

    /// No frame and no request leaves this node or reaches it any more; its link stays up.
    pub(in crate::seats::tests) fn cut_off(&mut self, host: usize) {
        self.hosts[host].wire = false;
        self.lose_api(host);
    }

    /// It is connected again; it reaches the API before it hears anybody.
    pub(in crate::seats::tests) fn connect(&mut self, host: usize) {
        self.hosts[host].wire = true;
        self.reach_api(host);
    }

    fn is_in_reach(&self, host: usize) -> bool {
        self.api && self.hosts[host].wire
    }

    fn lose_api(&mut self, host: usize) {
        self.give(host, &Input::Lease(LeaseReport::WatchLost));
        for seat in self.claims() {
            self.give(host, &Input::SeatLease { seat, report: LeaseReport::WatchLost });
        }
    }

    fn reach_api(&mut self, host: usize) {
        self.show(host);
        for claim in self.claims() {
            self.watch(host, &claim);
        }
    }

    pub(super) fn ask(&mut self, host: usize, id: EffectId, request: &LeaseRequest) {
        let claim = self.hosts[host].node.as_ref().expect("it asked").claim_of(id).clone();
        let outcome =
            if self.is_in_reach(host) { self.answer(&claim, request) } else { LeaseOutcome::Unreachable };
        let written = matches!(
            (&outcome, request),
            (LeaseOutcome::Record(_), LeaseRequest::Create(_) | LeaseRequest::Update { .. })
        );
        self.conclude(host, id, Outcome::Lease(outcome));
        if written {
            self.writes += 1;
            self.writes_of_guests += u64::from(claim.home().is_some_and(|home| home != name(host)));
            (0..self.hosts.len()).for_each(|host| self.watch(host, &claim));
        }
    }

    fn answer(&mut self, claim: &ClaimId, request: &LeaseRequest) -> LeaseOutcome {
        let record = self.leases.get(claim).cloned();
        let write = match (request, record) {
            (LeaseRequest::Read, Some(record)) => return LeaseOutcome::Record(record),
            (LeaseRequest::Read | LeaseRequest::Update { .. }, None) => return LeaseOutcome::Absent,
            (LeaseRequest::Create(_), Some(_)) => return LeaseOutcome::Conflict,
            (LeaseRequest::Update { resource_version, .. }, Some(record))
                if *resource_version != record.resource_version =>
            {
                return LeaseOutcome::Conflict;
            }
            (LeaseRequest::Create(draft), None) => draft,
            (LeaseRequest::Update { draft, .. }, Some(_)) => draft,
        };
        self.version += 1;
        let record = self.written(claim, write);
        self.leases.insert(claim.clone(), record.clone());
        LeaseOutcome::Record(record)
    }

    fn written(&self, claim: &ClaimId, draft: &LeaseDraft) -> LeaseRecord {
        let stamp = |stamp: &Stamp| match stamp {
            Stamp::Now => format!("{:?}", self.now),
            Stamp::Keep(text) => text.clone(),
        };
        LeaseRecord {
            uid: claim.to_string(),
            resource_version: self.version.to_string(),
            holder: draft.holder.clone(),
            duration_seconds: draft.duration_seconds,
            acquire_time: stamp(&draft.acquire_time),
            renew_time: stamp(&draft.renew_time),
            transitions: draft.transitions,
            annotations: draft.annotations.clone(),
        }
    }

    pub(super) fn watch(&mut self, host: usize, claim: &ClaimId) {
        if !self.is_in_reach(host) {
            return;
        }
        let report = self
            .leases
            .get(claim)
            .map_or(LeaseReport::Absent, |record| LeaseReport::Observed(record.clone()));
        let input = match claim.home() {
            Some(_) => Input::SeatLease { seat: claim.clone(), report },
            None => Input::Lease(report),
        };
        self.later(DELAY, host, Due::Input(input));
    }
}
