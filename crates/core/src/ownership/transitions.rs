//! Between the states: rules 1, 3, 4, 8, 9, 11 and 13.

use super::seat::SEAT_WAIT;
use super::*;
use crate::conflict;
use crate::watcher::Lack;

impl Machine {
    pub(super) fn transit(&mut self, now: Moment, out: &mut Output) {
        match self.state.clone() {
            State::Released => self.transit_released(now, out),
            State::Probing(probing) => self.transit_probing(now, &probing, out),
            State::Holding(holding) => self.transit_holding(now, &holding, out),
            State::Yielding(yielding) => self.transit_yielding(now, &yielding, out),
            State::Stopped => {}
        }
    }

    fn transit_released(&mut self, now: Moment, out: &mut Output) {
        if self.stopping {
            return self.stop_when_released(out);
        }
        match self.lease.standing() {
            // A grant that is only remembered may have expired for the others: renewed first, then taken.
            Standing::Granted { epoch } if self.lease.is_fresh(now) => {
                if self.may_hold(now) {
                    self.take(now, (Tenure::Confirmed, epoch), self.campaign_reason, out);
                }
            }
            _ => self.succeed_without_authority(now, out),
        }
    }

    /// Rule 9: the VIP is worn, and not announced until a standing arrives or a probe finds no other.
    fn transit_probing(&mut self, now: Moment, probing: &Probing, out: &mut Output) {
        if self.is_strict() && !self.lease.is_fresh(now) && self.lease.out_since().is_some() {
            return self.withdraw(now, YieldReason::AuthorityLoss, out);
        }
        if !self.link_up() {
            return self.resign_without_link(now, out);
        }
        if let Some(reason) = self.outranked_while_probing(probing) {
            return self.withdraw(now, reason, out);
        }
        if self.lease.is_settled() && self.lease.in_reach() {
            match self.lease.standing() {
                Standing::Granted { epoch } => {
                    let tenure = if self.lease.is_fresh(now) { Tenure::Confirmed } else { Tenure::Detached };
                    return self.take(now, (tenure, epoch), TakeReason::Resumption, out);
                }
                Standing::Denied { epoch, ref holder }
                    if holder != self.settings.node.as_str()
                        && epoch > probing.basis
                        && !self.is_another_lease() =>
                {
                    return self.start_yielding(now, YieldReason::Denied, SUCCESSOR_WAIT, out);
                }
                _ => {}
            }
        }
        if self.resumes(now, probing) {
            let held = (probing.before, self.lease.highest());
            return self.take(now, held, TakeReason::Resumption, out);
        }
        self.yield_to_the_worn(now, probing, out);
    }

    /// Whether a probe found no other, and nothing the authority says stands against going on.
    fn resumes(&self, now: Moment, probing: &Probing) -> bool {
        let silent = self.is_silent_after_probing(now);
        // A kernel's unmarked answer may be a leftover: without an authority it delays, and then marks decide.
        let waited = now.since(probing.since) >= PROBING_LIMIT;
        (self.lease.out_since().is_some() && (silent || waited)) || (silent && self.contests(now))
    }

    pub(super) fn is_silent_after_probing(&self, now: Moment) -> bool {
        self.watcher.silence(now, self.settings.detection.interval * 3).is_ok()
    }

    /// The authority answers, names another, and somebody wears the VIP: then it is not ours, whatever we remember.
    fn yield_to_the_worn(&mut self, now: Moment, probing: &Probing, out: &mut Output) {
        let worn = self.watcher.last_answer().is_some_and(|at| at >= probing.since);
        let named = matches!(self.lease.standing(), Standing::Denied { ref holder, .. } if holder != self.settings.node.as_str());
        if self.lease.in_reach() && named && worn && now.since(probing.since) >= PROBING_LIMIT {
            self.withdraw(now, YieldReason::Denied, out);
        }
    }

