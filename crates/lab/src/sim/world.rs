//! The world: an event queue in virtual time, and the checker that looks after every step.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use mainstay_core::check::Entry;
use mainstay_core::check::{AgentState, Checker, Disturbance, NodeView, Path, View, Violation};
use mainstay_core::effect::Effect;
use mainstay_core::event::Event;
use mainstay_core::input::{Input, LeaseOutcome};
use mainstay_core::settings::{Authority, OnAuthorityLoss};

use super::api::{ApiFaults, Request, Watch};
use super::clock::Clock;
use super::faults::Edge;
use super::host::{Host, VIP};
use super::inspect::Log;
use super::machine::Machine;
use super::queue::{Due, Ev, Touch};
use super::random::{Random, nanos};
use super::schedule::{Kind, Schedule};
use super::segment::{CLIENTS_EACH, Segment};
use super::spread::Spread;
use super::store::Store;

/// Who tells a node that its link works, when no other member answers (rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The gateway.
    Gateway,
    /// The API server, which is reached over the VIP's link; there is no gateway.
    ApiServer,
    /// Nobody: there is no gateway, and the API server is reached by another link.
    Nobody,
}

/// What a run may have otherwise than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tune {
    /// Between two pings of a client.
    pub ping_every: Duration,
    /// Keep all events of all agents.
    pub keep_events: bool,
    /// Print everything that matters.
    pub trace: bool,
    /// Another authority than a Lease.
    pub authority: Option<Authority>,
    /// Another rule 1.
    pub on_authority_loss: Option<OnAuthorityLoss>,
    /// Who else but the members answers.
    pub witness: Witness,
    /// Keep a recording of every run of every agent.
    pub record: bool,
}

impl Default for Tune {
    fn default() -> Self {
        Self {
            ping_every: Duration::from_millis(10),
            keep_events: true,
            trace: false,
            authority: None,
            on_authority_loss: None,
            witness: Witness::Gateway,
            record: false,
        }
    }
}

/// The checker looks whenever something changed, and this often for what only time can break, in nanoseconds.
const LOOK_EVERY: u64 = 100_000_000;

/// One simulated world.
#[derive(Debug)]
pub struct World<M> {
    pub(super) schedule: Schedule,
    pub(super) tune: Tune,
    pub(super) now: u64,
    queue: BinaryHeap<Reverse<Due>>,
    queued: u64,
    pub(super) random: Random,
    pub(super) hosts: Vec<Host<M>>,
    pub(super) segment: Segment,
    pub(super) store: Store,
    /// Services spread over the nodes, if they are.
    pub(super) spread: Spread,
    pub(super) api: ApiFaults,
    pub(super) requests: Vec<Request>,
    pub(super) stalled: Vec<(usize, usize)>,
    pub(super) watches: Vec<Watch>,
    pub(super) active: Vec<Kind>,
    pub(super) frames: u64,
    pub(super) last_announcer: Option<usize>,
    pub(super) worst_ticks: u32,
    /// All events of all agents: when, who, what.
    pub events: Vec<(Duration, usize, Event)>,
    /// All announcements and orders, if events are kept.
    pub log: Log,
    /// What each run of each node's agent was given and answered, if that is recorded: what `mainstay replay` reads.
    pub recordings: BTreeMap<(usize, u32), String>,
    pub(super) view: View,
    checker: Checker,
    looked_at: u64,
    steps: u64,
}

impl<M: Machine> World<M> {
    /// The world of a schedule, at time zero.
    #[must_use]
    pub fn new(schedule: Schedule, tune: Tune) -> Self {
        let mut random = Random::new(schedule.seed);
        let nodes = schedule.nodes;
        let hosts = (0..nodes).map(|index| Host::new(index, random_clock(&mut random, schedule.drift_ppm)));
        let hosts: Vec<Host<M>> = hosts.collect();
        let bounds = super::bounds(&schedule);
        let spread = Spread::new(&schedule);
        let mut world = Self {
            tune,
            now: 0,
            queue: BinaryHeap::new(),
            queued: 0,
            random,
            segment: Segment::new(nodes, &[&[VIP][..], &spread.addresses].concat()),
            spread,
            store: Store::default(),
            api: ApiFaults {
                all: Vec::new(),
                node: vec![Vec::new(); nodes],
                server: vec![Vec::new(); nodes],
                unplugged: vec![0; nodes],
            },
            requests: Vec::new(),
            stalled: Vec::new(),
            watches: vec![Watch::default(); nodes],
            active: Vec::new(),
            frames: 0,
            last_announcer: None,
            worst_ticks: 0,
            events: Vec::new(),
            log: Log::default(),
            recordings: BTreeMap::new(),
            view: empty_view(nodes, CLIENTS_EACH),
            checker: Checker::new(bounds, nodes),
            looked_at: 0,
            steps: 0,
            hosts,
            schedule,
        };
        world.plan();
        world.refresh();
        world
    }

