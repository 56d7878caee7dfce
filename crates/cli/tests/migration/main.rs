//! From kube-vip to Mainstay and back, node by node, with the VIP up: agents beside electors with client-go's rules, which
//! hold the VIP as kube-vip does (`lab::elector`: a model of kube-vip's elector, not kube-vip).
//!
//! Bounds are wide: they tell a mechanism that works from one that does not. On a machine so busy that the client itself
//! comes to a standstill, that time is nobody's fault and is taken off. With `--nocapture` each step prints what it measured,
//! and what an operator sees.

mod bed;
#[path = "../common/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use bed::*;
use common::Scratch;
use mainstay_lab::apiserver::real::assets;
use mainstay_lab::cluster::{Backend, Plan, wait_for};
use mainstay_lab::elector::Step;
use mainstay_lab::netns;
use mainstay_lab::probe;

/// Each of these runs on the embedded API server, and on a real one where there is one.
macro_rules! on_both_api_servers {
    ($($name:literal: $test:ident),* $(,)?) => {
        mod on_the_embedded_api_server {
            $(#[test] fn $test() { super::on($name, super::Backend::Embedded, super::$test); })*
        }
        mod on_a_real_api_server {
            $(#[test] fn $test() {
                match super::assets() {
                    Ok(assets) => super::on($name, super::Backend::Real(assets), super::$test),
                    Err(reason) => eprintln!("skipped: {reason}"),
                }
            })*
        }
    };
}

on_both_api_servers![
    "release": an_elector_is_followed_while_it_renews_and_succeeded_when_it_lets_go,
    "death": an_elector_that_is_killed_is_succeeded_and_what_it_left_is_cleared,
    "node-death": an_elector_whose_node_dies_is_succeeded_when_its_lease_expires,
    "api-lost": an_elector_that_loses_the_api_is_waited_for_until_it_lets_go,
    "back": an_elector_follows_an_agent_and_takes_over_when_it_stops,
    "only": the_only_agent_hands_back_to_an_elector_that_it_took_over_from,
    "place": a_node_is_migrated_in_place_and_back,
    "roll": a_cluster_is_migrated_node_by_node_and_back,
];

