//! The loop in virtual time, with a scripted core and a data plane that records.

mod requests;
mod told;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{EffectId, LeaseOutcome, LeaseReport};
use mainstay_core::names::{ClaimId, InstanceId, NodeName};
use mainstay_core::snapshot::{ClaimMemory, Member};
use mainstay_kube::LeaseCall;
use tokio::time::Instant;

use super::*;
use crate::latest::{Taker, pair};

/// What the core was given, and when.
#[derive(Clone, Default)]
struct Record(Rc<RefCell<Vec<(Moment, Input)>>>);

impl Record {
    fn inputs(&self) -> Vec<Input> {
        self.0.borrow().iter().map(|(_, input)| input.clone()).collect()
    }

    fn last_at(&self) -> Moment {
        self.0.borrow().last().unwrap().0
    }
}

/// Answers the inputs in turn with the effects of a script; wants no tick by itself.
struct Script {
    record: Record,
    answers: VecDeque<Vec<Effect>>,
    deadlines: Vec<Moment>,
    claim: ClaimId,
    seat: ClaimId,
}

impl Script {
    fn new(record: Record, answers: Vec<Vec<Effect>>, deadlines: Vec<Moment>) -> Self {
        let seat = ClaimId::seat(&NodeName::new("n1"));
        Self { record, answers: answers.into(), deadlines, claim: ClaimId::services(), seat }
    }
}

/// The effect that is a seat's.
const OF_SEAT: u64 = 77;

impl Core for Script {
    fn handle(&mut self, now: Moment, input: &Input) -> Output {
        self.record.0.borrow_mut().push((now, input.clone()));
        if *input == Input::Tick {
            self.deadlines.retain(|deadline| *deadline > now);
        }
        let stop = *input == Input::Shutdown && self.answers.is_empty();
        let effects = if stop { vec![Effect::Stop] } else { self.answers.pop_front().unwrap_or_default() };
        Output { effects, events: Vec::new() }
    }

    fn next_deadline(&self) -> Moment {
        self.deadlines.first().copied().unwrap_or(Moment::from_nanos(u64::MAX))
    }

    fn status(&self, _: Moment) -> ClaimStatus {
        crate::testing::claim_status()
    }

    fn seats(&self, _: Moment) -> Vec<ClaimStatus> {
        Vec::new()
    }

    fn claim_of(&self, id: EffectId) -> &ClaimId {
        if id.0 == OF_SEAT { &self.seat } else { &self.claim }
    }
}

/// Delivers inputs at their moments.
#[derive(Default)]
struct Wire {
    arrivals: VecDeque<(Moment, Input)>,
    submitted: Rc<RefCell<Vec<Effect>>>,
    news: Vec<FaultNews>,
}

impl Plane for Wire {
    fn submit(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Lease { .. } | Effect::Save(_) | Effect::Stop => Some(effect),
            other => {
                self.submitted.borrow_mut().push(other);
                None
            }
        }
    }

    async fn next_until(&mut self, deadline: Moment) -> Option<Input> {
        let at = self.arrivals.front().map(|(at, _)| *at).filter(|at| *at < deadline);
        tokio::time::sleep(at.unwrap_or(deadline).since(clock())).await;
        at.and_then(|_| Some(self.arrivals.pop_front()?.1))
    }

    fn drain(&mut self) -> Vec<Input> {
        let now = clock();
        let mut inputs = Vec::new();
        while let Some((_, input)) = self.arrivals.pop_front_if(|(at, _)| *at <= now) {
            inputs.push(input);
        }
        inputs
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn take_fault_news(&mut self) -> Vec<FaultNews> {
        std::mem::take(&mut self.news)
    }

    fn refused(&self) -> BTreeMap<Vip, String> {
        BTreeMap::new()
    }
}

thread_local! {
    static ORIGIN: Instant = Instant::now();
}

/// Virtual time since the thread's first look, one second in: zero stands for never.
fn clock() -> Moment {
    Moment::from_millis(1_000) + ORIGIN.with(Instant::elapsed)
}

fn at(milliseconds: u64) -> Moment {
    Moment::from_millis(1_000 + milliseconds)
}

/// The ends that a test holds.
struct Held {
    record: Record,
    inputs: mpsc::Sender<Input>,
    commands: mpsc::Sender<Command>,
    learned: watch::Sender<Vec<String>>,
    vips: watch::Sender<Vec<Vip>>,
    names: watch::Sender<Answers>,
    services: watch::Sender<Option<Vec<Vip>>>,
    cluster: watch::Sender<Option<String>>,
    fitness: watch::Sender<Option<Health>>,
    placed: watch::Sender<Option<BTreeMap<ClaimId, Placed>>>,
    saves: Taker<Snapshot>,
    calls: mpsc::Receiver<LeaseCall>,
    vitals: Arc<Vitals>,
    named: Named,
}

