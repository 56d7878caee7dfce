//! The promises of DESIGN as an independent checker: it sees the world from outside and knows nothing of the machine.
//!
//! A driver that sees every host at once (the simulation, the lab) shows it a [`View`] after each step. Every promise
//! that may be broken for a moment has an age and a bound; the age starts again whenever the view excuses it.
//!
//! What no agent can answer for is excused, and nothing else: an agent that is dead or frozen cannot yield, so its
//! host's kernel counts as a holder only until the address's lifetime ends (the kernel's own promise, also checked).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::vip::{Mark, Tenure};

#[cfg(test)]
mod tests;

/// An agent as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// It runs.
    Running,
    /// It exists and does not run.
    Frozen,
    /// There is no such process, because it was killed or never started.
    Dead,
    /// There is no such process, because it ended as it was asked to (its address may stay: rule 11).
    Stopped,
}

/// What a node can expect of the API servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// Requests are answered, soon and in time.
    Good,
    /// Anything else.
    Impaired,
}

/// How frames pass from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Path {
    /// All of them, soon.
    Open,
    /// Some of them, or late.
    Lossy,
    /// None.
    Cut,
}

/// What is going wrong by somebody else's doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disturbance {
    /// Nothing.
    None,
    /// Only the API servers.
    Api,
    /// Something else.
    Other,
}

/// A client's neighbour entry for the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entry {
    /// None: it will ask before it sends.
    Empty,
    /// It sends to this node.
    Node(usize),
    /// It sends to nobody of ours.
    Stranger,
}

/// One node as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeView {
    /// Its agent.
    pub agent: AgentState,
    /// Since when (on the observer's clock) the agent has been in that state.
    pub agent_since: Duration,
    /// Its kernel has the VIP, and answers for it.
    pub wears: bool,
    /// What its agent announces the VIP with, if it announces it.
    pub announces: Option<Mark>,
    /// When the last announcement left.
    pub last_announced: Option<Duration>,
    /// It could serve: powered, its link up, clients within reach both ways without loss, its service healthy.
    pub fit: bool,
    /// Clients can reach it both ways, at least by most frames.
    pub reachable: bool,
    /// What it can expect of the API.
    pub reach: Reach,
    /// Effects ordered by its agent since it was made.
    pub effects: u64,
    /// Lease writes sent by its agent since it was made.
    pub writes: u64,
    /// Lease reads sent by its agent since it was made.
    pub reads: u64,
}

/// The Lease as it is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseView {
    /// Which object.
    pub uid: String,
    /// Its epoch.
    pub epoch: u32,
    /// How often it was set back by somebody else (a restored backup).
    pub resets: u32,
}

/// The world as seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The observer's clock.
    pub at: Duration,
    /// All nodes that may hold the claim.
    pub nodes: Vec<NodeView>,
    /// How frames pass, from `i` to `j` at `i * nodes + j`.
    pub paths: Vec<Path>,
    /// The Lease, if it exists.
    pub lease: Option<LeaseView>,
    /// Each client's neighbour entry.
    pub clients: Vec<Entry>,
    /// Who sent the last announcement that was sent at all.
    pub last_announcer: Option<usize>,
    /// What is going wrong.
    pub disturbance: Disturbance,
}

impl View {
    fn path(&self, from: usize, to: usize) -> Path {
        self.paths[from * self.nodes.len() + to]
    }

    /// Whether node `i` holds: its kernel wears the VIP and its agent announces it.
    #[must_use]
    pub fn holds(&self, i: usize) -> bool {
        let node = &self.nodes[i];
        node.wears && node.announces.is_some() && node.agent == AgentState::Running
    }

    /// All that hold.
    pub fn holders(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|i| self.holds(*i))
    }

    /// Whether a client that knows the right hardware address would be served.
    #[must_use]
    pub fn lit(&self) -> bool {
        self.nodes.iter().any(|node| node.wears && node.reachable)
    }
}

