//! Rule 12 with real processes: an API server on each node, and the holder's dies while the others live (kube-vip issues
//! 1786 and 1787). Of a real one there is a relay on each node.

mod common;
#[macro_use]
#[path = "common/kinds.rs"]
mod kinds;

use std::net::IpAddr;
use std::time::Duration;

use kinds::Bed;
use mainstay_lab::apiserver::Fault;
use mainstay_lab::cluster::{Cluster, Layout, Outage, Plan, VIP, wait_for};
use mainstay_lab::probe::{self, Probe};

/// `control_plane_health_check_period_seconds` and `_failure_threshold`.
const PERIOD: Duration = Duration::from_secs(1);
const THRESHOLD: u32 = 2;
/// `control_plane_health_check_timeout_seconds`.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);

on_either_kind![
    the_vip_leaves_a_node_whose_api_server_refuses: Long,
    the_vip_leaves_a_node_whose_api_server_hangs: Always,
    the_holder_dies_when_every_api_server_is_dead: Long,
    nothing_moves_when_every_api_server_is_dead: Long,
];

/// Each node has an API server, and all are well.
fn three_api_servers(bed: &Bed) -> Cluster {
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &bed.scratch.0)
        .with_layout(Layout::OnEachNode)
        .with_backend(bed.backend.clone())
        .with_setting("control_plane_health_check_period_seconds", &PERIOD.as_secs().to_string())
        .with_setting("control_plane_health_check_timeout_seconds", &TIMEOUT.as_secs().to_string())
        .with_setting("control_plane_health_check_failure_threshold", &THRESHOLD.to_string());
    let cluster = Cluster::up(plan).expect("a cluster that settles");
    let all_healthy = || {
        let mut states = cluster.nodes.iter().map(|node| node.agent.local_service());
        Ok(states.all(|service| service["state"] == "healthy").then_some(()))
    };
    wait_for(PATIENCE, all_healthy).expect("agents answer").expect("every API server lives");
    let log = cluster.nodes[0].agent.log();
    assert!(!log.contains("bypassed"), "it asks without a certificate authority on purpose:\n{log}");
    cluster
}

fn the_vip_leaves_a_node_whose_api_server_refuses(bed: Bed) {
    it_leaves(&three_api_servers(&bed), Fault::Refuse, Duration::ZERO);
}

fn the_vip_leaves_a_node_whose_api_server_hangs(bed: Bed) {
    it_leaves(&three_api_servers(&bed), Fault::Hang, TIMEOUT);
}

/// The holder's API server has this fault; each check of it lasts for `checked`.
fn it_leaves(cluster: &Cluster, fault: Fault, checked: Duration) {
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let probe = Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP))).expect("a probe");
    let died = probe::now();
    cluster.api.fronts()[holder].inject(fault);
    let next = cluster.wait_holder(&cluster.others(holder), PATIENCE).expect("a healthy node holds");
    let moved = probe::now().since(died);
    let limit = PERIOD * THRESHOLD + checked + Duration::from_secs(1);
    assert!(moved < limit, "moved after {moved:?}, promised within {limit:?}");
    cluster.wait_tenure(next, "confirmed", PATIENCE).expect("by a grant");
    let let_go = || Ok((cluster.holders()? == [next]).then_some(()));
    wait_for(PATIENCE, let_go).expect("kernels answer").expect("the ill node lets it go");
    let report = probe.settled_report(died, probe::now());
    assert!(report.longest_dark < Duration::from_millis(500), "{report:?}");
}

/// Nobody could serve then, and nobody may wait for one that could.
fn the_holder_dies_when_every_api_server_is_dead(bed: Bed) {
    let mut cluster = three_api_servers(&bed);
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    cluster.api.fail(Outage::Refused).expect("an outage");
    wait_for(PATIENCE, || all_are(&cluster, "unhealthy")).expect("agents answer").expect("all find out");
    cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached");
    cluster.segment.partition(&cluster.nodes[holder].host).expect("partitioned");
    // About 1 s; where each waited for one that could serve it was a whole lease of 15 s.
    let succeeded = cluster.wait_holder(&cluster.others(holder), Duration::from_secs(8));
    assert!(succeeded.is_ok(), "{succeeded:?}");
}

fn all_are(cluster: &Cluster, state: &str) -> anyhow::Result<Option<()>> {
    let all = cluster.nodes.iter().all(|node| node.agent.local_service()["state"] == state);
    Ok(all.then_some(()))
}

fn nothing_moves_when_every_api_server_is_dead(bed: Bed) {
    let mut cluster = three_api_servers(&bed);
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let probe = Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP))).expect("a probe");
    let died = probe::now();
    cluster.api.fail(Outage::Refused).expect("an outage");
    wait_for(PATIENCE, || all_are(&cluster, "unhealthy"))
        .expect("agents answer")
        .expect("every agent finds its own dead");
    cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached");
    cluster.api.heal().expect("they are back");
    cluster.wait_tenure(holder, "confirmed", PATIENCE).expect("confirmed");
    let report = probe.settled_report(died, probe::now());
    assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
    assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
}