    /// Whether a mark heard since probing began is of higher order than ours would be.
    fn outranked_while_probing(&self, probing: &Probing) -> Option<YieldReason> {
        let ours = Mark { tenure: probing.before, epoch: self.lease.highest(), node: self.own_id() };
        let outranked = self.claimants.values().any(|claimant| {
            claimant.at >= probing.since
                && conflict::order(&self.settings.claim, ours, claimant.mark) == std::cmp::Ordering::Less
        });
        outranked.then_some(YieldReason::Outranked)
    }

    fn transit_holding(&mut self, now: Moment, holding: &Holding, out: &mut Output) {
        if self.stopping {
            return self.begin_hand_over(now, out);
        }
        if !self.link_up() {
            return self.resign_without_link(now, out);
        }
        if self.gives_seat_back(now) {
            return self.start_yielding(now, YieldReason::HandOver, SEAT_WAIT, out);
        }
        if let Standing::Denied { epoch, holder } = self.lease.standing() {
            // A hand-over asked for by rule 12 ends the same way.
            if epoch > holding.basis && holder != self.settings.node.as_str() && !self.is_another_lease() {
                let reason = if self.invited_at_epoch.take().is_some() {
                    YieldReason::HandOver
                } else {
                    if holding.tenure == Tenure::Confirmed {
                        self.notice_own_false_death(now, out);
                    }
                    YieldReason::Denied
                };
                return self.start_yielding(now, reason, SUCCESSOR_WAIT, out);
            }
        }
        if self.is_held_out_of_hearing(holding) {
            return self.withdraw(now, YieldReason::Denied, out);
        }
        if self.is_refused(now) {
            self.stay_out_until = Some(now + self.settings.lease.duration);
            return self.withdraw(now, YieldReason::Refused, out);
        }
        self.release_strict_singleton(now, holding, out);
    }

    /// A holder whose kernel refuses all of the claim's addresses serves nobody: where another member could take the
    /// claim, it goes.
    fn is_refused(&self, now: Moment) -> bool {
        self.address == Address::Absent
            && self.refused_since.is_some_and(|since| now.since(since) >= REFUSAL_PATIENCE)
            && self.lease.in_reach()
            && self.watcher.member_company(now, NEIGHBOUR_MEMORY, &self.settings.witnesses)
    }

    fn release_strict_singleton(&mut self, now: Moment, holding: &Holding, out: &mut Output) {
        if let OnAuthorityLoss::ReleaseAfter(patience) = self.settings.on_authority_loss
            && self.strict_since(holding).is_some_and(|since| now.since(since) >= patience)
        {
            // A grant as old as that is no ground for taking it again.
            self.lease.unconfirm();
            self.withdraw(now, YieldReason::AuthorityLoss, out);
        }
    }

    /// From when `release_after` counts: the last successful renewal, or for want of one the loss of confirmation.
    pub(super) fn strict_since(&self, holding: &Holding) -> Option<Moment> {
        self.lease.renewed_at().or(holding.unconfirmed_since)
    }

    /// Rule 13: down for more than a second with the authority in reach.
    fn resign_without_link(&mut self, now: Moment, out: &mut Output) {
        let down_for = self.link_down_since.map(|since| now.since(since));
        if self.lease.in_reach() && down_for.is_some_and(|down_for| down_for >= LINK_PATIENCE) {
            self.withdraw(now, YieldReason::LinkDown, out);
        }
    }

    fn transit_yielding(&mut self, now: Moment, yielding: &Yielding, out: &mut Output) {
        if self.successor_heard(yielding) {
            return self.withdraw(now, yielding.reason, out);
        }
        if let Standing::Granted { epoch } = self.lease.standing()
            && yielding.reason != YieldReason::HandOver
            && self.lease.is_fresh(now)
        {
            return self.take(now, (Tenure::Confirmed, epoch), TakeReason::Free, out);
        }
        if yielding.reason == YieldReason::HandOver
            && matches!(self.lease.standing(), Standing::Denied { .. })
            && yielding.until > now + SUCCESSOR_WAIT
        {
            return self.shorten_yield(now + SUCCESSOR_WAIT);
        }
        if now >= yielding.until {
            self.end_yield(now, yielding, out);
        }
    }

