//! What goes wrong and when: plain data, so that a failure can be printed, run again and shrunk.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::random::Random;

/// How an API server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApiForm {
    /// The connection is refused.
    Refused,
    /// Nothing comes back; one request in five is carried out all the same, late.
    Hung,
    /// 5xx; one write in five is done all the same.
    Errors,
    /// 429 with Retry-After: 1.
    Throttled,
    /// 403.
    Forbidden,
    /// Answers after 700 ms.
    Slow,
    /// Everything is done and no reply arrives.
    ReplyLost,
    /// Nothing is answered until the end, as while etcd elects; then everything.
    Stalled,
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// All nodes.
    All,
    /// One node.
    Node(usize),
}

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The API fails for these nodes.
    Api(Whom, ApiForm),
    /// One node's API server fails for everybody (only with a server per node).
    FrontEnd(usize, ApiForm),
    /// Watch events come this much later.
    WatchLate(usize, u64),
    /// Watch events do not come, and the connection seems alive.
    WatchSilent(usize),
    /// Somebody deletes the Lease.
    LeaseDeleted,
    /// Somebody restores the Lease as it was one epoch before.
    LeaseSetBack,
    /// Each frame between hosts is lost with this chance in percent.
    Loss(u8),
    /// Each frame is later by up to this many milliseconds.
    Delay(u64),
    /// Frames from the first node to the second are lost.
    OneWay(usize, usize),
    /// A node is alone on its segment, and does not know it; its API stays in reach.
    Isolated(usize),
    /// A node is alone with its cable: neither segment nor API.
    Unplugged(usize),
    /// `kill -9` at the start, a new run at the end.
    Crash(usize),
    /// Power lost at the start, a new boot at the end.
    PowerLoss(usize),
    /// The link is down, and the kernel knows.
    LinkDown(usize),
    /// The agent stands still.
    AgentFrozen(usize),
    /// The whole host stands still.
    HostFrozen(usize),
    /// Somebody deletes the VIP from the interface.
    AddressDeleted(usize),
    /// The agent is asked to stop at the start; a new run at the end.
    Shutdown(usize),
    /// The local service is unhealthy.
    Unhealthy(usize),
    /// A host that is no node claims the VIP once a second.
    Rogue,
    /// A node's kernel answers for the VIP without having it (kube-ipvs0).
    Misconfigured(usize),
}

impl Kind {
    /// Its name, without whom it meets.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Api(_, form) | Self::FrontEnd(_, form) => form.name(),
            Self::WatchLate(..) => "watch-late",
            Self::WatchSilent(_) => "watch-silent",
            Self::LeaseDeleted => "lease-deleted",
            Self::LeaseSetBack => "lease-set-back",
            Self::Loss(_) => "loss",
            Self::Delay(_) => "delay",
            Self::OneWay(..) => "one-way",
            Self::Isolated(_) => "isolated",
            Self::Unplugged(_) => "unplugged",
            Self::Crash(_) => "crash",
            Self::PowerLoss(_) => "power-loss",
            Self::LinkDown(_) => "link-down",
            Self::AgentFrozen(_) => "agent-frozen",
            Self::HostFrozen(_) => "host-frozen",
            Self::AddressDeleted(_) => "address-deleted",
            Self::Shutdown(_) => "shutdown",
            Self::Unhealthy(_) => "unhealthy",
            Self::Rogue => "rogue",
            Self::Misconfigured(_) => "misconfigured",
        }
    }

    /// Whether only the API servers are met by it.
    #[must_use]
    pub fn is_api_only(self) -> bool {
        // Somebody who deletes or restores the object acts; that is no outage.
        matches!(self, Self::Api(..) | Self::FrontEnd(..) | Self::WatchLate(..) | Self::WatchSilent(_))
    }
}

/// The names of all kinds of faults.
pub(super) const NAMES: [&str; 27] = [
    "address-deleted",
    "agent-frozen",
    "api-errors",
    "api-forbidden",
    "api-hung",
    "api-refused",
    "api-reply-lost",
    "api-slow",
    "api-stalled",
    "api-throttled",
    "crash",
    "delay",
    "host-frozen",
    "isolated",
    "lease-deleted",
    "lease-set-back",
    "link-down",
    "loss",
    "misconfigured",
    "one-way",
    "power-loss",
    "rogue",
    "shutdown",
    "unhealthy",
    "unplugged",
    "watch-late",
    "watch-silent",
];

