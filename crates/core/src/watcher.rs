//! Rule 7's eyes: is the holder alive on the wire?
//!
//! A follower asks the holder's kernel by probes of the VIP and counts silence as BFD does, interval x multiplier. It
//! also keeps the paths to the other members known, and looks for witnesses that its own link works.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::time::Duration;

use crate::effect::ProbeTo;
use crate::names::Mac;
use crate::settings::Detection;
use crate::snapshot::Member;
use crate::time::Moment;
use crate::vip::Vip;
use schedule::{Neighbour, Schedule, Turns};
use worn::Worn;

mod schedule;
mod worn;

/// The fastest that witnesses are asked while the holder is silent, and the slowest that members are asked at all.
const MEMBER_INTERVAL: Duration = Duration::from_secs(10);
/// How often members are asked during an outage, when rank among the living decides.
const MEMBER_INTERVAL_IN_OUTAGE: Duration = Duration::from_secs(1);
/// How often a follower that is no prober asks for the VIP.
const BYSTANDER_INTERVAL: Duration = Duration::from_secs(1);
/// Between the turns in which a bystander asks for witnesses: there may be many of them.
const BYSTANDERS_TURN: Duration = Duration::from_millis(200);
/// How often a holder that may have a rival asks for it: with the verification that follows, within the second that two
/// holders may last (simulation, long seed 4836: the rival was met late and asked a slow API for 800 ms, 1.067 s).
const RIVAL_INTERVAL: Duration = Duration::from_millis(300);
/// Witnesses asked in one interval while the holder is silent: one answer is enough, and a segment with many members
/// is not to be flooded because one of them died.
const WITNESSES_ASKED_AT_ONCE: usize = 8;
/// Hardware addresses remembered as having spoken: more than a claim has members, and an end for whoever invents them.
const PATHS_KEPT: usize = 256;
/// Sent probes remembered: evidence needs two.
const SENT_KEPT: usize = 8;

/// How eagerly the VIP is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Not at all: this node holds the claim undisputed, or its link is down.
    Off,
    /// Three times a second, everyone: this node holds the claim, and another may, too.
    Rival,
    /// Once a second.
    Bystander,
    /// At the detection interval.
    Prober,
}

/// What is missing for evidence of death (rule 7). In the order in which it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// It is not silent for long enough.
    Silence,
    /// Too few probes left this host since its last answer, or the last was not a broadcast.
    Probes,
    /// It was never heard at all: the path may never have worked. Or what is asked for is an address that came from a
    /// name, and that this holder was never heard to wear.
    Path,
    /// Nobody was heard since a question to it is open: our own link may be broken.
    Witness,
}

/// Whom the watcher watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Target {
    /// The holder's identity and epoch; another is another tenure, and silence counts anew.
    pub tenure: Option<(String, u32)>,
    /// Its hardware addresses, when known.
    pub macs: Vec<Mac>,
}

/// One probe to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeOrder {
    /// The address asked for.
    pub target: IpAddr,
    /// Whom.
    pub to: ProbeTo,
}

/// What one node sees of its claim's holder and of the other members on the wire.
#[derive(Clone, Debug)]
pub struct Watcher {
    detection: Detection,
    vip: Vip,
    target: Target,
    since: Moment,
    last_answer: Option<Moment>,
    sent: Vec<(Moment, bool)>,
    /// When the first question after an answer left.
    opened_at: Option<Moment>,
    /// When a neighbour was first heard after that question.
    witnessed_at: Option<Moment>,
    last_order: Option<Moment>,
    broadcast_at: Option<Moment>,
    paths: BTreeMap<Mac, Moment>,
    neighbours: BTreeMap<IpAddr, Neighbour>,
    /// When something beyond our link last answered by other ways than these probes.
    reached_at: Option<Moment>,
    /// Whether the holder wears what is asked for; `None` where addresses never change, and it does.
    worn: Option<Worn>,
    /// What it said last that it wears.
    told: Option<Vec<Vip>>,
    /// When that was first seen.
    told_at: Moment,
}