/// The figures that the promises are checked against, each with its reason in DESIGN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bounds {
    /// Two holders that hear each other (the promise is one second).
    pub two_holders: Duration,
    /// The same where frames are lost or late.
    pub two_holders_lossy: Duration,
    /// Dark although a fit node has been there all the time and nothing else is wrong meanwhile.
    pub dark_calm: Duration,
    /// Dark although a fit node has been there all the time, whatever else is wrong.
    pub dark: Duration,
    /// Between announcements of a holder: 1.25 times the interval.
    pub announcement_gap: Duration,
    /// An address kept by the kernel without an agent.
    pub orphan: Duration,
    /// An announcement without the address (the time the agent needs to hear that it is gone).
    pub announced_bare: Duration,
    /// From the end of the last fault until everything is as it shall be.
    pub settle: Duration,
    /// How long the holder alone may be without the API before rule 6 lets another take the lease: expiry and grace.
    pub favour: Duration,
    /// Effects of one node in any one second.
    pub effects_per_second: u64,
    /// One lease write in this time in all, in the steady state.
    pub write_period: Duration,
}

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Invariant {
    /// (a) Two holders that hear each other end it within the bound.
    OneHolder,
    /// (b) A fit node exists, so the VIP is held within the bound.
    Served,
    /// (c) An API outage alone moves nothing.
    OutageMovesNothing,
    /// (c) A holder announces every interval, whatever happens to the API.
    AnnouncementGap,
    /// (d) Within one Lease UID the epoch never goes back.
    EpochGrows,
    /// (e) Never two confirmed holders of one epoch.
    OneConfirmed,
    /// (f) Once faults end: one holder, confirmed if the API answers, all clients on it, the last to announce.
    Settled,
    /// (g) The address is present before it is announced.
    PresentThenAnnounced,
    /// (h) No storm of effects.
    Storm,
    /// (h) In the steady state at most one lease write per period in all, and no reads.
    ApiCost,
    /// Rule 10: without an agent the kernel gives the address up.
    DeadMan,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// When.
    pub at: Duration,
    /// Which.
    pub invariant: Invariant,
    /// How.
    pub detail: String,
}

/// How long after a start the first holder is there to stay.
const FIRST_HOLDER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Rate {
    began: Duration,
    effects: u64,
}

/// Watches a world over time. Each promise is reported at most once per breach.
#[derive(Clone, Debug)]
pub struct Checker {
    bounds: Bounds,
    pairs: Vec<Option<(Duration, Path)>>,
    dark_since: Option<Duration>,
    dark_calm_since: Option<Duration>,
    fit_since: Vec<Option<Duration>>,
    bare_since: Vec<Option<Duration>>,
    announcing_since: Vec<Option<Duration>>,
    rates: Vec<Rate>,
    undisturbed_since: Option<Duration>,
    calm_since: Option<Duration>,
    only_api_ever: bool,
    incumbent: Option<usize>,
    disfavoured_since: Option<Duration>,
    lease: Option<LeaseView>,
    confirmed: BTreeMap<(u32, u32), usize>,
    cost_base: Option<(Duration, u64, u64)>,
    reported: Vec<(Invariant, usize)>,
    violations: Vec<Violation>,
    /// The longest time the VIP was dark although a fit node was there.
    pub longest_dark: Duration,
    /// The longest time two holders heard each other.
    pub longest_pair: Duration,
}

impl Checker {
    /// A checker of a world of `nodes` nodes.
    #[must_use]
    pub fn new(bounds: Bounds, nodes: usize) -> Self {
        Self {
            bounds,
            pairs: vec![None; nodes * nodes],
            dark_since: None,
            dark_calm_since: None,
            fit_since: vec![None; nodes],
            bare_since: vec![None; nodes],
            announcing_since: vec![None; nodes],
            rates: vec![Rate { began: Duration::ZERO, effects: 0 }; nodes],
            undisturbed_since: None,
            calm_since: None,
            only_api_ever: true,
            incumbent: None,
            disfavoured_since: None,
            lease: None,
            confirmed: BTreeMap::new(),
            cost_base: None,
            reported: Vec::new(),
            violations: Vec::new(),
            longest_dark: Duration::ZERO,
            longest_pair: Duration::ZERO,
        }
    }