    fn shorten_yield(&mut self, until: Moment) {
        if let State::Yielding(yielding) = &mut self.state {
            yielding.until = until;
        }
    }

    /// The successor did not show itself in time. Denied: it has the grant all the same. Otherwise nobody took it; where
    /// nobody asked this agent to stop either (rule 12), one did, and the Lease was deleted since.
    fn end_yield(&mut self, now: Moment, yielding: &Yielding, out: &mut Output) {
        let succeeded = matches!(self.lease.standing(), Standing::Denied { .. });
        if self.stopping && yielding.reason == YieldReason::HandOver && !succeeded {
            return self.stop_keeping(now, out);
        }
        self.withdraw(now, yielding.reason, out);
    }

    fn successor_heard(&self, yielding: &Yielding) -> bool {
        self.claimants.values().any(|claimant| {
            claimant.mark.node != self.own_id()
                && claimant.mark.tenure > Tenure::Provisional
                && (claimant.mark.epoch > yielding.epoch || self.is_named(claimant, yielding))
                && claimant.at + SUCCESSOR_WAIT >= yielding.since
        })
    }

    /// Whether it speaks by the very grant that the record is of, since we yield: that may be an earlier epoch's than ours,
    /// where a backup of the Lease was restored meanwhile.
    fn is_named(&self, claimant: &Claimant, yielding: &Yielding) -> bool {
        let (Some(record), mark) = (self.lease.record(), claimant.mark) else { return false };
        let holder = record.holder.as_deref().map(|holder| NodeName::new(holder).id());
        (holder, record.transitions) == (Some(mark.node), mark.epoch)
            && mark.tenure == Tenure::Confirmed
            && claimant.at >= yielding.since
    }

    // === moving ===

    /// Holds from now on. The address first; the announcement follows its outcome.
    pub(super) fn take(&mut self, now: Moment, held: (Tenure, u32), reason: TakeReason, out: &mut Output) {
        let (tenure, epoch) = held;
        let unconfirmed_since = (tenure != Tenure::Confirmed).then_some(now);
        let basis = self.lease.highest();
        self.remember_predecessor(now, reason);
        self.remember_lease();
        if matches!(reason, TakeReason::Evidence | TakeReason::Expired | TakeReason::Succession) {
            // An agent that stopped for a restart leaves its VIP for this long, with nobody to withdraw it.
            self.forced_until = Some(now + self.settings.lifetime.max(self.settings.restart_grace));
        }
        self.set_state(
            now,
            State::Holding(Holding { tenure, since: now, epoch, basis, verifying: None, unconfirmed_since }),
        );
        if reason != TakeReason::Resumption || self.address != Address::Present {
            self.announced = None;
        }
        self.campaign_reason = TakeReason::Free;
        // What was ordered before may not have named all of them.
        self.pending.retain(|_, pending| *pending != Pending::Assign);
        self.refresh_due = now;
        self.services.refresh_all(now);
        self.refused_since = None;
        out.events.push(Event::Took { claim: self.settings.claim.clone(), tenure, epoch, reason });
    }

    /// The object under which the claim is held from now on.
    pub(super) fn remember_lease(&mut self) {
        if let Some(record) = self.lease.record().filter(|record| record.uid != self.held_under) {
            self.held_under = record.uid.clone();
        }
    }

    /// Whom we took the claim from on evidence: should it prove alive, the takeover was false (rule 7).
    fn remember_predecessor(&mut self, now: Moment, reason: TakeReason) {
        if reason == TakeReason::Evidence
            && let Some((holder, epoch)) = self.watcher.watched_tenure()
        {
            self.taken_from = Some((NodeName::new(holder).id(), *epoch, now));
        }
    }