fn driver(
    answers: Vec<Vec<Effect>>,
    deadlines: Vec<Moment>,
    wire: Wire,
) -> (Driver<Script, Wire, Box<Edges>>, Held) {
    clock();
    let record = Record::default();
    let script = Script::new(record.clone(), answers, deadlines);
    let (inputs, input_receiver) = mpsc::channel(INPUT_QUEUE);
    let (commands, command_receiver) = mpsc::channel(COMMAND_QUEUE);
    let (learned, learned_receiver) = watch::channel(Vec::new());
    let (vips, vip_receiver) = watch::channel(Vec::new());
    let (names, name_receiver) = watch::channel(Answers::new());
    let (giver, saves) = pair();
    let (call_sender, calls) = mpsc::channel(1);
    let (services, service_receiver) = watch::channel(None);
    let (cluster, cluster_receiver) = watch::channel(None);
    let (fitness, fitness_receiver) = watch::channel(None);
    let (placed, placed_receiver) = watch::channel(None);
    let named = Named {
        vips: vip_receiver,
        answers: name_receiver,
        members: watch::Sender::default(),
        told: watch::Sender::default(),
    };
    let edges = Box::new(Edges {
        inputs: input_receiver,
        commands: command_receiver,
        learned: learned_receiver,
        snapshot: snapshot("start"),
        saves: giver,
        calls: Calls::new(Some(call_sender)),
        held: watch::Sender::default(),
        named_holder: watch::Sender::default(),
        named: named.clone(),
        services: service_receiver,
        cluster: cluster_receiver,
        fitness: fitness_receiver,
        placed: placed_receiver,
        holders: watch::Sender::default(),
        deaths: watch::Sender::default(),
        worn: BTreeSet::new(),
    });
    let vitals = Arc::new(Vitals::default());
    let driver = Driver::new((script, wire), clock, edges, true)
        .watched_by(Arc::new(Observer::default()), Arc::clone(&vitals));
    (
        driver,
        Held {
            record,
            inputs,
            commands,
            learned,
            vips,
            names,
            services,
            cluster,
            fitness,
            placed,
            saves,
            calls,
            vitals,
            named,
        },
    )
}

fn snapshot(boot_id: &str) -> Snapshot {
    let (boot_id, instance) = (boot_id.to_owned(), InstanceId(1));
    Snapshot {
        boot_id,
        instance,
        claims: Default::default(),
        api_servers: Vec::new(),
        names: Default::default(),
        cluster: None,
    }
}

fn read(id: u64) -> Effect {
    let deadline = Duration::from_millis(500);
    Effect::Lease { id: EffectId(id), request: LeaseRequest::Read, deadline }
}

fn lease(id: u64, outcome: LeaseOutcome) -> Input {
    Input::Outcome { id: EffectId(id), outcome: Outcome::Lease(outcome) }
}

