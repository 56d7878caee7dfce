//! One host: a kernel that has addresses and answers for them, and an agent that may be dead or stand still.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use mainstay_core::check::AgentState;
use mainstay_core::effect::{Effect, LeaseRequest};
use mainstay_core::event::Event;
use mainstay_core::input::Input;
use mainstay_core::names::{ClaimId, InstanceId, Mac, NodeName};
use mainstay_core::recording::{Line, Start, Turn};
use mainstay_core::settings::{Authority, Detection, Found, LeaseTiming, OnAuthorityLoss, Settings};
use mainstay_core::snapshot::{Member, Snapshot, decode, encode};
use mainstay_core::time::Moment;
use mainstay_core::vip::{Mark, Vip};
use mainstay_dataplane::announce::Pacer;

use super::clock::Clock;
use super::machine::Machine;
use super::queue::Ev;
use super::random::nanos;
use super::segment::{Packet, To};
use super::spread::is_spread;
use super::world::{Witness, World};

mod kernel;

/// The one virtual address.
pub const VIP: Vip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
/// The gateway, which is every node's witness.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));
/// Between announcements (`vip_arpRate`).
pub const ANNOUNCE_EVERY: Duration = Duration::from_secs(3);
/// Frames that a frozen agent's socket keeps.
pub(crate) const SOCKET_KEEPS: usize = 512;

/// A running agent process.
#[derive(Debug)]
pub(super) struct Agent<M> {
    pub(super) machine: M,
    pacer: Pacer,
    listen: (Vec<Vip>, Vec<IpAddr>),
    /// The deadline for which the tick is set.
    deadline: Option<Moment>,
    tick_at: u64,
    /// The earliest tick that is queued: a later one is queued when that has come.
    tick_queued: u64,
    pace_at: u64,
    inputs_until: u64,
    held: VecDeque<Input>,
    pub(super) announces: Option<Mark>,
    /// What its seats announce, and with what.
    pub(super) seats: BTreeMap<ClaimId, (Vec<Vip>, Mark)>,
    ticks: (u64, u32),
}

impl<M> Agent<M> {
    /// A claim is announced so from now on.
    fn announces(&mut self, claim: ClaimId, what: Option<(Vec<Vip>, Mark)>) {
        match what {
            Some(what) if claim.home().is_some() => drop(self.seats.insert(claim, what)),
            None if claim.home().is_some() => drop(self.seats.remove(&claim)),
            what => self.announces = what.map(|(_, mark)| mark),
        }
    }
}

/// One host.
#[derive(Debug)]
pub(super) struct Host<M> {
    pub(super) name: NodeName,
    pub(super) mac: Mac,
    pub(super) own: IpAddr,
    pub(super) clock: Clock,
    pub(super) boot: u32,
    /// Counts runs of the agent, so that what was meant for an earlier one is dropped.
    pub(super) run: u32,
    pub(super) agent: Option<Agent<M>>,
    pub(super) agent_since: u64,
    pub(super) stopped: bool,
    pub(super) power_off: u32,
    pub(super) agent_off: u32,
    pub(super) host_frozen: u32,
    pub(super) agent_frozen: u32,
    pub(super) link_down: u32,
    pub(super) unhealthy: u32,
    pub(super) misconfigured: u32,
    pub(super) addresses: BTreeMap<Vip, u64>,
    kernel_busy_until: u64,
    snapshot: Option<Snapshot>,
    instance: u64,
    pub(super) last_announced: Option<u64>,
    pub(super) had_address_at: u64,
    pub(super) effects: u64,
    pub(super) writes: u64,
    pub(super) reads: u64,
}

impl<M> Host<M> {
    pub(super) fn new(index: usize, clock: Clock) -> Self {
        let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
        Self {
            name: NodeName::new(&format!("node-{number}")),
            mac: super::segment::mac_of(index),
            own: IpAddr::V4(Ipv4Addr::new(10, 0, 0, number)),
            clock,
            boot: 1,
            run: 0,
            agent: None,
            agent_since: 0,
            stopped: false,
            power_off: 0,
            agent_off: 0,
            host_frozen: 0,
            agent_frozen: 0,
            link_down: 0,
            unhealthy: 0,
            misconfigured: 0,
            addresses: BTreeMap::new(),
            kernel_busy_until: 0,
            snapshot: None,
            instance: 0,
            last_announced: None,
            had_address_at: 0,
            effects: 0,
            writes: 0,
            reads: 0,
        }
    }

    /// Whether its kernel takes part in the segment.
    pub(super) fn on_the_wire(&self) -> bool {
        self.power_off == 0 && self.host_frozen == 0 && self.link_down == 0
    }

