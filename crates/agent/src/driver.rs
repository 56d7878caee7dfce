//! The loop: inputs in, effects out. It runs on a thread and a runtime of its own and waits for nobody.
//!
//! ```text
//!   data plane ──┐                            ┌─► data plane
//!   lease replies┼─► core.handle(now, input) ─┼─► lease calls (bounded)
//!   commands ────┤                            ├─► snapshot (latest wins)
//!   deadlines ───┘                            └─► events: log, metrics
//! ```

mod calls;
mod deaths;
mod refusals;
mod report;
mod seats;
mod tenancy;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::DerefMut;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::effect::Effect;
use mainstay_core::event::Event;
use mainstay_core::input::{AddressChange, EffectId, Health, Input, Link, Outcome};
use mainstay_core::names::ClaimId;
use mainstay_core::node::Output;
use mainstay_core::snapshot::Snapshot;
use mainstay_core::status::ClaimStatus;
use mainstay_core::time::Moment;
use mainstay_core::vip::Vip;
use mainstay_dataplane::FaultNews;
use mainstay_dataplane::counters::Counters;
use mainstay_dataplane::plane::Dataplane;
use mainstay_kube::LeaseCall;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use calls::{CALL_QUEUE, Calls, SEAT_CALL_QUEUE};
pub(crate) use deaths::{Death, Deaths};

use crate::latest::Giver;
use crate::metrics::Observer;
use crate::names::{Answers, Members, members, told};
use crate::vitals::Vitals;
use refusals::Refusals;
pub(crate) use report::Report;
pub(crate) use seats::{Holders, Placed};
use tenancy::Tenancy;

/// Inputs from the lease adapter that wait for the loop. Policy when it is full: the adapter waits; the loop never.
pub(crate) const INPUT_QUEUE: usize = 64;

/// Commands that wait for the loop. Policy when it is full: whoever asks waits, and gives up at its own time-out.
pub(crate) const COMMAND_QUEUE: usize = 16;

/// The loop turns at least this often, so that its pulse can be told from a stall; and so that a deadline is noticed
/// in time after a suspend, during which the runtime's timers stand still and the core's clock does not.
const TURN_AT_LEAST_EVERY: Duration = Duration::from_secs(1);

/// A deadline missed by this much means that the process stood still: then the core speaks before anything is announced
/// (rule 9).
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How many inputs are handled before the deadline is looked at again, so that a flood of frames cannot hide it.
const BATCH: usize = 256;

/// What the driver needs of a core. The agent's is [`crate::record::Recorded`]; tests script one.
pub(crate) trait Core {
    /// Takes in what happened.
    fn handle(&mut self, now: Moment, input: &Input) -> Output;
    /// When it wants a tick at the latest.
    fn next_deadline(&self) -> Moment;
    /// What there is to see.
    fn status(&self, now: Moment) -> ClaimStatus;
    /// What there is to see of the seats that Services are spread over.
    fn seats(&self, now: Moment) -> Vec<ClaimStatus>;
    /// Whose effect it is.
    fn claim_of(&self, id: EffectId) -> &ClaimId;
}

/// What the driver needs of a data plane.
pub(crate) trait Plane {
    /// Takes an order; hands back what is not a data plane's to do.
    fn submit(&mut self, effect: Effect) -> Option<Effect>;
    /// The next thing that happened; `None` once `deadline` has come, and then nothing else is done. Cancel-safe.
    fn next_until(&mut self, deadline: Moment) -> impl Future<Output = Option<Input>>;
    /// Everything that happened up to now.
    fn drain(&mut self) -> Vec<Input>;
    /// What it has done so far.
    fn counters(&self) -> Counters;
    /// What is new of addresses that the kernel refuses while it has others.
    fn take_fault_news(&mut self) -> Vec<FaultNews>;
    /// Those addresses, each with the kernel's words.
    fn refused(&self) -> BTreeMap<Vip, String>;
}

impl Plane for Dataplane {
    fn submit(&mut self, effect: Effect) -> Option<Effect> {
        Self::submit(self, effect)
    }

    fn next_until(&mut self, deadline: Moment) -> impl Future<Output = Option<Input>> {
        Self::next_until(self, deadline)
    }

    fn drain(&mut self) -> Vec<Input> {
        Self::drain(self)
    }

    fn counters(&self) -> Counters {
        Self::counters(self).clone()
    }

    fn take_fault_news(&mut self) -> Vec<FaultNews> {
        Self::take_fault_news(self)
    }