impl ApiForm {
    fn name(self) -> &'static str {
        match self {
            Self::Refused => "api-refused",
            Self::Hung => "api-hung",
            Self::Errors => "api-errors",
            Self::Throttled => "api-throttled",
            Self::Forbidden => "api-forbidden",
            Self::Slow => "api-slow",
            Self::ReplyLost => "api-reply-lost",
            Self::Stalled => "api-stalled",
        }
    }
}

/// One fault, from its start to its end, in milliseconds of virtual time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub from: u64,
    /// When it ends.
    pub until: u64,
    /// What it is.
    pub kind: Kind,
}

/// Where API servers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FrontEnds {
    /// One, elsewhere.
    One,
    /// One on each node, which dies with its node.
    PerNode,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Feeds every chance in the world.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// Where API servers run.
    pub front_ends: FrontEnds,
    /// Lease duration, renew deadline and retry period in seconds.
    pub lease: (u64, u64, u64),
    /// How far clocks are off, at most, in parts per million.
    pub drift_ppm: u32,
    /// How long it goes on.
    pub duration: u64,
    /// Addresses of Services, spread over the nodes by seats; none, and there is one claim alone.
    #[serde(default, skip_serializing_if = "is_none")]
    pub addresses: usize,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a field so")]
fn is_none(addresses: &usize) -> bool {
    *addresses == 0
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

/// In which a wave's faults begin, besides one lease duration, in milliseconds.
const WINDOW: u64 = 18_000;

/// What a generated run is about: without classes, the outages of one would always hide in the crashes of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Theme {
    Outage,
    Wire,
    Hosts,
    Everything,
}

impl Schedule {
    /// A calm run.
    #[must_use]
    pub fn calm(seed: u64, nodes: usize) -> Self {
        Self {
            seed,
            nodes,
            front_ends: FrontEnds::One,
            lease: (5, 3, 1),
            drift_ppm: 200,
            duration: 60_000,
            addresses: 0,
            faults: Vec::new(),
        }
    }

    /// The run that `seed` stands for: faults in the first part, and then the time in which everything must heal.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let nodes = [3, 3, 3, 3, 3, 2, 2, 5, 5, 1][random.index(10)];
        let lease = if random.chance(85) { (5, 3, 1) } else { (15, 10, 2) };
        let theme = Theme::any(random);
        let front_ends = if random.chance(70) { FrontEnds::One } else { FrontEnds::PerNode };
        let drift_ppm = [200, 200, 200, 5_000][random.index(4)];
        let mut schedule = Self { drift_ppm, front_ends, lease, duration: 0, ..Self::calm(seed, nodes) };
        // An outage shows that nothing moves only if somebody holds before it.
        let first = if theme == Theme::Outage { 7_000 } else { 2_000 };
        let window = schedule.wave(random, theme, first);
        schedule.duration = (window + schedule.settle_millis() + 4_000).max(60_000);
        schedule
    }

    /// The run with Services spread over nodes that `seed` stands for. In one of three, a rack loses its power at once.
    #[must_use]
    pub fn spread(seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let nodes = [3, 3, 3, 4, 5, 2][random.index(6)];
        let theme = Theme::any(random);
        let front_ends = if random.chance(70) { FrontEnds::One } else { FrontEnds::PerNode };
        let drift_ppm = [200, 200, 200, 5_000][random.index(4)];
        let mut schedule = Self { front_ends, drift_ppm, addresses: nodes + 1, ..Self::calm(seed, nodes) };
        let window = schedule.wave(random, theme, 15_000);
        if random.chance(33) {
            schedule.lose_a_rack(random, window);
        }
        schedule.duration = window + schedule.settle_millis() + 4_000;
        schedule
    }

    /// Some nodes, but not all, lose their power in one moment before `end`.
    fn lose_a_rack(&mut self, random: &mut Random, end: u64) {
        let (first, lost) = (random.index(self.nodes), 1 + random.index(self.nodes - 1));
        let (from, until) = (random.range(15_000, end - 4_000), end);
        let fault = |n| Fault { from, until, kind: Kind::PowerLoss((first + n) % self.nodes) };
        let rack: Vec<Fault> = (0..lost).map(fault).collect();
        self.faults.extend(rack);
        self.faults.sort_by_key(|fault| fault.from);
    }

    /// A long run: waves of faults, and after each the time in which everything must heal. What lasts longer than a
    /// wave is met too: epochs that grow, false takeovers that are forgotten, the members' list.
    #[must_use]
    pub fn long(seed: u64, nodes: usize, duration: Duration) -> Self {
        let random = &mut Random::new(seed);
        let lease = if random.chance(85) { (5, 3, 1) } else { (15, 10, 2) };
        // Nobody runs an API server on each of many nodes.
        let front_ends = if nodes > 7 || random.chance(70) { FrontEnds::One } else { FrontEnds::PerNode };
        let drift_ppm = [200, 200, 200, 5_000][random.index(4)];
        let duration = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let mut schedule = Self { front_ends, lease, drift_ppm, duration, ..Self::calm(seed, nodes) };
        let pause = schedule.settle_millis() + 4_000;
        let mut from = 7_000;
        while from + WINDOW + lease.0 * 1_000 + pause < duration {
            let theme = Theme::any(random);
            from = schedule.wave(random, theme, from) + pause;
        }
        schedule
    }

    /// Adds some faults that begin within a window from `first` on; when the last has ended at the latest.
    fn wave(&mut self, random: &mut Random, theme: Theme, first: u64) -> u64 {
        // Where there are many nodes, more is broken at a time.
        let budget = 2 + random.index(6) + self.nodes / 10;
        let last = first + WINDOW + self.lease.0 * 1_000;
        let begin = self.faults.len();
        for _ in 0..budget {
            let from = random.range(first, last);
            let longest = [900, 4_000, 20_000][random.index(3)];
            let until = (from + random.range(100, longest)).min(last + 2_000);
            let kind = theme.kind(random, self.nodes, self.front_ends);
            self.faults.push(Fault { from, until, kind });
        }
        self.faults[begin..].sort_by_key(|fault| fault.from);
        last + 2_000
    }

    /// How many faults of each kind there are.
    #[must_use]
    pub fn kinds(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = BTreeMap::new();
        for fault in self.faults.iter().filter(|fault| fault.from < self.duration) {
            *counts.entry(fault.kind.name()).or_insert(0) += 1;
        }
        counts
    }

    /// How long healing may take: see [`super::bounds`].
    #[must_use]
    pub fn settle_millis(&self) -> u64 {
        u64::try_from(super::bounds(self).settle.as_millis()).unwrap_or(u64::MAX)
    }

    /// The lease's duration.
    #[must_use]
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease.0)
    }
}

