//! The plans: which faults are tried alone, and which meet each other.

use std::time::Duration;

use mainstay_lab::model::{Budget, Fault, Plan, Start};
use mainstay_lab::sim::{ApiForm, Kind, Whom};

/// How much of each plan is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Each fault alone, and the pairs in a short window: half a minute.
    Quick,
    /// What `make test` runs: two minutes.
    Test,
    /// What `make model-long` runs once for a release.
    Long,
}

impl Scope {
    /// Fewer states than this, and the plans no longer do what they are for.
    pub(crate) fn least(self) -> usize {
        match self {
            Self::Quick => 200_000,
            Self::Test => 1_000_000,
            Self::Long => 10_000_000,
        }
    }
}

const FOR_EVER: Option<u64> = None;

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Every kind of fault with the lengths that make a difference: shorter and longer than what ends in a takeover, in
/// expiry, and in the end of the address's lifetime.
fn alone() -> Vec<(&'static str, Vec<Fault>)> {
    use Fault as F;
    let forms = [ApiForm::Errors, ApiForm::ReplyLost].map(|form| Kind::Api(Whom::All, form));
    let one_node = |h| Kind::Api(Whom::Node(h), ApiForm::Hung);
    vec![
        ("outage of the API", F::outages(&[300, 1_500, 7_000, 16_000])),
        ("outage with errors, or without replies", F::each(&forms, &[Some(1_500), Some(7_000)])),
        ("outage for one node", F::anywhere(one_node, &[Some(1_500), Some(7_000), Some(26_000)])),
        ("one-way partition", F::one_way(&[800, 6_000, 16_000])),
        ("isolation", F::anywhere(Kind::Isolated, &[Some(800), Some(6_000), Some(16_000)])),
        ("cable pulled", F::anywhere(Kind::Unplugged, &[Some(800), Some(6_000), Some(16_000)])),
        ("link down", F::anywhere(Kind::LinkDown, &[Some(700), Some(4_000)])),
        ("crash and restart", F::anywhere(Kind::Crash, &[Some(300), Some(4_000), Some(12_000)])),
        ("death", F::anywhere(Kind::PowerLoss, &[Some(4_000), FOR_EVER])),
        ("agent frozen", F::anywhere(Kind::AgentFrozen, &[Some(2_000), Some(5_000), Some(12_000)])),
        ("host frozen", F::anywhere(Kind::HostFrozen, &[Some(2_000), Some(5_000), Some(12_000)])),
        ("shutdown and restart", F::anywhere(Kind::Shutdown, &[Some(2_000), Some(12_000)])),
        ("unhealthy", F::anywhere(Kind::Unhealthy, &[Some(4_000), Some(12_000)])),
        ("address deleted", F::anywhere(Kind::AddressDeleted, &[FOR_EVER])),
        ("lease deleted", F::each(&[Kind::LeaseDeleted], &[FOR_EVER])),
    ]
}

/// Single messages that are hindered.
fn messages(count: u8) -> Vec<(&'static str, Budget)> {
    let none = Budget::default;
    vec![
        ("lost frames", Budget { lost_frames: count, ..none() }),
        ("late frames", Budget { late_frames: count, ..none() }),
        ("lost requests and replies", Budget { lost_requests: count, ..none() }),
        ("late requests and replies", Budget { late_requests: count, ..none() }),
        ("late watch events", Budget { late_watches: count, ..none() }),
    ]
}

/// What the second thing to go wrong meets: the faults that set the machines in motion.
fn movers() -> Vec<(&'static str, Vec<Fault>)> {
    use Fault as F;
    vec![
        ("death", F::anywhere(Kind::PowerLoss, &[FOR_EVER])),
        ("outage", F::outages(&[7_000])),
        ("one way", F::one_way(&[6_000])),
        ("isolation", F::anywhere(Kind::Isolated, &[Some(4_000)])),
        ("restart", F::anywhere(Kind::Crash, &[Some(300), Some(12_000)])),
        ("host frozen", F::anywhere(Kind::HostFrozen, &[Some(5_000)])),
        ("agent frozen", F::anywhere(Kind::AgentFrozen, &[Some(5_000)])),
        ("reboot", F::anywhere(Kind::PowerLoss, &[Some(4_000)])),
    ]
}

