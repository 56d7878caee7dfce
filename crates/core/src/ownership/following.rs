//! What a node that does not hold does: rules 2, 6, 7 and 12. Rule 8 has a file of its own.

use super::*;
use crate::authority::annotations::{Invite, Publication};
use crate::authority::lease::{Campaign, GrantWish, Wants};
use crate::placement;
use crate::watcher::{Lack, Pace, Target};

mod succession;

/// The probers of one claim: the first three in rank.
const PROBERS: usize = 3;

impl Machine {
    /// Rule 2 and what follows it: why this node should take the lease now, if it should.
    pub(super) fn campaign(&self, now: Moment) -> Option<TakeReason> {
        match self.state {
            State::Released => self.campaign_as_follower(now),
            // Before an announcement, not even the grant is asked for while somebody else wears the VIP (rule 9).
            State::Probing(ref probing) if !self.may_ask_while_probing(now, probing.since) => None,
            State::Probing(_) | State::Holding(_) if self.contests(now) => Some(TakeReason::Resumption),
            _ => None,
        }
    }

    /// Two that were restarted may each wear the VIP and wait for the other: a Lease that names nobody decides, once any
    /// holder has had the time to show its mark.
    fn may_ask_while_probing(&self, now: Moment, since: Moment) -> bool {
        let named_nobody = matches!(self.lease.standing(), Standing::Vacant { .. } | Standing::Absent);
        self.is_silent_after_probing(now) || (named_nobody && now.since(since) >= PROBING_LIMIT)
    }

    fn campaign_as_follower(&self, now: Moment) -> Option<TakeReason> {
        if !self.may_hold(now) || self.is_empty_seat_of_another() {
            return None;
        }
        match self.lease.standing() {
            Standing::Unknown | Standing::Granted { .. } => None,
            Standing::Vacant { .. } => self.may_take_what_is_free(now).then_some(TakeReason::Free),
            Standing::Absent => self.expired(now).map(|_| TakeReason::Free),
            Standing::Denied { holder, .. } => self.campaign_against(now, &holder),
        }
    }

    fn campaign_against(&self, now: Moment, holder: &str) -> Option<TakeReason> {
        if !self.lease.is_current(now) {
            return None;
        }
        if self.invitation_for_us(now) {
            return Some(TakeReason::Invitation);
        }
        // Our own name under another run: this node rebooted, or two share a name; the wire tells which.
        if holder == self.settings.node.as_str() && self.is_silent_for(now, self.watcher.long_silence()) {
            return Some(TakeReason::Expired);
        }
        self.expired(now).or_else(|| self.evidence(now))
    }

    /// Rule 6: the lease has expired, and the incumbent is silent or had its grace.
    fn expired(&self, now: Moment) -> Option<TakeReason> {
        if !self.lease.is_current(now) {
            return None;
        }
        let expired_at = self.lease.expires_at().filter(|at| now >= *at)?;
        let patience = self.watcher.long_silence() + self.handicap(now);
        let silent = self.is_silent_for(now, patience);
        let grace_over = now >= expired_at + self.grace() + self.handicap(now);
        let failing = self.service == Some(Health::Unhealthy) && self.health == Some(Health::Healthy);
        (silent || grace_over || failing).then_some(TakeReason::Expired)
    }

    /// The incumbent's grace: one more lease duration, and no less than the VIP's lifetime in the kernel, because
    /// whoever still wears the VIP after that is alive, and whoever does not is silent.
    fn grace(&self) -> Duration {
        self.settings.lease.duration.max(self.settings.lifetime)
    }

    /// Rule 7: the holder is dead on the wire, and it is a Mainstay node's lease.
    fn evidence(&self, now: Moment) -> Option<TakeReason> {
        let dead = match self.watcher.evidence(now, self.evidence_patience(now)) {
            Ok(()) => true,
            Err(Lack::Witness) => self.is_witnessed_by_authority(now),
            Err(_) => false,
        };
        (dead && self.may_take_on_evidence(now)).then_some(TakeReason::Evidence)
    }

    fn may_take_on_evidence(&self, now: Moment) -> bool {
        !self.is_strict() && self.lease.holder_is_mainstay() && self.has_waited_for_others(now)
    }

    /// Nobody but the holder itself could be asked whether our link works: two nodes, and no gateway.
    fn has_no_other_witness(&self) -> bool {
        let holder = self.watcher.watched_tenure().map(|(holder, _)| NodeName::new(holder));
        let member = holder.and_then(|holder| self.members.get(&holder));
        member.is_some_and(|member| self.watcher.neighbours().all(|at| member.addresses.contains(&at)))
    }

