//! The first node of a cluster, as `kubeadm init` makes it: the kubeconfig names the VIP, behind which there is no API
//! server yet, and nobody has any permission for a while (kube-vip issue 684). Then nodes join, one with credentials that
//! nobody knows.

mod common;
#[macro_use]
#[path = "common/kinds.rs"]
mod kinds;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use kinds::Bed;
use mainstay_lab::apiserver::Fault;
use mainstay_lab::cluster::{Cluster, Layout, Outage, PORT, Plan, VIP, wait_for};
use mainstay_lab::probe::{self, Capture, Probe};

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// The promise is 5 s for the VIP of a cluster that starts; about 1.5 s are seen.
const UP_WITHIN: Duration = Duration::from_secs(5);
/// Stands in for the gateway: a host of the segment that answers.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 20);

/// Three nodes, each with an API server that does not run yet, with client-go's timing.
fn before_kubeadm_init(bed: &Bed) -> Cluster {
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &bed.scratch.0)
        .with_layout(Layout::OnEachNode)
        .with_backend(bed.backend.clone())
        .with_setting("MAINSTAY_WITNESSES", &GATEWAY.to_string());
    let mut cluster = Cluster::new(plan).expect("hosts");
    assert_eq!(cluster.client.ipv4(), GATEWAY);
    cluster.api.fail(Outage::Refused).expect("no API server runs");
    cluster
}

on_either_kind![the_vip_is_there_before_the_api_server_and_whoever_joins_leaves_it_there: Always];

fn the_vip_is_there_before_the_api_server_and_whoever_joins_leaves_it_there(bed: Bed) {
    let mut cluster = before_kubeadm_init(&bed);
    let capture = Capture::start(&cluster.segment).expect("a capture");
    let begin = probe::now();
    cluster.start(0).expect("started");
    cluster.wait_holder(&[0], UP_WITHIN).expect("the first node needs nobody's word");
    cluster.wait_tenure(0, "provisional", PATIENCE).expect("but does not say that it has it");
    assert!(!capture.announcements(IpAddr::V4(VIP), begin, probe::now()).is_empty(), "on the wire");

    let probe = Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP))).expect("a probe");
    let up = probe::now();
    the_api_server_comes(&mut cluster);
    cluster.wait_tenure(0, "confirmed", PATIENCE).expect("granted as soon as anybody may grant");
    others_join(&mut cluster);
    let report = probe.settled_report(up, probe::now());
    assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
    assert_eq!(cluster.holders().expect("kernels answer"), [0]);
    a_death_is_no_occasion_for_who_has_no_access(&mut cluster);
}

/// It answers, and knows no permissions for a moment, as before kubeadm has written them.
fn the_api_server_comes(cluster: &mut Cluster) {
    cluster.api.heal().expect("it starts");
    cluster.api.inject(&Fault::Deny { verb: None, resource: None });
    let denied = || Ok((cluster.claim(0)["failuresInARow"].as_u64() >= Some(2)).then_some(()));
    wait_for(PATIENCE, denied).expect("an agent that answers").expect("it is denied");
    assert_eq!(cluster.claim(0)["tenure"], "provisional");
    cluster.api.heal().expect("it has its permissions");
}

/// The second node as it should be, the third with a token that nobody knows.
fn others_join(cluster: &mut Cluster) {
    let wrong = cluster.api.kubeconfig_of_a_stranger(&format!("https://{VIP}:{PORT}"));
    cluster.nodes[2].agent.give_access(&wrong).expect("written");
    (1..3).for_each(|node| cluster.start(node).expect("started"));
    let members = || {
        let members = cluster.claim(0)["members"].as_array().map_or(0, Vec::len);
        let refused = cluster.claim(2)["failuresInARow"].as_u64();
        Ok((members == 2 && refused >= Some(3)).then_some(()))
    };
    wait_for(PATIENCE, members).expect("agents answer").expect("one joins, the other is refused");
    assert_eq!(cluster.claim(2)["state"], "released");
}

/// To the node without access this is an outage; the one with access is sooner.
fn a_death_is_no_occasion_for_who_has_no_access(cluster: &mut Cluster) {
    cluster.segment.partition(&cluster.nodes[0].host).expect("partitioned");
    cluster.wait_holder(&[1, 2], PATIENCE).expect("succeeded");
    cluster.wait_tenure(1, "confirmed", PATIENCE).expect("by the one that may ask for the grant");
    assert_eq!(cluster.claim(2)["state"], "released");
}
