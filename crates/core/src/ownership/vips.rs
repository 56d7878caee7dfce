//! Addresses that change under a claim: DNS names were resolved anew (rule 14). Make before break.
//!
//! Nodes see a new answer at different times, by the interval of their look-ups and by caches. So the holder wears a new
//! address at once, and one that the answer names no more for a while yet; a follower goes on asking for the one it
//! knows to be worn until the holder is heard to wear the new one, or has had the time to.
//!
//! ```text
//!   answer       A ──────┬─ B ──────────────────────────────────────
//!   holder wears A ──────┼─ A and B ──────────────────┬─ B ──────────
//!   it tells     A ──────┼─ A and B ───────┬─ B ──────┼──────────────
//!   follower asks for A ─┼─ until B is heard, at most ─┤ 30 s
//!                        0                30    45    60 s
//! ```

use super::*;
use crate::settings::lifetime_for;

/// How long a follower asks for the old address, if it does not hear the holder wear a new one: by then the holder knows
/// the new answer as well.
pub(super) const ADOPTED_AFTER: Duration = Duration::from_secs(30);
/// How long the holder tells on the Lease that it wears an address which is leaving: a follower that has no better
/// answer by then must not take its silence, which comes, for the holder's death.
const TOLD_FOR: Duration = Duration::from_secs(45);
/// How long it is worn after that, at least, and in retry periods: a few renewals, by which everybody has read it.
const NOTICE: Duration = Duration::from_secs(15);
const NOTICE_RENEWALS: u32 = 3;
/// Addresses that are leaving at most, or as many as one answer took away: an answer that changes all the time must not
/// fill the interface.
const LEAVING_LIMIT: usize = 16;

/// Where the addresses of one claim come from, and which of them are about to come and to go.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    /// The newest answer, not yet looked at.
    told: Option<Vec<Vip>>,
    /// Addresses may change: an answer was told.
    named: bool,
    /// Since when each has not been in the answer.
    leaving: BTreeMap<Vip, Moment>,
    /// Ordered for a holder that has others, and not on its interface yet: announced when they are.
    coming: BTreeSet<Vip>,
    /// The kernel refuses these, and has others of the claim.
    refused: BTreeSet<Vip>,
    /// To be withdrawn by the holder of the others.
    going: Vec<Vip>,
    /// What the holder says on the Lease that it wears, for a node that follows it.
    elsewhere: Vec<Vip>,
    /// What it said to an earlier run: in force until this one has read the Lease.
    remembered: Vec<Vip>,
    /// The claim's addresses as they were announced last.
    announced: Vec<Vip>,
    /// Others may be announced since then: not known until they are compared.
    uncompared: bool,
    /// This host's addresses as it has them, virtual ones among them.
    own: Member,
    /// The lifetime that few addresses have.
    lifetime: Duration,
}

/// Of a claim whose addresses never change, nothing here decides anything.
impl std::hash::Hash for Addresses {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        if self.may_change() {
            let Self { told, named, leaving, coming, refused, going, elsewhere, remembered, .. } = self;
            (told, named, leaving, coming, refused, going, elsewhere, remembered).hash(state);
            (&self.announced, &self.own).hash(state);
        }
    }
}

impl Addresses {
    /// Those of a claim that begins `now` with what its settings name, and with what an earlier run was about to drop and
    /// still has: what went in between may be another host's by now.
    pub(super) fn new(now: Moment, settings: &Settings, memory: &ClaimMemory, found: &[Vip]) -> Self {
        let left = memory.leaving.iter().filter(|vip| found.contains(vip) && !settings.vips.contains(vip));
        let leaving: BTreeMap<Vip, Moment> = left.map(|vip| (*vip, now)).collect();
        // What came while it was not running waits until it is known whether the claim is still ours.
        // So does a claim's own address whose lifetime ended before those of its Services.
        let others = !memory.leaving.is_empty() || !memory.services.is_empty();
        let changed = others && !found.is_empty();
        let new = settings.vips.iter().filter(|vip| changed && !found.contains(vip));
        let (coming, own, lifetime) = (new.copied().collect(), settings.own.clone(), settings.lifetime);
        let remembered = memory.told.clone();
        Self { leaving, coming, own, lifetime, remembered, ..Self::default() }
    }

