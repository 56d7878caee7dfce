//! One state: everything that decides what can happen next.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mainstay_core::check::Checker;
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseRecord};
use mainstay_core::names::{InstanceId, Mac, NodeName};
use mainstay_core::snapshot::Snapshot;
use mainstay_core::vip::{Mark, Vip};
use mainstay_dataplane::announce::Pacer;

use super::hash::{FIRST_VERSION, RelativeHasher};
use super::plan::{Budget, Fault, Plan};
use crate::sim::Kind;
use crate::sim::random::nanos;
use crate::sim::segment::Packet;
use crate::sim::store::Store;

pub(super) const NODES: usize = 3;

/// Something that is due at a moment.
#[derive(Clone, Debug, Hash)]
pub(super) enum Ev {
    Arrive { from: usize, to: usize, packet: Packet },
    Input { host: usize, input: Box<Input> },
    Assign { host: usize, id: EffectId, lifetime: u64 },
    Withdraw { host: usize, id: EffectId },
    Ask { host: usize, id: EffectId, request: Arc<LeaseRequest> },
    Perform { host: usize, id: EffectId, request: Arc<LeaseRequest>, asker: Asker },
    Reply { host: usize, id: EffectId, outcome: Box<LeaseOutcome> },
    Patience { host: usize, id: EffectId },
    Deadline { host: usize, id: EffectId },
    Watched { host: usize, record: Option<Arc<LeaseRecord>> },
    Reconnect { host: usize },
    StaleWatch { host: usize },
    Ends { fault: Kind },
    Starts { host: usize },
}

/// Whether whoever sent a request still waits for its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Asker {
    Waits,
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) ev: Ev,
}

/// A running agent process.
#[derive(Clone, Debug)]
pub(super) struct Agent<M> {
    pub(super) machine: M,
    pub(super) pacer: Pacer,
    pub(super) listen: (Vec<Vip>, Vec<std::net::IpAddr>),
    /// What waits while it stands still.
    pub(super) held: VecDeque<Input>,
    pub(super) announces: Option<Mark>,
    /// The request that it waits for, and whether it was told that nobody answers.
    pub(super) open: Option<(EffectId, bool)>,
}

/// One host.
#[derive(Clone, Debug)]
pub(super) struct Host<M> {
    pub(super) name: NodeName,
    pub(super) mac: Mac,
    pub(super) own: std::net::IpAddr,
    pub(super) boot: u32,
    pub(super) instance: InstanceId,
    pub(super) agent: Option<Agent<M>>,
    pub(super) agent_since: u64,
    pub(super) powered: bool,
    /// Its agent ended as it was asked to.
    pub(super) stopped: bool,
    /// Until when the kernel keeps the VIP, if it has it.
    pub(super) address: Option<u64>,
    pub(super) snapshot: Option<Snapshot>,
    pub(super) last_announced: Option<u64>,
}

/// A node's watch of the Lease.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Watch {
    pub(super) connected: bool,
    pub(super) attempts: u8,
    pub(super) missed: bool,
}

/// What happened at the present moment that the checker is to excuse.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(super) struct Excuse {
    /// A frame between these was lost or made late.
    pub(super) frame: Option<(usize, usize)>,
    /// A message from or to the API was.
    pub(super) api: bool,
}

/// One state of the model.
#[derive(Clone)]
pub struct World<M> {
    pub(super) plan: Arc<Plan>,
    pub(super) now: u64,
    pub(super) queue: Vec<Due>,
    pub(super) hosts: Vec<Host<M>>,
    pub(super) client: Option<usize>,
    pub(super) store: Store,
    pub(super) watches: [Watch; NODES],
    pub(super) watched_until: [u64; NODES],
    pub(super) active: Vec<Kind>,
    pub(super) budget: Budget,
    pub(super) last_announcer: Option<usize>,
    pub(super) checker: Checker,
    pub(super) excuse: Excuse,
    /// When choices may first be made; when the first was; when the last fault ended.
    pub(super) begun: Begun,
    pub(super) well_since: Option<u64>,
    pub(super) over: bool,
    /// More happened at this moment than probing.
    pub(super) eventful: bool,
    /// What was seen, when somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

/// Where a run is in its plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) start: u64,
    pub(super) first_choice: Option<u64>,
    pub(super) last_trouble: u64,
}

impl<M> World<M> {
    /// Whether the run has come to its end.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The plan that it follows.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Virtual nanoseconds since the run's origin.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// What was found broken.
    #[must_use]
    pub fn violations(&self) -> &[mainstay_core::check::Violation] {
        self.checker.violations()
    }

    /// Until when faults may begin.
    pub(super) fn choices_end(&self) -> u64 {
        match self.begun.first_choice {
            None => self.begun.start + nanos(self.plan.window),
            Some(first) => first + nanos(self.plan.gap),
        }
    }

    pub(super) fn has(&self, kind: Kind) -> bool {
        self.active.contains(&kind)
    }