    fn refused(&self) -> BTreeMap<Vip, String> {
        Self::refused(self).clone()
    }
}

/// What others may ask of the loop.
#[derive(Debug)]
pub(crate) enum Command {
    /// What there is to see.
    Report(oneshot::Sender<Report>),
    /// Hand over, then stop; at this time limit without the hand-over.
    Shutdown(Duration),
    /// Stop at once.
    Abort,
}

/// How the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The core said so: handed over, or nobody could succeed and the VIP stays for the restart.
    Stopped,
    /// The hand-over took longer than it may.
    Overdue,
    /// Told to stop at once.
    Aborted,
}

/// The channels at the loop's edge.
pub(crate) struct Edges {
    /// What the lease adapter says.
    pub(crate) inputs: mpsc::Receiver<Input>,
    /// What others ask.
    pub(crate) commands: mpsc::Receiver<Command>,
    /// API servers learned, to be kept with the snapshot.
    pub(crate) learned: watch::Receiver<Vec<String>>,
    /// What a restart shall remember until the core says more.
    pub(crate) snapshot: Snapshot,
    /// Where snapshots go.
    pub(crate) saves: Giver<Snapshot>,
    /// Where lease requests go; `None` without an authority.
    pub(crate) calls: Calls,
    /// Where it is told whether this node holds the VIP.
    pub(crate) held: watch::Sender<Option<bool>>,
    /// Where it is told whom the authority names.
    pub(crate) named_holder: watch::Sender<Option<String>>,
    /// What the VIPs' names mean.
    pub(crate) named: Named,
    /// Services' addresses; `None` as long as they are unknown, and where the claim has none.
    pub(crate) services: watch::Receiver<Option<Vec<Vip>>>,
    /// Which cluster this is, to be kept with the snapshot.
    pub(crate) cluster: watch::Receiver<Option<String>>,
    /// Whether this node is fit to hold; `None` as long as nobody says.
    pub(crate) fitness: watch::Receiver<Option<Health>>,
    /// What is placed at which node's seat; `None` where Services are not spread.
    pub(crate) placed: watch::Receiver<Option<BTreeMap<ClaimId, Placed>>>,
    /// Where it is told who holds which seat.
    pub(crate) holders: watch::Sender<Holders>,
    /// Where it is told which nodes are dead.
    pub(crate) deaths: watch::Sender<Deaths>,
    /// Addresses that were on the interface at the start, and that no seat has been told of yet.
    pub(crate) worn: BTreeSet<Vip>,
}

impl Edges {
    /// What concerns the loop that there was before: it broke off.
    pub(crate) fn begin_anew(&mut self) {
        self.calls.begin_anew();
        while self.inputs.try_recv().is_ok() {}
    }
}

/// What the VIPs' names mean, as it is found out.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The claim's addresses.
    pub(crate) vips: watch::Receiver<Vec<Vip>>,
    /// The last good answers, to be kept with the snapshot; none where no name is configured.
    pub(crate) answers: watch::Receiver<Answers>,
    /// The members, for whoever judges answers, or whether this node is to hold.
    pub(crate) members: watch::Sender<Members>,
    /// What the holder, another node, says that it wears, for whoever chooses among an answer's addresses.
    pub(crate) told: watch::Sender<Vec<Vip>>,
}

impl Named {
    /// What the core has learned of others.
    fn learn(&self, snapshot: &Snapshot) {
        replace_by(&self.members, members(snapshot));
        replace_by(&self.told, told(snapshot));
    }
}

fn replace_by<T: PartialEq>(known: &watch::Sender<T>, new: T) {
    known.send_if_modified(|old| {
        let changed = *old != new;
        *old = new;
        changed
    });
}

/// The loop's own state.
pub(crate) struct Driver<C, P, E> {
    core: C,
    plane: P,
    clock: fn() -> Moment,
    edges: E,
    observer: Arc<Observer>,
    vitals: Arc<Vitals>,
    /// Inputs that the driver itself makes: outcomes of effects that could not be passed on.
    own: VecDeque<Input>,
    link_up: bool,
    refusals: Refusals,
    tenancy: Tenancy,
    /// Seats that the core was told of.
    told_seats: BTreeSet<ClaimId>,
    stop_by: Option<Moment>,
    ending: Option<Ending>,
    /// When others on the runtime had their turn last.
    was_fair_at: Moment,
}

/// What ended the wait.
enum Woke {
    Input(Input),
    Command(Command),
    Learned,
    Resolved,
    Services,
    Seats,
    Fitness,
    Deadline,
    Nothing,
}

