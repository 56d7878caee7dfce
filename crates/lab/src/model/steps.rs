//! What may happen next, and doing it.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::plan::{Action, Fault, Plan, Start};
use super::world::{Asker, Begun, Due, Ev, Excuse, NODES, World};
use super::{LATE_FRAME, LATE_REQUEST, LATE_WATCH, TIMER};
use mainstay_core::input::Input;

use crate::sim::random::nanos;
use crate::sim::{Kind, Machine};

/// How long the start is given to settle: the members have heard each other, and the incumbent is the checker's.
const WARM_UP: Duration = Duration::from_secs(13);
/// Without a choice left, a step of the search is so long.
const STRIDE: Duration = Duration::from_millis(200);
/// Rounds of one moment: more are a loop.
const ROUNDS: u32 = 5_000;

impl<M: Machine + Clone + Hash> World<M> {
    /// The plan's first world.
    #[must_use]
    pub fn first(plan: &Arc<Plan>) -> Self {
        let mut world = Self::empty(Arc::clone(plan));
        for turn in 0..NODES {
            let at = nanos(plan.stagger()) * turn as u64;
            world.at(at, Ev::Starts { host: world.in_turn(turn) });
        }
        while world.hosts.iter().any(|host| host.agent.is_none()) {
            world.moment();
        }
        if plan.start == Start::Settled {
            while world.now < nanos(WARM_UP) {
                world.moment();
            }
            assert!(world.violations().is_empty(), "nothing is broken before anything goes wrong");
        }
        world.checker.set_bounds(plan.bounds);
        (world.checker.longest_pair, world.checker.longest_dark) = (Duration::ZERO, Duration::ZERO);
        world.begun = Begun { start: world.now, first_choice: None, last_trouble: world.now };
        world
    }

