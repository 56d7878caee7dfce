//! The ownership machine under thousands of generated schedules of faults.
//!
//! | variable | |
//! |---|---|
//! | `MAINSTAY_SIM_SEED=n` | runs one seed with a trace |
//! | `MAINSTAY_SIM_SCHEDULE=FILE` | runs a failure that was kept, with a trace |
//! | `MAINSTAY_SIM_SEEDS=n` | runs that many short schedules |
//! | `MAINSTAY_SIM_SPREAD_SEED=n`, `MAINSTAY_SIM_SPREAD_SEEDS=n` | the same with Services spread over nodes |
//! | `MAINSTAY_SIM_HOURS=n`, `MAINSTAY_SIM_HOURS_OF_50=n` | simulates that long with 3 and with 50 nodes |
//! | `MAINSTAY_SIM_FIRST=n` | begins with that seed: a run that was interrupted goes on |

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mainstay_core::node::Node;
use mainstay_lab::sim::{Failure, Schedule, Sum, Tune, run_all, run_with, smallest};

const SEEDS: u64 = 20_000;
/// With Services spread over nodes: each node has a machine for each seat, and a run is longer.
const SPREAD_SEEDS: u64 = 250;
/// Long runs of 3 nodes without these variables, and the simulated hours after which a run is whole.
const LONG_RUNS: u64 = 10;
const RECORD_HOURS: u64 = 10_000;
const RECORD_HOURS_OF_50: u64 = 200;
/// How long one long schedule is.
const LONG: Duration = Duration::from_secs(30 * 60);
const LONG_OF_50: Duration = Duration::from_secs(10 * 60);
/// Fewer than this of any kind of fault, and a whole run proves too little about it: where 1,500 faults broke nothing,
/// then with 95 % confidence fewer than one in 500 of that kind breaks a promise (the rule of three).
const LEAST_OF_A_KIND: u64 = 1_500;
/// Between two lines of progress.
const TELL_EVERY: Duration = Duration::from_secs(15);

fn say(line: &str) {
    // A closed pipe is no reason to fail the test.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number of the environment"))
}

fn trace(schedule: &Schedule) {
    say(&format!("schedule: {schedule}"));
    let tune = Tune { ping_every: Duration::from_millis(200), trace: true, ..Tune::default() };
    let report = run_with::<Node>(schedule, tune);
    say(&format!("{report:#?}"));
    assert_eq!(report.violations, [], "seed {} breaks promises", schedule.seed);
}

/// Runs what the environment names alone; whether there was such a thing.
fn traced() -> bool {
    if let Some(path) = std::env::var_os("MAINSTAY_SIM_SCHEDULE") {
        trace(&Failure::read(Path::new(&path)).expect("a file that was kept").schedule);
        return true;
    }
    number("MAINSTAY_SIM_SEED").map(|seed| trace(&Schedule::generate(seed))).is_some()
}

/// Runs `count` seeds, tells how it goes, and fails with the smallest schedule that fails. `least` is how many faults
/// of each kind there must be.
fn campaign(name: &str, count: u64, schedule: fn(u64) -> Schedule, least: u64) {
    let first = number("MAINSTAY_SIM_FIRST").unwrap_or(0);
    let began = Instant::now();
    let mut told = began;
    let line = |sum: &Sum| {
        let seconds = began.elapsed().as_secs_f64();
        format!(
            "{name}: {} of {count} seeds from {first} on, {:.1} simulated hours in {seconds:.1} s ({:.0} seeds/s, \
             {:.0} simulated seconds/s, {} steps); longest dark {:?}, longest pair {:?}",
            sum.runs,
            sum.hours(),
            sum.runs as f64 / seconds,
            sum.simulated.as_secs_f64() / seconds,
            sum.steps,
            sum.longest_dark,
            sum.longest_pair,
        )
    };
    let sum = run_all(first..first + count, schedule, |sum| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            say(&line(sum));
        }
    });
    say(&format!("{}\nfaults: {:?}", line(&sum), sum.faults));
    for (invariant, seeds) in &sum.broken {
        say(&format!(
            "{invariant:?}: {} seeds: {:?}",
            seeds.len(),
            seeds.iter().take(12).collect::<Vec<_>>()
        ));
    }
    if let Some(seed) = sum.first_failure() {
        fail(&schedule(seed));
    }
    assert_eq!(sum.too_rare(least), [], "kinds of faults that came fewer than {least} times");
}

/// Shrinks a schedule that fails, keeps it, and fails.
fn fail(schedule: &Schedule) {
    say(&format!("seed {} breaks a promise; shrinking {schedule}", schedule.seed));
    let failure = smallest(schedule);
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"), PathBuf::from);
    let kept = failure.write(&target.join("sim"));
    panic!("seed {}: {:#?}\nkept: {kept:?}\nshrunk: {}", schedule.seed, failure.violations, failure.schedule);
}

#[test]
fn no_schedule_of_faults_breaks_a_promise() {
    if traced() {
        return;
    }
    let count = number("MAINSTAY_SIM_SEEDS").unwrap_or(SEEDS);
    let schedule = |seed| {
        let schedule = Schedule::generate(seed);
        assert!(schedule.duration >= 60_000, "seed {seed} is too short");
        schedule
    };
    campaign("seeds", count, schedule, if count >= SEEDS { LEAST_OF_A_KIND } else { 0 });
}

#[test]
fn no_schedule_of_faults_breaks_a_promise_of_services_that_are_spread() {
    if std::env::var_os("MAINSTAY_SIM_SCHEDULE").is_some() {
        return;
    }
    if let Some(seed) = number("MAINSTAY_SIM_SPREAD_SEED") {
        return trace(&Schedule::spread(seed));
    }
    campaign("spread", number("MAINSTAY_SIM_SPREAD_SEEDS").unwrap_or(SPREAD_SEEDS), Schedule::spread, 0);
}

#[test]
fn long_runs_of_three_nodes_keep_every_promise() {
    let hours = number("MAINSTAY_SIM_HOURS");
    let least = if hours >= Some(RECORD_HOURS) { LEAST_OF_A_KIND } else { 0 };
    let count = hours.map_or(LONG_RUNS, |hours| runs(hours, LONG));
    campaign("3 nodes", count, |seed| Schedule::long(seed, 3, LONG), least);
}

#[test]
fn long_runs_of_fifty_nodes_keep_every_promise() {
    let Some(hours) = number("MAINSTAY_SIM_HOURS_OF_50") else {
        return say("skipped: 50 nodes take minutes; set MAINSTAY_SIM_HOURS_OF_50, or run `make sim-long`");
    };
    let least = if hours >= RECORD_HOURS_OF_50 { LEAST_OF_A_KIND } else { 0 };
    campaign("50 nodes", runs(hours, LONG_OF_50), |seed| Schedule::long(seed, 50, LONG_OF_50), least);
}

fn runs(hours: u64, length: Duration) -> u64 {
    (hours * 3_600).div_ceil(length.as_secs())
}
