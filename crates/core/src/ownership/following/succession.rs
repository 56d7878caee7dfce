//! Rule 8: whoever lives takes a silent VIP while no authority can be asked, each in its turn.

use crate::ownership::*;
use crate::placement;

impl Machine {
    pub(in crate::ownership) fn succeed_without_authority(&mut self, now: Moment, out: &mut Output) {
        if !self.may_succeed(now) {
            self.succession = Succession::Idle;
            return;
        }
        match self.succession {
            Succession::Idle => {
                let rank = u32::try_from(self.rank_among_living()).unwrap_or(u32::MAX);
                let wait = RANK_STEP.saturating_mul(rank) + self.rng.duration(RANK_STEP / 4);
                self.succession = Succession::Waiting { at: now + wait };
            }
            Succession::Waiting { at } if now >= at => {
                self.succession = Succession::Asking { since: now, asked: 0, next: now };
                self.ask(now, out);
            }
            Succession::Waiting { .. } => {}
            Succession::Asking { .. } => self.ask(now, out),
        }
    }

    /// Three probes, 20 ms apart; then, if nobody who announces answered, the claim is ours, provisionally.
    fn ask(&mut self, now: Moment, out: &mut Output) {
        let Succession::Asking { since, asked, next } = self.succession else { return };
        if now < next {
            return;
        }
        if asked == 3 {
            let epoch = self.lease.highest();
            self.take(now, (Tenure::Provisional, epoch), TakeReason::Succession, out);
            return;
        }
        let mark = Mark { tenure: Tenure::Candidate, epoch: self.lease.highest(), node: self.own_id() };
        // And for what would be put on, where the holder that is waited for wears others (rule 14).
        let own = self.own_preferred();
        self.send_probe(self.watcher.vip(), ProbeTo::All, Some(mark), out);
        if own != self.watcher.vip() {
            self.send_probe(own, ProbeTo::All, Some(mark), out);
        }
        self.succession = Succession::Asking { since, asked: asked + 1, next: now + ASK_STEP };
    }

    /// A better-ranked node asks too: it comes first.
    pub(in crate::ownership) fn defer_to(&mut self, now: Moment, candidate: NodeId) {
        let claim = &self.settings.claim;
        let better = placement::score(claim, candidate) > placement::score(claim, self.own_id());
        if better && self.succession != Succession::Idle {
            self.succession = Succession::Waiting { at: now + RANK_STEP + RANK_STEP / 2 };
        }
    }

    fn may_succeed(&self, now: Moment) -> bool {
        if self.is_empty_seat_of_another() {
            return false;
        }
        let out = self.lease.out_since().is_some();
        // Whether this node could serve does not matter: no API server is in reach, so nobody could.
        out && !self.is_strict() && self.may_hold(now) && self.is_silent_enough(now)
    }

    /// Silent for ten intervals, with rule 7's guards. Where a guard cannot be had (the holder was never heard; there
    /// is no witness, or all are dead too), much longer silence stands in for it: nobody is harmed by a VIP on a node
    /// that nobody hears, and marks settle what is found when the link returns. Without an authority nobody is listed, so
    /// there is nothing to guard by.
    fn is_silent_enough(&self, now: Moment) -> bool {
        let lease = self.settings.lease.duration;
        let standalone = self.settings.authority == Authority::Standalone;
        let unheard = if self.is_first(now) { self.watcher.long_silence() } else { lease };
        self.watcher.evidence(now, self.watcher.long_silence()).is_ok()
            || (standalone && self.is_silent_for(now, self.watcher.long_silence()))
            || (self.watcher.is_witnessed() && self.is_silent_for(now, unheard))
            || self.is_silent_for(now, lease * 2)
    }

    /// Whether this may be the first node of a cluster. A kernel that answers in the VIP's name may be a holder's: a node
    /// that joins without access to the API hears no mark of it for seconds.
    fn is_first(&self, now: Moment) -> bool {
        let answered = self.stranger_at.is_some_and(|at| now.since(at) < self.watcher.long_silence());
        self.knows_nobody() && !answered
    }

    /// Whether there was never a holder that could be waited for: the first node of a cluster, before there is an API
    /// server. No Lease was ever read, and nothing is remembered.
    pub(in crate::ownership) fn knows_nobody(&self) -> bool {
        let own = &self.settings.node;
        self.lease.record().is_none()
            && self.lease.highest() == 0
            && self.members.keys().all(|name| name == own)
    }

    /// Our place in the claim's order among the members that answered since the VIP fell silent.
    fn rank_among_living(&self) -> usize {
        let silent_since = self.watcher.silent_since();
        let living = |member: &Member| {
            member.addresses.iter().any(|address| self.watcher.neighbour_heard(address) > Some(silent_since))
        };
        let others =
            self.members.iter().filter(|(name, member)| **name != self.settings.node && living(member));
        placement::rank(&self.settings.claim, self.own_id(), others.map(|(name, _)| name.id()))
    }

    pub(in crate::ownership) fn succession_deadline(&self) -> Option<Moment> {
        match self.succession {
            Succession::Idle => None,
            Succession::Waiting { at } => Some(at),
            Succession::Asking { next, .. } => Some(next),
        }
    }
}