async fn shut_down_at(held: &Held, moment: Moment) {
    tokio::time::sleep(moment.since(clock())).await;
    held.commands.send(Command::Shutdown(Duration::from_secs(1))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_has_arrived_is_handled_before_the_deadline_is() {
    let wire = Wire { arrivals: [(at(100), Input::Link(Link::Up))].into(), ..Wire::default() };
    let (driver, held) = driver(vec![], vec![at(100)], wire);
    let (ending, ()) = tokio::join!(driver.run(), shut_down_at(&held, at(150)));
    assert_eq!(ending, Ending::Stopped);
    assert_eq!(held.record.inputs(), [Input::Tick, Input::Link(Link::Up), Input::Tick, Input::Shutdown]);
}

#[tokio::test(start_paused = true)]
async fn an_idle_loop_is_quiet_and_has_a_pulse() {
    let (driver, held) = driver(vec![], vec![], Wire::default());
    let (_, ()) = tokio::join!(driver.run(), shut_down_at(&held, at(10_500)));
    assert_eq!(held.record.inputs(), [Input::Tick, Input::Shutdown], "no ticks that nobody asked for");
    assert!((11..=14).contains(&held.vitals.turns()), "{}", held.vitals.turns());
}

#[tokio::test(start_paused = true)]
async fn the_core_learns_which_of_several_addresses_the_kernel_refuses() {
    let vip = Vip::from([10, 0, 0, 101]);
    let refused = FaultNews::Refused { vip, cause: "no".to_owned() };
    let wire = Wire {
        news: vec![refused, FaultNews::Accepted { vip }],
        arrivals: [(at(50), Input::Link(Link::Up))].into(),
        ..Wire::default()
    };
    let (driver, held) = driver(vec![], vec![], wire);
    tokio::join!(driver.run(), shut_down_at(&held, at(100)));
    let changes = [AddressChange::Refused { vip }, AddressChange::Accepted { vip }].map(Input::Address);
    assert!(held.record.inputs().windows(2).any(|two| two == changes), "{:?}", held.record.inputs());
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_is_bounded_and_a_second_request_ends_it() {
    let (stubborn, held) = driver(vec![vec![], vec![]], vec![], Wire::default());
    let (ending, ()) = tokio::join!(stubborn.run(), shut_down_at(&held, at(100)));
    assert_eq!(ending, Ending::Overdue);
    assert!((at(1_100)..at(1_200)).contains(&clock()), "{:?}", clock());

    let (stubborn, held) = driver(vec![vec![], vec![]], vec![], Wire::default());
    let twice = async {
        held.commands.send(Command::Shutdown(Duration::from_secs(60))).await.unwrap();
        held.commands.send(Command::Abort).await.unwrap();
    };
    assert_eq!(tokio::join!(stubborn.run(), twice).0, Ending::Aborted);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_kernel_refuses_is_told_until_it_takes_one() {
    let assign = |id| Effect::Assign {
        id: EffectId(id),
        claim: ClaimId::control_plane(),
        vips: Vec::new(),
        lifetime: Duration::from_secs(10),
    };
    let outcome = |id, outcome| Input::Outcome { id: EffectId(id), outcome };
    let arrivals =
        [(at(100), outcome(1, Outcome::Failed("no buffer".into()))), (at(300), outcome(2, Outcome::Done))];
    let wire = Wire { arrivals: arrivals.into(), ..Wire::default() };
    let (driver, held) = driver(vec![vec![assign(1)], vec![assign(2)]], vec![], wire);
    let ask = async |moment: Moment| {
        tokio::time::sleep(moment.since(clock())).await;
        let (reply, answer) = oneshot::channel();
        held.commands.send(Command::Report(reply)).await.unwrap();
        answer.await.unwrap().address_failure
    };
    let look = async {
        assert_eq!(ask(at(50)).await, None);
        assert_eq!(ask(at(200)).await.as_deref(), Some("no buffer"));
        assert_eq!(ask(at(400)).await, None);
        shut_down_at(&held, at(500)).await;
    };
    tokio::join!(driver.run(), look);
}

/// Always has one more frame.
struct Flood;

impl Plane for Flood {
    fn submit(&mut self, effect: Effect) -> Option<Effect> {
        Some(effect)
    }

    async fn next_until(&mut self, deadline: Moment) -> Option<Input> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        (clock() < deadline).then_some(Input::Link(Link::Up))
    }

    fn drain(&mut self) -> Vec<Input> {
        vec![Input::Link(Link::Up)]
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn take_fault_news(&mut self) -> Vec<FaultNews> {
        Vec::new()
    }

    fn refused(&self) -> BTreeMap<Vip, String> {
        BTreeMap::new()
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_frames_hides_neither_deadlines_nor_commands() {
    let (quiet, held) = driver(vec![], vec![at(50)], Wire::default());
    let flooded = Driver::new((quiet.core, Flood), clock, quiet.edges, true);
    let (ending, ()) = tokio::join!(flooded.run(), shut_down_at(&held, at(100)));
    assert_eq!(ending, Ending::Stopped);
    let ticks = held.record.inputs().iter().filter(|input| **input == Input::Tick).count();
    assert_eq!(ticks, 2, "that of the start, and that of the deadline");
    assert!(held.record.inputs().len() > BATCH, "what had arrived by the deadline came before it");
    assert!(clock() < at(200), "{:?}", clock());
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_stood_still_asks_the_core_before_it_does_anything_else() {
    let wire = Wire { arrivals: [(at(5_000), Input::Link(Link::Up))].into(), ..Wire::default() };
    let submitted = Rc::clone(&wire.submitted);
    let (driver, held) =
        driver(vec![vec![], vec![Effect::Silence { claim: ClaimId::control_plane() }]], vec![at(100)], wire);
    let freeze = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Virtual time passes, and nobody is asked: as when the process is stopped.
        tokio::time::advance(Duration::from_secs(10)).await;
        shut_down_at(&held, at(10_100)).await;
    };
    tokio::join!(driver.run(), freeze);
    let inputs = held.record.inputs();
    assert_eq!(inputs[..3], [Input::Tick, Input::Tick, Input::Link(Link::Up)], "{inputs:?}");
    assert_eq!(submitted.borrow().len(), 1, "what it ordered was carried out");
}
