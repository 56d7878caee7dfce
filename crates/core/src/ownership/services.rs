//! Addresses of Services, which a claim's holder wears beside the claim's own address.
//!
//! Every node reads them from the API server, and the address that is asked for on the wire is none of them: it is the
//! claim's own ([`crate::beacon`]), and stays. So nobody takes the holder for dead because Services came or went, and
//! they come and go at once: no name server's answer is waited for here, as rule 14 has to.
//!
//! What was told last stays in force until something else is told, also across a restart.

use super::frames::ROGUE_DEFENCE;
use super::*;
use crate::effect::Pace as AnnouncePace;
use crate::input::Frame;
use crate::settings::lifetime_for;

/// The addresses of Services of one claim.
#[derive(Clone, Debug)]
pub(super) struct Services {
    /// The newest ones, not yet looked at.
    told: Option<BTreeSet<Vip>>,
    /// Those in force; all of them are among the claim's addresses.
    in_force: BTreeSet<Vip>,
    /// Somebody said, and they are not only remembered.
    said: bool,
    /// Orders under way: which of their addresses are not there yet.
    ordered: BTreeMap<EffectId, BTreeSet<Vip>>,
    /// When all of them are refreshed.
    refresh_due: Moment,
    /// When those are put back that somebody deleted.
    restore_due: Option<Moment>,
    /// Their lifetime in the kernel.
    lifetime: Duration,
}

/// Of a claim without Services, nothing here decides anything.
impl std::hash::Hash for Services {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        let Self { told, in_force, said, ordered, refresh_due, restore_due, lifetime: _ } = self;
        if told.is_some() || !in_force.is_empty() {
            (told, in_force, said, ordered, refresh_due, restore_due).hash(state);
        }
    }
}

impl Services {
    /// Those that an earlier run knew, but for the claim's own.
    pub(super) fn new(now: Moment, settings: &Settings, memory: &ClaimMemory) -> Self {
        let known = memory.services.iter().filter(|vip| !settings.vips.contains(vip));
        Self {
            said: false,
            told: None,
            in_force: known.copied().collect(),
            ordered: BTreeMap::new(),
            refresh_due: now,
            restore_due: None,
            lifetime: settings.lifetime,
        }
    }

    pub(super) fn in_force(&self) -> impl Iterator<Item = Vip> + '_ {
        self.in_force.iter().copied()
    }

    pub(super) fn has(&self, vip: Vip) -> bool {
        self.in_force.contains(&vip)
    }

    /// Whether it is known from more than memory which there are.
    pub(super) fn are_said(&self) -> bool {
        self.said
    }

    pub(super) fn are_there(&self) -> bool {
        !self.in_force.is_empty()
    }

    /// Their lifetime is a matter of how many they are.
    pub(super) fn live_for(&mut self, settings: &Settings, few: Duration) {
        self.lifetime = lifetime_for(settings, self.in_force.len(), few);
    }

    /// All are refreshed as soon as the claim's own address is there.
    pub(super) fn refresh_all(&mut self, now: Moment) {
        self.refresh_due = now;
    }

    /// Everything was ordered off the interface: what was ordered before says nothing any more.
    pub(super) fn nothing_is_worn(&mut self) {
        self.ordered.clear();
        self.restore_due = None;
    }

    /// It was deleted, and is ordered again at `due`. What was ordered before says nothing about it now.
    pub(super) fn order_again(&mut self, vip: Vip, due: Moment) {
        for ordered in self.ordered.values_mut() {
            ordered.remove(&vip);
        }
        self.restore_due = Some(due);
    }

    /// What is ordered now lives until it is refreshed.
    fn ordered_at(&mut self, now: Moment) {
        self.refresh_due = self.refresh_due.min(now + self.lifetime / 3);
    }

    fn is_ordered(&self, vip: Vip) -> bool {
        self.ordered.values().any(|ordered| ordered.contains(&vip))
    }
}

impl Machine {
    /// Services have these addresses from now on; perhaps none.
    pub(super) fn on_services(&mut self, vips: &[Vip]) {
        let own: Vec<Vip> = self.own_vips().collect();
        self.services.said = true;
        self.services.told = Some(vips.iter().copied().filter(|vip| !own.contains(vip)).collect());
    }

    /// Brings the claim's addresses up to what was told. Not while it is unsure whether they are ours (rule 9), or another
    /// is about to take them.
    pub(super) fn follow_services(&mut self, now: Moment, out: &mut Output) {
        if self.stopping || !matches!(self.state, State::Released | State::Holding(_)) {
            return;
        }
        let Some(told) = self.services.told.take() else { return };
        let came: Vec<Vip> = told.difference(&self.services.in_force).copied().collect();
        let gone: Vec<Vip> = self.services.in_force.difference(&told).copied().collect();
        if came.is_empty() && gone.is_empty() {
            return;
        }
        self.services.in_force = told;
        self.drop_services(&gone);
        self.settings.vips.extend(&came);
        self.addresses_changed();
        self.wear_services(now, &came, out);
        out.events.push(Event::ServicesChanged { claim: self.settings.claim.clone(), came, gone });
    }