    /// Whether the claim has names, or had them.
    pub(super) fn may_change(&self) -> bool {
        self.named || !self.leaving.is_empty()
    }

    pub(super) fn leaving(&self) -> Vec<Vip> {
        self.leaving.keys().copied().collect()
    }

    pub(super) fn is_leaving(&self, vip: Vip) -> bool {
        self.leaving.contains_key(&vip)
    }

    /// The kernel has all but `these`.
    pub(super) fn settle_but(&mut self, these: &Services) {
        self.drop_coming(|vip| !these.has(*vip));
    }

    /// How many are ordered, and not known to be there.
    pub(super) fn coming(&self) -> usize {
        self.coming.len()
    }

    pub(super) fn is_coming(&self, vip: Vip) -> bool {
        self.coming.contains(&vip)
    }

    /// Ordered: announced when the kernel has them.
    pub(super) fn expect(&mut self, vips: impl IntoIterator<Item = Vip>) {
        self.uncompared = true;
        self.coming.extend(vips);
    }

    /// The kernel has them.
    pub(super) fn arrived(&mut self, vips: &BTreeSet<Vip>) {
        self.drop_coming(|vip| vips.contains(vip));
    }

    fn drop_coming(&mut self, which: impl Fn(&Vip) -> bool) {
        let before = self.coming.len();
        self.coming.retain(|vip| !which(vip));
        self.uncompared |= self.coming.len() != before;
    }

    /// The claim's no more.
    pub(super) fn forget(&mut self, vips: &BTreeSet<Vip>) {
        self.uncompared = true;
        self.coming.retain(|vip| !vips.contains(vip));
        self.refused.retain(|vip| !vips.contains(vip));
    }

    /// To be withdrawn, after they were last announced.
    pub(super) fn send_away(&mut self, vips: &BTreeSet<Vip>) {
        self.going.extend(vips);
    }

    /// The kernel took what it refused.
    pub(super) fn accept(&mut self, vip: Vip) {
        self.refused.remove(&vip);
    }

    /// Everything was ordered off the interface: nothing is refused there.
    pub(super) fn nothing_is_worn(&mut self) {
        self.uncompared = true;
        self.coming.clear();
        self.refused.clear();
    }

    /// Ordered, and not known to be on the interface.
    fn is_absent(&self, vip: Vip) -> bool {
        self.coming.contains(&vip) || self.refused.contains(&vip)
    }

    /// What left longest ago, beyond those that may stay; first what the kernel never had.
    fn surplus(&self) -> Vec<Vip> {
        let newest = self.leaving.values().max();
        let at_last = self.leaving.values().filter(|at| Some(*at) == newest).count();
        let in_order = |(vip, at): (&Vip, &Moment)| (!self.refused.contains(vip), *at, *vip);
        let mut oldest_first: Vec<_> = self.leaving.iter().map(in_order).collect();
        oldest_first.sort();
        let surplus = oldest_first.len().saturating_sub(LEAVING_LIMIT.max(at_last));
        oldest_first.into_iter().take(surplus).map(|(.., vip)| vip).collect()
    }
}

impl Machine {
    /// The claim's addresses are these from now on. An empty answer is none: what is held stays held.
    pub(super) fn on_vips(&mut self, vips: &[Vip]) {
        let mut answer: Vec<Vip> = Vec::new();
        for vip in vips {
            if !answer.contains(vip) {
                answer.push(*vip);
            }
        }
        if !answer.is_empty() {
            if !self.addresses.named {
                self.saved = None;
            }
            self.addresses.named = true;
            self.addresses.told = Some(answer);
            self.watcher.expect_changes();
        }
    }

    /// Brings the claim's addresses up to the newest answer. Not while it is unsure whether they are ours (rule 9), or
    /// another is about to take them: then nothing new is put on the interface.
    pub(super) fn follow_answer(&mut self, now: Moment, out: &mut Output) {
        if matches!(self.state, State::Released | State::Holding(_)) && !self.stopping {
            if let Some(answer) = self.addresses.told.take() {
                self.adopt(now, answer, out);
            }
            self.drop_left(now, out);
        }
        if self.addresses.named {
            self.heed_holder();
            self.choose_watched(now);
        }
    }

    /// Between the last word on the Lease that an address is worn which leaves, and its end.
    fn notice(&self) -> Duration {
        NOTICE.max(self.settings.lease.retry_period * NOTICE_RENEWALS)
    }

