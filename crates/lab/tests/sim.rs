//! The ownership machine under thousands of generated schedules of faults.
//!
//! `MAINSTAY_SIM_SEED=n` runs one seed with a trace; `MAINSTAY_SIM_SEEDS=n` runs that many.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::{Duration, Instant};

use mainstay_core::node::Node;
use mainstay_lab::sim::{Report, Schedule, Tune, World, run, run_with, shrink};

const SEEDS: u64 = 5_000;
/// Fewer than this of any kind of fault, and the run proves nothing about it.
const LEAST_OF_A_KIND: u64 = 150;

fn say(line: &str) {
    // A closed pipe is no reason to fail the test.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number of the environment"))
}

fn fails(schedule: &Schedule) -> bool {
    !run(schedule).violations.is_empty()
}

struct Sum {
    failed: Vec<u64>,
    steps: u64,
    simulated: u64,
    longest_dark: Duration,
    longest_pair: Duration,
    faults: BTreeMap<&'static str, u64>,
    broken: BTreeMap<String, Vec<u64>>,
}

impl Sum {
    fn new() -> Self {
        Self {
            failed: Vec::new(),
            steps: 0,
            simulated: 0,
            longest_dark: Duration::ZERO,
            longest_pair: Duration::ZERO,
            faults: BTreeMap::new(),
            broken: BTreeMap::new(),
        }
    }

    fn add(&mut self, seed: u64, schedule: &Schedule, report: &Report) {
        self.steps += report.steps;
        self.simulated += schedule.duration;
        self.longest_dark = self.longest_dark.max(report.longest_dark);
        self.longest_pair = self.longest_pair.max(report.longest_pair);
        for (kind, count) in World::<Node>::faults(schedule) {
            *self.faults.entry(kind).or_insert(0) += count;
        }
        if !report.violations.is_empty() {
            self.failed.push(seed);
        }
        if let Some(first) = report.violations.first() {
            self.broken.entry(format!("{:?}", first.invariant)).or_default().push(seed);
        }
    }

    fn merge(&mut self, other: Self) {
        self.failed.extend(other.failed);
        self.steps += other.steps;
        self.simulated += other.simulated;
        self.longest_dark = self.longest_dark.max(other.longest_dark);
        self.longest_pair = self.longest_pair.max(other.longest_pair);
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_insert(0) += count;
        }
        for (invariant, seeds) in other.broken {
            self.broken.entry(invariant).or_default().extend(seeds);
        }
    }
}

fn run_seeds(first: u64, count: u64, workers: u64) -> Sum {
    let worker = |worker: u64| {
        let mut sum = Sum::new();
        for seed in (first..first + count).filter(|seed| seed % workers == worker) {
            let schedule = Schedule::generate(seed);
            let report = run(&schedule);
            assert!(schedule.duration >= 60_000, "seed {seed} is too short");
            sum.add(seed, &schedule, &report);
        }
        sum
    };
    let mut sum = Sum::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|number| scope.spawn(move || worker(number))).collect();
        for thread in threads {
            sum.merge(thread.join().expect("a worker that ended"));
        }
    });
    sum
}

fn trace(seed: u64) {
    let schedule = Schedule::generate(seed);
    say(&format!("seed {seed}: {schedule}"));
    let tune = Tune { ping_every: Duration::from_millis(200), trace: true, ..Tune::default() };
    let report = run_with::<Node>(&schedule, tune);
    say(&format!("{report:#?}"));
    assert_eq!(report.violations, [], "seed {seed} breaks promises");
}

#[test]
fn no_schedule_of_faults_breaks_a_promise() {
    if let Some(seed) = number("MAINSTAY_SIM_SEED") {
        trace(seed);
        return;
    }
    let count = number("MAINSTAY_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("MAINSTAY_SIM_FIRST").unwrap_or(0);
    let workers = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let began = Instant::now();
    let sum = run_seeds(first, count, workers);
    let seconds = began.elapsed().as_secs_f64();
    say(&format!(
        "{count} seeds in {seconds:.1} s ({:.0} seeds/s, {:.0} simulated seconds/s, {} steps); \
         longest dark {:?}, longest pair {:?}\nfaults: {:?}",
        count as f64 / seconds,
        sum.simulated as f64 / 1_000.0 / seconds,
        sum.steps,
        sum.longest_dark,
        sum.longest_pair,
        sum.faults
    ));
    if count >= SEEDS {
        for (kind, injected) in &sum.faults {
            assert!(*injected >= LEAST_OF_A_KIND, "only {injected} faults of kind {kind}");
        }
        assert_eq!(sum.faults.len(), 27, "a kind of fault is missing");
    }
    for (invariant, seeds) in &sum.broken {
        say(&format!("{invariant}: {} seeds: {:?}", seeds.len(), &seeds[..seeds.len().min(12)]));
    }
    let Some(seed) = sum.failed.iter().min().copied() else { return };
    let small = shrink(&Schedule::generate(seed), fails);
    let report = run(&small);
    panic!(
        "{} of {count} seeds break a promise; seed {seed}: {:#?}\nshrunk schedule: {small}",
        sum.failed.len(),
        report.violations
    );
}
