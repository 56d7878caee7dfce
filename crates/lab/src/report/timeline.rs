//! The run as it was seen: every probe, every holder by its own kernel's account, every announcement.

use std::time::Duration;

use mainstay_core::vip::Tenure;

/// A moment of the run, counted from its begin.
pub type At = Duration;

/// From one moment to another; the end is not part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where it begins.
    pub from: At,
    /// Where it ends.
    pub to: At,
}

impl Span {
    /// The span between two moments.
    #[must_use]
    pub const fn new(from: At, to: At) -> Self {
        Self { from, to }
    }

    /// How long it is.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }

    /// Whether the moment is part of it.
    #[must_use]
    pub fn contains(&self, at: At) -> bool {
        self.from <= at && at < self.to
    }

    /// What the two have in common, if anything.
    #[must_use]
    pub fn common(&self, other: &Self) -> Option<Self> {
        let common = Self::new(self.from.max(other.from), self.to.min(other.to));
        (common.from < common.to).then_some(common)
    }
}

/// One question to the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// When it was sent.
    pub at: At,
    /// Whether an answer came in time, and from whose MAC address.
    pub answer: Answer,
    /// How long the answer took; nothing without one.
    pub after: Duration,
}

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing came back in time.
    None,
    /// Somebody answered; the frame's sender was not looked at.
    Somebody,
    /// This node's MAC address answered.
    Node(usize),
    /// A MAC address that is no node's answered.
    Stranger,
}

/// How one API server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiState {
    /// As it should.
    Up,
    /// Connections are refused.
    Refused,
    /// Packets are dropped.
    Blackhole,
    /// Requests are read and never answered.
    Hung,
    /// Every request is answered 503.
    Unavailable,
    /// Reads are answered; writes wait, as while etcd elects.
    WritesStall,
    /// The host is gone.
    Gone,
}

impl ApiState {
    /// The state in a word or two.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Refused => "refused",
            Self::Blackhole => "black hole",
            Self::Hung => "hung",
            Self::Unavailable => "503",
            Self::WritesStall => "writes stall",
            Self::Gone => "gone",
        }
    }
}

/// One API server, or one node's way to it, through the run.
#[derive(Clone, Debug, Default)]
pub struct ApiTrack {
    /// What it is called in the picture.
    pub name: String,
    /// Each change, in order.
    pub changes: Vec<(At, ApiState)>,
}

/// One frame that told the segment who has the VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// When it was seen at the client.
    pub at: At,
    /// Whose MAC address it named; `None` for a MAC that is no node's (a rogue).
    pub node: Option<usize>,
    /// The tenure in its mark, if it has one.
    pub tenure: Option<Tenure>,
}

/// What one node said of its tenure, on the wire or by its admin socket. Only for colours and for tenure's promises:
/// who holds is the kernel's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenureSeen {
    /// When.
    pub at: At,
    /// Which node.
    pub node: usize,
    /// What it said.
    pub tenure: Tenure,
}

/// A conflict that a node reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// When.
    pub at: At,
    /// Which node reported it.
    pub node: usize,
    /// What it said.
    pub words: String,
}

/// One named part of the run.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Its name: `outage-hung`.
    pub name: String,
    /// From where to where.
    pub span: Span,
    /// When the fault, or its end, was brought about.
    pub pivot: At,
    /// What was done, in words.
    pub words: String,
    /// Facts of this phase that the timeline alone does not hold.
    pub facts: Facts,
}

/// What was seen in one phase beside the timeline.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Requests of the agents that an API server answered with success.
    pub api_answered: Option<u64>,
    /// Conflict events counted by the holder's metrics in this phase.
    pub conflict_metric: Option<u64>,
    /// What became of the connections of a client under load.
    pub connections: Option<Connections>,
    /// Why the phase could not do what it was to do.
    pub failure: Option<String>,
}

/// Connections to the VIP, one after another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// How many there were.
    pub count: usize,
    /// How many of them failed.
    pub failed: usize,
    /// When the last one failed, after the phase's pivot, if any did.
    pub last_failure: Option<Duration>,
}

/// Everything seen in one run.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The nodes' names, in order; other fields use the index.
    pub nodes: Vec<String>,
    /// How long the run was.
    pub length: Duration,
    /// The holder's announcement interval (`vip_arpRate`).
    pub announce_interval: Duration,
    /// ICMP echo requests to the VIP, in the order of sending.
    pub icmp: Vec<Probe>,
    /// TCP connections to the VIP, in the order of sending.
    pub tcp: Vec<Probe>,
    /// The API servers.
    pub api: Vec<ApiTrack>,
    /// When each node's kernel had the VIP.
    pub holding: Vec<(usize, Span)>,
    /// When each node was cut from the segment.
    pub cut: Vec<(usize, Span)>,
    /// When each node's agent was not running.
    pub stopped: Vec<(usize, Span)>,
    /// What nodes said of their tenure.
    pub tenures: Vec<TenureSeen>,
    /// Announcements, in order.
    pub announcements: Vec<Announcement>,
    /// Conflicts reported by nodes, in order.
    pub conflicts: Vec<Conflict>,
    /// The phases, in order.
    pub phases: Vec<Phase>,
    /// Whether the run was ended before its last phase.
    pub interrupted: bool,
}

impl Timeline {
    /// A node's name.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("?", String::as_str)
    }

    /// The phase of this name, if the run came to it.
    #[must_use]
    pub fn phase(&self, name: &str) -> Option<&Phase> {
        self.phases.iter().find(|phase| phase.name == name)
    }

    /// What one node held, in pieces of one tenure each; `None` where no tenure was seen yet.
    #[must_use]
    pub fn tenure_pieces(&self, node: usize) -> Vec<(Span, Option<Tenure>)> {
        let mut pieces = Vec::new();
        for (_, held) in self.holding.iter().filter(|(holder, _)| *holder == node) {
            let mut open = (held.from, None);
            let seen = self.tenures.iter().filter(|seen| seen.node == node && held.contains(seen.at));
            for seen in seen.filter(|seen| seen.tenure != Tenure::Candidate) {
                if open.1.is_none() {
                    open.1 = Some(seen.tenure);
                } else if open.1 != Some(seen.tenure) {
                    pieces.push((Span::new(open.0, seen.at), open.1));
                    open = (seen.at, Some(seen.tenure));
                }
            }
            pieces.push((Span::new(open.0, held.to), open.1));
        }
        pieces
    }
}