fn on(name: &str, backend: Backend, test: fn(&mut Mixed)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let kind = if backend == Backend::Embedded { "embedded" } else { "real" };
    let scratch = Scratch::new(&format!("migration-{name}-{kind}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick().with_backend(backend);
    let mut mixed = Mixed::new(plan);
    test(&mut mixed);
    mixed.chronicle.check().expect("the Lease is written as client-go writes it");
}

fn an_elector_is_followed_while_it_renews_and_succeeded_when_it_lets_go(mixed: &mut Mixed) {
    mixed.elected(0);
    let begin = probe::now();
    mixed.follow(1);
    mixed.follow(2);
    mixed.show(1);
    // For longer than its lease lasts, and with the agents' own writes to the same object in between.
    let since = probe::now();
    mixed.elector(0).wait(&Step::Renewed, (since, 7), PATIENCE).expect("it renews");
    mixed.assert_nothing_moved("agents beside an elector", 0, begin);

    let stopped = probe::now();
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    let successor = mixed.wait_successor(&mixed.cluster.others(0));
    mixed.cluster.wait_tenure(successor, "confirmed", PATIENCE).expect("by a grant");
    mixed.wait_answered_by(successor);
    let seen = mixed.seen("an elector lets go, an agent takes", stopped);
    // The elector's own release time: a retry period. An agent that watches does not need it.
    assert!(seen.dark < TIMING.retry_period + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    let names = [mixed.name(0), String::new(), mixed.name(successor)];
    assert_eq!(mixed.chronicle.holders(), names, "each by a grant");
    mixed.show(successor);
}

fn an_elector_that_is_killed_is_succeeded_and_what_it_left_is_cleared(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.follow(2);
    let killed = probe::now();
    mixed.elector(0).kill().expect("it ran");
    let named = |mixed: &Mixed| {
        let newest = mixed.chronicle.holders().pop();
        [1, 2].into_iter().find(|node| newest.as_deref() == Some(mixed.name(*node).as_str()))
    };
    let successor =
        wait_for(PATIENCE, || Ok(named(mixed))).expect("a watch").expect("a grant when it expired");
    mixed.cluster.wait_tenure(successor, "confirmed", PATIENCE).expect("by a grant");
    // Its kernel answers on; whom the client has from it is drawn away by announcements.
    let took = probe::now();
    wait_until(took + ARP_RATE + Duration::from_secs(1));
    let seen = mixed.seen("an elector is killed, its kernel answers on", killed);
    assert!(seen.dark < MARGIN, "{seen:?}");
    let kept = mixed.cluster.holders().expect("kernels answer");
    assert!(kept.contains(&0) && kept.contains(&successor), "kube-vip's VIP is there for ever: {kept:?}");
    assert_eq!(mixed.announcers(took), BTreeSet::from([mixed.name(successor)]), "the last to announce");
    // An agent there clears it. (kube-vip, started again, does as well.)
    let begin = probe::now();
    mixed.follow(0);
    assert_eq!(mixed.wait_successor(&[successor]), successor);
    mixed.wait_answered_by(successor);
    let seen = mixed.seen("what was left is cleared", begin);
    assert!(seen.dark < MARGIN, "{seen:?}");
    assert_eq!(mixed.chronicle.holders(), [mixed.name(0), mixed.name(successor)], "and nothing moves");
}

fn an_elector_whose_node_dies_is_succeeded_when_its_lease_expires(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.follow(2);
    let died = probe::now();
    mixed.cluster.segment.partition(&mixed.host(0)).expect("partitioned");
    let successor = mixed.cluster.wait_holder(&[1, 2], PATIENCE).expect("an agent takes it");
    mixed.wait_answered_by(successor);
    let seen = mixed.seen("an elector's node dies", died);
    assert!(seen.dark < TIMING.lease_duration + MARGIN, "{seen:?}");
    // By itself, it finds that it cannot renew, and lets go.
    mixed.elector(0).wait(&Step::Removed, (died, 1), PATIENCE).expect("it gives up");
    mixed.cluster.segment.heal(&mixed.host(0)).expect("healed");
    assert_eq!(mixed.wait_successor(&[successor]), successor);
}

/// client-go's elector lets go only when it has tried to renew, and then to release, for a renew deadline each: by then
/// others may have taken the Lease. Agents see that its kernel has the VIP, and give it the incumbent's grace (rule 6).
fn an_elector_that_loses_the_api_is_waited_for_until_it_lets_go(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.follow(2);
    let cut = probe::now();
    let apart = mixed.cluster.api_host.clone().expect("the API has a host of its own");
    mixed.cluster.segment.cut_between(&mixed.host(0), &apart).expect("cut");
    let removed = mixed.elector(0).wait(&Step::Removed, (cut, 1), PATIENCE).expect("it gives up");
    let lost = mixed.elector(0).last(&Step::Lost).expect("it could not renew");
    assert!(cut < lost && lost < removed && mixed.elector(0).last(&Step::Released) < Some(cut));
    let successor = mixed.wait_successor(&[1, 2]);
    // The other client is the host that it was cut off from.
    let seen = mixed.seen("an elector loses the API", cut);
    // Ten intervals of its kernel's silence.
    assert!(seen.dark_for_who_asks < Duration::from_secs(1) + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    let holders = mixed.chronicle.holders();
    assert_eq!((holders.first(), holders.last()), (Some(&mixed.name(0)), Some(&mixed.name(successor))));
    assert!(!holders.contains(&String::new()), "it could not release: {holders:?}");
}

fn an_elector_follows_an_agent_and_takes_over_when_it_stops(mixed: &mut Mixed) {
    for node in [1, 2] {
        mixed.cluster.start(node).expect("started");
    }
    let holder = mixed.cluster.wait_settled(PATIENCE).expect("settled");
    mixed.wait_answered_by(holder);
    let follower = 3 - holder;

    let begin = probe::now();
    mixed.start_elector(0);
    // Longer than the lease lasts.
    let refused = Step::Refused(mixed.name(holder));
    mixed.elector(0).wait(&refused, (begin, 6), PATIENCE).expect("it asks, and follows");
    mixed.assert_nothing_moved("an elector beside agents", holder, begin);

    let begin = probe::now();
    mixed.cluster.stop(follower, PATIENCE).expect("it ends");
    mixed.assert_nothing_moved("an agent that follows stops", holder, begin);

    let stopped = probe::now();
    mixed.cluster.stop(holder, PATIENCE).expect("it ends");
    assert_eq!(mixed.wait_successor(&[0]), 0);
    mixed.elector(0).wait(&Step::Announced, (stopped, 1), PATIENCE).expect("it announces");
    mixed.wait_answered_by(0);
    let seen = mixed.seen("the last agent stops, an elector takes", stopped);
    assert!(seen.dark < ARP_RATE + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    assert_eq!(mixed.chronicle.holders(), [mixed.name(holder), String::new(), mixed.name(0)]);
}

/// The first node of a migration, and nobody else lists itself: electors ask for the Lease, and are heard by nobody.
fn the_only_agent_hands_back_to_an_elector_that_it_took_over_from(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.follow(1);
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    assert_eq!(mixed.wait_successor(&[1]), 1);
    mixed.cluster.wait_tenure(1, "confirmed", PATIENCE).expect("by a grant");
    let begin = probe::now();
    mixed.start_elector(0);
    let refused = Step::Refused(mixed.name(1));
    mixed.elector(0).wait(&refused, (begin, 1), PATIENCE).expect("it follows");
    mixed.wait_answered_by(1);

    let stopped = probe::now();
    mixed.cluster.stop(1, PATIENCE).expect("it ends");
    // Not after a lease's expiry, and the VIP does not stay behind on a node where nothing runs.
    let took = mixed.chronicle.wait_holder(&mixed.name(0), PATIENCE).expect("the elector takes it");
    assert_eq!(mixed.wait_successor(&[0]), 0);
    let seen = mixed.seen("the only agent stops, an elector takes", stopped);
    assert!(took.since(stopped) < LONGEST_RETRY + MARGIN + seen.stood_still, "{:?}", took.since(stopped));
    assert!(seen.dark < ARP_RATE + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
}

/// One control-plane node, and one name on the Lease: as when the image in a manifest is changed.
fn a_node_is_migrated_in_place_and_back(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.elector(0).kill().expect("it ran");
    let killed = probe::now();
    mixed.cluster.start(0).expect("started");
    mixed.cluster.wait_tenure(0, "confirmed", PATIENCE).expect("by a grant");
    // What it left is worn on, and has an end from now on.
    let seen = mixed.seen("an elector is killed, an agent starts in its place", killed);
    assert_eq!((seen.lost, seen.two_holders), (0, Duration::ZERO), "{seen:?}");
    let changes = mixed.holders.timeline_of(ADDRESS);
    assert!(changes.iter().all(|change| change.at < killed), "never away: {changes:?}");
    let held = mixed.host(0).addresses().expect("the kernel answers");
    assert!(held.iter().any(|one| one.address == ADDRESS && one.valid.is_some()), "{held:?}");

    let begin = probe::now();
    mixed.cluster.stop(0, PATIENCE).expect("it ends");
    mixed.start_elector(0);
    mixed.elector(0).wait(&Step::Added, (begin, 1), PATIENCE).expect("it takes its own name's Lease");
    let seen = mixed.seen("an agent stops, an elector starts in its place", begin);
    assert!(seen.dark < MARGIN, "{seen:?}");

    let begin = probe::now();
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    mixed.cluster.start(0).expect("started");
    mixed.cluster.wait_tenure(0, "confirmed", PATIENCE).expect("by a grant");
    let seen = mixed.seen("an elector stops, an agent starts in its place", begin);
    assert!(seen.dark < MARGIN, "{seen:?}");
    let holders = mixed.chronicle.holders();
    assert!(holders.iter().all(|holder| holder.is_empty() || *holder == mixed.name(0)), "{holders:?}");
}

fn a_cluster_is_migrated_node_by_node_and_back(mixed: &mut Mixed) {
    mixed.elected(0);
    mixed.start_elector(1);
    mixed.start_elector(2);
    // Those that follow first, the holder last: the VIP moves once.
    for node in [1, 2] {
        let begin = probe::now();
        mixed.elector(node).stop(PATIENCE).expect("it ends");
        mixed.follow(node);
        mixed.assert_nothing_moved("an elector that follows is replaced", 0, begin);
    }
    let begin = probe::now();
    mixed.elector(0).stop(PATIENCE).expect("it ends");
    let holder = mixed.wait_successor(&[1, 2]);
    mixed.follow(0);
    mixed.wait_answered_by(holder);
    let seen = mixed.seen("the elector that holds is replaced", begin);
    assert!(seen.dark < TIMING.retry_period + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    assert_eq!(mixed.cluster.wait_settled(PATIENCE).expect("three agents"), holder);

    for node in mixed.cluster.others(holder) {
        let begin = probe::now();
        mixed.cluster.stop(node, PATIENCE).expect("it ends");
        mixed.start_elector(node);
        let refused = Step::Refused(mixed.name(holder));
        mixed.elector(node).wait(&refused, (begin, 1), PATIENCE).expect("it follows");
        mixed.assert_nothing_moved("an agent that follows is replaced", holder, begin);
    }
    let begin = probe::now();
    mixed.cluster.stop(holder, PATIENCE).expect("it ends");
    mixed.start_elector(holder);
    let last = mixed.wait_successor(&mixed.cluster.others(holder));
    mixed.elector(last).wait(&Step::Announced, (begin, 1), PATIENCE).expect("it announces");
    mixed.wait_answered_by(last);
    let seen = mixed.seen("the agent that holds is replaced", begin);
    assert!(seen.dark < ARP_RATE + MARGIN, "{seen:?}");
    assert!(seen.two_holders < MARGIN, "{seen:?}");
    let [first, second, third] = [0, holder, last].map(|node| mixed.name(node));
    assert_eq!(mixed.chronicle.holders(), [first, String::new(), second, String::new(), third]);
}
