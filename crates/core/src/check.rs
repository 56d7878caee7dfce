//! The promises of docs/ownership.md as an independent checker: it sees the world from outside and knows nothing of the machine.
//!
//! A driver that sees every host at once (the simulation, the lab) shows it a [`View`] after each step. Every promise
//! that may be broken for a moment has an age and a bound; the age starts again whenever the view excuses it.
//!
//! What no agent can answer for is excused, and nothing else: an agent that is dead or frozen cannot yield, so its
//! host's kernel counts as a holder only until the address's lifetime ends (the kernel's own promise, also checked).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use invariants::mark_since;

use crate::vip::{Mark, Tenure};

mod fingerprint;
mod invariants;
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
    /// They are answered in time, and not soon: slowly, or after another server was asked in vain.
    Late,
    /// Anything else.
    Impaired,
}

/// How frames pass from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

impl NodeView {
    /// A fit node that has done nothing yet.
    #[must_use]
    pub fn idle(agent: AgentState) -> Self {
        Self {
            agent,
            agent_since: Duration::ZERO,
            wears: false,
            announces: None,
            last_announced: None,
            fit: true,
            reachable: true,
            reach: Reach::Good,
            effects: 0,
            writes: 0,
            reads: 0,
        }
    }
}

/// The Lease as it is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
    /// In which a holder has asked again once the API answers: its longest pause and the deadline of a request.
    pub asks_within: Duration,
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
/// How long a reply from before the Lease was set back may be on its way, and its watch event: a mark that is taken on
/// meanwhile may speak of the history before.
const HISTORY_UNKNOWN: Duration = Duration::from_secs(2);

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
    answered_since: Option<Duration>,
    lease: Option<LeaseView>,
    confirmed: BTreeMap<(u32, u32), usize>,
    /// What each node announces when it is confirmed, and under how many resets of the Lease it began to, if that is
    /// known.
    marked: Vec<(Option<Mark>, Option<u32>)>,
    /// The Lease's resets, and when there was the last.
    resets: (u32, Duration),
    /// Pairs of holders at the last look.
    together: usize,
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
            answered_since: None,
            lease: None,
            confirmed: BTreeMap::new(),
            marked: vec![(None, None); nodes],
            resets: (0, Duration::ZERO),
            together: 0,
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
}