impl<C: Core, P: Plane, E: DerefMut<Target = Edges>> Driver<C, P, E> {
    /// A loop that has not turned yet. `link_up` is what the core was told at its start.
    pub(crate) fn new((core, plane): (C, P), clock: fn() -> Moment, edges: E, link_up: bool) -> Self {
        let tenancy = Tenancy::new((edges.held.clone(), edges.named_holder.clone()));
        Self {
            core,
            plane,
            clock,
            edges,
            observer: Arc::default(),
            vitals: Arc::default(),
            own: VecDeque::new(),
            link_up,
            refusals: Refusals::new(),
            tenancy,
            told_seats: BTreeSet::new(),
            stop_by: None,
            ending: None,
            was_fair_at: Moment::ZERO,
        }
    }

    /// Tells `observer` what happens and `vitals` that it does.
    pub(crate) fn watched_by(self, observer: Arc<Observer>, vitals: Arc<Vitals>) -> Self {
        Self { observer, vitals, ..self }
    }

    /// Turns until it is told to stop.
    pub(crate) async fn run(mut self) -> Ending {
        self.save();
        // First of all, for what is remembered of them is kept by whoever knows of it.
        self.seat();
        self.handle(&Input::Tick);
        self.resolved();
        self.judge();
        self.serve();
        loop {
            self.vitals.turned((self.clock)());
            if let Some(ending) = self.ending {
                return ending;
            }
            match self.wake().await {
                Woke::Input(input) => self.handle(&input),
                Woke::Command(command) => self.command(command),
                Woke::Learned => self.save(),
                Woke::Resolved => self.resolved(),
                Woke::Services => self.serve(),
                Woke::Seats => self.seat(),
                Woke::Fitness => self.judge(),
                Woke::Deadline => self.be_fair().await,
                Woke::Nothing => {}
            }
            self.catch_up();
            self.tell_faults();
            // A flood of inputs does not keep anybody from asking, or from stopping us.
            if let Ok(command) = self.edges.commands.try_recv() {
                self.command(command);
            }
        }
    }

    async fn wake(&mut self) -> Woke {
        let now = (self.clock)();
        let deadline = self.deadline().min(now + TURN_AT_LEAST_EVERY);
        let edges = &mut *self.edges;
        let woke = tokio::select! {
            biased;
            input = self.plane.next_until(deadline) => input.map_or(Woke::Deadline, Woke::Input),
            Some(input) = edges.inputs.recv() => edges.calls.read(input).map_or(Woke::Nothing, Woke::Input),
            Some(command) = edges.commands.recv() => Woke::Command(command),
            Ok(()) = edges.learned.changed() => Woke::Learned,
            Ok(()) = edges.named.answers.changed() => Woke::Learned,
            Ok(()) = edges.named.vips.changed() => Woke::Resolved,
            Ok(()) = edges.services.changed() => Woke::Services,
            Ok(()) = edges.placed.changed() => Woke::Seats,
            Ok(()) = edges.cluster.changed() => Woke::Learned,
            Ok(()) = edges.fitness.changed() => Woke::Fitness,
        };
        if (self.clock)() >= deadline.max(now) + STOOD_STILL {
            // Before anything is announced.
            self.handle(&Input::Tick);
        }
        woke
    }

    /// A loop that always has something to do lets others on its runtime have a turn now and then.
    async fn be_fair(&mut self) {
        let now = (self.clock)();
        if now.since(self.was_fair_at) >= TURN_AT_LEAST_EVERY {
            self.was_fair_at = now;
            self.tenancy.look(&self.core.status(now));
            tokio::task::yield_now().await;
        }
    }

    fn deadline(&self) -> Moment {
        if !self.own.is_empty() {
            return Moment::ZERO;
        }
        let others = [self.edges.calls.next_overdue(), self.stop_by];
        others.into_iter().flatten().fold(self.core.next_deadline(), Moment::min)
    }

    /// If a deadline has come, handles whatever is there, sockets first, and then the deadline: so an answer that has
    /// arrived is never taken for silence.
    fn catch_up(&mut self) {
        if self.deadline() > (self.clock)() {
            return;
        }
        let mut handled = 0;
        while handled < BATCH && self.ending.is_none() {
            let mut inputs = self.plane.drain();
            inputs.extend(self.own.drain(..));
            let told = self.edges.inputs.try_recv().ok();
            inputs.extend(told.and_then(|input| self.edges.calls.read(input)));
            if inputs.is_empty() {
                break;
            }
            handled += inputs.len();
            for input in &inputs {
                self.handle(input);
            }
        }
        let now = (self.clock)();
        self.own.extend(self.edges.calls.overdue(now));
        let deadline = self.core.next_deadline();
        if deadline <= now {
            self.vitals.late(now.since(deadline));
            self.handle(&Input::Tick);
        }
        if self.stop_by.is_some_and(|stop_by| stop_by <= now) {
            self.ending.get_or_insert(Ending::Overdue);
        }
    }

