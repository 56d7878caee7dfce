//! Services spread over nodes: each node has a *seat*, a claim of its own, and wears what is placed there.
//!
//! ```text
//!   seat/n1  beacon, 10.0.0.21, 10.0.0.24 ──► held by n1
//!   seat/n2  beacon, 10.0.0.22            ──► held by n2      n3 dies: its seat is taken as a whole, on evidence or without
//!   seat/n3  beacon, 10.0.0.23            ──► held by n1      an authority, as any claim is (rules 7 and 8)
//! ```
//!
//! A seat is the ownership machine as it is: one for each seat on each node. What is new is between them: an address
//! that is placed elsewhere moves make before break (`moves`), frames and outcomes find the claim that they are
//! about, what all of them order is joined (`joined`), and two seats that one node holds do not take an address from each other's interface.
//!
//! Which address is placed where is not decided here ([`crate::spread`]): every node is told the same, from what is
//! recorded.

mod joined;
mod moves;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::effect::{Effect, ProbeTo};
use crate::input::{AddressChange, EffectId, Frame, Health, Input, Link, Outcome, Seat};
use crate::names::ClaimId;
use crate::node::Output;
use crate::ownership::Machine;
use crate::placement::hash;
use crate::settings::{Found, LeaseTiming, Settings};
use crate::snapshot::ClaimMemory;
use crate::status::ClaimStatus;
use crate::time::Moment;
use crate::vip::Vip;
pub(crate) use joined::Joined;
use moves::Moves;

/// A seat's effects are numbered from its own number times this: more than a node orders in a century.
const IDS_EACH: u64 = 1 << 36;

/// A seat's Lease is slower than a single claim's: there are as many as nodes, and it is the wire that says who lives.
/// With the usual timing it is granted for 40 s and renewed every 10 s, as a kubelet's own Lease is.
#[must_use]
pub fn timing(single: LeaseTiming) -> LeaseTiming {
    LeaseTiming {
        duration: single.duration * 8 / 3,
        renew_deadline: single.renew_deadline * 3,
        retry_period: single.retry_period * 5,
    }
}

/// All seats, on one node.
#[derive(Clone, Debug)]
pub(crate) struct Seats {
    /// What all of them have in common.
    settings: Settings,
    link: Link,
    health: Option<Health>,
    seed: u64,
    all: BTreeMap<ClaimId, Seated>,
    /// The seats that were named last.
    named: BTreeMap<ClaimId, Vip>,
    /// Seats that there ever were: their numbers are not given again.
    numbered: u64,
    moves: Moves,
    /// The agent ends: nothing new is begun.
    stopping: bool,
}

/// One seat.
#[derive(Clone, Debug)]
struct Seated {
    machine: Machine,
    beacon: Vip,
    number: u64,
    /// What is placed there; `None` as long as nobody said.
    placed: Option<BTreeSet<Vip>>,
    /// What its machine was told last.
    told: BTreeSet<Vip>,
    stays: Stays,
}

/// Whether a seat is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stays {
    Yes,
    /// Not any more: it goes when nothing of it is worn here.
    No,
    /// Its machine is letting go.
    LettingGo,
}

/// Of a node without seats, nothing here decides anything.
impl Hash for Seats {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for (claim, seated) in &self.all {
            (claim, &seated.machine, &seated.placed, &seated.told, seated.stays).hash(state);
        }
        if self.are_there() {
            (&self.moves, self.link, self.health, self.stopping).hash(state);
        }
    }
}

/// What handling an input needs beside the seats: the moment, and where orders go.
pub(crate) struct Turn<'a> {
    pub(crate) now: Moment,
    pub(crate) joined: &'a mut Joined,
    pub(crate) out: &'a mut Output,
    /// Outcomes of orders that had nothing to do.
    answers: VecDeque<(ClaimId, Input)>,
    /// Neighbours that were asked in this turn, and whether by a broadcast.
    asked: BTreeSet<(IpAddr, bool)>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(now: Moment, joined: &'a mut Joined, out: &'a mut Output) -> Self {
        Self { now, joined, out, answers: VecDeque::new(), asked: BTreeSet::new() }
    }
}