/// All but the settings, and the moments of `paths`, which only say which of hundreds is forgotten first.
impl Hash for Watcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Self { target, since, last_answer, sent, last_order, .. } = self;
        (target, since, last_answer, sent, last_order, self.broadcast_at, self.reached_at).hash(state);
        (self.opened_at, self.witnessed_at).hash(state);
        self.paths.keys().for_each(|mac| mac.hash(state));
        if let Some(worn) = self.worn {
            (self.vip, worn, &self.told, self.told_at).hash(state);
        }
        self.neighbours.hash(state);
    }
}

impl Watcher {
    /// A watcher that has seen nothing; `vip` is the address it asks for.
    #[must_use]
    pub fn new(detection: Detection, vip: Vip, now: Moment) -> Self {
        Self {
            detection,
            vip,
            target: Target::default(),
            since: now,
            last_answer: None,
            sent: Vec::new(),
            opened_at: None,
            witnessed_at: None,
            last_order: None,
            broadcast_at: None,
            paths: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            reached_at: None,
            worn: None,
            told: None,
            told_at: now,
        }
    }

    /// Watches `target` from now on.
    pub fn follow(&mut self, now: Moment, target: Target) {
        if self.target.tenure != target.tenure {
            self.restart(now);
        }
        self.target = target;
    }

    /// Silence counts anew from now on: nothing seen before says anything about what is watched now.
    pub fn restart(&mut self, now: Moment) {
        self.since = now;
        self.last_answer = None;
        self.broadcast_at = None;
        self.sent.clear();
        if self.worn == Some(Worn::Heard) {
            self.worn = Some(Worn::Unheard);
        }
    }

    /// The other members' and the witnesses' addresses, with the hardware address where it is known.
    pub fn set_neighbours(&mut self, now: Moment, addresses: impl Iterator<Item = (IpAddr, Option<Mac>)>) {
        let mut old = std::mem::take(&mut self.neighbours);
        for (address, mac) in addresses {
            let mut neighbour = old.remove(&address).unwrap_or_else(|| Neighbour::new(now));
            neighbour.mac = mac.or(neighbour.mac);
            self.neighbours.insert(address, neighbour);
        }
    }

    /// The same neighbours as another of this node's watchers, which has asked and heard them on the same link.
    pub fn know_neighbours_of(&mut self, other: &Self) {
        self.neighbours.clone_from(&other.neighbours);
    }

    /// Another of this node's watchers has asked this neighbour: its answer is heard by all of them.
    pub fn asked_beside(&mut self, at: Moment, address: IpAddr) {
        if let Some(neighbour) = self.neighbours.get_mut(&address) {
            neighbour.asked = Some(at);
        }
    }

    /// A known node spoke: the path to it works.
    pub fn heard(&mut self, at: Moment, mac: Mac, sender: IpAddr) {
        self.paths.insert(mac, at);
        if self.paths.len() > PATHS_KEPT {
            let oldest = self.paths.iter().min_by_key(|(_, at)| **at).map(|(mac, _)| *mac);
            oldest.and_then(|mac| self.paths.remove(&mac));
        }
        if let Some(neighbour) = self.neighbours.get_mut(&sender) {
            neighbour.heard = neighbour.heard.max(Some(at));
            neighbour.mac = Some(mac);
            if !self.is_witnessed() && self.is_witness(at) {
                self.witnessed_at = Some(at);
            }
        }
    }

    /// Whether a neighbour that is heard at this moment shows that our link works, and the holder still does not answer. What was
    /// heard before a question was open shows nothing: the link may have broken after it.
    fn is_witness(&self, at: Moment) -> bool {
        at > self.silent_since() + self.detection.interval
            && self.open_question().is_some_and(|open| at > open)
    }

    /// When the first question of the present silence left.
    fn open_question(&self) -> Option<Moment> {
        self.opened_at.filter(|at| *at > self.silent_since())
    }

