//! Rule 12 with real processes: an API server on each node, and the holder's dies while the others live (kube-vip issues
//! 1786 and 1787).

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::Fault;
use mainstay_lab::cluster::{Cluster, Layout, Plan, VIP, wait_for};
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Probe};

/// `control_plane_health_check_period_seconds` and `_failure_threshold`.
const PERIOD: Duration = Duration::from_secs(1);
const THRESHOLD: u32 = 2;
/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);

fn with_three_api_servers(name: &str, test: fn(Cluster)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new(name);
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0)
        .with_layout(Layout::OnEachNode)
        .with_setting("control_plane_health_check_period_seconds", &PERIOD.as_secs().to_string())
        .with_setting("control_plane_health_check_failure_threshold", &THRESHOLD.to_string());
    let cluster = Cluster::up(plan).expect("a cluster that settles");
    let all_healthy = || {
        let mut states = cluster.nodes.iter().map(|node| node.agent.local_service());
        Ok(states.all(|service| service["state"] == "healthy").then_some(()))
    };
    wait_for(PATIENCE, all_healthy).expect("agents answer").expect("every API server lives");
    test(cluster);
}

fn others(holder: usize) -> Vec<usize> {
    (0..3).filter(|index| *index != holder).collect()
}

#[test]
fn the_vip_leaves_a_node_whose_api_server_is_dead() {
    with_three_api_servers("local-health", |cluster| {
        let holder = cluster.wait_settled(PATIENCE).expect("settled");
        let probe = Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP))).expect("a probe");
        let died = probe::now();
        cluster.api.embedded().expect("embedded").fronts[holder].inject(Fault::Refuse);
        let next = cluster.wait_holder(&others(holder), PATIENCE).expect("a healthy node holds");
        let moved = probe::now().since(died);
        let limit = PERIOD * THRESHOLD + Duration::from_secs(1);
        assert!(moved < limit, "moved after {moved:?}, promised within {limit:?}");
        cluster.wait_tenure(next, "confirmed", PATIENCE).expect("by a grant");
        let let_go = || Ok((cluster.holders()? == [next]).then_some(()));
        wait_for(PATIENCE, let_go).expect("kernels answer").expect("the ill node lets it go");
        let report = probe.settled_report(died, probe::now());
        assert!(report.longest_dark < Duration::from_millis(500), "{report:?}");
    });
}

#[test]
fn nothing_moves_when_every_api_server_is_dead() {
    with_three_api_servers("no-health", |mut cluster| {
        let holder = cluster.wait_settled(PATIENCE).expect("settled");
        let probe = Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP))).expect("a probe");
        let died = probe::now();
        cluster.api.fail(mainstay_lab::cluster::Outage::Refused).expect("an outage");
        let all_ill = || {
            let mut states = cluster.nodes.iter().map(|node| node.agent.local_service());
            Ok(states.all(|service| service["state"] == "unhealthy").then_some(()))
        };
        wait_for(PATIENCE, all_ill).expect("agents answer").expect("every agent finds its own dead");
        cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached");
        cluster.api.heal().expect("they are back");
        cluster.wait_tenure(holder, "confirmed", PATIENCE).expect("confirmed");
        let report = probe.settled_report(died, probe::now());
        assert_eq!((report.lost, report.answerers.len()), (0, 1), "{report:?}");
        assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
    });
}