impl Theme {
    fn any(random: &mut Random) -> Self {
        [Self::Outage, Self::Wire, Self::Hosts, Self::Everything, Self::Everything][random.index(5)]
    }

    fn kind(self, random: &mut Random, nodes: usize, front_ends: FrontEnds) -> Kind {
        match self {
            Self::Outage => api(random, nodes, front_ends),
            Self::Wire => wire(random, nodes),
            Self::Hosts => hosts(random, nodes),
            Self::Everything => match random.index(3) {
                0 => api(random, nodes, front_ends),
                1 => wire(random, nodes),
                _ => hosts(random, nodes),
            },
        }
    }
}

fn api(random: &mut Random, nodes: usize, front_ends: FrontEnds) -> Kind {
    use ApiForm as F;
    let form =
        [F::Refused, F::Hung, F::Errors, F::Throttled, F::Forbidden, F::Slow, F::ReplyLost, F::Stalled]
            [random.index(8)];
    let node = random.index(nodes);
    match random.index(10) {
        0 => Kind::WatchLate(node, random.range(50, 2_000)),
        1 => Kind::WatchSilent(node),
        2 if front_ends == FrontEnds::PerNode => Kind::FrontEnd(node, form),
        2..=5 => Kind::Api(Whom::Node(node), form),
        _ => Kind::Api(Whom::All, form),
    }
}

fn wire(random: &mut Random, nodes: usize) -> Kind {
    let node = random.index(nodes);
    match random.index(8) {
        0 => Kind::Loss([2, 5, 20][random.index(3)]),
        1 => Kind::Delay(random.range(1, 40)),
        2 => Kind::OneWay(node, (node + 1) % nodes),
        3 => Kind::Isolated(node),
        4 => Kind::Unplugged(node),
        5 => Kind::LinkDown(node),
        6 => Kind::Rogue,
        _ => Kind::Misconfigured(node),
    }
}

fn hosts(random: &mut Random, nodes: usize) -> Kind {
    let node = random.index(nodes);
    match random.index(11) {
        0 | 1 => Kind::Crash(node),
        2 | 3 => Kind::PowerLoss(node),
        4 => Kind::AgentFrozen(node),
        5 => Kind::HostFrozen(node),
        6 => Kind::AddressDeleted(node),
        7 => Kind::Shutdown(node),
        8 => Kind::Unhealthy(node),
        9 => Kind::LeaseDeleted,
        _ => Kind::LeaseSetBack,
    }
}