    /// Rule 7: where nobody else can be, the authority is the witness, by an answer over our link. TCP to a server is
    /// weaker than an answer to a question like those the holder leaves open, so it takes more: a holder that renews
    /// is not dead, and its renewals are given the time to be seen.
    fn is_witnessed_by_authority(&self, now: Moment) -> bool {
        let silent_since = self.watcher.silent_since();
        self.has_no_other_witness()
            && self.watcher.silence(now, self.authority_patience()).is_ok()
            && self.watcher.reached_at() > Some(silent_since + self.settings.detection.interval)
            && !self.lease.renewed_since(silent_since)
    }

    /// One and a half retry periods: a holder that lives has renewed in it.
    pub(super) fn authority_patience(&self) -> Duration {
        self.settings.lease.retry_period * 3 / 2
    }

    /// Only the authority's word is lacking for evidence.
    fn wants_witness(&self, now: Moment) -> bool {
        self.authority_is_beyond_link
            && self.state == State::Released
            && self.may_hold(now)
            && self.has_no_other_witness()
            && self.watcher.silence(now, self.authority_patience()).is_ok()
            && matches!(self.lease.standing(), Standing::Denied { .. })
            && self.may_take_on_evidence(now)
            && self.watcher.evidence(now, self.evidence_patience(now)) == Err(Lack::Witness)
            && !self.is_witnessed_by_authority(now)
            && !self.lease.renewed_since(self.watcher.silent_since())
    }

    pub(super) fn evidence_patience(&self, now: Moment) -> Duration {
        self.watcher.patience(self.lease.false_takeovers(now), self.settings.lease.duration)
    }

    fn is_silent_for(&self, now: Moment, patience: Duration) -> bool {
        self.watcher.silence(now, patience).is_ok()
    }

    /// Rule 2's exception: a node that could not serve, or that nobody on the link answers, campaigns all the same
    /// when the claim has been dark for so much longer that nobody else can.
    fn has_waited_for_others(&self, now: Moment) -> bool {
        let handicap = self.handicap(now);
        handicap == Duration::ZERO || self.is_silent_for(now, handicap)
    }

    /// The same where the Lease names nobody. Whoever hands it over still wears the VIP, so it is not dark.
    fn may_take_what_is_free(&self, now: Moment) -> bool {
        let passed_over =
            !self.is_alone(now) && now.since(self.lease.unchanged_since()) >= self.handicap(now);
        passed_over || self.has_waited_for_others(now)
    }

    /// For how much longer than others this node waits.
    fn handicap(&self, now: Moment) -> Duration {
        if self.is_alone(now) {
            self.settings.lease.duration
        } else if self.health == Some(Health::Unhealthy) {
            self.unfit_delay(now)
        } else {
            Duration::ZERO
        }
    }

    /// Whoever could serve has acted by half of this. Where nobody could, as when every API server is down, the VIP has
    /// not to be without a holder for longer.
    pub(super) fn unfit_delay(&self, now: Moment) -> Duration {
        self.watcher.long_silence().max(self.evidence_patience(now)) * 2
    }

    /// Nobody on the link answers.
    fn is_alone(&self, now: Moment) -> bool {
        // Of two nodes the other is no company when it is dead; the authority over our link is.
        let reached = self.watcher.reached_at().is_some_and(|at| now.since(at) <= NEIGHBOUR_MEMORY);
        let answered = self.has_no_other_witness() && reached;
        !answered && self.watcher.company(now, NEIGHBOUR_MEMORY) == Some(false)
    }

    /// When what is behind the VIP here has been well for long enough, if it ever was not.
    pub(super) fn steady_at(&self) -> Option<Moment> {
        self.recovered_at.map(|at| at + self.settings.lease.duration)
    }

    fn invitation_for_us(&self, now: Moment) -> bool {
        let invited = self.lease.facts().invited;
        // One that has not looked yet may be no better, and what has just come back may go again: when all come back
        // together, the holder's does, too.
        invited && self.health == Some(Health::Healthy) && self.steady_at().is_none_or(|at| now >= at)
    }

    /// Whoever wears the VIP asks for the grant: on a record that is free, expired, ours by another run, or older than
    /// what we hold by, and whose holder gives no sign of life.
    pub(super) fn contests(&self, now: Moment) -> bool {
        let basis = match &self.state {
            State::Holding(holding) => holding.basis,
            State::Probing(probing) => probing.basis,
            _ => return false,
        };
        if !self.lease.is_settled() || self.is_strict() || self.stopping || !self.link_up() {
            return false;
        }
        match self.lease.standing() {
            Standing::Vacant { .. } | Standing::Absent => true,
            // Another run under our name: dead, if it is a run of ours before this one. One that lives shares the name
            // with us, and two that took the grant from each other would never end: the wire decides.
            Standing::Denied { holder, .. } if holder == self.settings.node.as_str() => {
                !self.lease.renewed_lately(now)
            }
            // Who wears other addresses is not met on the wire: before it has had the time to renew, its silence on ours
            // says nothing (rule 14).
            Standing::Denied { epoch, .. }
                if (epoch <= basis || self.is_another_lease()) && self.holder_wears_others() =>
            {
                self.lease.expires_at().is_some_and(|at| now >= at)
            }
            Standing::Denied { epoch, .. } if epoch <= basis || self.is_another_lease() => {
                !self.lease.renewed_in_reach()
                    || self.watcher.evidence(now, self.watcher.long_silence()).is_ok()
            }
            _ => false,
        }
    }