    pub(super) fn start_yielding(
        &mut self,
        now: Moment,
        reason: YieldReason,
        wait: Duration,
        out: &mut Output,
    ) {
        let (epoch, tenure) = self.held_as();
        let yielding = Yielding { reason, since: now, until: now + wait, epoch, tenure };
        self.set_state(now, State::Yielding(yielding.clone()));
        if self.successor_heard(&yielding) {
            return self.withdraw(now, reason, out);
        }
        if reason == YieldReason::Denied {
            self.show_to_successor(&yielding, out);
        }
    }

    /// A denied holder asks the link with the mark it held by: the successor defends itself, is heard, and is the last
    /// to announce. It may know nothing of us, and clients may have our address of it.
    fn show_to_successor(&mut self, yielding: &Yielding, out: &mut Output) {
        if !self.link_up() {
            return;
        }
        let tenure = yielding.tenure.min(Tenure::Detached);
        let mark = Mark { tenure, epoch: yielding.epoch, node: self.own_id() };
        self.send_probe(self.watcher.vip(), ProbeTo::All, Some(mark), out);
    }

    pub(super) fn held_as(&self) -> (u32, Tenure) {
        match &self.state {
            State::Holding(holding) => (holding.epoch, holding.tenure),
            State::Yielding(yielding) => (yielding.epoch, yielding.tenure),
            State::Probing(probing) => (probing.basis, probing.before),
            State::Released => (self.lease.highest(), Tenure::Candidate),
            State::Stopped => self.held_at_stop.unwrap_or((self.lease.highest(), Tenure::Candidate)),
        }
    }

    /// Takes the VIP off the interface and lets go.
    pub(super) fn withdraw(&mut self, now: Moment, reason: YieldReason, out: &mut Output) {
        let (epoch, _) = self.held_as();
        let claim = self.settings.claim.clone();
        self.silence(out);
        self.pending.retain(|_, pending| *pending != Pending::Assign);
        self.address = Address::Absent;
        self.missing.clear();
        self.addresses.nothing_is_worn();
        self.services.nothing_is_worn();
        let id = self.order_withdrawal(out);
        out.events.push(Event::Yielded { claim, epoch, reason });
        if reason == YieldReason::HandOver {
            self.stay_out_until = Some(now + self.settings.lease.duration);
        }
        self.watcher.restart(now);
        self.set_state(now, State::Released);
        if self.stopping {
            self.stop_after = Some(id);
        }
    }

    pub(super) fn silence(&mut self, out: &mut Output) {
        if self.announced.take().is_some() {
            out.effects.push(Effect::Silence { claim: self.settings.claim.clone() });
        }
    }

    /// Rule 9 after a freeze or a link's return: worn as before, unannounced, and everything is asked anew.
    pub(super) fn reconsider(&mut self, now: Moment) {
        let (before, basis) = match &self.state {
            State::Holding(holding) => (holding.tenure.min(Tenure::Detached), holding.basis),
            State::Probing(probing) => (probing.before, probing.basis),
            _ => return,
        };
        self.lease.doubt(now);
        self.watcher.restart(now);
        self.set_state(now, State::Probing(Probing { since: now, before, basis }));
    }

    /// A gap in the loop longer than a third of the lifetime: nothing known before may be true now.
    pub(super) fn notice_freeze(&mut self, now: Moment, out: &mut Output) {
        let Some(promised) = self.promised else { return };
        let gap = now.since(promised);
        if gap > self.settings.lifetime / 3 {
            out.events.push(Event::Resumed { gap });
            self.lease.doubt(now);
            self.watcher.restart(now);
            self.reconsider(now);
        }
    }

    // === stopping (rule 11) ===

    pub(super) fn on_shutdown(&mut self, now: Moment, out: &mut Output) {
        self.stopping = true;
        if matches!(self.state, State::Probing(_)) {
            self.stop_keeping(now, out);
        }
    }

