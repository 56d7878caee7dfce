//! The model itself, before anything is searched with it.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use mainstay_core::input::{EffectId, Input};
use mainstay_core::node::Node;
use mainstay_core::settings::Found;
use mainstay_core::time::Moment;

use super::hash::{FIRST_VERSION, RelativeHasher, STAMP};
use super::*;

const SECOND: u64 = 1_000_000_000;

/// What `fill` hashes to `now`, when the store last gave the version `written` after the first.
fn sum(now: u64, written: u64, fill: impl Fn(&mut RelativeHasher)) -> u64 {
    let mut hasher = RelativeHasher::new(now, FIRST_VERSION + written);
    fill(&mut hasher);
    hasher.finish()
}

#[test]
fn a_moment_counts_by_its_age_and_not_beyond_memory() {
    let at =
        |seconds: u64| move |hasher: &mut RelativeHasher| Moment::from_nanos(seconds * SECOND).hash(hasher);
    let now = 500 * SECOND;
    assert_eq!(sum(now, 0, at(497)), sum(now + SECOND, 0, at(498)), "three seconds ago is three seconds ago");
    assert_ne!(sum(now, 0, at(497)), sum(now, 0, at(498)));
    assert_ne!(sum(now, 0, at(500)), sum(now, 0, at(503)), "what is to come counts, too");
    assert_eq!(sum(now, 0, at(3)), sum(now, 0, at(400)), "both are older than anything that matters");
}

#[test]
fn ids_count_by_their_order_of_appearance() {
    let ids = |ids: [u64; 3]| move |hasher: &mut RelativeHasher| ids.map(EffectId).hash(hasher);
    assert_eq!(sum(0, 0, ids([7, 9, 7])), sum(0, 0, ids([1, 2, 1])));
    assert_ne!(sum(0, 0, ids([7, 9, 7])), sum(0, 0, ids([1, 2, 2])));
}

#[test]
fn versions_and_stamps_count_from_the_present() {
    let text = |text: String| move |hasher: &mut RelativeHasher| text.hash(hasher);
    let version = |written: u64| text((FIRST_VERSION + written).to_string());
    assert_eq!(sum(0, 5, version(4)), sum(0, 8, version(7)));
    assert_ne!(sum(0, 5, version(4)), sum(0, 5, version(5)));
    let stamp = |at: u64| text(format!("{STAMP}{at}"));
    assert_eq!(sum(9 * SECOND, 0, stamp(8 * SECOND)), sum(7 * SECOND, 0, stamp(6 * SECOND)));
    assert_ne!(sum(9 * SECOND, 0, stamp(8 * SECOND)), sum(9 * SECOND, 0, stamp(6 * SECOND)));
}

/// No absolute moment and no counter is in a machine's hash: the same life, begun later, leads to the same state.
#[test]
fn a_machine_is_the_same_whenever_it_lives() {
    let live = |origin: u64| {
        let world = World::<Node>::first(&Arc::new(Plan { start: Start::Cold, ..Plan::calm("one machine") }));
        let found = Found { link_up: true, ..Found::default() };
        let mut node = Node::new(world.settings(0), found, Moment::from_nanos(origin), 1);
        for tick in 0..40 {
            node.handle(Moment::from_nanos(origin + tick * SECOND / 10), &Input::Tick);
        }
        sum(origin + 4 * SECOND, 0, |hasher| node.hash(hasher))
    };
    assert_eq!(live(100 * SECOND), live(7_777 * SECOND));
}

#[test]
fn the_same_choices_lead_to_the_same_world_and_others_to_others() {
    let budget = Budget { lost_frames: 1, ..Budget::default() };
    let plan = Arc::new(Plan { budget, ..Plan::calm("one lost frame") });
    let walk = |actions: &[Action]| {
        let mut world = World::<Node>::first(&plan);
        actions.iter().for_each(|action| world.take(*action));
        world
    };
    let run = [Action::Run; 3];
    assert!(walk(&run) == walk(&run));
    let mut choices = Vec::new();
    walk(&run).choices(&mut choices);
    let lose = choices.iter().find(|choice| matches!(choice, Action::Lose(_))).expect("probes are under way");
    let mut lost = walk(&run);
    lost.take(*lose);
    assert!(lost != walk(&run));
    choices.clear();
    lost.choices(&mut choices);
    assert_eq!(choices, [Action::Run], "the budget is spent");
}

#[test]
fn a_run_without_faults_ends_well() {
    let mut world = World::<Node>::first(&Arc::new(Plan::calm("calm"))).traced();
    while !world.is_over() {
        world.take(Action::Run);
    }
    assert_eq!(world.violations(), []);
    assert!(world.take_trace().iter().any(|line| line.contains("announces")));
}