    /// The same world, and from now on it writes down what happens.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.trace = Some(Vec::new());
        self
    }

    /// What was written down since it was last asked for.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Whether faults may still begin now.
    pub(super) fn may_choose(&self) -> bool {
        !self.budget.is_spent() && self.now <= self.choices_end()
    }

    /// What may happen next.
    pub fn choices(&self, into: &mut Vec<Action>) {
        if self.over {
            return;
        }
        into.push(Action::Run);
        if !self.may_choose() {
            return;
        }
        for (index, due) in self.queue.iter().enumerate() {
            let (lose, late) = self.hinder(&due.ev);
            if lose > 0 {
                into.push(Action::Lose(index));
            }
            // What is late already is not made later.
            if late > 0 && due.at <= self.now + nanos(TIMER) {
                into.push(Action::Late(index));
            }
        }
        for (index, group) in self.plan.groups.iter().enumerate() {
            if self.budget.groups[index] > 0 {
                let can = group.faults.iter().filter(|fault| self.can_begin(**fault));
                into.extend(can.map(|fault| Action::Begin(index, *fault)));
            }
        }
    }

    /// How many messages like this one may still be lost, and late.
    fn hinder(&self, ev: &Ev) -> (u8, u8) {
        let left = &self.budget;
        match ev {
            Ev::Arrive { .. } => (left.lost_frames, left.late_frames),
            Ev::Perform { .. } | Ev::Reply { .. } => (left.lost_requests, left.late_requests),
            Ev::Watched { .. } => (0, left.late_watches),
            _ => (0, 0),
        }
    }

    /// Does what was chosen.
    pub fn take(&mut self, action: Action) {
        match action {
            Action::Run => self.run(),
            Action::Lose(index) => self.lose(index),
            Action::Late(index) => self.make_late(index),
            Action::Begin(group, fault) => self.begin(group, fault),
        }
    }

    fn chosen(&mut self) {
        self.plan.tally.begin();
        self.begun.first_choice.get_or_insert(self.now);
        self.begun.last_trouble = self.now;
        self.well_since = None;
    }

    fn lose(&mut self, index: usize) {
        self.chosen();
        let due = self.queue.remove(index);
        self.note(|| format!("LOST: {:?}", due.ev));
        match &due.ev {
            Ev::Arrive { from, to, .. } => {
                self.budget.lost_frames -= 1;
                self.excuse.frame = Some((*from, *to));
            }
            Ev::Perform { host, id, .. } | Ev::Reply { host, id, .. } => {
                self.budget.lost_requests -= 1;
                self.excuse.api = true;
                self.no_answer((*host, *id));
            }
            _ => {}
        }
        self.look();
    }

    fn make_late(&mut self, index: usize) {
        self.chosen();
        let mut due = self.queue.remove(index);
        self.note(|| format!("LATE: {:?}", due.ev));
        let delay = match &due.ev {
            Ev::Arrive { from, to, .. } => {
                self.budget.late_frames -= 1;
                self.excuse.frame = Some((*from, *to));
                LATE_FRAME
            }
            Ev::Watched { host, .. } => {
                self.budget.late_watches -= 1;
                self.excuse.api = true;
                let until = due.at + nanos(LATE_WATCH);
                self.watched_until[*host] = self.watched_until[*host].max(until);
                LATE_WATCH
            }
            Ev::Perform { host, id, .. } | Ev::Reply { host, id, .. } => {
                self.budget.late_requests -= 1;
                self.excuse.api = true;
                self.no_answer((*host, *id));
                LATE_REQUEST
            }
            _ => Duration::ZERO,
        };
        due.at += nanos(delay);
        self.at(due.at, due.ev);
        self.look();
    }

    fn begin(&mut self, group: usize, fault: Fault) {
        self.chosen();
        self.note(|| format!("FAULT begins: {fault}"));
        self.budget.groups[group] -= 1;
        self.active.push(fault.kind);
        self.active.sort_unstable();
        self.apply_begin(fault.kind);
        self.look();
        match fault.lasts {
            Some(millis) => self.at(self.now + millis * 1_000_000, Ev::Ends { fault: fault.kind }),
            // What never ends, or is over at once, is no trouble that must end before all can be well.
            None => self.active.retain(|kind| *kind != fault.kind),
        }
        self.look();
    }

    fn apply_begin(&mut self, kind: Kind) {
        match kind {
            Kind::Crash(h) => self.kill_agent(h),
            Kind::PowerLoss(h) => self.power_off(h),
            Kind::LinkDown(h) => self.tell_link(h),
            Kind::AgentFrozen(h) | Kind::HostFrozen(h) => self.hosts[h].agent_since = self.now,
            Kind::AddressDeleted(h) => self.delete_address(h),
            Kind::Shutdown(h) => self.feed(h, Input::Shutdown),
            Kind::Unhealthy(h) => self.tell_health(h),
            Kind::LeaseDeleted | Kind::LeaseSetBack => self.reset_lease(kind),
            _ => {}
        }
        self.api_changed();
    }

    fn ends(&mut self, kind: Kind) {
        self.note(|| format!("FAULT ends: {kind:?}"));
        self.active.retain(|active| *active != kind);
        self.begun.last_trouble = self.now;
        self.eventful = true;
        match kind {
            Kind::Crash(h) => self.start_agent(h),
            // Whatever still runs is killed, and a new run starts.
            Kind::Shutdown(h) => {
                self.kill_agent(h);
                self.start_agent(h);
            }
            Kind::Unhealthy(h) => self.tell_health(h),
            Kind::PowerLoss(h) => {
                self.hosts[h].powered = true;
                self.start_agent(h);
            }
            Kind::LinkDown(h) => self.tell_link(h),
            Kind::AgentFrozen(h) | Kind::HostFrozen(h) => self.thaw(h),
            _ => {}
        }
        self.api_changed();
    }

    /// Lets time go on until something may be chosen, or for a stride.
    fn run(&mut self) {
        let until = self.now + nanos(if self.may_choose() { self.plan.every } else { STRIDE });
        let mut moments = 0;
        loop {
            self.moment();
            moments += 1;
            self.end_if_over();
            if self.over || self.now >= until || (self.eventful && self.may_choose()) {
                break;
            }
        }
        self.plan.tally.count(moments);
    }

    /// Goes to the next moment at which something is due, and does all that is due at it.
    fn moment(&mut self) {
        self.excuse = Excuse::default();
        self.eventful = false;
        let queued = self.queue.first().map_or(u64::MAX, |due| due.at);
        let timers = (0..NODES).map(|h| self.timer(h)).min().unwrap_or(u64::MAX);
        self.now = self.now.max(queued.min(timers));
        for round in 0..=ROUNDS {
            assert!(round < ROUNDS, "a loop that time does not end: {:?}", self.queue);
            if self.queue.first().is_some_and(|due| due.at <= self.now) {
                let Due { ev, .. } = self.queue.remove(0);
                self.happen(ev);
            } else if let Some(h) = self.first_due() {
                self.fire(h);
            } else {
                break;
            }
            if self.eventful {
                self.look();
            }
        }
        self.look();
    }

    /// The host whose timer is due now, the plan's first choice first.
    fn first_due(&self) -> Option<usize> {
        (0..NODES).map(|turn| self.in_turn(turn)).find(|h| self.timer(*h) <= self.now)
    }

    /// Who comes first at a moment at which several are due: as the plan's seed says.
    fn in_turn(&self, turn: usize) -> usize {
        let first = usize::try_from(self.plan.seed).unwrap_or(0);
        (first + turn) % NODES
    }

    /// Puts something off until a moment; what is due together keeps its order.
    pub(super) fn at(&mut self, at: u64, ev: Ev) {
        let place = self.queue.partition_point(|due| due.at <= at);
        self.queue.insert(place, Due { at, ev });
    }

    pub(super) fn later(&mut self, after: Duration, ev: Ev) {
        self.at(self.now + nanos(after), ev);
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::Arrive { to, packet, .. } => self.arrive(to, &packet),
            Ev::Input { host, input } => self.input(host, *input),
            Ev::Assign { host, id, lifetime } => self.assign(host, id, lifetime),
            Ev::Withdraw { host, id } => self.withdraw(host, id),
            Ev::Ask { host, id, request } => self.ask_again((host, id), request),
            Ev::Perform { host, id, request, asker } => {
                self.perform((host, id), &request, asker == Asker::Waits);
            }
            Ev::Reply { host, id, outcome } => self.reply((host, id), *outcome),
            Ev::Patience { host, id } => self.unanswered((host, id)),
            Ev::Deadline { host, id } => self.deadline((host, id)),
            Ev::Watched { host, record } => self.watched(host, record),
            Ev::Reconnect { host } => self.watch_connect(host),
            Ev::StaleWatch { host } => self.stale_watch(host),
            Ev::Ends { fault } => self.ends(fault),
            Ev::Starts { host } => self.start_agent(host),
        }
    }

    /// Writes a line down, when somebody reads it.
    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3} {}", self.now as f64 / 1e9, line()));
        }
    }
}
