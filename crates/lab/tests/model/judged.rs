//! Every promise is shown to be able to fail: with a machine that has a flaw, or with a bound that cannot be kept.

use std::time::Duration;

use mainstay_core::check::Bounds;
use mainstay_core::node::Node;
use mainstay_lab::model::{Budget, Fault, Plan};
use mainstay_lab::sim::Kind;

use super::flaws::{Backward, Deaf, Flawed, Meek, Mute, Stubborn, Timid};
use super::say;
use super::search::{Searched, search};

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plan(name: &'static str, faults: Vec<Fault>) -> Plan {
    Plan { window: ms(100), ..Plan::calm(name) }.with(1, faults)
}

fn deaths() -> Plan {
    plan("death", Fault::anywhere(Kind::PowerLoss, &[None]))
}

/// The holder is cut off from the others while none of them reaches the API.
fn cuts() -> Plan {
    let outage = plan("outage and isolation", Fault::outages(&[16_000]));
    Plan { window: ms(0), gap: ms(0), ..outage }.with(1, Fault::anywhere(Kind::Isolated, &[Some(6_000)]))
}

/// Searches, and wants this promise broken, after a fault, by a path that can be read.
fn breaks<M: Searched>(plan: Plan, promise: &str) {
    let found = search::<M>(plan);
    let (name, path) =
        found.broken.first().unwrap_or_else(|| panic!("{promise} is kept by a machine that cannot"));
    say(&format!("{name}, by {} states:\n{}\n", found.states, path.join("\n")));
    assert!(name.starts_with(promise), "{promise} should be broken, and {name} is");
    let at = |word: &str| path.iter().position(|line| line.contains(word));
    assert!(at("FAULT begins").is_some() && at("FAULT begins") < at("VIOLATION"), "{path:#?}");
}

#[test]
fn a_node_that_hears_no_other_holder_breaks_a() {
    breaks::<Flawed<Deaf>>(cuts(), "(a)");
}

#[test]
fn a_bound_too_short_breaks_a() {
    let plan = cuts();
    let bounds = Bounds { two_holders: ms(1), two_holders_lossy: ms(1), ..plan.bounds };
    breaks::<Node>(Plan { bounds, ..plan }, "(a)");
}

#[test]
fn a_node_that_takes_nothing_breaks_b() {
    breaks::<Flawed<Meek>>(deaths(), "(b)");
}

#[test]
fn a_bound_too_short_breaks_b() {
    let plan = deaths();
    let bounds = Bounds { dark: ms(200), dark_calm: ms(200), ..plan.bounds };
    breaks::<Node>(Plan { bounds, ..plan }, "(b)");
}

#[test]
fn a_node_that_lets_go_without_the_api_breaks_c() {
    breaks::<Flawed<Timid>>(plan("outage", Fault::outages(&[7_000])), "(c)");
}

#[test]
fn a_node_that_counts_down_breaks_d() {
    let twice = Plan { gap: ms(1_500), ..deaths() };
    breaks::<Flawed<Backward>>(Plan { budget: Budget { groups: [2, 0, 0], ..twice.budget }, ..twice }, "(d)");
}

#[test]
fn a_node_that_says_one_epoch_always_breaks_e() {
    breaks::<Flawed<Stubborn>>(deaths(), "(e)");
}

#[test]
fn a_node_that_takes_over_without_a_word_breaks_f() {
    breaks::<Flawed<Mute>>(deaths(), "(f)");
}

#[test]
fn a_bound_too_short_breaks_f() {
    let plan = deaths();
    let bounds = Bounds { settle: ms(150), ..plan.bounds };
    breaks::<Node>(Plan { bounds, ..plan }, "(f)");
}