    /// What was found broken so far.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Takes in the world after a step.
    pub fn observe(&mut self, view: &View) {
        self.epoch_grows(view);
        self.one_confirmed(view);
        self.calm(view);
        self.one_holder(view);
        self.served(view);
        self.announcements(view);
        self.orphans(view);
        self.storms(view);
        self.nothing_moves(view);
        self.settled(view);
    }

    fn report(&mut self, view: &View, invariant: Invariant, whose: usize, detail: impl FnOnce() -> String) {
        if self.reported.contains(&(invariant, whose)) {
            return;
        }
        self.reported.push((invariant, whose));
        self.violations.push(Violation { at: view.at, invariant, detail: detail() });
    }

    fn clear(&mut self, invariant: Invariant, whose: usize) {
        self.reported.retain(|entry| *entry != (invariant, whose));
    }

    fn calm(&mut self, view: &View) {
        mark_since(&mut self.calm_since, view.at, view.disturbance == Disturbance::None);
        mark_since(&mut self.undisturbed_since, view.at, view.disturbance <= Disturbance::Api);
    }

    fn one_holder(&mut self, view: &View) {
        let nodes = view.nodes.len();
        for i in 0..nodes {
            for j in i + 1..nodes {
                let path = worse(view.path(i, j), view.path(j, i));
                let both = view.holds(i) && view.holds(j) && path != Path::Cut;
                let slot = &mut self.pairs[i * nodes + j];
                // Losing frames at any time since both hold gives the longer bound.
                *slot =
                    both.then(|| slot.map_or((view.at, path), |(since, seen)| (since, worse(seen, path))));
                let Some((since, seen)) = *slot else {
                    if !self.reported.is_empty() {
                        self.clear(Invariant::OneHolder, i * nodes + j);
                    }
                    continue;
                };
                let age = view.at.saturating_sub(since);
                let bound = match seen {
                    Path::Open => self.bounds.two_holders,
                    _ => self.bounds.two_holders_lossy,
                };
                if seen == Path::Open {
                    self.longest_pair = self.longest_pair.max(age);
                }
                if age > bound {
                    let marks = (view.nodes[i].announces, view.nodes[j].announces);
                    self.report(view, Invariant::OneHolder, i * nodes + j, || {
                        format!("nodes {i} and {j} both hold for {age:?} (bound {bound:?}): {marks:?}")
                    });
                }
            }
        }
    }

    fn served(&mut self, view: &View) {
        let dark = !view.lit();
        for (slot, node) in self.fit_since.iter_mut().zip(&view.nodes) {
            mark_since(slot, view.at, node.fit && node.agent == AgentState::Running);
        }
        mark_since(&mut self.dark_since, view.at, dark);
        mark_since(&mut self.dark_calm_since, view.at, dark && view.disturbance == Disturbance::None);
        let Some(fit) = self.fit_since.iter().flatten().min().copied() else { return };
        let Some(dark_since) = self.dark_since else {
            self.clear(Invariant::Served, 0);
            return;
        };
        let age = view.at.saturating_sub(dark_since.max(fit));
        self.longest_dark = self.longest_dark.max(age);
        let calm =
            self.dark_calm_since.map_or(Duration::ZERO, |since| view.at.saturating_sub(since.max(fit)));
        if age > self.bounds.dark || calm > self.bounds.dark_calm {
            let Bounds { dark, dark_calm, .. } = self.bounds;
            self.report(view, Invariant::Served, 0, || {
                format!("dark for {age:?} (bound {dark:?}), {calm:?} of it in calm (bound {dark_calm:?})")
            });
        }
    }

