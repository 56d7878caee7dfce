//! What a holder does all the time: rules 1, 3, 5, 10 and 12, and the deadlines of everything.

use super::*;
use crate::effect::Pace as AnnouncePace;

/// In this time so many deletions are undone at once; the next waits for the time's end.
const RESTORE_WINDOW: Duration = Duration::from_secs(1);
const RESTORES_AT_ONCE: u32 = 10;

impl Machine {
    pub(super) fn hold_duties(&mut self, now: Moment, out: &mut Output) {
        self.update_verification(now);
        self.update_tenure(now, out);
        self.tell_invitation(now, out);
        self.may_have_rival = self.looks_for_rival(now);
    }

    /// Whether to ask on the wire for another holder: frames are exchanged within half a second of a partition's end,
    /// however rarely announcements are sent.
    fn looks_for_rival(&self, now: Moment) -> bool {
        let State::Holding(holding) = &self.state else { return false };
        holding.tenure != Tenure::Confirmed
            || self.lease.out_since().is_some()
            || self.forced_until.is_some_and(|until| now < until)
    }

    /// A verification ends with a renewal, or with its window: unverified is unconfirmed (rule 5).
    fn update_verification(&mut self, now: Moment) {
        let State::Holding(holding) = &mut self.state else { return };
        let Some(Verification { since, until }) = holding.verifying else { return };
        if self.lease.renewed_at().is_some_and(|at| at >= since) {
            holding.verifying = None;
        } else if now >= until {
            holding.verifying = None;
            self.lease.unconfirm();
        }
    }

    /// Rule 1: a holder whose authority is out of reach goes on, detached.
    fn update_tenure(&mut self, now: Moment, out: &mut Output) {
        let fresh = self.lease.is_fresh(now);
        let standing = self.lease.standing();
        if matches!((&self.state, &standing), (State::Holding(_), Standing::Granted { .. })) {
            self.remember_lease();
        }
        let State::Holding(holding) = &mut self.state else { return };
        let before = holding.tenure;
        match standing {
            Standing::Granted { epoch } => {
                holding.tenure = if fresh { Tenure::Confirmed } else { Tenure::Detached };
                holding.epoch = epoch;
                holding.basis = holding.basis.max(epoch);
            }
            // Granted once, and the record is being contested or read anew.
            _ if before == Tenure::Confirmed => holding.tenure = Tenure::Detached,
            _ => {}
        }
        let (to, epoch) = (holding.tenure, holding.epoch);
        holding.unconfirmed_since = match to {
            Tenure::Confirmed => None,
            _ => holding.unconfirmed_since.or(Some(now)),
        };
        if before != to {
            self.state_since = now;
            out.events.push(Event::TenureChanged {
                claim: self.settings.claim.clone(),
                from: before,
                to,
                epoch,
            });
        }
    }

    fn tell_invitation(&mut self, now: Moment, out: &mut Output) {
        let State::Holding(holding) = &self.state else { return };
        let epoch = holding.epoch;
        let inviting = self.wants(now).publication.invite == annotations::Invite::Yes;
        if !inviting {
            self.invited_at_epoch = None;
        } else if self.invited_at_epoch != Some(epoch) {
            self.invited_at_epoch = Some(epoch);
            out.events.push(Event::Invited { claim: self.settings.claim.clone() });
        }
    }

    // === the address (rule 10) ===

    pub(super) fn wears(&self) -> bool {
        !matches!(self.state, State::Released | State::Stopped)
    }

    /// The dead-man switch, set anew every third of the lifetime; for those of Services apart, whose lifetime is another.
    pub(super) fn refresh(&mut self, now: Moment, out: &mut Output) {
        self.refresh_own(now, out);
        self.refresh_services(now, out);
    }

    fn refresh_own(&mut self, now: Moment, out: &mut Output) {
        // What was found before a restart is refreshed; what is not there is only added by a holder.
        let absent_and_unsure = self.address == Address::Absent && !matches!(self.state, State::Holding(_));
        if !self.wears() || now < self.refresh_due || absent_and_unsure {
            return;
        }
        self.refresh_due = now + self.settings.lifetime / 3;
        if self.address == Address::Absent {
            self.address = Address::Ordered;
            self.expect_services(now);
        }
        // Nothing new while it is unsure whether the claim is ours, or another's soon (rule 14).
        let holds = matches!(self.state, State::Holding(_));
        let vips: Vec<Vip> = self.own_vips().filter(|vip| holds || !self.addresses.is_coming(*vip)).collect();
        if vips.is_empty() {
            return;
        }
        let id = self.effect_id();
        self.pending.insert(id, Pending::Assign);
        let (claim, lifetime) = (self.settings.claim.clone(), self.settings.lifetime);
        out.effects.push(Effect::Assign { id, claim, vips, lifetime });
    }