    /// Whether the Lease is another object than the one this node held under: a reset of the authority (rule 4).
    pub(super) fn is_another_lease(&self) -> bool {
        let other = self.lease.record().is_some_and(|record| record.uid != self.held_under);
        other && !self.held_under.is_empty()
    }

    pub(super) fn wants(&self, now: Moment) -> Wants {
        let campaign = match self.campaign(now) {
            Some(_) => Campaign::Take,
            None if self.wants_witness(now) => Campaign::Ask,
            None => Campaign::Stay,
        };
        Wants { campaign, grant: self.grant_wish(now), publication: self.publication(now) }
    }

    fn grant_wish(&self, now: Moment) -> GrantWish {
        match &self.state {
            State::Holding(holding) if holding.verifying.is_some() => GrantWish::Verify,
            State::Yielding(yielding) if yielding.reason == YieldReason::HandOver => GrantWish::Release,
            State::Released if !self.may_hold(now) => GrantWish::Release,
            State::Stopped => GrantWish::Release,
            _ => GrantWish::Keep,
        }
    }

    fn publication(&self, now: Moment) -> Publication {
        let holding = matches!(self.state, State::Holding(_));
        let unfit = self.health == Some(Health::Unhealthy);
        let invite = if holding && unfit && self.members.len() > 1 { Invite::Yes } else { Invite::No };
        let decayed = self.lease.false_takeovers(now);
        let false_takeovers = self.false_takeovers.or(holding.then_some(decayed));
        let written = self.lease.facts().false_takeovers;
        Publication {
            member: self.is_listed_there().then(|| self.settings.own.clone()),
            remembered: self.remembered_members(),
            forget: if holding { self.forgotten_members(now) } else { Vec::new() },
            invite,
            false_takeovers: false_takeovers.filter(|count| *count != written),
            addresses: self.told_addresses(now),
        }
    }

    /// The other members, while the Lease lists nobody. One with addresses that were never heard may be long gone.
    fn remembered_members(&self) -> BTreeMap<NodeName, Member> {
        if !self.lease.facts().members.is_empty() {
            return BTreeMap::new();
        }
        let heard = |member: &Member| {
            let addresses = &member.addresses;
            addresses.is_empty() || addresses.iter().any(|at| self.watcher.neighbour_heard(at).is_some())
        };
        let known = self.members_to_remember().into_iter();
        known.filter(|(name, member)| *name != self.settings.node && heard(member)).collect()
    }

    /// Members whose addresses were all silent for so long that they are dropped from the Lease. One without an address
    /// on this link cannot be heard; and who hears nobody is cut off itself. A seat's home stays on its Lease as long as
    /// there is the seat.
    fn forgotten_members(&self, now: Moment) -> Vec<NodeName> {
        if self.settings.claim.home().is_some() || self.watcher.company(now, NEIGHBOUR_MEMORY) != Some(true) {
            return Vec::new();
        }
        let gone = |member: &Member| {
            let unheard = |at| self.watcher.is_unheard_for(now, at, MEMBER_FORGOTTEN);
            !member.addresses.is_empty() && member.addresses.iter().all(unheard)
        };
        let others = self.members.iter().filter(|(name, _)| **name != self.settings.node);
        others.filter(|(_, member)| gone(member)).map(|(name, _)| name.clone()).collect()
    }

    /// Asks the authority what is due.
    pub(super) fn pursue(&mut self, now: Moment, out: &mut Output) {
        if self.settings.authority == Authority::Standalone || (self.state == State::Stopped) {
            return;
        }
        let wants = self.wants(now);
        self.tell_campaign(now, out);
        if wants.publication.false_takeovers.is_none() {
            self.false_takeovers = None;
        }
        let id = self.effect_id();
        if let Some((request, deadline)) = self.lease.poll(now, &wants, id) {
            out.effects.push(Effect::Lease { id, request, deadline });
        }
        if let Some(member) = self.lease.take_namesake(now) {
            out.events.push(Event::Namesake { node: self.settings.node.clone(), member });
        }
    }