    fn announcements(&mut self, view: &View) {
        for (i, node) in view.nodes.iter().enumerate() {
            let running = node.agent == AgentState::Running;
            let bare = running && node.announces.is_some() && !node.wears;
            mark_since(&mut self.bare_since[i], view.at, bare);
            if let Some(age) = self.bare_since[i].map(|since| view.at.saturating_sub(since))
                && age > self.bounds.announced_bare
            {
                self.report(view, Invariant::PresentThenAnnounced, i, || {
                    format!("node {i} announces an address that it has not had for {age:?}")
                });
            }
            mark_since(&mut self.announcing_since[i], view.at, view.holds(i));
            let Some(since) = self.announcing_since[i] else { continue };
            let last = node.last_announced.unwrap_or_default().max(since).max(node.agent_since);
            let gap = view.at.saturating_sub(last);
            if gap > self.bounds.announcement_gap {
                self.report(view, Invariant::AnnouncementGap, i, || {
                    format!("node {i} holds and has not announced for {gap:?}")
                });
            }
        }
    }

    fn orphans(&mut self, view: &View) {
        for (i, node) in view.nodes.iter().enumerate() {
            let orphan = matches!(node.agent, AgentState::Dead | AgentState::Frozen) && node.wears;
            let age = view.at.saturating_sub(node.agent_since);
            if orphan && age > self.bounds.orphan {
                self.report(view, Invariant::DeadMan, i, || {
                    format!("node {i} still has the VIP {age:?} after its agent")
                });
            }
        }
    }

    fn storms(&mut self, view: &View) {
        for (i, node) in view.nodes.iter().enumerate() {
            let rate = &mut self.rates[i];
            if node.effects < rate.effects || view.at.saturating_sub(rate.began) >= Duration::from_secs(1) {
                *rate = Rate { began: view.at, effects: node.effects };
            }
            let count = node.effects - rate.effects;
            if count > self.bounds.effects_per_second {
                self.report(view, Invariant::Storm, i, || {
                    format!("node {i} ordered {count} effects within a second")
                });
            }
        }
    }

    fn epoch_grows(&mut self, view: &View) {
        if self.lease == view.lease {
            return;
        }
        if let (Some(before), Some(now)) = (&self.lease, &view.lease)
            && before.uid == now.uid
            && before.resets == now.resets
            && now.epoch < before.epoch
        {
            let (was, is) = (before.epoch, now.epoch);
            self.report(view, Invariant::EpochGrows, 0, || format!("the epoch went from {was} to {is}"));
        }
        if view.lease.is_some() {
            self.lease.clone_from(&view.lease);
        }
    }

    /// Marks carry no UID, so a new object's epochs are counted from its creation: an epoch is one pair of the
    /// number of objects seen and its number.
    fn one_confirmed(&mut self, view: &View) {
        for i in 0..view.nodes.len() {
            let node = &view.nodes[i];
            let Some(Mark { tenure: Tenure::Confirmed, epoch, .. }) = node.announces else { continue };
            if node.agent != AgentState::Running {
                continue;
            }
            for j in 0..i {
                let other = &view.nodes[j];
                let same = other
                    .announces
                    .is_some_and(|mark| mark.tenure == Tenure::Confirmed && mark.epoch == epoch);
                if same && other.agent == AgentState::Running {
                    self.report(view, Invariant::OneConfirmed, i * view.nodes.len() + j, || {
                        format!("nodes {j} and {i} are both confirmed in epoch {epoch}")
                    });
                }
            }
            let resets = view.lease.as_ref().map_or(0, |lease| lease.resets);
            let owner = *self.confirmed.entry((resets, epoch)).or_insert(i);
            if owner != i {
                self.report(view, Invariant::OneConfirmed, i, || {
                    format!("epoch {epoch} was node {owner}'s and now node {i} is confirmed in it")
                });
            }
        }
    }