    /// Something beyond our link answered, though not to a probe: the link works.
    pub fn reached(&mut self, at: Moment) {
        self.reached_at = Some(at);
    }

    /// Somebody whom we count wears the VIP.
    pub fn answered(&mut self, at: Moment) {
        self.last_answer = self.last_answer.max(Some(at));
    }

    /// A probe of the VIP left this host.
    pub fn sent(&mut self, at: Moment, to: ProbeTo) {
        if self.sent.len() == SENT_KEPT {
            self.sent.remove(0);
        }
        self.sent.push((at, to == ProbeTo::All));
        if self.open_question().is_none() {
            self.opened_at = Some(at);
        }
    }

    /// Frames came that nobody could read: perhaps answers.
    pub fn missed(&mut self, now: Moment) {
        self.sent.clear();
        for neighbour in self.neighbours.values_mut().filter(|one| one.heard < one.asked) {
            neighbour.asked = Some(now);
        }
    }

    /// The last answer in this tenure.
    #[must_use]
    pub fn last_answer(&self) -> Option<Moment> {
        self.last_answer
    }

    /// Since when the VIP is silent, or has been watched without an answer.
    #[must_use]
    pub fn silent_since(&self) -> Moment {
        self.last_answer.unwrap_or(self.since).max(self.since)
    }

    /// Rule 7's threshold under `doublings` of the multiplier, within `longest`. One that was never seen in this
    /// tenure gets ten intervals.
    #[must_use]
    pub fn patience(&self, doublings: u32, longest: Duration) -> Duration {
        let intervals = if self.last_answer.is_some() { self.detection.multiplier } else { 10 };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        self.detection.interval.saturating_mul(intervals).saturating_mul(factor).min(longest)
    }

    /// Ten intervals: the silence after which nobody wears the VIP (rules 6 and 8).
    #[must_use]
    pub fn long_silence(&self) -> Duration {
        self.detection.interval * 10
    }

