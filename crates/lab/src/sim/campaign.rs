//! Many runs on all cores: what they came to, and how far they have got.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mainstay_core::check::{Invariant, Violation};

use super::schedule::Schedule;
use super::shrink::{Failure, shrink};
use super::{Report, run};

/// Failures after which no further run is begun: one is enough to look at.
const ENOUGH: usize = 20;
/// How long shrinking goes on: a run of many nodes takes seconds.
const SHRINKING: Duration = Duration::from_secs(180);

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    /// Runs that ended.
    pub runs: u64,
    /// Events handled.
    pub steps: u64,
    /// Virtual time.
    pub simulated: Duration,
    /// The longest time that the VIP was dark although a fit node was there.
    pub longest_dark: Duration,
    /// The longest time that two holders heard each other.
    pub longest_pair: Duration,
    /// How many faults of each kind were injected.
    pub faults: BTreeMap<&'static str, u64>,
    /// The seeds that broke each promise first, and how.
    pub broken: BTreeMap<Invariant, BTreeMap<u64, Violation>>,
}

impl Sum {
    fn add(&mut self, schedule: &Schedule, report: &Report) {
        self.runs += 1;
        self.steps += report.steps;
        self.simulated += Duration::from_millis(schedule.duration);
        self.longest_dark = self.longest_dark.max(report.longest_dark);
        self.longest_pair = self.longest_pair.max(report.longest_pair);
        for (kind, count) in schedule.kinds() {
            *self.faults.entry(kind).or_insert(0) += count;
        }
        if let Some(first) = report.violations.first() {
            self.broken.entry(first.invariant).or_default().insert(schedule.seed, first.clone());
        }
    }

    /// The first seed that broke a promise.
    #[must_use]
    pub fn first_failure(&self) -> Option<u64> {
        self.broken.values().flat_map(BTreeMap::keys).min().copied()
    }

    /// Kinds of faults that came too rarely to prove anything, of all that there are.
    #[must_use]
    pub fn too_rare(&self, least: u64) -> Vec<(&'static str, u64)> {
        let count = |kind: &&'static str| (*kind, self.faults.get(kind).copied().unwrap_or(0));
        super::schedule::NAMES.iter().map(count).filter(|(_, count)| *count < least).collect()
    }

    /// Virtual time in hours.
    #[must_use]
    pub fn hours(&self) -> f64 {
        self.simulated.as_secs_f64() / 3_600.0
    }
}

/// Runs the schedules of all `seeds` and shows `progress` after each.
pub fn run_all(seeds: Range<u64>, schedule: fn(u64) -> Schedule, mut progress: impl FnMut(&Sum)) -> Sum {
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicU64::new(seeds.start);
    let mut sum = Sum::default();
    std::thread::scope(|scope| {
        // A worker whose result is not taken yet waits.
        let (done, results) = mpsc::sync_channel(workers);
        for _ in 0..workers {
            let (done, next, end) = (done.clone(), &next, seeds.end);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let schedule = schedule(seed);
                    let report = run(&schedule);
                    if done.send((schedule, report)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (schedule, report) in results {
            sum.add(&schedule, &report);
            progress(&sum);
            if sum.broken.values().map(BTreeMap::len).sum::<usize>() >= ENOUGH {
                break;
            }
        }
    });
    sum
}

/// The smallest schedule found that breaks a promise that `schedule` breaks, and what it breaks.
#[must_use]
pub fn smallest(schedule: &Schedule) -> Failure {
    let kinds = Failure::kinds(&run(schedule).violations);
    let end = Instant::now() + SHRINKING;
    let fails = |schedule: &Schedule| {
        Instant::now() < end && !kinds.is_disjoint(&Failure::kinds(&run(schedule).violations))
    };
    let small = shrink(schedule, fails);
    let violations = run(&small).violations;
    Failure { schedule: small, violations }
}