    /// While only the API fails the holder stays. Excused: it alone is without the API for so long that rule 6 gives
    /// the lease to somebody who has it.
    fn nothing_moves(&mut self, view: &View) {
        self.only_api_ever &= view.disturbance <= Disturbance::Api;
        let Some(since) = self.undisturbed_since else {
            self.incumbent = None;
            return;
        };
        let mut holders = view.holders();
        let (first, second) = (holders.next(), holders.next());
        drop(holders);
        if let Some(was) = self.incumbent {
            // Whoever has the API, and be it with pauses, counts expiry and grace since it first had it.
            let behind = view.nodes[was].reach == Reach::Impaired;
            let ahead = view.nodes.iter().any(|node| node.reach == Reach::Good);
            let since_then = self.disfavoured_since.or(ahead.then_some(view.at));
            self.disfavoured_since = since_then.filter(|_| behind);
            if self.disfavoured_since.is_some_and(|since| view.at - since > self.bounds.favour) {
                self.incumbent = None;
                self.only_api_ever = false;
                return;
            }
            if first != Some(was) || second.is_some() {
                self.incumbent = None;
                let holders: Vec<usize> = view.holders().collect();
                self.report(view, Invariant::OutageMovesNothing, 0, || {
                    format!("node {was} held, nothing but the API failed, and now {holders:?} hold")
                });
            }
            return;
        }
        // After a start nothing can linger that would move it; after other faults something may.
        let patience = if self.only_api_ever { FIRST_HOLDER } else { self.bounds.settle };
        let calm = view.disturbance == Disturbance::None && view.at.saturating_sub(since) > patience;
        if calm && second.is_none() {
            self.incumbent = first;
            self.disfavoured_since = None;
        }
    }

    fn settled(&mut self, view: &View) {
        let Some(since) = self.calm_since else {
            self.cost_base = None;
            return;
        };
        if view.at.saturating_sub(since) <= self.bounds.settle
            || !view.nodes.iter().any(|node| node.agent == AgentState::Running && node.fit)
        {
            self.cost_base = None;
            return;
        }
        self.api_cost(view);
        if let Some(detail) = unsettled(view) {
            let settle = self.bounds.settle;
            self.report(view, Invariant::Settled, 0, || format!("{settle:?} after the last fault {detail}"));
        }
    }

    fn api_cost(&mut self, view: &View) {
        let reads = view.nodes.iter().map(|node| node.reads).sum();
        let writes = view.nodes.iter().map(|node| node.writes).sum();
        let Some((since, reads_then, writes_then)) = self.cost_base else {
            self.cost_base = Some((view.at, reads, writes));
            return;
        };
        let periods = view.at.saturating_sub(since).as_nanos() / self.bounds.write_period.as_nanos().max(1);
        // Clocks drift and phases differ: a fence post at either end, and one in a hundred for drift.
        let allowed = u64::try_from(periods + periods / 100).unwrap_or(u64::MAX).saturating_add(2);
        let (read, written) = (reads - reads_then, writes - writes_then);
        if read > 0 || written > allowed {
            self.report(view, Invariant::ApiCost, 0, || {
                format!("{read} reads and {written} writes in {periods} write periods of calm")
            });
        }
    }
}

/// What is not as it shall be after the faults, if anything.
fn unsettled(view: &View) -> Option<String> {
    let holders: Vec<usize> = view.holders().collect();
    let [holder] = holders[..] else {
        return Some(format!("{holders:?} hold, and it should be one node"));
    };
    let wearers: Vec<usize> = (0..view.nodes.len()).filter(|i| view.nodes[*i].wears).collect();
    if wearers != [holder] {
        return Some(format!("node {holder} holds, and the kernels of {wearers:?} have the VIP"));
    }
    let mark = view.nodes[holder].announces;
    if mark.is_none_or(|mark| mark.tenure != Tenure::Confirmed) {
        return Some(format!("node {holder} is not confirmed: {mark:?}"));
    }
    if view.last_announcer != Some(holder) {
        return Some(format!("node {holder} holds, and {:?} was the last to announce", view.last_announcer));
    }
    let right = [Entry::Empty, Entry::Node(holder)];
    let lost = view.clients.iter().position(|client| !right.contains(client))?;
    Some(format!("node {holder} holds, and client {lost} sends to {:?}", view.clients[lost]))
}

fn mark_since(slot: &mut Option<Duration>, at: Duration, condition: bool) {
    match (condition, *slot) {
        (true, None) => *slot = Some(at),
        (false, Some(_)) => *slot = None,
        _ => {}
    }
}

fn worse(a: Path, b: Path) -> Path {
    match (a, b) {
        (Path::Cut, _) | (_, Path::Cut) => Path::Cut,
        (Path::Lossy, _) | (_, Path::Lossy) => Path::Lossy,
        _ => Path::Open,
    }
}