impl Seats {
    /// None yet. They have the settings of the node's first claim, but for what is each seat's own.
    pub(crate) fn new(settings: &Settings, found: &Found, seed: u64) -> Self {
        let link = if found.link_up { Link::Up } else { Link::Down };
        let settings = Settings { lease: timing(settings.lease), ..settings.clone() };
        let (all, moves) = (BTreeMap::new(), Moves::default());
        Self {
            settings,
            link,
            health: None,
            seed,
            all,
            named: BTreeMap::new(),
            numbered: 0,
            moves,
            stopping: false,
        }
    }

    pub(crate) fn are_there(&self) -> bool {
        !self.all.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    /// The seat that ordered this effect.
    pub(crate) fn of_effect(&self, id: EffectId) -> Option<&ClaimId> {
        let number = id.0 / IDS_EACH;
        self.all.iter().find(|(_, seated)| seated.number == number).map(|(claim, _)| claim)
    }

    pub(crate) fn promised(&self) -> Option<Moment> {
        let machines = self.all.values().filter_map(|seated| seated.machine.promised()).min();
        [machines, self.moves.next_deadline()].into_iter().flatten().min()
    }

    pub(crate) fn statuses(&self, now: Moment) -> Vec<ClaimStatus> {
        self.all.values().map(|seated| seated.machine.status(now)).collect()
    }

    /// Takes in what happened, as far as it concerns seats.
    pub(crate) fn handle(&mut self, input: &Input, turn: &mut Turn<'_>) {
        let now = turn.now;
        match input {
            Input::Seats(told) => self.follow(told, turn),
            Input::SeatLease { seat, report } => self.give(seat, &Input::Lease(report.clone()), turn),
            Input::Outcome { id, .. } => {
                let whose = self.of_effect(*id).cloned();
                whose.into_iter().for_each(|claim| self.give(&claim, input, turn));
            }
            Input::Frame(frame) => self.hear(frame, turn),
            Input::Address(change) => self.give_where(|one| one.has(subject(change)), input, turn),
            Input::Health(health) => {
                self.health = Some(*health);
                let own = ClaimId::seat(&self.settings.node);
                self.give_but(&own, input, turn);
            }
            Input::Tick => {
                self.give_where(|one| one.machine.promised().is_some_and(|at| at <= now), input, turn)
            }
            Input::Link(_) | Input::Own(_) | Input::Shutdown => {
                self.remember(input);
                self.give_where(|_| true, input, turn);
            }
            Input::Lease(_) | Input::Vips(_) | Input::Services(_) | Input::Service(_) => return,
        }
        self.settle(turn);
    }

    /// What seats that come later have to know.
    fn remember(&mut self, input: &Input) {
        match input {
            Input::Link(link) => self.link = *link,
            Input::Own(own) => self.settings.own = own.clone(),
            Input::Shutdown => self.stopping = true,
            _ => {}
        }
    }

    /// These are the seats from now on.
    fn follow(&mut self, told: &BTreeMap<ClaimId, Seat>, turn: &mut Turn<'_>) {
        if self.stopping {
            return;
        }
        let seats = || told.iter().filter(|(claim, _)| claim.home().is_some());
        // Before any of them is kept anew, for what is kept is kept of all.
        for (claim, seat) in seats().filter(|(claim, _)| !self.all.contains_key(*claim)) {
            seat.memory.iter().for_each(|memory| turn.joined.remember(claim, memory));
        }
        self.named = seats().map(|(claim, seat)| (claim.clone(), seat.beacon)).collect();
        for (claim, seat) in seats() {
            if !self.all.contains_key(claim) {
                let worn = seat.found.iter().copied().collect();
                self.add(claim, (seat.beacon, seat.memory.clone(), worn), turn);
            }
            if let (Some(seated), Some(services)) = (self.all.get_mut(claim), &seat.services) {
                seated.placed = Some(services.clone());
            }
        }
        for (claim, seated) in &mut self.all {
            if self.named.contains_key(claim) {
                seated.is_named();
            } else {
                seated.is_named_no_more();
            }
        }
        self.moves.changed();
        let placed = self.all.values().filter_map(|seated| seated.placed.as_ref()).flatten().copied();
        turn.joined.listen_also(placed.collect(), turn.out);
    }

    fn add(&mut self, claim: &ClaimId, seat: (Vip, Option<ClaimMemory>, Vec<Vip>), turn: &mut Turn<'_>) {
        let (beacon, memory, addresses) = seat;
        self.numbered += 1;
        let settings = Settings { claim: claim.clone(), vips: vec![beacon], ..self.settings.clone() };
        let told = memory.iter().flat_map(|memory| memory.services.iter().copied()).collect();
        let found = Found { memory, addresses, link_up: self.link == Link::Up };
        let seed = self.seed ^ hash(claim.as_str().as_bytes());
        let machine = Machine::new(settings, found, turn.now, seed);
        let machine = machine.numbered_from(self.numbered.saturating_mul(IDS_EACH));
        let number = self.numbered;
        let seated = Seated { machine, beacon, number, placed: None, told, stays: Stays::Yes };
        self.all.insert(claim.clone(), seated);
        self.give(claim, &Input::Tick, turn);
        if let Some(health) = self.health.filter(|_| *claim != ClaimId::seat(&self.settings.node)) {
            self.give(claim, &Input::Health(health), turn);
        }
    }

    // === who hears of what ===

    fn give(&mut self, claim: &ClaimId, input: &Input, turn: &mut Turn<'_>) {
        let Some(seated) = self.all.get_mut(claim) else { return };
        let mut output = Output::default();
        seated.machine.handle(turn.now, input, &mut output);
        self.take(claim, output, turn);
    }

    fn give_where(&mut self, concerns: impl Fn(&Seated) -> bool, input: &Input, turn: &mut Turn<'_>) {
        let concerned = self.all.iter().filter(|(_, seated)| concerns(seated));
        let concerned: Vec<ClaimId> = concerned.map(|(claim, _)| claim.clone()).collect();
        concerned.iter().for_each(|claim| self.give(claim, input, turn));
    }

    fn give_but(&mut self, but: &ClaimId, input: &Input, turn: &mut Turn<'_>) {
        let others: Vec<ClaimId> = self.all.keys().filter(|claim| *claim != but).cloned().collect();
        others.iter().for_each(|claim| self.give(claim, input, turn));
    }

    /// What is about an address of a seat is that seat's; what other hosts say of their own addresses concerns all.
    fn hear(&mut self, frame: &Frame, turn: &mut Turn<'_>) {
        let speaker = frame.mark.filter(|mark| mark.node != self.settings.node.id());
        if let (Some(sender), Some(mark)) = (frame.sender, speaker)
            && self.all.values().any(|seated| seated.machine.holds() && seated.is_for(sender))
        {
            self.moves.heard(turn.now, sender, mark);
        }
        let about = frame.sender.unwrap_or(frame.target);
        let input = Input::Frame(frame.clone());
        if self.has(about) {
            self.give_where(|seated| seated.has(about), &input, turn);
        } else if frame.sender.is_some() {
            self.give_where(|_| true, &input, turn);
        }
    }

    /// Whether it is an address of some seat's.
    pub(crate) fn has(&self, address: Vip) -> bool {
        self.all.values().any(|seated| seated.has(address))
    }

    // === what they order ===

    /// Adds what one seat orders to what the node does.
    fn take(&mut self, claim: &ClaimId, output: Output, turn: &mut Turn<'_>) {
        turn.out.events.extend(output.events);
        for effect in output.effects {
            match effect {
                Effect::Withdraw { id, claim, vips } => self.withdraw((id, claim), vips, turn),
                Effect::Probe { id, target, to, .. } if self.was_asked(target, to, turn) => {
                    let sent = Input::Outcome { id, outcome: Outcome::Sent(turn.now) };
                    turn.answers.push_back((claim.clone(), sent));
                }
                Effect::Stop if self.lets_go(claim) => {
                    self.all.remove(claim);
                    turn.joined.forget(claim, turn.out);
                }
                other => turn.joined.take(claim, other, turn.out),
            }
        }
    }

    /// Whether another seat has asked this neighbour in this turn: its answer is every seat's. All have heard it at one
    /// moment, so all ask again at one moment; with each for itself, nodes would send their number to the power of three.
    fn was_asked(&self, target: IpAddr, to: ProbeTo, turn: &mut Turn<'_>) -> bool {
        !self.has(target) && !turn.asked.insert((target, to == ProbeTo::All))
    }

    /// Takes addresses off the interface, but for those that another seat has there.
    fn withdraw(&mut self, (id, claim): (EffectId, ClaimId), mut vips: Vec<Vip>, turn: &mut Turn<'_>) {
        let others = || self.all.iter().filter(|(other, _)| **other != claim);
        vips.retain(|vip| !others().any(|(_, seated)| seated.machine.holds() && seated.has(*vip)));
        if vips.is_empty() {
            turn.answers.push_back((claim, Input::Outcome { id, outcome: Outcome::Done }));
        } else {
            turn.out.effects.push(Effect::Withdraw { id, claim, vips });
        }
    }

    // === what is placed where ===

    /// Tells each seat what it has, until nothing follows from it any more.
    fn settle(&mut self, turn: &mut Turn<'_>) {
        while let Some((claim, input)) = turn.answers.pop_front().or_else(|| self.next_news(turn.now)) {
            if let (Input::Services(vips), Some(seated)) = (&input, self.all.get_mut(&claim)) {
                seated.told = vips.iter().copied().collect();
            }
            self.give(&claim, &input, turn);
        }
        self.let_go(turn);
    }

    /// What a seat is to be told next. What comes to a seat before what goes from one: where both are held here, the
    /// address never leaves the interface.
    fn next_news(&mut self, now: Moment) -> Option<(ClaimId, Input)> {
        let state = self.all.values().map(Seated::state).collect();
        if !self.moves.is_due(now, state) {
            return None;
        }
        let wanted = self.moves.look(now, &self.settings.node, &views(&self.all));
        let told = |claim: &ClaimId| self.all.get(claim).map(|seated| &seated.told);
        let mut news =
            wanted.into_iter().filter(|(claim, services)| told(claim) != Some(services)).collect::<Vec<_>>();
        news.sort_by_key(|(claim, services)| told(claim).is_some_and(|told| services.is_subset(told)));
        let (claim, services) = news.into_iter().next()?;
        self.moves.changed();
        Some((claim, Input::Services(services.into_iter().collect())))
    }

    /// A seat that is named no more goes when nothing of it is left here; and comes back if it is named again.
    fn let_go(&mut self, turn: &mut Turn<'_>) {
        let empty = |seated: &Seated| seated.stays == Stays::No && seated.told.is_empty();
        let going = self.all.iter().filter(|(_, seated)| empty(seated)).map(|(claim, _)| claim.clone());
        for claim in going.collect::<Vec<_>>() {
            let Some(seated) = self.all.get_mut(&claim) else { continue };
            seated.stays = Stays::LettingGo;
            let mut output = Output::default();
            seated.machine.retire(turn.now, &mut output);
            self.take(&claim, output, turn);
        }
        if self.stopping {
            return;
        }
        let back: Vec<_> = self.named.iter().filter(|(claim, _)| !self.all.contains_key(*claim)).collect();
        for (claim, beacon) in
            back.into_iter().map(|(claim, beacon)| (claim.clone(), *beacon)).collect::<Vec<_>>()
        {
            self.add(&claim, (beacon, None, Vec::new()), turn);
        }
    }

    fn lets_go(&self, claim: &ClaimId) -> bool {
        self.all.get(claim).is_some_and(|seated| seated.stays == Stays::LettingGo)
    }
}

fn views(seats: &BTreeMap<ClaimId, Seated>) -> BTreeMap<&ClaimId, moves::View<'_>> {
    seats.iter().filter_map(|(claim, seated)| Some((claim, seated.view()?))).collect()
}

