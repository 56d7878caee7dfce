//! What is heard on the wire: rule 5, and the signs of life that rules 6 to 8 count.

use super::*;
use crate::conflict::{self, Speaker};
use crate::effect::Pace as AnnouncePace;
use crate::input::Frame;

/// A rogue is answered at most this often, and a foreign elector's node is answered once in ten.
pub(super) const ROGUE_DEFENCE: Duration = Duration::from_secs(1);
const FOREIGN_DEFENCE: Duration = Duration::from_secs(10);
/// How long a renewal answers the question whether the grant is ours. A successor's burst has a frame after 150 ms: the
/// verification that one begins still ends within a second of the first (simulation, long seed 382).
const VERIFIED_FOR: Duration = Duration::from_millis(100);
/// One line for each speaker and verdict in this time.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Speakers remembered for that.
const TOLD_LIMIT: usize = 64;

impl Machine {
    pub(super) fn on_frame(&mut self, now: Moment, frame: &Frame, out: &mut Output) {
        let Some(sender) = frame.sender else {
            return self.on_question(now, frame, out);
        };
        if self.services.has(sender) {
            return self.on_service_frame(now, frame, sender, out);
        }
        if !self.is_of_the_claim(sender) {
            self.watcher.heard(frame.heard_at, frame.mac, sender);
            return;
        }
        let speaker = self.classify(now, frame);
        if let Speaker::Marked(mark) = speaker {
            self.remember_claimant(frame, mark);
            self.watcher.heard(frame.heard_at, frame.mac, sender);
        }
        if speaker == Speaker::Unknown && self.knows_nobody() {
            self.stranger_at = Some(frame.heard_at);
        }
        if self.counts_as_worn(now, frame, speaker) {
            self.watcher.heard(frame.heard_at, frame.mac, sender);
            self.watcher.answered(frame.heard_at);
            self.heard_wearing(now, frame.mac, sender);
        }
        if matches!(self.state, State::Holding(_)) {
            self.settle_conflict(now, frame, (sender, speaker), out);
        }
    }

    /// Somebody asks for the VIP: before taking it (rule 8), or because it holds and looks for a rival.
    fn on_question(&mut self, now: Moment, frame: &Frame, out: &mut Output) {
        if !self.is_of_the_claim(frame.target) || self.services.has(frame.target) {
            return;
        }
        self.asked_at = Some(frame.heard_at);
        let Some(mark) = frame.mark else { return };
        if mark.tenure == Tenure::Candidate {
            return self.defer_to(now, mark.node);
        }
        self.remember_claimant(frame, mark);
        self.watcher.answered(frame.heard_at);
        if matches!(self.state, State::Holding(_)) {
            self.settle_conflict(now, frame, (frame.target, Speaker::Marked(mark)), out);
        }
    }

    fn classify(&self, now: Moment, frame: &Frame) -> Speaker {
        if let Some(mark) = frame.mark.filter(|mark| mark.tenure > Tenure::Candidate) {
            return Speaker::Marked(mark);
        }
        let listed = self.members.values().any(|member| member.macs.contains(&frame.mac));
        if listed || self.claimed_lately(now, frame.mac) {
            return Speaker::Member;
        }
        let foreign = self.lease.record().is_some_and(|record| record.holder.is_some())
            && !self.lease.holder_is_mainstay();
        if foreign { Speaker::Foreign } else { Speaker::Unknown }
    }

    fn claimed_lately(&self, now: Moment, mac: Mac) -> bool {
        self.claimants.get(&mac).is_some_and(|claimant| now.since(claimant.at) <= CLAIMANT_MEMORY)
    }

    /// Whether the speaker wears the VIP in a way that counts: it announces, or it is the holder that the authority
    /// names. A member whose kernel merely answers in the VIP's name (on lo, on kube-ipvs0) does not, nor a rogue.
    fn counts_as_worn(&self, now: Moment, frame: &Frame, speaker: Speaker) -> bool {
        match speaker {
            Speaker::Marked(_) | Speaker::Foreign => true,
            Speaker::Member => {
                self.watcher.watches(frame.mac)
                    || self.claimed_lately(now, frame.mac)
                    || matches!(self.state, State::Probing(_))
                    || self.watcher.watched_tenure().is_none()
            }
            Speaker::Unknown => false,
        }
    }

    fn remember_claimant(&mut self, frame: &Frame, mark: Mark) {
        self.claimants.insert(frame.mac, Claimant { mark, at: frame.heard_at });
        self.announcer = Some((frame.mac, mark));
        if self.claimants.len() > TOLD_LIMIT {
            let oldest = self.claimants.iter().min_by_key(|(_, claimant)| claimant.at).map(|(mac, _)| *mac);
            oldest.and_then(|mac| self.claimants.remove(&mac));
        }
    }

