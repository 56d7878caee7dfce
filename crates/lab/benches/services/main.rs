//! What Services of type LoadBalancer cost, and how fast they are there: `make bench-services`.
//!
//! Arguments: `--only NAME` for the scenarios of that name. The agent is the release build without the `demo` feature, as
//! it is in the container image; the laboratory, with the API server, is on the same cores. Without the privilege to make
//! network namespaces nothing is measured, and it says why.
#![expect(clippy::print_stdout, reason = "the table is the benchmark's data")]

mod faults;
mod one_holder;
mod scene;
mod spread;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use mainstay_lab::bench::{Bound, Figure, table, write};
use mainstay_lab::cluster::wait_for;
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Sweep, SweepPlan};
use mainstay_lab::shop::Address;

use scene::{Bench, Election, PATIENCE, Scene, at_a_time, millis};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = netns::become_privileged() {
        eprintln!("skipped: {reason:#}");
        return ExitCode::SUCCESS;
    }
    match run(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured before something failed stays.
type Scenario = fn(&Bench, &mut Vec<Figure>) -> Result<()>;

const SCENARIOS: [(&str, Scenario); 4] =
    [("up", up), ("spread", spread::all), ("one-holder", one_holder::all), ("ten-thousand", ten_thousand)];

fn run(arguments: &[String]) -> Result<bool> {
    let only =
        arguments.iter().position(|argument| argument == "--only").and_then(|at| arguments.get(at + 1));
    let bench = Bench::new()?;
    let mut figures = Vec::new();
    for (name, scenario) in SCENARIOS {
        if only.is_none_or(|only| only == name) {
            bench.say(name);
            if let Err(error) = scenario(&bench, &mut figures) {
                bench.say(&format!("  failed: {error:#}"));
                figures.push(Figure::of(name, "failed", vec![], &[]));
            }
        }
    }
    println!("{}", table(&figures));
    let path = bench.target.join("bench/services.json");
    write(&path, &figures)?;
    println!("written to {}", path.display());
    Ok(figures.iter().all(|figure| figure.ok))
}

/// From the creation of a Service until its VIP answers: alone, and a hundred at once.
fn up(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let scene = Scene::open(bench, 3, Election::OneHolder)?;
    let one = one_by_one(&scene, 0, 25)?;
    let mut hundreds = Vec::new();
    for run in 0..3 {
        let took = hundred_at_once(&scene, 25 + 100 * run)?;
        bench.say(&format!("  a hundred at once: {}", at_a_time(&took)));
        hundreds.push(took.into_iter().fold(0.0, f64::max));
    }
    figures.push(Figure::of("service_up_ms", "ms", one, &[Bound::max(300.0)]));
    figures.push(Figure::of("hundred_services_up_ms", "ms", hundreds, &[Bound::max(2_000.0)]));
    Ok(())
}

/// Makes Services one after the other; how long each took, in ms. The next one is `first` in the pool's order.
pub(crate) fn one_by_one(scene: &Scene<'_>, first: usize, count: usize) -> Result<Vec<f64>> {
    let mut values = Vec::new();
    for place in first..first + count {
        let sweep = scene
            .sweep(SweepPlan::new(vec![Scene::address(place)], Duration::from_millis(2)).remembering())?;
        let made = probe::now();
        scene.add(place, Address::FromPool)?;
        values.extend(until_answered(&sweep, made)?);
        scene.check_published(place)?;
    }
    scene.bench.say(&format!("  one by one: {}", at_a_time(&values)));
    Ok(values)
}

/// Makes a hundred at once; how long each took, in ms.
fn hundred_at_once(scene: &Scene<'_>, first: usize) -> Result<Vec<f64>> {
    let places = first..first + 100;
    let targets = places.clone().map(Scene::address).collect();
    let sweep = scene.sweep(SweepPlan::new(targets, Duration::from_millis(20)).remembering())?;
    let made = probe::now();
    places.clone().try_for_each(|place| scene.add(place, Address::FromPool))?;
    let took = until_answered(&sweep, made)?;
    scene.check_published(places.end - 1)?;
    Ok(took)
}

/// How long after `from` each address of the sweep answers, in ms.
fn until_answered(sweep: &Sweep, from: probe::Moment) -> Result<Vec<f64>> {
    let all = || {
        std::thread::sleep(Duration::from_millis(50));
        Ok(sweep.first_answers(from, None).into_iter().collect::<Option<Vec<_>>>())
    };
    let answers = wait_for(PATIENCE, all)?.context("not every address answers")?;
    Ok(answers.into_iter().map(|at| millis(at.since(from))).collect())
}

/// What 10,000 Services take of an agent's memory.
fn ten_thousand(bench: &Bench, figures: &mut Vec<Figure>) -> Result<()> {
    let mut scene = Scene::new(bench, 2, Election::OneHolder)?;
    scene.fill(10_000, Address::Published)?;
    scene.start()?;
    scene.wait_one_holder(10_000)?;
    let names = ["rss_10000_mib", "rss_10000_holder_mib", "rss_10000_follower_mib"];
    figures.extend(scene.memory(names, 110.0)?);
    Ok(())
}