    fn tell_campaign(&mut self, now: Moment, out: &mut Output) {
        let Some(reason) = self.campaign(now) else { return };
        self.campaign_reason = reason;
        if reason == TakeReason::Evidence && !self.told_silent {
            self.told_silent = true;
            let silent = now.since(self.watcher.silent_since());
            out.events.push(Event::HolderSilent { claim: self.settings.claim.clone(), silent });
            if let Some(holder) = self.watcher.watched_tenure().map(|(holder, _)| NodeName::new(holder)) {
                // Judged by whoever gets the claim.
                self.suspect(now, &holder);
            }
        }
    }

    // === the wire ===

    /// Watches whom the record names; while the authority is out of reach, whoever announces.
    pub(super) fn retarget(&mut self, now: Moment, out: &mut Output) {
        if let Some(target) = self.target_on_record().or_else(|| self.target_on_wire()) {
            if target.tenure.as_ref() != self.watcher.watched_tenure() {
                self.told_silent = false;
            }
            self.watcher.follow(now, target);
        }
        self.watcher.told_worn(now, self.lease.facts().addresses.as_deref());
        self.tell_holder(out);
    }

    fn target_on_record(&self) -> Option<Target> {
        if !self.lease.in_reach() {
            return None;
        }
        let Standing::Denied { holder, epoch } = self.lease.standing() else {
            return Some(Target::default());
        };
        let name = NodeName::new(&holder);
        let listed = self.members.get(&name).filter(|_| name != self.settings.node);
        let macs = listed.map(|member| member.macs.clone()).unwrap_or_default();
        Some(Target { tenure: Some((holder, epoch)), macs })
    }

    fn target_on_wire(&self) -> Option<Target> {
        let (mac, mark) = self.announcer?;
        let name = self.members.keys().find(|name| name.id() == mark.node)?;
        Some(Target { tenure: Some((name.as_str().to_owned(), mark.epoch)), macs: vec![mac] })
    }

    fn tell_holder(&mut self, out: &mut Output) {
        let Some(record) = self.lease.record() else { return };
        let told = Some((record.holder.clone(), record.transitions));
        if self.told_holder != told {
            let (holder, epoch) = (record.holder.clone(), record.transitions);
            self.told_holder = told;
            out.events.push(Event::HolderChanged { claim: self.settings.claim.clone(), holder, epoch });
        }
    }

    pub(super) fn probe_pace(&self) -> Pace {
        match &self.state {
            _ if !self.link_up() => Pace::Off,
            State::Probing(_) => Pace::Prober,
            State::Holding(_) if self.may_have_rival => Pace::Rival,
            State::Released if self.is_prober() => Pace::Prober,
            State::Released => Pace::Bystander,
            _ => Pace::Off,
        }
    }

    /// The first three in rank probe, and so does everyone while it is unknown who there is.
    fn is_prober(&self) -> bool {
        let holder = self.watcher.watched_tenure().map(|(holder, _)| NodeName::new(holder).id());
        let others = self.members.keys().map(NodeName::id).filter(|id| Some(*id) != holder);
        placement::is_among_first(PROBERS, &self.settings.claim, self.own_id(), others)
    }

    /// The silence that the next probes are to prove.
    fn awaited_silence(&self, now: Moment) -> Duration {
        let evidence = self.evidence_patience(now);
        let silent = now.since(self.watcher.silent_since());
        match &self.state {
            State::Probing(_) => self.settings.detection.interval * 3,
            _ if silent < evidence => evidence,
            _ => self.watcher.long_silence().max(evidence),
        }
    }

    pub(super) fn probe(&mut self, now: Moment, out: &mut Output) {
        if !self.link_up() || self.state == State::Stopped {
            return;
        }
        let (pace, outage) = (self.probe_pace(), self.lease.out_since().is_some());
        let patience = self.awaited_silence(now);
        // A holder's question shows its mark: who holds as well can answer for itself.
        let mark = self.own_mark();
        for order in self.watcher.poll(now, pace, outage, patience) {
            let mark = mark.filter(|_| order.target == self.watcher.vip());
            self.send_probe(order.target, order.to, mark, out);
        }
    }

    pub(super) fn send_probe(&mut self, target: IpAddr, to: ProbeTo, mark: Option<Mark>, out: &mut Output) {
        let id = self.effect_id();
        self.pending.insert(id, Pending::Probe(target, to));
        out.effects.push(Effect::Probe { id, target, to, mark });
    }

    pub(super) fn watcher_deadline(&self, now: Moment) -> Option<Moment> {
        if !self.link_up() || self.state == State::Stopped {
            return None;
        }
        let outage = self.lease.out_since().is_some();
        self.watcher.next_deadline(now, self.probe_pace(), outage, self.awaited_silence(now))
    }
}
