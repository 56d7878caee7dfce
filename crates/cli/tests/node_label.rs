//! `enable_node_labeling` with real processes: the label follows the VIP, and the VIP never waits for the label.

mod common;
#[macro_use]
#[path = "common/kinds.rs"]
mod kinds;

use std::net::IpAddr;
use std::time::Duration;

use kinds::Bed;
use mainstay_lab::apiserver::{Fault, NODE, Target, Verb};
use mainstay_lab::cluster::{Cluster, Outage, PORT, Plan, VIP, wait_for};
use mainstay_lab::probe::{self, Probe};
use serde_json::{Value, json};

const LABEL: &str = "kube-vip.io/has-ip";
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// A write that was refused for a while is tried again within 30 s.
const BACKOFF: Duration = Duration::from_secs(60);

on_either_kind![
    the_label_follows_a_hand_over_a_death_and_an_outage: Always,
    a_vip_never_waits_for_a_label_that_is_forbidden: Long,
    a_vip_never_waits_for_a_label_that_is_not_answered: Long,
    a_label_that_an_earlier_run_left_is_taken_off_and_the_node_s_others_stay: Long,
];

fn plan(bed: &Bed) -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &bed.scratch.0)
        .quick()
        .with_backend(bed.backend.clone())
        .with_setting("enable_node_labeling", "true")
}

fn node(index: usize) -> Target {
    Target::new(NODE, "", &format!("n{}", index + 1))
}

/// The label of each node, in the API server's store.
fn labels(cluster: &Cluster) -> Vec<Option<String>> {
    let label = |index| {
        let node = cluster.api.read(&node(index)).expect("a node");
        node["metadata"]["labels"][LABEL].as_str().map(str::to_owned)
    };
    (0..cluster.nodes.len()).map(label).collect()
}

/// Waits until this node has the label, and no other of `among`.
fn wait_label(cluster: &Cluster, holder: usize, among: &[usize], limit: Duration) {
    let vip = VIP.to_string();
    let right = || {
        let labels = labels(cluster);
        let fits = |index: &usize| labels[*index] == (*index == holder).then(|| vip.clone());
        Ok(among.iter().all(fits).then_some(()))
    };
    let came = wait_for(limit, right).expect("a store");
    assert!(came.is_some(), "the label is not at node {holder} alone: {:?}", labels(cluster));
}

/// How often the agents asked this of the API servers.
fn asked(cluster: &Cluster, verb: Verb, resource: &str) -> u64 {
    let fronts = cluster.api.fronts().iter();
    fronts.map(|front| front.account().count(verb, resource)).sum()
}

fn the_label_follows_a_hand_over_a_death_and_an_outage(bed: Bed) {
    let mut cluster = Cluster::up(plan(&bed)).expect("a cluster that settles");
    let first = cluster.wait_settled(PATIENCE).expect("settled");
    wait_label(&cluster, first, &[0, 1, 2], PATIENCE);

    // A hand-over: who goes takes its label off before it ends.
    assert!(cluster.stop(first, PATIENCE).expect("it ends").success());
    let second = cluster.wait_holder(&cluster.others(first), PATIENCE).expect("another holds");
    wait_label(&cluster, second, &[0, 1, 2], PATIENCE);
    cluster.start(first).expect("started");
    cluster.wait_settled(PATIENCE).expect("settled");

    // A death: the dead node keeps its label until its agent is back, and then loses it.
    cluster.kill(second).expect("killed");
    cluster.segment.partition(&cluster.nodes[second].host).expect("partitioned");
    let third = cluster.wait_holder(&cluster.others(second), PATIENCE).expect("succeeded on evidence");
    wait_label(&cluster, third, &cluster.others(second), PATIENCE);
    assert!(labels(&cluster)[second].is_some(), "nobody else takes it off");
    cluster.segment.heal(&cluster.nodes[second].host).expect("healed");
    cluster.start(second).expect("started");
    wait_label(&cluster, third, &[0, 1, 2], PATIENCE);
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), third);

    // An outage in which the VIP moves: afterwards the label is where the VIP is.
    cluster.api.fail(Outage::Refused).expect("an outage");
    cluster.wait_tenure(third, "detached", PATIENCE).expect("detached");
    cluster.segment.partition(&cluster.nodes[third].host).expect("partitioned");
    let fourth = cluster.wait_holder(&cluster.others(third), PATIENCE).expect("succeeded without the API");
    cluster.api.heal().expect("the API is back");
    cluster.wait_tenure(fourth, "confirmed", PATIENCE).expect("granted afterwards");
    cluster.segment.heal(&cluster.nodes[third].host).expect("healed");
    wait_label(&cluster, fourth, &[0, 1, 2], BACKOFF);
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), fourth);
    assert_eq!(asked(&cluster, Verb::Get, "nodes"), 0, "patch is the only verb that it needs");
}