    /// Whether a fault could begin now: the same is not at work, and whom it meets is there to be met.
    pub(super) fn can_begin(&self, fault: Fault) -> bool {
        let (powered, runs) = match fault.kind {
            Kind::PowerLoss(h) | Kind::LinkDown(h) | Kind::HostFrozen(h) => (self.hosts[h].powered, true),
            Kind::Crash(h) | Kind::AgentFrozen(h) | Kind::Shutdown(h) | Kind::Unhealthy(h) => {
                (true, self.hosts[h].agent.is_some())
            }
            Kind::AddressDeleted(h) => (true, self.hosts[h].address.is_some()),
            _ => (true, true),
        };
        let clash = self.active.iter().any(|active| match (active, &fault.kind) {
            (Kind::Api(..), Kind::Api(..)) => true,
            (active, kind) => active == kind,
        });
        powered && runs && !clash
    }
}

impl<M: Hash> World<M> {
    /// The fingerprint: no absolute moment, no counter.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut sum = RelativeHasher::new(self.now, self.store.version());
        for (index, host) in self.hosts.iter().enumerate() {
            sum.of_host(index);
            host.fold(&mut sum);
        }
        for due in &self.queue {
            sum.of_host(due.ev.host());
            sum.moment(due.at);
            due.ev.hash(&mut sum);
        }
        (self.client, self.watches, &self.active, self.last_announcer).hash(&mut sum);
        (&self.store, self.excuse, self.over).hash(&mut sum);
        self.watched_until.iter().for_each(|at| sum.moment(*at.max(&self.now)));
        // How much may go wrong yet and for how long, not since when. When it is over, what was left does not matter.
        if self.now <= self.choices_end() && !self.budget.is_spent() {
            (self.budget, self.begun.first_choice.is_some()).hash(&mut sum);
            sum.moment(self.choices_end());
        }
        sum.moment(self.begun.last_trouble);
        self.well_since.is_some().hash(&mut sum);
        sum.moment(self.well_since.unwrap_or(self.now));
        self.checker.fingerprint(std::time::Duration::from_nanos(self.now), &mut sum);
        sum.finish()
    }
}

impl<M: Hash> Host<M> {
    fn fold(&self, sum: &mut RelativeHasher) {
        (self.boot, self.instance, self.powered, self.stopped, &self.snapshot).hash(sum);
        sum.moment(self.agent_since);
        for moment in [self.address, self.last_announced] {
            moment.is_some().hash(sum);
            moment.into_iter().for_each(|at| sum.moment(at));
        }
        self.agent.is_some().hash(sum);
        if let Some(agent) = &self.agent {
            let Agent { machine, pacer, listen: _, held, announces, open } = agent;
            (machine, pacer, held, announces, open).hash(sum);
        }
    }
}

impl Ev {
    /// Whose effect ids it speaks of; 0 where it speaks of none.
    pub(super) fn host(&self) -> usize {
        match self {
            Self::Input { host, .. }
            | Self::Assign { host, .. }
            | Self::Withdraw { host, .. }
            | Self::Ask { host, .. }
            | Self::Perform { host, .. }
            | Self::Reply { host, .. }
            | Self::Patience { host, .. }
            | Self::Deadline { host, .. }
            | Self::Watched { host, .. }
            | Self::Reconnect { host }
            | Self::StaleWatch { host }
            | Self::Starts { host } => *host,
            Self::Arrive { .. } | Self::Ends { .. } => 0,
        }
    }
}

impl<M: Hash> Hash for World<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.fingerprint());
    }
}

/// Two worlds are the same state if their fingerprints are.
impl<M: Hash> PartialEq for World<M> {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl<M> fmt::Debug for World<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} s: {:?}", std::time::Duration::from_nanos(self.now).as_secs_f64(), self.active)
    }
}

impl<M> World<M> {
    /// A world before anything runs.
    pub(super) fn empty(plan: Arc<Plan>) -> Self {
        let budget = plan.budget;
        Self {
            plan,
            now: 0,
            queue: Vec::new(),
            hosts: (0..NODES).map(Host::new).collect(),
            client: None,
            store: Store::starting_after(FIRST_VERSION),
            watches: [Watch::default(); NODES],
            watched_until: [0; NODES],
            active: Vec::new(),
            budget,
            last_announcer: None,
            checker: Checker::new(super::plan::bounds(), NODES),
            excuse: Excuse::default(),
            begun: Begun { start: 0, first_choice: None, last_trouble: 0 },
            well_since: None,
            over: false,
            eventful: false,
            trace: None,
        }
    }
}

impl<M> Host<M> {
    fn new(index: usize) -> Self {
        let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
        Self {
            name: NodeName::new(&format!("node-{number}")),
            mac: crate::sim::segment::mac_of(index),
            own: std::net::IpAddr::from([10, 0, 0, number]),
            boot: 1,
            instance: InstanceId(0),
            agent: None,
            agent_since: 0,
            powered: true,
            stopped: false,
            address: None,
            snapshot: None,
            last_announced: None,
        }
    }
}