    fn begin_hand_over(&mut self, now: Moment, out: &mut Output) {
        if self.is_empty_seat() {
            return self.withdraw(now, YieldReason::HandOver, out);
        }
        if self.is_strict() {
            self.withdraw(now, YieldReason::HandOver, out);
        } else if self.has_company(now) && self.lease.in_reach() && self.link_up() && self.lease.is_fresh(now)
        {
            self.start_yielding(now, YieldReason::HandOver, self.hand_over_wait(), out);
        } else {
            self.stop_keeping(now, out);
        }
    }

    /// Whether another member lives; or is listed, and has not had the time to be heard since this node took the claim;
    /// or an elector that lists nobody may wait for the claim, as during a migration.
    fn has_company(&self, now: Moment) -> bool {
        let unheard_as_yet = self.members.len() > 1 && now.since(self.state_since) < COMPANY_WAIT;
        let unlisted = self.lease.knows_other_elector();
        unheard_as_yet
            || unlisted
            || self.watcher.member_company(now, NEIGHBOUR_MEMORY, &self.settings.witnesses)
    }

    /// Nobody can succeed: the VIP stays for the restart, with a lifetime of its own.
    fn stop_keeping(&mut self, now: Moment, out: &mut Output) {
        let id = self.effect_id();
        self.pending.insert(id, Pending::Assign);
        let claim = self.settings.claim.clone();
        out.effects.push(Effect::Assign {
            id,
            claim: claim.clone(),
            vips: self.announceable(),
            lifetime: self.settings.restart_grace,
        });
        out.events.push(Event::Stopping { claim, kept: true });
        self.silence(out);
        self.held_at_stop = Some(self.held_as());
        self.set_state(now, State::Stopped);
        self.stop_after = Some(id);
    }

    /// Nothing is worn; a grant of ours is released first, as far as the authority lets us.
    fn stop_when_released(&mut self, out: &mut Output) {
        let granted = self.lease.owes_release() && self.lease.in_reach();
        if self.stop_after.is_none() && !granted {
            out.events.push(Event::Stopping { claim: self.settings.claim.clone(), kept: false });
            out.effects.push(Effect::Stop);
            self.state = State::Stopped;
        }
    }

    // === facts about ourselves ===

    /// Whether this node may hold at all now: not leaving, link up, not staying out.
    pub(super) fn may_hold(&self, now: Moment) -> bool {
        !self.stopping && self.link_up() && self.stay_out_until.is_none_or(|until| now >= until)
    }

    pub(super) fn explain(&self, now: Moment) -> String {
        let text = match &self.state {
            State::Holding(holding) => match holding.tenure {
                Tenure::Confirmed => "granted by the lease",
                Tenure::Detached => {
                    "granted by the lease; the API servers are out of reach, so it stays held"
                }
                _ => "taken without a grant while the API servers were out of reach",
            },
            State::Probing(_) => {
                "worn since before the restart or the freeze; asking whether it is still ours"
            }
            State::Yielding(_) => "another is to take it; waiting to hear it",
            State::Stopped => "stopped",
            State::Released => return self.explain_released(now),
        };
        text.to_owned()
    }

    fn explain_released(&self, now: Moment) -> String {
        if self.stopping {
            return "stopping".to_owned();
        }
        if !self.link_up() {
            return "the link is down".to_owned();
        }
        if self.stay_out_until.is_some_and(|until| now < until) {
            return "handed over a moment ago; staying out for one lease duration".to_owned();
        }
        let lack = self.watcher.evidence(now, self.evidence_patience(now)).err();
        let wire = match lack {
            Some(Lack::Silence) => "its holder answers on the wire",
            Some(Lack::Probes) => "its holder is silent; probing",
            Some(Lack::Path) => "its holder was never heard on the wire",
            Some(Lack::Witness) => {
                "its holder is silent, and so is everybody else: our own link may be broken"
            }
            None => "its holder is dead on the wire",
        };
        match self.lease.standing() {
            Standing::Denied { holder, .. } => format!("held by {holder}; {wire}"),
            standing => format!("the lease is {}; {wire}", standing.word()),
        }
    }
}