    pub(super) fn stands_still(&self) -> bool {
        self.host_frozen > 0 || self.agent_frozen > 0
    }

    /// Its agent, as seen from outside.
    pub(super) fn agent_state(&self) -> AgentState {
        match (&self.agent, self.stopped) {
            (Some(_), _) if self.stands_still() => AgentState::Frozen,
            (Some(_), _) => AgentState::Running,
            (None, true) => AgentState::Stopped,
            (None, false) => AgentState::Dead,
        }
    }

    /// Whether its kernel has the VIP and answers: a host that stands still answers for nothing.
    pub(super) fn wears(&self) -> bool {
        self.own_addresses().next().is_some() && self.host_frozen == 0
    }

    /// Those of the claim's addresses that its kernel has.
    fn own_addresses(&self) -> impl Iterator<Item = Vip> {
        self.addresses.keys().copied().filter(|vip| !is_spread(*vip))
    }

    /// What its agent announces with.
    pub(super) fn announces(&self) -> Option<Mark> {
        self.agent.as_ref().and_then(|agent| agent.announces)
    }

    /// Whether its kernel answers for `target`; by mistake perhaps for the `contested` one.
    pub(super) fn answers_for(&self, target: IpAddr, contested: Vip) -> bool {
        target == self.own
            || self.addresses.contains_key(&target)
            || (self.misconfigured > 0 && target == contested)
    }

    fn hears(&self, packet: &Packet) -> bool {
        let Some(agent) = &self.agent else { return false };
        let (vips, others) = &agent.listen;
        match packet.sender {
            Some(sender) => vips.contains(&sender) || others.contains(&sender),
            None => vips.contains(&packet.target),
        }
    }
}

impl<M: Machine> World<M> {
    fn settings(&self, h: usize) -> Settings {
        let host = &self.hosts[h];
        let (duration, deadline, retry) = self.schedule.lease;
        Settings {
            node: host.name.clone(),
            instance: InstanceId(host.instance),
            boot_id: format!("boot-{}", host.boot),
            claim: if self.is_spread() { ClaimId::services() } else { ClaimId::control_plane() },
            vips: vec![VIP],
            own: Member { macs: vec![host.mac], addresses: vec![host.own] },
            witnesses: if self.tune.witness == Witness::Gateway { vec![GATEWAY] } else { vec![] },
            lease: LeaseTiming {
                duration: Duration::from_secs(duration),
                renew_deadline: Duration::from_secs(deadline),
                retry_period: Duration::from_secs(retry),
            },
            authority: self.tune.authority.unwrap_or(Authority::Lease),
            detection: Detection::default(),
            on_authority_loss: self.tune.on_authority_loss.unwrap_or(OnAuthorityLoss::Hold),
            lifetime: super::lifetime(&self.schedule),
            restart_grace: Duration::from_secs(600),
            report_failures: false,
        }
    }

    /// Starts the host's agent, unless a fault forbids it or it runs.
    pub(super) fn start_agent(&mut self, h: usize) {
        let host = &self.hosts[h];
        if host.agent.is_some() || host.power_off > 0 || host.agent_off > 0 {
            return;
        }
        let boot = format!("boot-{}", host.boot);
        // As it would be read from the disk: one of an earlier boot is not believed.
        let snapshot = host.snapshot.as_ref().and_then(|kept| decode(&encode(kept), &boot).ok());
        let fresh = self.random.bits();
        self.hosts[h].instance = snapshot.as_ref().map_or(fresh, |snapshot| snapshot.instance.0);
        let settings = self.settings(h);
        let mut memories = snapshot.map(|snapshot| snapshot.claims).unwrap_or_default();
        let found = Found {
            memory: memories.remove(&settings.claim),
            addresses: self.hosts[h].own_addresses().collect(),
            link_up: self.hosts[h].link_down == 0,
        };
        self.trace(|| format!("node {h}: agent starts, found {found:?}"));
        let (now, seed) = (self.hosts[h].clock.moment(self.now), self.random.bits());
        self.hosts[h].run += 1;
        self.record(h, || {
            let start = Start { settings: settings.clone(), found: found.clone(), now, seed };
            Line::first(env!("CARGO_PKG_VERSION"), start)
        });
        let host = &mut self.hosts[h];
        host.stopped = false;
        host.agent_since = self.now;
        host.agent = Some(Agent {
            machine: M::start(settings, found, now, seed),
            pacer: Pacer::new(ANNOUNCE_EVERY, seed),
            listen: (Vec::new(), Vec::new()),
            deadline: None,
            tick_at: u64::MAX,
            tick_queued: u64::MAX,
            pace_at: u64::MAX,
            inputs_until: self.now,
            held: VecDeque::new(),
            announces: None,
            seats: BTreeMap::new(),
            ticks: (0, 0),
        });
        self.spread_begins(h, memories);
        self.watch_connect(h);
        self.handle(h, &Input::Tick);
        // One answer is enough to live, and it takes three failures to be dead.
        let known_after = if self.hosts[h].unhealthy > 0 { 3_000 } else { 100 };
        self.later(Duration::from_millis(known_after), Ev::Health { host: h });
    }