    fn handle(&mut self, input: &Input) {
        match input {
            Input::Outcome { id, outcome: Outcome::Lease(outcome) } => {
                // Told already that nothing is known of it: once is enough.
                if !self.edges.calls.settle(*id) {
                    return;
                }
                self.observer.answered(outcome);
            }
            Input::Outcome { id, outcome } => self.refusals.concluded(*id, outcome),
            Input::Link(link) => self.link_up = *link == Link::Up,
            Input::Address(AddressChange::Removed { vip, .. }) => drop(self.edges.worn.remove(vip)),
            _ => {}
        }
        let output = self.core.handle((self.clock)(), input);
        for event in output.events.iter().filter(|event| self.refusals.is_news(event)) {
            self.observer.tell(event);
        }
        deaths::follow(&self.edges.deaths, &output.events);
        self.tenancy.follow(&output.events, || self.core.status((self.clock)()));
        if output.events.iter().any(|event| matches!(event, Event::HolderChanged { .. })) {
            self.tell_holders();
        }
        for effect in output.effects {
            self.carry_out(effect);
        }
    }

    fn tell_faults(&mut self) {
        for news in self.plane.take_fault_news() {
            let change = match news {
                FaultNews::Refused { vip, .. } => AddressChange::Refused { vip },
                FaultNews::Accepted { vip } => AddressChange::Accepted { vip },
            };
            self.observer.tell(&self.refusals.event(news));
            self.handle(&Input::Address(change));
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        self.refusals.ordered(&effect);
        match self.plane.submit(effect) {
            None => {}
            Some(Effect::Lease { id, request, deadline }) => {
                let (now, call) = ((self.clock)(), LeaseCall { id, request, deadline });
                let refused = self.edges.calls.place(now, self.core.claim_of(id), call);
                self.own.extend(refused);
            }
            Some(Effect::Save(snapshot)) => {
                self.edges.named.learn(&snapshot);
                self.edges.snapshot = snapshot;
                self.save();
            }
            Some(Effect::Stop) => self.ending = Some(Ending::Stopped),
            Some(other) => tracing::error!(?other, "no room carries this out"),
        }
    }

    /// The claim's addresses, where they come from names.
    fn resolved(&mut self) {
        let vips = self.edges.named.vips.borrow_and_update().clone();
        if !vips.is_empty() && !self.edges.named.answers.borrow().is_empty() {
            self.handle(&Input::Vips(vips));
        }
    }

    /// Whether this node is fit to hold.
    fn judge(&mut self) {
        let fitness = *self.edges.fitness.borrow_and_update();
        if let Some(health) = fitness {
            self.handle(&Input::Health(health));
        }
    }

    /// The addresses of Services.
    fn serve(&mut self) {
        let services = self.edges.services.borrow_and_update().clone();
        if let Some(vips) = services {
            self.handle(&Input::Services(vips));
        }
    }

    /// The core's snapshot, with the API servers that the adapter has learned and what the VIPs' names mean.
    fn save(&mut self) {
        let edges = &mut *self.edges;
        edges.snapshot.names.clone_from(&edges.named.answers.borrow_and_update());
        edges.snapshot.api_servers.clone_from(&edges.learned.borrow_and_update());
        edges.snapshot.cluster.clone_from(&edges.cluster.borrow_and_update());
        edges.saves.give(edges.snapshot.clone());
    }

    fn command(&mut self, command: Command) {
        let now = (self.clock)();
        match command {
            Command::Report(reply) => {
                let status = self.core.status(now);
                let (counters, link_up) = (self.plane.counters(), self.link_up);
                let (address_failure, refused) = (self.refusals.failure().cloned(), self.plane.refused());
                let seats = self.core.seats(now);
                let report = Report { now, status, counters, link_up, address_failure, refused, seats };
                // Whoever asked may have given up.
                let _ = reply.send(report);
            }
            Command::Shutdown(within) => {
                self.stop_by.get_or_insert(now + within);
                self.handle(&Input::Shutdown);
            }
            Command::Abort => self.ending = Some(Ending::Aborted),
        }
    }
}