    /// What is missing for the VIP to count as silent for `patience`: the weak form, without path and witness.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn silence(&self, now: Moment, patience: Duration) -> Result<(), Lack> {
        let base = self.silent_since();
        if now.since(base) < patience {
            return Err(Lack::Silence);
        }
        let mut asked = self.settled(now).filter(|(at, _)| *at > base);
        let (last, before) = (asked.next(), asked.next());
        if before.is_none() || last.is_none_or(|(_, all)| !all) {
            return Err(Lack::Probes);
        }
        Ok(())
    }

    /// What is missing for evidence that the holder is dead, silent for `patience`.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn evidence(&self, now: Moment, patience: Duration) -> Result<(), Lack> {
        self.silence(now, patience)?;
        let is_worn = self.worn.is_none_or(|worn| worn == Worn::Heard);
        if !is_worn || !self.target.macs.iter().any(|mac| self.paths.contains_key(mac)) {
            return Err(Lack::Path);
        }
        if !self.is_witnessed() {
            return Err(Lack::Witness);
        }
        // What was asked while we were cut off is answered by nobody: one more question once somebody is heard again.
        if self.settled(now).next().map(|(at, _)| at) > self.witnessed_at {
            Ok(())
        } else {
            Err(Lack::Probes)
        }
    }

    /// The probes that had their time to be answered, the last first.
    fn settled(&self, now: Moment) -> impl Iterator<Item = (Moment, bool)> {
        let wait = self.detection.interval / 4;
        self.sent.iter().rev().filter(move |(at, _)| now.since(*at) >= wait).copied()
    }

    /// Whether any neighbour answered within `window`; `None` when there is none to ask.
    #[must_use]
    pub fn company(&self, now: Moment, window: Duration) -> Option<bool> {
        if self.neighbours.is_empty() {
            return None;
        }
        Some(self.neighbours.values().any(|n| n.heard.is_some_and(|at| now.since(at) <= window)))
    }

    /// Whether any neighbour but the `except`ed answered within `window`: another member lives.
    #[must_use]
    pub fn member_company(&self, now: Moment, window: Duration, except: &[IpAddr]) -> bool {
        let mut members = self.neighbours.iter().filter(|(address, _)| !except.contains(address));
        members.any(|(_, n)| n.heard.is_some_and(|at| now.since(at) <= window))
    }

    /// Whether a neighbour was heard since the VIP left a question open: our own link works.
    #[must_use]
    pub fn is_witnessed(&self) -> bool {
        self.witnessed_at.is_some_and(|at| self.is_witness(at))
    }

    /// When something beyond our link last answered by other ways than these probes.
    #[must_use]
    pub fn reached_at(&self) -> Option<Moment> {
        self.reached_at
    }

    /// The address asked for.
    #[must_use]
    pub fn vip(&self) -> Vip {
        self.vip
    }

    /// The other members' and the witnesses' addresses.
    pub fn neighbours(&self) -> impl Iterator<Item = IpAddr> {
        self.neighbours.keys().copied()
    }

    /// The holder's identity and epoch, while one is watched.
    #[must_use]
    pub fn watched_tenure(&self) -> Option<&(String, u32)> {
        self.target.tenure.as_ref()
    }

    /// Whether `mac` is the watched holder's.
    #[must_use]
    pub fn watches(&self, mac: Mac) -> bool {
        self.target.macs.contains(&mac)
    }

    /// How many hardware addresses are remembered.
    #[cfg(test)]
    pub(crate) fn paths_known(&self) -> usize {
        self.paths.len()
    }

    /// When the last probe sent has had its time to be answered, if it was not: nobody has to wake for an answer.
    #[must_use]
    pub fn settled_at(&self) -> Option<Moment> {
        let (at, _) = self.sent.last().filter(|(at, _)| self.last_answer < Some(*at))?;
        Some(*at + self.detection.interval / 4)
    }

    /// Whether this address has not been heard for `window`, and has been listed for as long.
    #[must_use]
    pub fn is_unheard_for(&self, now: Moment, address: &IpAddr, window: Duration) -> bool {
        // Before the last restart (a freeze, a link that came up) nobody could have been heard.
        let silent =
            |n: &Neighbour| now.since(n.heard.unwrap_or(n.since).max(n.since).max(self.since)) >= window;
        self.neighbours.get(address).is_some_and(silent)
    }

    /// When this address last answered.
    #[must_use]
    pub fn neighbour_heard(&self, address: &IpAddr) -> Option<Moment> {
        self.neighbours.get(address).and_then(|neighbour| neighbour.heard)
    }

    /// When this member's node was last heard: one of its addresses, or any frame of its hardware.
    #[must_use]
    pub fn last_heard(&self, member: &Member) -> Option<Moment> {
        let addresses = member.addresses.iter().filter_map(|address| self.neighbour_heard(address));
        addresses.chain(member.macs.iter().filter_map(|mac| self.paths.get(mac).copied())).max()
    }

    /// Since when a question to one of this member's addresses is open, if one is.
    #[must_use]
    pub fn open_since(&self, member: &Member) -> Option<Moment> {
        let neighbours = member.addresses.iter().filter_map(|address| self.neighbours.get(address));
        let asked = neighbours.filter_map(|neighbour| neighbour.asked).min()?;
        (self.last_heard(member) < Some(asked)).then_some(asked)
    }

    /// The probes that are due, at `pace` for the VIP; `outage` asks members more often; `patience` is the silence
    /// that is being waited for.
    pub fn poll(&mut self, now: Moment, pace: Pace, outage: bool, patience: Duration) -> Vec<ProbeOrder> {
        let mut orders = Vec::new();
        if self.vip_due(now, pace, patience).is_some_and(|due| due <= now) {
            orders.push(self.vip_probe(now, pace, patience));
        }
        let schedule = self.schedule(now, pace, outage);
        for (place, (address, neighbour)) in self.neighbours.iter_mut().enumerate() {
            if schedule.due(place, neighbour).is_none_or(|due| due <= now) {
                neighbour.asked = Some(now);
                let to = neighbour.mac.map_or(ProbeTo::All, ProbeTo::One);
                orders.push(ProbeOrder { target: *address, to });
            }
        }
        orders
    }

    /// When `poll` has something to send next.
    #[must_use]
    pub fn next_deadline(&self, now: Moment, pace: Pace, outage: bool, patience: Duration) -> Option<Moment> {
        let schedule = self.schedule(now, pace, outage);
        let due = |(place, n)| schedule.due(place, n).unwrap_or(now);
        let neighbours = self.neighbours.values().enumerate().map(due).min();
        let suspicion = self.suspected_at(pace).filter(|at| *at > now);
        [self.vip_due(now, pace, patience), neighbours, suspicion].into_iter().flatten().min()
    }

    /// When the holder becomes suspect: one and a half intervals without an answer. Who asks seldom gives those who ask
    /// often the time to find another holder, and has heard a witness before its next question.
    fn suspected_at(&self, pace: Pace) -> Option<Moment> {
        match pace {
            Pace::Prober => Some(self.silent_since() + self.detection.interval * 3 / 2),
            Pace::Bystander => self.open_question().map(|at| at + BYSTANDER_INTERVAL / 2),
            Pace::Off | Pace::Rival => None,
        }
    }

    /// When the neighbours are asked. While the holder is silent they are asked in turns, a few in each interval.
    fn schedule(&self, now: Moment, pace: Pace, outage: bool) -> Schedule {
        match self.suspected_at(pace) {
            Some(at) if now >= at && now.since(at) < self.long_silence() * 3 => {
                // Everybody is asked within ten intervals, for rank among the living is counted after that.
                let count = self.neighbours.len();
                let at_once = WITNESSES_ASKED_AT_ONCE.max(count.div_ceil(10));
                let turns = u32::try_from(count.div_ceil(at_once)).unwrap_or(u32::MAX);
                let turn = if pace == Pace::Prober { self.detection.interval } else { BYSTANDERS_TURN };
                Schedule {
                    interval: turn.saturating_mul(turns),
                    turns: Some(Turns { since: at, turn, at_once }),
                }
            }
            _ if outage => Schedule { interval: MEMBER_INTERVAL_IN_OUTAGE, turns: None },
            _ => Schedule { interval: MEMBER_INTERVAL, turns: None },
        }
    }

    fn vip_due(&self, now: Moment, pace: Pace, patience: Duration) -> Option<Moment> {
        let interval = match pace {
            Pace::Off => return None,
            Pace::Rival => RIVAL_INTERVAL,
            Pace::Bystander => BYSTANDER_INTERVAL,
            Pace::Prober => self.detection.interval,
        };
        let regular = self.last_order.map_or(now, |at| at + interval);
        // The broadcast that evidence needs leaves early enough to be answered before patience ends.
        let last_call = self.silent_since() + patience.saturating_sub(self.detection.interval * 3 / 5);
        let called = self.broadcast_at.is_some_and(|at| at >= last_call);
        Some(if called || pace != Pace::Prober { regular } else { regular.min(last_call.max(self.since)) })
    }

    fn vip_probe(&mut self, now: Moment, pace: Pace, patience: Duration) -> ProbeOrder {
        self.last_order = Some(now);
        let last_call = self.silent_since() + patience.saturating_sub(self.detection.interval * 3 / 5);
        let to = match self.target.macs.first() {
            Some(mac) if now < last_call && pace != Pace::Rival => ProbeTo::One(*mac),
            _ => ProbeTo::All,
        };
        if to == ProbeTo::All {
            self.broadcast_at = Some(now);
        }
        ProbeOrder { target: self.vip, to }
    }
}

#[cfg(test)]
mod tests;