    fn settle_conflict(&mut self, now: Moment, frame: &Frame, on: (Vip, Speaker), out: &mut Output) {
        let (vip, speaker) = on;
        let Some(ours) = self.own_mark() else { return };
        let own_mac = self.settings.own.macs.first().copied();
        let judge = |ours| conflict::judge(&self.settings.claim, (ours, own_mac), (speaker, frame.mac));
        let mut verdict = judge(ours);
        // Nobody can verify what the authority does not answer: then the grant is not fresh. To an earlier grant it is
        // defended all the same for as long as a verification: were both out of reach, the quicker to see it would yield.
        let earlier = matches!(speaker, Speaker::Marked(theirs) if theirs.epoch < ours.epoch);
        if verdict == Verdict::Verify && self.lease.out_since().is_some() && !earlier {
            verdict = judge(Mark { tenure: Tenure::Detached, ..ours });
            self.lease.unconfirm();
        }
        // The kernel of a claimant answers without a mark: its claim was judged by its announcements.
        if verdict == Verdict::Misconfigured && self.claimed_lately(now, frame.mac) {
            return self.show_mark(now, out);
        }
        self.conflicts += 1;
        self.tell_conflict(now, frame, (vip, verdict), out);
        match verdict {
            Verdict::Defend => self.on_lower_mark(now, speaker, out),
            Verdict::Yield => {
                self.lease.abandon();
                self.withdraw(now, YieldReason::Outranked, out);
            }
            Verdict::Verify => {
                self.notice_false_takeover(now, speaker, out);
                self.verify(now, if earlier { WINDOW_OF_LATER } else { WINDOW_OF_EARLIER }, out);
            }
            Verdict::Foreign => self.meet_foreign(now, out),
            Verdict::Rogue => self.defend_within(now, ROGUE_DEFENCE, out),
            Verdict::Misconfigured => self.show_mark(now, out),
        }
    }

    /// A member's kernel answered our question: it may hold as well, and shall see our mark.
    fn show_mark(&mut self, now: Moment, out: &mut Output) {
        if self.may_have_rival {
            self.defend_within(now, ROGUE_DEFENCE, out);
        }
    }

    fn on_lower_mark(&mut self, now: Moment, speaker: Speaker, out: &mut Output) {
        self.notice_false_takeover(now, speaker, out);
        self.defend(now, out);
    }

    /// The holder whose claim we took on evidence speaks as a holder of that very epoch: it was alive.
    fn notice_false_takeover(&mut self, now: Moment, speaker: Speaker, out: &mut Output) {
        let (Speaker::Marked(mark), Some((node, epoch, at))) = (speaker, self.taken_from) else { return };
        if mark.node == node && mark.epoch <= epoch && now.since(at) <= self.settings.lease.duration {
            self.taken_from = None;
            let count = self.lease.false_takeovers(now).saturating_add(1);
            self.false_takeovers = Some(count);
            out.events.push(Event::FalseTakeover { claim: self.settings.claim.clone(), count });
        }
    }

    /// Rule 7's damping, from the other side: another took the claim although our grant is fresh and others reach us.
    /// A holder that is cut off hears no questions, and was rightly taken for dead.
    pub(super) fn notice_own_false_death(&mut self, now: Moment, out: &mut Output) {
        let window = self.settings.detection.interval * self.settings.detection.multiplier / 2;
        if self.asked_at.is_some_and(|at| now.since(at) <= window) && self.lease.holder_is_mainstay() {
            let count = self.lease.false_takeovers(now).saturating_add(1);
            self.false_takeovers = Some(count);
            out.events.push(Event::FalseTakeover { claim: self.settings.claim.clone(), count });
        }
    }

    /// Rule 5: a mark of another epoch than our fresh grant's. Ask the authority, defending meanwhile.
    fn verify(&mut self, now: Moment, window: Duration, out: &mut Output) {
        // A grant renewed a moment ago is verified: a storm of marks is no storm of requests.
        let verified = self.lease.renewed_at().is_some_and(|at| now.since(at) < VERIFIED_FOR);
        if let State::Holding(holding) = &mut self.state
            && !verified
        {
            let begun = holding.verifying.get_or_insert(Verification { since: now, until: now + window });
            begun.until = begun.until.min(begun.since + window);
        }
        // Whom we invited (rule 12) is expected: a defence would only draw clients back to us.
        if self.invited_at_epoch.is_none() {
            self.defend(now, out);
        }
    }

    /// Another elector's node speaks while the record names it: the holder, which cannot be confirmed then, defends once
    /// and yields to a second frame, because that node cannot read marks.
    fn meet_foreign(&mut self, now: Moment, out: &mut Output) {
        let defended = self.defended_at.filter(|at| now.since(*at) < FOREIGN_DEFENCE);
        match defended {
            None => self.defend(now, out),
            Some(at) if now.since(at) >= ROGUE_DEFENCE => {
                self.lease.abandon();
                self.withdraw(now, YieldReason::Defended, out);
            }
            Some(_) => {}
        }
    }

    fn defend_within(&mut self, now: Moment, interval: Duration, out: &mut Output) {
        if self.defended_at.is_none_or(|at| now.since(at) >= interval) {
            self.defend(now, out);
        }
    }

    fn defend(&mut self, now: Moment, out: &mut Output) {
        self.defended_at = Some(now);
        self.order_announcement(AnnouncePace::Defend, out);
    }

    pub(super) fn tell_conflict(&mut self, now: Moment, frame: &Frame, on: (Vip, Verdict), out: &mut Output) {
        let (vip, verdict) = on;
        let key = (frame.mac, verdict);
        if self.told_conflicts.get(&key).is_some_and(|at| now.since(*at) < TELL_AGAIN) {
            return;
        }
        if self.told_conflicts.len() >= TOLD_LIMIT {
            self.told_conflicts.retain(|_, at| now.since(*at) < TELL_AGAIN);
        }
        // So many speakers at a time are one flood, which has been told; the count goes on.
        if self.told_conflicts.len() >= TOLD_LIMIT {
            return;
        }
        self.told_conflicts.insert(key, now);
        let (claim, mac, mark) = (self.settings.claim.clone(), frame.mac, frame.mark);
        out.events.push(Event::Conflict { claim, vip, mac, mark, verdict });
    }
}