    /// Taken off the interface after they were last announced (`withdraw_dropped`).
    fn drop_services(&mut self, gone: &[Vip]) {
        let gone: BTreeSet<Vip> = gone.iter().copied().collect();
        self.settings.vips.retain(|vip| !gone.contains(vip));
        self.missing.retain(|vip| !gone.contains(vip));
        self.addresses.forget(&gone);
        if matches!(self.state, State::Holding(_)) {
            self.addresses.send_away(&gone);
        }
    }

    /// A holder orders those that it has not, and them alone: to refresh a thousand for each that comes would be a load.
    fn wear_services(&mut self, now: Moment, came: &[Vip], out: &mut Output) {
        if came.is_empty() || !matches!(self.state, State::Holding(_)) {
            return;
        }
        if self.address == Address::Absent {
            self.refresh_due = now;
            return;
        }
        self.addresses.expect(came.iter().copied());
        if self.address != Address::Present {
            return self.services.refresh_all(now);
        }
        if self.services.in_force.len() == came.len() {
            self.services.refresh_due = now + self.services.lifetime / 3;
        }
        self.order_services(now, came.to_vec(), out);
    }

    /// The claim's own address is ordered, and all of theirs will be when it is there.
    pub(super) fn expect_services(&mut self, now: Moment) {
        self.addresses.expect(self.services.in_force.iter().copied());
        self.services.refresh_all(now);
    }

    /// All of them every third of their lifetime; and those that somebody deleted, when they are to be put back.
    pub(super) fn refresh_services(&mut self, now: Moment, out: &mut Output) {
        if self.services_due().is_none_or(|due| now < due) {
            return;
        }
        let restored = self.services.restore_due.take_if(|due| *due <= now).is_some();
        if now >= self.services.refresh_due {
            self.services.refresh_due = now + self.services.lifetime / 3;
            let holds = matches!(self.state, State::Holding(_));
            let may = |vip: &Vip| holds || !self.addresses.is_coming(*vip);
            let all = self.services.in_force().filter(may).collect();
            self.order_services(now, all, out);
        } else if restored {
            let lost = |vip: &&Vip| self.services.has(**vip) && !self.services.is_ordered(**vip);
            let lost = self.missing.iter().filter(lost).copied().collect();
            self.order_services(now, lost, out);
        }
    }

    /// When one of their orders is due: never before the claim's own address is there, by which a holder is known.
    pub(super) fn services_due(&self) -> Option<Moment> {
        let Services { refresh_due, restore_due, .. } = &self.services;
        let may = self.services.are_there() && self.wears() && self.address == Address::Present;
        may.then(|| restore_due.map_or(*refresh_due, |due| due.min(*refresh_due)))
    }

    fn order_services(&mut self, now: Moment, vips: Vec<Vip>, out: &mut Output) {
        if vips.is_empty() {
            return;
        }
        let id = self.effect_id();
        self.pending.insert(id, Pending::Services);
        let absent = |vip: &&Vip| self.addresses.is_coming(**vip) || self.missing.contains(*vip);
        self.services.ordered.insert(id, vips.iter().filter(absent).copied().collect());
        self.services.ordered_at(now);
        let (claim, lifetime) = (self.settings.claim.clone(), self.services.lifetime);
        out.effects.push(Effect::Assign { id, claim, vips, lifetime });
    }

    /// Somebody speaks in the name of a Service's address. Who holds is settled by the claim's own address alone: another holder
    /// of this claim wears that as well. Whoever has one address of a Service, by whatever mark of whatever claim, is no
    /// reason to give up the others, nor to announce them all.
    pub(super) fn on_service_frame(&mut self, now: Moment, frame: &Frame, vip: Vip, out: &mut Output) {
        if !matches!(self.state, State::Holding(_)) {
            return;
        }
        let of_member = self.members.values().any(|member| member.macs.contains(&frame.mac));
        if of_member && frame.mark.is_some() {
            return;
        }
        self.conflicts += 1;
        let verdict = if of_member { Verdict::Misconfigured } else { Verdict::Rogue };
        self.tell_conflict(now, frame, (vip, verdict), out);
        if !of_member && self.defended_at.is_none_or(|at| now.since(at) >= ROGUE_DEFENCE) {
            self.defend_service(now, vip, out);
        }
    }

    /// Announces one address with a burst of its own: one that was not announced before has one.
    fn defend_service(&mut self, now: Moment, vip: Vip, out: &mut Output) {
        let Some(mark) = self.own_mark().filter(|_| self.announced.is_some()) else { return };
        self.defended_at = Some(now);
        let (claim, mut vips) = (self.settings.claim.clone(), self.announceable());
        vips.retain(|one| *one != vip);
        out.effects.push(Effect::Announce { claim, vips, mark, pace: AnnouncePace::Steady });
        self.order_announcement(AnnouncePace::Steady, out);
    }

    /// The kernel has at least one of them; the others are tried again from where it was carried out.
    pub(super) fn services_there(&mut self, id: EffectId) {
        let came = self.services.ordered.remove(&id).unwrap_or_default();
        self.addresses.arrived(&came);
        self.missing.retain(|vip| !came.contains(vip));
    }

    /// The kernel refused all of them, and has the claim's own: everything is ordered again soon, as one of several that
    /// are refused is.
    pub(super) fn services_refused(&mut self, now: Moment, id: EffectId) {
        self.services.ordered.remove(&id);
        self.services.refresh_due = self.services.refresh_due.min(now + ASSIGN_RETRY);
    }
}
