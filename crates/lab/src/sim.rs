//! Many hosts in virtual time, on one thread, from one seed.
//!
//! Each host has a kernel (addresses with lifetimes, answers to ARP), an agent (the core's machine, unchanged, with
//! the real announcer) and a clock of its own. Between them are a segment with clients, and API servers that keep
//! one Lease; where Services are spread over the nodes, one for each seat as well, and the record of what is placed where
//! (`spread.rs`). A [`Schedule`] says what goes wrong; [`mainstay_core::check`] looks after every step.
//!
//! A failing run is its schedule, which is printed as JSON: `MAINSTAY_SIM_SEED=n` runs one generated seed with a
//! trace, `MAINSTAY_SIM_SEEDS=n` runs more of them, `MAINSTAY_SIM_SCHEDULE=FILE` runs a schedule that was kept.

use std::time::Duration;

use mainstay_core::check::{Bounds, Violation};
use mainstay_core::node::Node;

mod api;
mod campaign;
mod clock;
mod faults;
mod host;
mod inspect;
mod machine;
mod queue;
pub(crate) mod random;
mod schedule;
pub(crate) mod segment;
mod shrink;
mod spread;
pub(crate) mod store;
#[cfg(test)]
mod tests;
mod world;

pub use campaign::{Sum, run_all, smallest};
pub(crate) use host::SOCKET_KEEPS;
pub use host::{ANNOUNCE_EVERY, GATEWAY, VIP};
pub use inspect::Log;
pub use machine::Machine;
pub use random::Random;
pub use schedule::{ApiForm, Fault, FrontEnds, Kind, Schedule, Whom};
pub use segment::{Habit, Tally};
pub use shrink::{Failure, shrink};
pub use world::{Tune, Witness, World};

/// What a run showed.
#[derive(Clone, Debug)]
pub struct Report {
    /// Promises broken, in order of time.
    pub violations: Vec<Violation>,
    /// Events handled.
    pub steps: u64,
    /// The longest time that the VIP was dark although a fit node was there.
    pub longest_dark: Duration,
    /// The longest time that two holders heard each other.
    pub longest_pair: Duration,
}

/// Ticks of one agent in one second that are a storm.
const TICK_STORM: u32 = 400;

/// The VIP's lifetime in a schedule's kernels: the lease duration, at least 10 s (rule 10).
#[must_use]
pub fn lifetime(schedule: &Schedule) -> Duration {
    schedule.lease_duration().max(Duration::from_secs(10))
}

/// What the promises come to with a schedule's timing.
#[must_use]
pub fn bounds(schedule: &Schedule) -> Bounds {
    let (duration, lifetime) = (schedule.lease_duration(), lifetime(schedule));
    // Clocks of the hosts run slower than the observer's by at most this.
    let drift = |time: Duration| time + time * schedule.drift_ppm / 500_000;
    // A Lease's members are a few, and what is promised is promised for up to seven. Of many, each prober that suspects
    // the holder asks every member ten times a second for a witness, and after the Lease was deleted all write
    // themselves down again, one after the other.
    let many = if schedule.nodes > 7 { schedule.nodes as u64 } else { 0 };
    // Expiry, then the grace for somebody who wears the VIP (rule 6), then the end of an orphan's lifetime (rule 10),
    // and what the API client needs to come back: a pause of 2 s, a list, a request's deadline.
    let settle = drift(2 * duration + lifetime + Duration::from_secs(6)) + Duration::from_millis(500 * many);
    Bounds {
        two_holders: Duration::from_secs(1),
        // Announcements come every 3.3 s at the latest; five of them lost in a row at 20 % is one in 3,000.
        two_holders_lossy: Duration::from_secs(17),
        // A fit node takes it by evidence; the damping of false takeovers may put that off until expiry (rule 7).
        dark_calm: drift(2 * duration + Duration::from_secs(3)),
        dark: drift(Duration::from_secs(24)) + settle,
        announcement_gap: drift(ANNOUNCE_EVERY * 5 / 4),
        orphan: lifetime + Duration::from_millis(50),
        announced_bare: Duration::from_millis(50),
        settle,
        favour: 2 * duration - 2 * duration * schedule.drift_ppm / 500_000,
        // The longest pause of a holder is a third of the lease, a request's deadline a fifth.
        asks_within: drift(duration * 8 / 15),
        effects_per_second: (150 + 10 * many) * u64::from(machines(schedule)),
        write_period: Duration::from_secs(schedule.lease.2) / if many > 0 { 2 } else { 1 },
    }
}

/// How many claims an agent's core has: one, and beside it a seat of each node where Services are spread.
fn machines(schedule: &Schedule) -> u32 {
    let seats = if schedule.addresses > 0 { schedule.nodes } else { 0 };
    1 + u32::try_from(seats).unwrap_or(u32::MAX)
}

/// Runs a schedule with the core's own machine.
#[must_use]
pub fn run(schedule: &Schedule) -> Report {
    run_with::<Node>(
        schedule,
        Tune { ping_every: Duration::from_millis(200), keep_events: false, ..Tune::default() },
    )
}

/// Runs a schedule with any machine.
#[must_use]
pub fn run_with<M: Machine>(schedule: &Schedule, tune: Tune) -> Report {
    let mut world = World::<M>::new(schedule.clone(), tune);
    world.run_for(Duration::from_millis(schedule.duration));
    let mut violations = world.broken();
    let (longest_dark, longest_pair) = world.longest();
    if world.worst_ticks > TICK_STORM * machines(schedule) {
        violations.push(Violation {
            at: world.now(),
            invariant: mainstay_core::check::Invariant::Storm,
            detail: format!("{} ticks within a second", world.worst_ticks),
        });
    }
    Report { violations, steps: world.steps(), longest_dark, longest_pair }
}

/// Runs a schedule and gives what each run of each agent's core was given and answered: a name, and the text that
/// `mainstay replay` reads.
#[must_use]
pub fn record(schedule: &Schedule) -> Vec<(String, String)> {
    let tune =
        Tune { ping_every: Duration::from_millis(200), keep_events: false, record: true, ..Tune::default() };
    let mut world = World::<Node>::new(schedule.clone(), tune);
    world.run_for(Duration::from_millis(schedule.duration));
    for node in 0..schedule.nodes {
        world.kill_agent(node);
    }
    let named = |((node, run), text)| (format!("node-{}-run-{run}.jsonl", node + 1), text);
    world.recordings.into_iter().map(named).collect()
}