    /// Ends the host's agent at once, as `kill -9` does.
    pub(super) fn kill_agent(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.agent.take().is_some() {
            self.record(h, || Line::End { reason: "the simulated agent ended".to_owned() });
            let host = &mut self.hosts[h];
            host.run += 1;
            host.agent_since = self.now;
            self.trace(|| format!("node {h}: agent killed"));
        }
        self.watch_drop(h);
    }

    /// Power lost: the kernel forgets everything; the disk keeps the snapshot of a boot that is over.
    pub(super) fn power_off(&mut self, h: usize) {
        self.kill_agent(h);
        self.hosts[h].addresses.clear();
        self.hosts[h].boot += 1;
    }

    /// After a freeze: timers of the kernel, then what the sockets kept, then the loop's own timers.
    pub(super) fn thaw(&mut self, h: usize) {
        if self.hosts[h].stands_still() {
            return;
        }
        self.hosts[h].agent_since = self.now;
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let held = std::mem::take(&mut agent.held);
        // The driver's contract: the core sees that time has passed before anything else happens on its behalf.
        self.handle(h, &Input::Tick);
        for input in held {
            self.feed(h, input);
        }
        self.pace(h);
    }

    /// Hands an input to the agent, after the loop's delay and in order.
    pub(super) fn feed(&mut self, h: usize, input: Input) {
        let delay = self.random.range(20_000, 300_000);
        let run = self.hosts[h].run;
        let Some(agent) = &mut self.hosts[h].agent else { return };
        agent.inputs_until = agent.inputs_until.max(self.now + delay);
        let at = agent.inputs_until;
        self.at(at, Ev::Input { host: h, run, input: Box::new(input) });
    }

    /// The input has reached the loop.
    pub(super) fn input(&mut self, h: usize, run: u32, input: Input) {
        let host = &mut self.hosts[h];
        if host.run != run {
            return;
        }
        let frozen = host.stands_still();
        let Some(agent) = &mut host.agent else { return };
        if !frozen {
            self.handle(h, &input);
        } else if agent.held.len() < SOCKET_KEEPS {
            agent.held.push_back(input);
        }
    }

    pub(super) fn handle(&mut self, h: usize, input: &Input) {
        let now = self.hosts[h].clock.moment(self.now);
        self.trace_input(h, input);
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let output = agent.machine.handle(now, input);
        self.record(h, || Line::Turn(Turn::new(now, input.clone(), output.clone())));
        for event in output.events {
            self.tell(h, event);
        }
        for effect in output.effects {
            self.act(h, effect);
        }
        self.arm(h);
    }

    fn record(&mut self, h: usize, line: impl FnOnce() -> Line) {
        if self.tune.record {
            let run = self.hosts[h].run;
            self.recordings.entry((h, run)).or_default().push_str(&line().encode());
        }
    }

    fn tell(&mut self, h: usize, event: Event) {
        self.trace(|| format!("node {h}: EVENT {event}"));
        if self.tune.keep_events {
            self.events.push((Duration::from_nanos(self.now), h, event));
        }
    }

    /// Sees that the loop's timers are set.
    fn arm(&mut self, h: usize) {
        let (run, clock, now) = (self.hosts[h].run, self.hosts[h].clock, self.now);
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let deadline = agent.machine.next_deadline();
        if agent.tick_at == u64::MAX || agent.deadline != Some(deadline) {
            agent.deadline = Some(deadline);
            agent.tick_at = clock.when(deadline).max(now) + self.random.range(5_000, 150_000);
            self.queue_tick(h, run);
        }
        let Some(agent) = &mut self.hosts[h].agent else { return };
        let pace = agent.pacer.next_deadline().map_or(u64::MAX, |at| clock.when(at).max(now));
        if pace < agent.pace_at {
            agent.pace_at = pace;
            self.at(pace, Ev::Pace { host: h, run });
        }
    }

    fn queue_tick(&mut self, h: usize, run: u32) {
        let Some(agent) = &mut self.hosts[h].agent else { return };
        if agent.tick_at < agent.tick_queued {
            agent.tick_queued = agent.tick_at;
            let at = agent.tick_at;
            self.at(at, Ev::Tick { host: h, run });
        }
    }