    /// An address that stays on the interface answers in the VIP's name, whoever holds it now.
    pub(super) fn withdraw_again(&mut self, now: Moment, out: &mut Output) {
        if self.state != State::Released {
            self.withdraw_due = None;
        }
        if self.withdraw_due.take_if(|due| *due <= now).is_some() {
            self.order_withdrawal(out);
        }
    }

    /// Somebody else put the VIP here, where the kernel answers in its name. While another node has the claim it goes, as
    /// what an agent of before left does; once a second at most, for there are those who put it back at once.
    pub(super) fn on_appeared(&mut self, now: Moment, vip: Vip, out: &mut Output) {
        let own = self.settings.node.as_str();
        let elsewhere = matches!(self.lease.standing(), Standing::Denied { ref holder, .. } if holder != own);
        let waits = self.withdraw_due.is_some() || !self.claims(vip);
        if self.state != State::Released || !elsewhere || waits {
            return;
        }
        let due = self.expelled_at.map_or(now, |at| now.max(at + ASSIGN_RETRY));
        (self.withdraw_due, self.expelled_at) = (Some(due), Some(due));
        out.events.push(Event::AddressExpelled { claim: self.settings.claim.clone(), vip });
    }

    pub(super) fn order_withdrawal(&mut self, out: &mut Output) -> EffectId {
        let id = self.effect_id();
        self.pending.insert(id, Pending::Withdraw);
        let (claim, vips) = (self.settings.claim.clone(), self.settings.vips.clone());
        out.effects.push(Effect::Withdraw { id, claim, vips });
        id
    }

    pub(super) fn on_removed(&mut self, now: Moment, vip: Vip, expired: bool, out: &mut Output) {
        if !self.wears() || !self.claims(vip) {
            return;
        }
        let claim = self.settings.claim.clone();
        if !expired {
            return self.restore(now, vip, out);
        }
        // Nobody refreshed it: this agent stood still. Another may hold the claim by now (rule 9).
        out.events.push(Event::AddressExpired { claim, vip });
        self.lease.doubt(now);
        self.withdraw(now, YieldReason::Expired, out);
    }

    /// Puts an address back that somebody deleted: at once, but a tool that deletes it in a loop is not met in a loop.
    /// Until the kernel has it again it is not announced (rule 3), and then with a burst: whoever asked for it meanwhile
    /// was not answered. The claim's other addresses are announced on: which of several are there, the data plane knows.
    fn restore(&mut self, now: Moment, vip: Vip, out: &mut Output) {
        self.missing.insert(vip);
        if self.address == Address::Present && self.nothing_is_left() {
            self.address = Address::Ordered;
        }
        let (since, count) =
            self.restores.filter(|(since, _)| now.since(*since) < RESTORE_WINDOW).unwrap_or((now, 0));
        self.restores = Some((since, count.saturating_add(1)));
        if usize::try_from(count).is_ok_and(|count| count < self.settings.vips.len()) {
            out.events.push(Event::AddressRestored { claim: self.settings.claim.clone(), vip });
        }
        let due = if count < RESTORES_AT_ONCE { now } else { since + RESTORE_WINDOW };
        if self.services.has(vip) {
            return self.services.order_again(vip, due);
        }
        // What was ordered before it was deleted says nothing about it now.
        self.pending.retain(|_, pending| *pending != Pending::Assign);
        self.refresh_due = due;
    }

    /// Not one of the claim's addresses is on the interface.
    fn nothing_is_left(&self) -> bool {
        let absent = |vip: &Vip| self.missing.contains(vip) || self.addresses.is_coming(*vip);
        self.missing.len() + self.addresses.coming() >= self.settings.vips.len()
            && self.settings.vips.iter().all(absent)
    }

    pub(super) fn on_kernel_done(&mut self, id: EffectId, out: &mut Output) {
        match self.pending.remove(&id) {
            Some(Pending::Assign) if self.wears() => {
                self.address = Address::Present;
                self.missing.retain(|vip| self.services.has(*vip));
                if matches!(self.state, State::Holding(_)) {
                    self.addresses.settle_but(&self.services);
                }
                self.refused_since = None;
            }
            Some(Pending::Services) => self.services_there(id),
            _ => {}
        }
        self.stop_when_done(id, out);
    }

    pub(super) fn on_kernel_failed(&mut self, now: Moment, id: EffectId, cause: &str, out: &mut Output) {
        let refused = self.pending.remove(&id);
        if refused == Some(Pending::Withdraw) {
            self.withdraw_due = Some(now + ASSIGN_RETRY);
        }
        if refused == Some(Pending::Services) {
            self.services_refused(now, id);
        }
        if refused == Some(Pending::Assign) {
            if self.address == Address::Ordered {
                self.address = Address::Absent;
                self.refused_since.get_or_insert(now);
            }
            self.refresh_due = now + ASSIGN_RETRY;
            let (claim, cause) = (self.settings.claim.clone(), cause.to_owned());
            out.events.push(Event::AddressFailed { claim, cause });
        }
        self.stop_when_done(id, out);
    }