    fn plan(&mut self) {
        self.plan_services();
        for host in 0..self.hosts.len() {
            let after = self.random.between(Duration::from_millis(1), Duration::from_millis(800));
            self.later(after, Ev::Start { host });
        }
        for client in 0..self.segment.clients.len() {
            let phase = self.random.between(Duration::ZERO, Duration::from_millis(10));
            self.later(phase, Ev::Ping { client });
            let phase = self.random.between(Duration::ZERO, Duration::from_secs(1));
            self.later(phase, Ev::Forget { client });
        }
        for index in 0..self.schedule.faults.len() {
            let from = self.schedule.faults[index].from.saturating_mul(1_000_000);
            self.at(from, Ev::Fault { index, edge: Edge::Begins });
        }
    }

    pub(super) fn at(&mut self, at: u64, event: Ev) {
        self.queued += 1;
        self.queue.push(Reverse(Due { at: at.max(self.now), number: self.queued, event }));
    }

    pub(super) fn later(&mut self, after: Duration, event: Ev) {
        self.at(self.now + nanos(after), event);
    }

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + nanos(time);
        while self.step(until) {}
        self.now = until;
        self.look();
    }

    /// Lets time pass until `condition` holds, at most `limit`. Whether it came to hold.
    pub fn run_until(&mut self, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + nanos(limit);
        loop {
            if condition(self) {
                return true;
            }
            if !self.step(until) {
                self.now = until;
                self.look();
                return condition(self);
            }
        }
    }

    fn step(&mut self, until: u64) -> bool {
        if self.queue.peek().is_none_or(|due| due.0.at > until) {
            return false;
        }
        let Some(Reverse(due)) = self.queue.pop() else { return false };
        self.now = due.at;
        self.steps += 1;
        let touch = due.event.touches();
        self.take(due.event);
        if self.shows_change(touch) {
            // What was until now lasted until now.
            self.observe();
            self.look();
        } else if self.now >= self.looked_at + LOOK_EVERY {
            self.look();
        }
        true
    }

    /// Whether the checker would see the world otherwise than it last did, but for its counters.
    fn shows_change(&self, touch: Touch) -> bool {
        match touch {
            Touch::Nothing => false,
            Touch::Host(h) => {
                let (node, host) = (&self.view.nodes[h], &self.hosts[h]);
                self.last_announcer != self.view.last_announcer
                    || (node.agent, node.wears, node.announces)
                        != (host.agent_state(), host.wears(), host.announces())
                    || node.last_announced != host.last_announced.map(Duration::from_nanos)
                    || self.spread_shows_change(h)
            }
            Touch::End(to) => {
                let client = to.checked_sub(self.segment.client(0));
                client.is_some_and(|client| self.shown(client) != self.segment.entry(client))
            }
            Touch::World => true,
        }
    }

    fn take(&mut self, event: Ev) {
        match event {
            Ev::Start { host } => self.start_agent(host),
            Ev::Arrive { to, packet } => self.arrived(to, &packet),
            Ev::Input { host, run, input } => self.input(host, run, *input),
            Ev::Tick { host, run } => self.tick(host, run),
            Ev::Pace { host, run } => self.paced(host, run),
            Ev::Assign { host, run, id, vips, lifetime } => self.assign((host, run), id, &vips, lifetime),
            Ev::Withdraw { host, run, id, vips } => self.withdraw((host, run), id, &vips),
            Ev::Expire { host } => self.expire(host),
            Ev::Health { host } => self.health(host),
            Ev::Ask { request, turn } => self.ask(request, turn),
            Ev::Perform { request, server, reply } => self.perform(request, server, reply),
            Ev::Reply { request, server, outcome } => self.reply(request, server, *outcome),
            Ev::Deadline { request } => self.finish(request, LeaseOutcome::Unknown),
            Ev::Watched { host, generation, seat, record } => self.watched(host, generation, (seat, record)),
            Ev::Recorded { host, generation, records } => self.recorded(host, generation, &records),
            Ev::Spread { host, run } => self.spread_turn(host, run),
            Ev::Write { record } => self.write_record(record),
            Ev::Reconnect { host, generation } => self.reconnect(host, generation),
            Ev::StaleWatch { host, generation } => self.stale_watch(host, generation),
            Ev::Ping { client } => self.ping(client),
            Ev::Forget { client } => self.forget(client),
            Ev::Rogue => self.rogue_speaks(),
            Ev::Fault { index, edge } => self.scheduled(index, edge),
        }
    }

    /// Brings the view up to date with what a fault changed.
    pub(super) fn refresh(&mut self) {
        let nodes = self.hosts.len();
        let clean = self.segment.is_clean();
        for from in 0..nodes {
            for to in 0..nodes {
                let open = self.segment.open(from, to)
                    && self.hosts[from].on_the_wire()
                    && self.hosts[to].on_the_wire();
                self.view.paths[from * nodes + to] = match (open, clean) {
                    (false, _) => Path::Cut,
                    (true, false) => Path::Lossy,
                    (true, true) => Path::Open,
                };
            }
        }
        let all_ill = self.hosts.iter().all(|host| host.unhealthy > 0);
        for h in 0..nodes {
            let host = &self.hosts[h];
            let reachable = host.on_the_wire() && self.segment.isolated[h] == 0;
            let reach = self.reach(h);
            let node = &mut self.view.nodes[h];
            node.reachable = reachable;
            node.fit = reachable && clean && (host.unhealthy == 0 || all_ill);
            node.reach = reach;
        }
        self.view.disturbance = match &self.active[..] {
            [] => Disturbance::None,
            kinds if kinds.iter().all(|kind| kind.is_api_only()) => Disturbance::Api,
            _ => Disturbance::Other,
        };
    }

    /// Shows the checker the world as it is.
    pub(super) fn look(&mut self) {
        for (node, host) in self.view.nodes.iter_mut().zip(&self.hosts) {
            node.agent = host.agent_state();
            node.agent_since = Duration::from_nanos(host.agent_since);
            node.wears = host.wears();
            node.announces = host.announces();
            node.last_announced = host.last_announced.map(Duration::from_nanos);
            (node.effects, node.writes, node.reads) = (host.effects, host.writes, host.reads);
        }
        self.store.show(&mut self.view.lease);
        for client in 0..self.view.clients.len() {
            self.view.clients[client] = self.segment.entry(client);
        }
        self.view.last_announcer = self.last_announcer;
        self.look_at_spread();
        self.observe();
    }

    /// Lets the checker judge the view at the present moment.
    fn observe(&mut self) {
        self.looked_at = self.now;
        self.view.at = Duration::from_nanos(self.now);
        let before = self.checker.violations().len();
        self.checker.observe(&self.view);
        self.judge_spread();
        if self.tune.trace && self.checker.violations().len() > before {
            let found = self.checker.violations()[before..].to_vec();
            self.trace(|| format!("VIOLATION {found:?}"));
        }
    }

    /// The world as it is.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What was found broken.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        self.checker.violations()
    }

    /// The checker and its maxima.
    #[must_use]
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// Events handled.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Prints a line when tracing.
    pub(super) fn trace(&self, line: impl FnOnce() -> String) {
        if self.tune.trace {
            use std::io::Write as _;
            let line = line();
            // Losing a line of the trace (a closed pipe) is no reason to end the run.
            drop(writeln!(
                std::io::stderr(),
                "{:>12.6} {line}",
                Duration::from_nanos(self.now).as_secs_f64()
            ));
        }
    }

    pub(super) fn trace_input(&self, h: usize, input: &Input) {
        if !matches!(input, Input::Tick) {
            self.trace(|| format!("node {h}: <- {input:?}"));
        }
    }

    pub(super) fn note(&mut self, h: usize, effect: &Effect) {
        if self.tune.keep_events {
            self.log.effects.push((self.now(), h, effect.clone()));
        }
        self.trace(|| format!("node {h}: -> {effect:?}"));
    }
}

fn random_clock(random: &mut Random, ppm: u32) -> Clock {
    let ppm = i64::from(ppm);
    let offset = random.range(1_000_000_000, 1_000_000_000_000).cast_signed();
    Clock::new(offset, random.range(0, (2 * ppm + 1).cast_unsigned()).cast_signed() - ppm)
}

pub(super) fn empty_view(nodes: usize, clients: usize) -> View {
    View {
        at: Duration::ZERO,
        nodes: vec![NodeView::idle(AgentState::Dead); nodes],
        paths: vec![Path::Open; nodes * nodes],
        lease: None,
        clients: vec![Entry::Empty; clients],
        last_announcer: None,
        disturbance: Disturbance::None,
    }
}