    /// A timer of the loop has come; it may be one that was overtaken.
    pub(super) fn tick(&mut self, h: usize, run: u32) {
        let (clock, now) = (self.hosts[h].clock, self.now);
        if self.hosts[h].run != run {
            return;
        }
        let frozen = self.hosts[h].stands_still();
        let Some(agent) = &mut self.hosts[h].agent else { return };
        if agent.tick_queued != now {
            return;
        }
        agent.tick_queued = u64::MAX;
        if agent.tick_at > now {
            return self.queue_tick(h, run);
        }
        agent.tick_at = u64::MAX;
        if frozen {
            return;
        }
        if agent.machine.next_deadline() > clock.moment(now) {
            self.arm(h);
            return;
        }
        let second = now / 1_000_000_000;
        agent.ticks = if agent.ticks.0 == second { (second, agent.ticks.1 + 1) } else { (second, 1) };
        self.worst_ticks = self.worst_ticks.max(agent.ticks.1);
        self.handle(h, &Input::Tick);
    }

    /// A timer of the announcer has come.
    pub(super) fn paced(&mut self, h: usize, run: u32) {
        if self.hosts[h].run != run {
            return;
        }
        let (frozen, now) = (self.hosts[h].stands_still(), self.now);
        let Some(agent) = &mut self.hosts[h].agent else { return };
        if frozen {
            agent.pace_at = u64::MAX;
        } else if agent.pace_at <= now {
            self.pace(h);
        }
    }

    fn pace(&mut self, h: usize) {
        let now = self.hosts[h].clock.moment(self.now);
        let Some(agent) = &mut self.hosts[h].agent else { return };
        agent.pace_at = u64::MAX;
        for announcement in agent.pacer.due(now) {
            self.announce(h, announcement.vip, announcement.mark);
        }
        self.arm(h);
    }

    fn announce(&mut self, h: usize, vip: Vip, mark: Mark) {
        let host = &mut self.hosts[h];
        if !host.on_the_wire() || (is_spread(vip) && !host.addresses.contains_key(&vip)) {
            return;
        }
        let mac = host.mac;
        if is_spread(vip) {
            self.spread_announced(h, vip);
        } else {
            host.last_announced = Some(self.now);
            self.last_announcer = Some(h);
            if self.tune.keep_events {
                self.log.announcements.push((self.now(), h, mark));
            }
        }
        self.trace(|| format!("node {h}: announces {vip} {mark:?}"));
        self.send(
            h,
            Packet { mac, to: To::All, sender: Some(vip), target: vip, mark: Some(mark), asks: false },
        );
    }

    fn act(&mut self, h: usize, effect: Effect) {
        self.hosts[h].effects += 1;
        self.note(h, &effect);
        let now = self.hosts[h].clock.moment(self.now);
        match effect {
            Effect::Assign { id, vips, lifetime, .. } => {
                self.kernel_op(h, |host, run| Ev::Assign { host, run, id, vips, lifetime: nanos(lifetime) });
            }
            Effect::Withdraw { id, vips, .. } => {
                self.kernel_op(h, |host, run| Ev::Withdraw { host, run, id, vips });
            }
            Effect::Announce { claim, vips, mark, pace } => {
                if let Some(agent) = &mut self.hosts[h].agent {
                    agent.pacer.set(now, &claim, &vips, mark, pace);
                    agent.announces(claim, Some((vips, mark)));
                }
                self.pace(h);
            }
            Effect::Silence { claim } => {
                if let Some(agent) = &mut self.hosts[h].agent {
                    agent.pacer.silence(&claim);
                    agent.announces(claim, None);
                }
            }
            Effect::Probe { id, target, to, mark } => self.probe(h, id, (target, to, mark)),
            Effect::Listen { vips, others } => {
                if let Some(agent) = &mut self.hosts[h].agent {
                    agent.listen = (vips.into_iter().collect(), others.into_iter().collect());
                }
            }
            Effect::Lease { id, request, deadline } => {
                let seat = self.hosts[h].agent.as_ref().and_then(|agent| agent.machine.seat_of(id));
                match request {
                    _ if seat.is_some() => {}
                    LeaseRequest::Read => self.hosts[h].reads += 1,
                    _ => self.hosts[h].writes += 1,
                }
                self.lease_request(h, (id, seat), request, deadline);
            }
            Effect::Save(snapshot) => self.hosts[h].snapshot = Some(snapshot),
            Effect::Stop => {
                self.kill_agent(h);
                self.hosts[h].stopped = true;
            }
        }
    }
}