    fn stop_when_done(&mut self, id: EffectId, out: &mut Output) {
        if self.stop_after != Some(id) {
            return;
        }
        self.stop_after = None;
        if self.state == State::Stopped {
            out.effects.push(Effect::Stop);
        }
    }

    // === announcing (rule 3) ===

    /// How this node holds, as its announcements say it.
    pub(super) fn own_mark(&self) -> Option<Mark> {
        let (tenure, epoch) = match &self.state {
            State::Holding(holding) => (holding.tenure, holding.epoch),
            State::Yielding(yielding) if yielding.reason == YieldReason::HandOver => {
                (yielding.tenure, yielding.epoch)
            }
            _ => return None,
        };
        Some(Mark { tenure, epoch, node: self.own_id() })
    }

    pub(super) fn announce(&mut self, out: &mut Output) {
        let may = self.address == Address::Present && self.link_up();
        let wanted = self.own_mark().filter(|_| may);
        match (self.announced, wanted) {
            (before, after) if before == after && !(after.is_some() && self.announces_others()) => {}
            (_, None) => self.silence(out),
            (None, Some(_)) => self.order_announcement(AnnouncePace::Burst, out),
            (Some(_), Some(_)) => self.order_announcement(AnnouncePace::Steady, out),
        }
    }

    pub(super) fn order_announcement(&mut self, pace: AnnouncePace, out: &mut Output) {
        let Some(mark) = self.own_mark() else { return };
        if self.address != Address::Present || !self.link_up() {
            return;
        }
        self.announced = Some(mark);
        let (claim, vips) = (self.settings.claim.clone(), self.announceable());
        self.note_announced(&vips);
        out.effects.push(Effect::Announce { claim, vips, mark, pace });
    }

    // === deadlines ===

    /// The next moment at which something may be due. Never earlier than the facts demand; a tick too many is harmless.
    pub(super) fn next_deadline(&self, now: Moment) -> Option<Moment> {
        if self.state == State::Stopped {
            return None;
        }
        let lease_enabled = self.settings.authority == Authority::Lease;
        let lease = lease_enabled.then(|| self.lease.next_deadline(&self.wants(now))).flatten();
        // What is due already has been looked at in this step: only a later moment brings news, except for requests.
        let ours = [self.own_deadline(), self.failures_deadline(now)];
        [self.watcher_deadline(now), lease, self.succession_deadline()]
            .into_iter()
            .chain(ours)
            .flatten()
            .chain(self.thresholds(now).into_iter().flatten().filter(|at| *at > now))
            .min()
            .map(|at| at.max(now))
    }

    fn own_deadline(&self) -> Option<Moment> {
        let refresh =
            (self.wears() && self.address != Address::Absent) || matches!(self.state, State::Holding(_));
        [refresh.then_some(self.refresh_due), self.withdraw_due, self.services_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Moments at which a condition of time alone turns true.
    fn thresholds(&self, now: Moment) -> [Option<Moment>; 19] {
        let lease = self.settings.lease.duration;
        let silent = self.watcher.silent_since();
        let expires = self.lease.expires_at();
        let state = match &self.state {
            State::Probing(probing) => Some(probing.since + PROBING_LIMIT),
            State::Yielding(yielding) => Some(yielding.until),
            State::Holding(holding) => holding.verifying.map(|verification| verification.until),
            _ => None,
        };
        let strict = match (&self.state, self.settings.on_authority_loss) {
            (State::Holding(holding), OnAuthorityLoss::ReleaseAfter(patience)) => {
                self.strict_since(holding).map(|since| since + patience)
            }
            _ => None,
        };
        [
            state,
            strict,
            self.lease.fresh_until(),
            self.stay_out_until,
            self.steady_at(),
            self.link_down_since.map(|since| since + LINK_PATIENCE),
            expires,
            expires.map(|at| at + self.settings.lifetime.max(lease)),
            expires.map(|at| at + self.settings.lifetime.max(lease) + lease),
            Some(silent + self.evidence_patience(now)),
            Some(silent + self.watcher.long_silence()),
            Some(silent + self.settings.detection.interval * 3),
            Some(silent + self.authority_patience()),
            Some(silent + self.unfit_delay(now)),
            Some(self.lease.unchanged_since() + self.unfit_delay(now)),
            Some(silent + lease),
            Some(silent + lease * 2),
            self.watcher.settled_at(),
            self.next_address_due(),
        ]
    }
}