impl Seated {
    fn is_named(&mut self) {
        if self.stays == Stays::No {
            self.stays = Stays::Yes;
        }
    }

    fn is_named_no_more(&mut self) {
        if self.stays == Stays::Yes {
            self.stays = Stays::No;
            self.placed = Some(BTreeSet::new());
        }
    }

    fn view(&self) -> Option<moves::View<'_>> {
        let (holds, cut_off, confirmed) = self.state();
        Some(moves::View { placed: self.placed.as_ref()?, has: &self.told, holds, cut_off, confirmed })
    }

    fn state(&self) -> moves::State {
        (self.machine.holds(), self.machine.is_cut_off(), self.machine.is_confirmed())
    }

    /// Asked with every frame: not of the machine, which has its addresses in a row.
    fn has(&self, address: Vip) -> bool {
        self.beacon == address || self.told.contains(&address)
    }

    /// Whether the seat has it, or would have it if it were not left to another node.
    fn is_for(&self, address: Vip) -> bool {
        self.has(address) || self.placed.as_ref().is_some_and(|placed| placed.contains(&address))
    }
}

/// Which address it happened to.
fn subject(change: &AddressChange) -> Vip {
    match change {
        AddressChange::Removed { vip, .. }
        | AddressChange::Appeared { vip }
        | AddressChange::Refused { vip }
        | AddressChange::Accepted { vip } => *vip,
    }
}
