//! One scenario for each rule of docs/ownership.md, which fails when the rule is taken out of the core.
//!
//! Timings are 5/3/1 s, the VIP's lifetime is 10 s. Each scenario runs with several seeds, that is with several
//! phases of all timers.

use std::time::Duration;

use mainstay_core::check::AgentState;
use mainstay_core::effect::{Effect, LeaseRequest};
use mainstay_core::event::{Event, TakeReason, Verdict, YieldReason};
use mainstay_core::input::{Health, LeaseRecord};
use mainstay_core::node::Node;
use mainstay_core::settings::OnAuthorityLoss;
use mainstay_core::vip::{Mark, Tenure};
use mainstay_lab::sim::{ApiForm, FrontEnds, Kind, Schedule, Tune, Whom, Witness, World};

mod conflicts;
mod grants;
mod guards;
mod hosts;
mod names;
mod seats;
mod takeovers;

type Sim = World<Node>;

const OUTAGES: [ApiForm; 5] =
    [ApiForm::Refused, ApiForm::Hung, ApiForm::Errors, ApiForm::Forbidden, ApiForm::Throttled];

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn started(seed: u64, nodes: usize, tune: Tune) -> Sim {
    let trace = std::env::var("MAINSTAY_SIM_TRACE").is_ok();
    World::new(Schedule::calm(seed, nodes), Tune { trace, ..tune })
}

/// A world with one confirmed holder, all clients on it, and all paths known.
fn settled(seed: u64, nodes: usize) -> (Sim, usize) {
    settle(seed, started(seed, nodes, Tune::default()))
}

/// The same with an API server on each node: a request is sent to the next after 150 ms, too.
fn settled_with_servers(seed: u64, nodes: usize) -> (Sim, usize) {
    let schedule = Schedule { front_ends: FrontEnds::PerNode, ..Schedule::calm(seed, nodes) };
    settle(seed, World::new(schedule, Tune::default()))
}

fn settle(seed: u64, mut sim: Sim) -> (Sim, usize) {
    sim.run_for(seconds(13));
    let holder = only_holder(&sim);
    assert_eq!(tenure(&sim, holder), Some(Tenure::Confirmed), "seed {seed}");
    sim.reset_tallies();
    (sim, holder)
}

fn only_holder(sim: &Sim) -> usize {
    let holders: Vec<usize> = sim.view().holders().collect();
    sim.holder().unwrap_or_else(|| panic!("one holder wanted at {:?}, there are {holders:?}", sim.now()))
}

fn tenure(sim: &Sim, node: usize) -> Option<Tenure> {
    sim.mark(node).map(|mark| mark.tenure)
}

fn lost(sim: &Sim) -> u64 {
    sim.tallies().iter().map(|tally| tally.lost).sum()
}

fn dark(sim: &Sim) -> Duration {
    sim.tallies().iter().map(|tally| tally.longest_dark).max().unwrap_or_default()
}

fn clean(sim: &Sim) {
    assert_eq!(sim.violations(), []);
}

fn outage(form: ApiForm) -> Kind {
    Kind::Api(Whom::All, form)
}

fn events_since(sim: &Sim, since: Duration) -> impl Iterator<Item = (Duration, usize, &Event)> {
    sim.events.iter().filter(move |(at, ..)| *at >= since).map(|(at, node, event)| (*at, *node, event))
}

/// When `node` announced at or after `since`; request and reply of one moment count once.
fn announced(sim: &Sim, node: usize, since: Duration) -> Vec<Duration> {
    let all = sim.log.announcements.iter().filter(|(at, who, _)| *who == node && *at >= since);
    let mut times: Vec<Duration> = all.map(|(at, ..)| *at).collect();
    times.dedup();
    times
}

/// When `node` asked for the VIP at or after `since`, as a follower does or as a candidate.
fn questions(sim: &Sim, node: usize, since: Duration, tenure: Option<Tenure>) -> Vec<Duration> {
    let asks = |effect: &Effect| match effect {
        Effect::Probe { target, mark, .. } => {
            *target == mainstay_lab::sim::VIP && mark.map(|mark| mark.tenure) == tenure
        }
        _ => false,
    };
    let all = sim.log.effects.iter().rev().take_while(|(at, ..)| *at >= since);
    all.filter(|(_, who, effect)| *who == node && asks(effect)).map(|(at, ..)| *at).collect()
}

fn yielded(sim: &Sim, node: usize, since: Duration) -> Option<(Duration, YieldReason)> {
    events_since(sim, since).find_map(|(at, who, event)| match event {
        Event::Yielded { reason, .. } if who == node => Some((at, *reason)),
        _ => None,
    })
}

fn took(sim: &Sim, since: Duration) -> Vec<(Duration, usize, Tenure, TakeReason)> {
    events_since(sim, since)
        .filter_map(|(at, who, event)| match event {
            Event::Took { tenure, reason, .. } => Some((at, who, *tenure, *reason)),
            _ => None,
        })
        .collect()
}

fn verdicts(sim: &Sim, node: usize, since: Duration) -> Vec<Verdict> {
    events_since(sim, since)
        .filter_map(|(_, who, event)| match event {
            Event::Conflict { verdict, .. } if who == node => Some(*verdict),
            _ => None,
        })
        .collect()
}

fn other_than(node: usize) -> usize {
    usize::from(node == 0)
}

fn deny(sim: &mut Sim, successor: &str) -> Duration {
    let lease = sim.lease().cloned().expect("there is a lease");
    let (transitions, acquire_time) = (lease.transitions + 1, "elsewhere".to_owned());
    sim.put_lease(LeaseRecord { holder: Some(successor.to_owned()), transitions, acquire_time, ..lease });
    sim.now()
}
