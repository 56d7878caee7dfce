//! The core's machines under every fault of several plans, each searched to the end.
//!
//! `MAINSTAY_MODEL=quick` searches less and ends with the first plan that fails, `MAINSTAY_MODEL=long` searches ten
//! times more; `MAINSTAY_MODEL_ONLY=words` only the plans whose name has these words in it.

use std::io::Write as _;
use std::time::Instant;

use mainstay_core::node::Node;
use mainstay_lab::model::Plan;

mod flaws;
mod judged;
mod plans;
mod search;

use plans::{Scope, plans};
use search::{Found, search};

fn say(line: &str) {
    // A closed pipe is no reason to fail the test.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn scope() -> Scope {
    match std::env::var("MAINSTAY_MODEL").as_deref() {
        Ok("quick") => Scope::Quick,
        Ok("long") => Scope::Long,
        Ok("test") | Err(_) => Scope::Test,
        Ok(other) => panic!("MAINSTAY_MODEL is {other:?}: use quick, test or long"),
    }
}

fn report(found: &Found) {
    let Found { states, depth, took, plan, .. } = found;
    let tally = &plan.tally;
    say(&format!(
        "{:<44} {states:>9} states, depth {depth:>3}, {:>6} runs, {:>9} moments, {:>6.1} s; pair {:>4} ms, dark {:>5} ms, settled after {:>5} ms",
        plan.name,
        tally.runs(),
        tally.moments(),
        took.as_secs_f64(),
        tally.longest_pair().as_millis(),
        tally.longest_dark().as_millis(),
        tally.longest_unsettled().as_millis(),
    ));
}

fn wanted() -> impl Iterator<Item = Plan> {
    let only = std::env::var("MAINSTAY_MODEL_ONLY").unwrap_or_default();
    plans(scope()).into_iter().filter(move |plan| plan.name.contains(&only))
}

#[test]
fn no_interleaving_of_faults_breaks_a_promise() {
    let began = Instant::now();
    let (mut states, mut runs, mut broken) = (0, 0, Vec::new());
    for plan in wanted() {
        let found = search::<Node>(plan);
        report(&found);
        states += found.states;
        runs += found.plan.tally.runs();
        for (name, path) in &found.broken {
            say(&format!("{}: {name} is broken:\n{}", found.plan.name, path.join("\n")));
            broken.push(format!("{}: {name}", found.plan.name));
        }
        if scope() == Scope::Quick && !broken.is_empty() {
            break;
        }
    }
    say(&format!("{states} states, {runs} runs, {:.1} s", began.elapsed().as_secs_f64()));
    assert!(broken.is_empty(), "broken promises: {broken:#?}");
    if std::env::var("MAINSTAY_MODEL_ONLY").is_err() {
        let least = scope().least();
        assert!(states >= least, "{states} states are fewer than {least}: the plans have lost something");
    }
}