fn leak(name: String) -> &'static str {
    name.leak()
}

fn singles(scope: Scope, plans: &mut Vec<Plan>) {
    // A period of renewals; or one of announcements, which three of those fit into.
    let window = if scope == Scope::Long { ms(3_400) } else { ms(1_050) };
    for (name, faults) in alone() {
        let plan = Plan::calm(name).with(1, faults);
        let every = if scope == Scope::Quick { plan.every } else { Duration::ZERO };
        plans.push(Plan { window, every, ..plan });
    }
    let count = match scope {
        Scope::Quick => 1,
        Scope::Test => 2,
        Scope::Long => 3,
    };
    for (name, mut budget) in messages(count) {
        // Of these there are few under way at a time: one more is cheap.
        budget.lost_requests += u8::from(budget.lost_requests > 0);
        budget.late_requests += u8::from(budget.late_requests > 0);
        plans.push(Plan {
            budget,
            window: ms(1_050),
            gap: ms(1_050),
            every: Duration::ZERO,
            ..Plan::calm(name)
        });
        let cold = leak(format!("cold start, {name}"));
        let plan = Plan { budget, start: Start::Cold, window: ms(2_500), gap: ms(1_500), ..Plan::calm(cold) };
        plans.push(plan);
    }
}

/// Each mover, and messages hindered while it moves things.
fn moved(scope: Scope, plans: &mut Vec<Plan>) {
    let (window, gap) = match scope {
        Scope::Quick => (ms(0), ms(600)),
        Scope::Test => (ms(0), ms(2_000)),
        Scope::Long => (ms(200), ms(4_000)),
    };
    for (name, faults) in movers() {
        for (what, budget) in messages(1) {
            let plan = Plan { budget, window, gap, ..Plan::calm(leak(format!("{name}, {what}"))) };
            plans.push(plan.with(1, faults.clone()));
        }
    }
}

/// Each two movers at once, in either order.
fn pairs(scope: Scope, plans: &mut Vec<Plan>) {
    let (window, gap) = match scope {
        Scope::Quick => (ms(0), ms(200)),
        Scope::Test => (ms(0), ms(1_200)),
        Scope::Long => (ms(0), ms(12_000)),
    };
    let movers = movers();
    for (index, (first, faults)) in movers.iter().enumerate() {
        for (second, others) in &movers[index..] {
            let name = leak(format!("{first} and {second}"));
            let plan =
                Plan { window, gap, ..Plan::calm(name) }.with(1, faults.clone()).with(1, others.clone());
            plans.push(plan);
        }
    }
}

/// Three things that go wrong together.
fn triples(plans: &mut Vec<Plan>) {
    let movers = movers();
    let find = |name: &str| movers.iter().find(|(mover, _)| *mover == name).map(|(_, faults)| faults.clone());
    let outage = find("outage").unwrap_or_default();
    for (name, faults) in &movers {
        if matches!(*name, "outage" | "agent frozen") {
            continue;
        }
        let title = leak(format!("outage, {name} and a lost frame"));
        let budget = Budget { lost_frames: 1, ..Budget::default() };
        let plan = Plan { budget, window: ms(0), gap: ms(900), ..Plan::calm(title) };
        plans.push(plan.with(1, outage.clone()).with(1, faults.clone()));
    }
}

/// The plans of a scope.
pub(crate) fn plans(scope: Scope) -> Vec<Plan> {
    let mut plans = Vec::new();
    singles(scope, &mut plans);
    moved(scope, &mut plans);
    pairs(scope, &mut plans);
    if scope == Scope::Long {
        triples(&mut plans);
    }
    // Every plan has a seed of its own: another first holder, other ties, other jitter, timers in step or not.
    for (seed, plan) in (0..).zip(&mut plans) {
        plan.seed = seed;
    }
    plans
}
