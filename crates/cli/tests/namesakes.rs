//! Two agents with one node name, from a copied manifest or a cloned machine: the VIP is safe, people are told, and the
//! API is not pressed.

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::Verb;
use mainstay_lab::cluster::{Cluster, PORT, Plan, VIP, wait_for};
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Probe};

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
const SECOND: Duration = Duration::from_secs(1);
/// Agents of the first two nodes both call themselves so.
const NAME: &str = "n1";

/// Agents started in this order, the first of which holds.
fn started(name: &str, order: [usize; 3]) -> Option<(Cluster, Scratch)> {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return None;
    }
    let scratch = Scratch::new(&format!("namesakes-{name}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let mut cluster = Cluster::new(plan).expect("hosts and an API server");
    cluster.nodes[1].agent.set("vip_nodename", NAME);
    for node in order {
        cluster.start(node).expect("started");
        if node == order[0] {
            cluster.wait_tenure(node, "confirmed", PATIENCE).expect("held");
        }
    }
    Some((cluster, scratch))
}

/// Each of the two says so in one line, with the other's address.
fn both_tell(cluster: &Cluster) {
    for (node, other) in [(0, 1), (1, 0)] {
        let told = || {
            let log = cluster.nodes[node].agent.log();
            let lines = log.lines().filter(|line| line.contains("another agent runs as node n1"));
            Ok(lines.map(str::to_owned).next())
        };
        let line = wait_for(PATIENCE, told).expect("a log").expect("it is told");
        let host = &cluster.nodes[other].host;
        assert!(line.contains(&host.ipv4().to_string()) && line.contains(&host.mac().to_string()), "{line}");
        assert!(line.contains("WARN") && line.contains("a vip_nodename of its own"), "{line}");
    }
}

#[test]
fn of_two_followers_with_one_name_both_are_told_of_the_other() {
    let Some((cluster, _scratch)) = started("followers", [2, 0, 1]) else { return };
    both_tell(&cluster);
    untouched_and_calm(&cluster, 2);
}

#[test]
fn a_namesake_of_the_holder_takes_nothing() {
    let Some((cluster, _scratch)) = started("holder", [1, 0, 2]) else { return };
    both_tell(&cluster);
    untouched_and_calm(&cluster, 1);
    assert_eq!(cluster.claim(0)["standing"], "denied", "the grant is another run's: {}", cluster.claim(0));
}

/// The client is served by `holder` alone, and the two write themselves over each other ever more seldom.
fn untouched_and_calm(cluster: &Cluster, holder: usize) {
    let probe =
        Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP)).with_tcp(PORT)).expect("a probe");
    let answered =
        || Ok((!probe.report(probe::now() - SECOND, probe::now()).answerers.is_empty()).then_some(()));
    wait_for(PATIENCE, answered).expect("a report").expect("the VIP answers");
    let begin = probe::now();
    let writes = || {
        let store = cluster.api.embedded().expect("an embedded server").cluster.store();
        store.account().count(Verb::Update, "leases")
    };
    let before = writes();
    wait_for(PATIENCE, || Ok((probe::now().since(begin) > 8 * SECOND).then_some(()))).expect("a clock");
    // The holder renews once a second. Without a pause that grows, the two would write 5 times a second more.
    let others = (writes() - before).saturating_sub(8);
    assert!(others <= 10, "{others} writes in 8 s beside the renewals");
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");
    assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
}