    /// How long an address is worn that the answer names no more: 60 s with the usual timing. Longer than a follower asks
    /// for it and nodes differ in what they know together; and clients have it in their caches.
    pub(super) fn dropped_kept(&self) -> Duration {
        TOLD_FOR + self.notice()
    }

    /// What the newest answer names.
    fn answer(&self) -> impl Iterator<Item = Vip> + '_ {
        self.settings.vips.iter().copied().filter(|vip| !self.addresses.is_leaving(*vip))
    }

    fn adopt(&mut self, now: Moment, answer: Vec<Vip>, out: &mut Output) {
        let before: Vec<Vip> = self.answer().collect();
        if answer.len() == before.len() && answer.iter().all(|vip| before.contains(vip)) {
            return;
        }
        let gone = before.iter().filter(|vip| !answer.contains(vip)).map(|vip| (*vip, now));
        self.addresses.leaving.extend(gone);
        self.addresses.leaving.retain(|vip, _| !answer.contains(vip));
        let claim = self.settings.claim.clone();
        out.events.push(Event::AddressesChanged { claim, before, now: answer.clone() });
        self.wear(now, answer);
        let surplus = self.addresses.surplus();
        self.drop_these(&surplus, out);
    }

    /// These and those that are leaving are the claim's addresses.
    fn wear(&mut self, now: Moment, answer: Vec<Vip>) {
        let wears = matches!(self.state, State::Holding(_)) && self.address != Address::Absent;
        let new = answer.iter().filter(|vip| !self.settings.vips.contains(vip));
        if wears {
            self.addresses.expect(new.copied());
            // What was ordered before says nothing about the new ones.
            self.pending.retain(|_, pending| *pending != Pending::Assign);
        }
        self.refresh_due = now;
        self.settings.vips = answer.into_iter().chain(self.addresses.leaving()).collect();
        self.addresses_changed();
    }

    /// What follows from which addresses the claim has.
    pub(super) fn addresses_changed(&mut self) {
        self.settings.own = self.addresses.own.clone().for_vips(&self.settings.vips);
        let few = self.addresses.lifetime;
        self.settings.lifetime = lifetime_for(&self.settings, self.own_vips().count(), few);
        self.services.live_for(&self.settings, few);
        self.addresses.uncompared = true;
        self.listening = false;
        self.saved = None;
    }

    /// How this host is to be found, as it is told by its interface.
    pub(super) fn on_own(&mut self, own: &Member) {
        self.addresses.own = own.clone();
        self.settings.own = own.clone().for_vips(&self.settings.vips);
    }

    /// The kernel refuses one of several.
    pub(super) fn on_refused(&mut self, vip: Vip) {
        if self.claims(vip) && self.wears() {
            self.addresses.refused.insert(vip);
        }
    }

    /// Make before break: as long as the holder's kernel has none of the answer's addresses, what it has does not go.
    fn keep_what_is_worn(&mut self, now: Moment) {
        let waits = self.answer().all(|vip| self.addresses.is_absent(vip));
        if !waits || !matches!(self.state, State::Holding(_)) {
            return;
        }
        // What the kernel has not answered about may be there in a moment.
        let refused = self.answer().all(|vip| self.addresses.refused.contains(&vip));
        let longest = if refused { ADOPTED_AFTER } else { self.dropped_kept() };
        let Addresses { leaving, refused, .. } = &mut self.addresses;
        for (_, at) in
            leaving.iter_mut().filter(|(vip, at)| now.since(**at) >= longest && !refused.contains(vip))
        {
            *at = now - ADOPTED_AFTER;
        }
    }

    fn drop_left(&mut self, now: Moment, out: &mut Output) {
        self.keep_what_is_worn(now);
        let kept = self.dropped_kept();
        let over = |at: &Moment| now.since(*at) >= kept;
        let left = self.addresses.leaving.iter().filter(|(_, at)| over(at));
        let left: Vec<Vip> = left.map(|(vip, _)| *vip).collect();
        self.drop_these(&left, out);
    }

    fn drop_these(&mut self, vips: &[Vip], out: &mut Output) {
        if vips.is_empty() {
            return;
        }
        self.addresses.leaving.retain(|vip, _| !vips.contains(vip));
        self.addresses.forget(&vips.iter().copied().collect());
        self.missing.retain(|vip| !vips.contains(vip));
        self.settings.vips.retain(|vip| !vips.contains(vip));
        if matches!(self.state, State::Holding(_)) {
            self.addresses.going.extend(vips);
        }
        self.addresses_changed();
        let claim = self.settings.claim.clone();
        out.events.push(Event::AddressesDropped { claim, vips: vips.to_vec() });
    }

    /// Takes off the interface what the holder of the others does not wear any more, after it was last announced.
    /// Should the kernel refuse, nobody refreshes it and its lifetime ends it.
    pub(super) fn withdraw_dropped(&mut self, out: &mut Output) {
        if self.addresses.going.is_empty() {
            return;
        }
        let (claim, vips) = (self.settings.claim.clone(), std::mem::take(&mut self.addresses.going));
        out.effects.push(Effect::Withdraw { id: self.effect_id(), claim, vips });
    }

    /// When the next address has left for long enough, or is to be asked for no more. Where the answer has to wait for
    /// the claim's state, that state's own end is what is waited for.
    pub(super) fn next_address_due(&self) -> Option<Moment> {
        let dropped = self.addresses.leaving.values().min().map(|at| *at + self.dropped_kept());
        let asked_for = self.addresses.leaving.get(&self.watcher.vip()).map(|at| *at + ADOPTED_AFTER);
        [dropped, asked_for].into_iter().flatten().min()
    }

    // === which of them is asked for (rule 7) ===

    /// What the holder that is followed tells of its addresses is listened for: it may wear none that this node knows.
    fn heed_holder(&mut self) {
        let follows = self.state == State::Released;
        let told = if follows { self.told_by_holder().to_vec() } else { Vec::new() };
        if told != self.addresses.elsewhere {
            self.addresses.elsewhere = told;
            self.listening = false;
        }
    }

    /// What the holder, another node, said last that it wears. A run that has not read the Lease goes by what the one
    /// before it read: its holder may be asked for by that, and was not seen to go.
    pub(super) fn told_by_holder(&self) -> &[Vip] {
        match self.lease.standing() {
            Standing::Unknown => &self.addresses.remembered,
            _ if self.is_denied() => self.lease.facts().addresses.as_deref().unwrap_or_default(),
            _ => &[],
        }
    }

    fn is_denied(&self) -> bool {
        let own = self.settings.node.as_str();
        matches!(self.lease.standing(), Standing::Denied { ref holder, .. } if holder != own)
    }

    /// One of the claim's addresses, as this node or the holder that it follows knows them.
    pub(super) fn is_of_the_claim(&self, address: IpAddr) -> bool {
        self.claims(address) || self.addresses.elsewhere.contains(&address)
    }

    /// One of the claim's addresses, as this node knows them.
    pub(super) fn claims(&self, address: IpAddr) -> bool {
        self.services.has(address) || self.own_vips().any(|own| own == address)
    }

    /// The claim's own addresses: they stand before those of Services.
    pub(super) fn own_vips(&self) -> impl Iterator<Item = Vip> + '_ {
        self.settings.vips.iter().copied().take_while(|vip| !self.services.has(*vip))
    }

    /// The record's holder, another node, says that it wears none of the addresses that this one does.
    pub(super) fn holder_wears_others(&self) -> bool {
        let told = self.lease.facts().addresses.as_deref().unwrap_or_default();
        let differs = !told.is_empty() && !told.iter().any(|vip| self.settings.vips.contains(vip));
        self.addresses.named && differs && self.is_denied()
    }

    /// The marks of two holders without a common address never meet. What they would say is done without them: who renews
    /// is confirmed, and who is not goes.
    pub(super) fn is_held_out_of_hearing(&self, holding: &Holding) -> bool {
        holding.tenure != Tenure::Confirmed
            && self.lease.is_settled()
            && self.lease.renewed_in_reach()
            && self.holder_wears_others()
    }

    fn choose_watched(&mut self, now: Moment) {
        if !self.goes_on_asking(now) {
            self.watcher.ask_for(now, self.preferred());
        }
    }

    /// One that left is asked for a while yet, for that is what the holder is known to wear. One that the holder says it
    /// does not wear is not, unless it was heard since.
    fn goes_on_asking(&self, now: Moment) -> bool {
        let asked = self.watcher.vip();
        let told = &self.addresses.elsewhere;
        let denied = !told.is_empty() && !told.contains(&asked) && !self.watcher.is_heard_wearing();
        let kept = match self.addresses.leaving.get(&asked) {
            Some(left) => now.since(*left) < ADOPTED_AFTER,
            None => self.settings.vips.contains(&asked),
        };
        kept && !denied
    }

    /// Of what the newest answer names, one that the holder says it wears; else any that it says it wears.
    fn preferred(&self) -> Vip {
        let told = &self.addresses.elsewhere;
        let in_both: Vec<Vip> = self.answer().filter(|vip| told.contains(vip)).collect();
        match (told.is_empty(), in_both.is_empty()) {
            (true, _) => self.own_preferred(),
            (false, false) => watched_vip(&in_both),
            (false, true) => watched_vip(told),
        }
    }

    /// Of what the newest answer names.
    pub(super) fn own_preferred(&self) -> Vip {
        let answer: Vec<Vip> = self.answer().collect();
        watched_vip(&answer)
    }

    /// The holder that is watched speaks in the name of one of the claim's addresses: it wears that, and is asked for the
    /// new one from then on.
    pub(super) fn heard_wearing(&mut self, now: Moment, mac: Mac, vip: Vip) {
        let asks_for_another = !self.answer().any(|own| own == self.watcher.vip());
        let new = vip == self.own_preferred() && asks_for_another;
        if new && self.watcher.watches(mac) && !self.is_about_to_go(now, vip) {
            self.watcher.ask_for(now, vip);
        }
        self.watcher.heard_wearing(vip);
    }

    /// The holder says that it wears others than this one, which may be heard for a while yet. What is heard after that
    /// while is newer than its word: without an authority it cannot take it back.
    fn is_about_to_go(&self, now: Moment, vip: Vip) -> bool {
        let told = &self.addresses.elsewhere;
        let late = self.lease.out_since().is_some() && now.since(self.watcher.told_at()) > self.notice();
        !told.is_empty() && !told.contains(&vip) && !late
    }

    // === what others are told ===

    /// What the holder says on the Lease that it wears, where that may change.
    pub(super) fn told_addresses(&self, now: Moment) -> Option<Vec<Vip>> {
        let addresses = &self.addresses;
        let stays = |vip: &Vip| {
            let leaves = addresses.leaving.get(vip).is_some_and(|at| now.since(*at) >= TOLD_FOR);
            !leaves && !addresses.is_absent(*vip)
        };
        self.addresses.named.then(|| self.settings.vips.iter().copied().filter(stays).collect())
    }

    /// What an earlier run may have left on the interface, where its names may mean others by the next.
    pub(super) fn may_be_left(&self) -> Vec<Vip> {
        if self.addresses.named { self.settings.vips.clone() } else { self.addresses.leaving() }
    }

    /// Those that can be announced: the ones that the kernel was not heard to have yet come later.
    pub(super) fn announceable(&self) -> Vec<Vip> {
        self.settings.vips.iter().copied().filter(|vip| !self.addresses.is_coming(*vip)).collect()
    }

    /// Others can be announced than were.
    pub(super) fn announces_others(&mut self) -> bool {
        let may = self.addresses.named || self.services.are_there() || !self.addresses.going.is_empty();
        // Compared once for each change: there may be thousands, and this is asked at every input.
        if may && self.addresses.uncompared {
            self.addresses.uncompared = self.addresses.announced != self.announceable();
        }
        may && self.addresses.uncompared
    }

    /// What is announced from now on: all that can be.
    pub(super) fn note_announced(&mut self, vips: &[Vip]) {
        vips.clone_into(&mut self.addresses.announced);
        self.addresses.uncompared = false;
    }

    pub(super) fn listen(&mut self, out: &mut Output) {
        if !self.listening {
            self.listening = true;
            let known = self.settings.vips.iter().chain(&self.addresses.elsewhere);
            let vips = known.copied().collect();
            out.effects.push(Effect::Listen { vips, others: self.watcher.neighbours().collect() });
        }
    }
}

/// The address that probes ask for: of a dual-stack claim the IPv4 one, whose ARP needs no link-local source.
pub(super) fn watched_vip(vips: &[Vip]) -> Vip {
    let first = vips.iter().find(|vip| vip.is_ipv4()).or_else(|| vips.first());
    first.copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}