fn a_vip_never_waits_for_a_label_that_is_forbidden(bed: Bed) {
    it_is_untouched(&bed, &Fault::DenyWritesBut("leases".to_owned()), "grant the verb patch on nodes");
}

fn a_vip_never_waits_for_a_label_that_is_not_answered(bed: Bed) {
    it_is_untouched(&bed, &Fault::HangWritesBut("leases".to_owned()), "no answer within");
}

/// The API refuses, or leaves unanswered, every write but the Lease's, and no node has the label that it should have.
fn it_is_untouched(bed: &Bed, fault: &Fault, complaint: &str) {
    let mut cluster = Cluster::new(plan(bed)).expect("a cluster");
    cluster.api.inject(fault);
    for index in 0..3 {
        cluster.start(index).expect("started");
    }
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let probe =
        Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP)).with_tcp(PORT)).expect("a probe");
    let begin = probe::now();
    // Longer than two leases last: renewals that waited for a label would have let it expire.
    let tried = |index: usize| label_of(&cluster, index)["failuresInARow"].as_u64() > Some(0);
    let expired = || {
        let long = probe::now().since(begin) > Duration::from_secs(12);
        Ok((long && (0..3).all(tried)).then_some(()))
    };
    wait_for(BACKOFF, expired).expect("a clock").expect("every agent has tried in vain");
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");
    assert_eq!(report.answerers.len(), 1, "0 moves: {report:?}");
    assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
    assert_eq!(cluster.claim(holder)["tenure"], "confirmed", "the Lease was renewed");
    assert_eq!(labels(&cluster), [None, None, None], "the fault was one");

    // It hands over as ever, too: nothing of the succession waits for a label.
    let handed = probe::now();
    assert!(cluster.stop(holder, PATIENCE).expect("it ends").success());
    let next = cluster.wait_holder(&cluster.others(holder), PATIENCE).expect("another holds");
    cluster.wait_tenure(next, "confirmed", PATIENCE).expect("by a grant");
    let report = probe.settled_report(handed, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");

    cluster.api.heal().expect("it is as before");
    wait_label(&cluster, next, &[0, 1, 2], BACKOFF);
    let log = cluster.nodes[next].agent.log();
    let complaints: Vec<_> =
        log.lines().filter(|line| line.contains("cannot be written to the node")).collect();
    assert!(complaints.len() == 1 && complaints[0].contains(complaint), "one line for all:\n{log}");
}

fn label_of(cluster: &Cluster, index: usize) -> Value {
    cluster.nodes[index].agent.whole_status()["nodeLabel"].take()
}

/// As left by an agent that was killed while it held.
fn a_label_that_an_earlier_run_left_is_taken_off_and_the_node_s_others_stay(bed: Bed) {
    let mut cluster = Cluster::new(plan(&bed)).expect("a cluster");
    for index in 0..3 {
        let mut labelled = cluster.api.read(&node(index)).expect("a node");
        labelled["metadata"]["labels"] = json!({LABEL: VIP.to_string(), "rack": "7"});
        cluster.api.replace(&node(index), labelled).expect("labelled");
    }
    for index in 0..3 {
        cluster.start(index).expect("started");
    }
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    wait_label(&cluster, holder, &[0, 1, 2], PATIENCE);
    for index in 0..3 {
        assert_eq!(cluster.api.read(&node(index)).expect("a node")["metadata"]["labels"]["rack"], "7");
    }
}
