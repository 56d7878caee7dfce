//! A VIP on every kind of interface: each is asked to settle, to lose its link, to have it back; a bond, to change over.
//!
//! Where the kernel lacks a kind, the test says so; `make test-long` runs them all once more on User-Mode Linux, which
//! has them (`scripts/uml.sh`).

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::cluster::{Cluster, Plan, VIP, wait_for};
use mainstay_lab::netns::{self, Cable};
use mainstay_lab::probe::{self, Probe, Report};

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// Every bound gets this much for a machine that is busy with other tests.
const MARGIN: Duration = Duration::from_millis(400);

/// A settled cluster whose nodes have this interface, who holds, and a client's view; or nothing, and the reason.
fn settled(cable: Cable) -> Option<(Cluster, usize, Probe, Scratch)> {
    if let Err(reason) = netns::ensure_privilege() {
        eprintln!("skipped: {reason}");
        return None;
    }
    if !cable.is_available().expect("a kernel that says what it has") {
        eprintln!("skipped: this kernel has no {cable:?} device; scripts/uml.sh runs this on one that has");
        return None;
    }
    let scratch = Scratch::new(&format!("devices-{cable:?}"));
    let plan = Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick();
    let cluster = Cluster::up(plan.with_cable(cable)).expect("a cluster that settles");
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let probe = Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP))).expect("a probe");
    let heard = || Ok(answerer(&lately(&probe)));
    let mac = wait_for(PATIENCE, heard).expect("a report").expect("the client is answered");
    assert_eq!(mac, cluster.nodes[holder].host.mac().to_string());
    Some((cluster, holder, probe, scratch))
}

fn lately(probe: &Probe) -> Report {
    let now = probe::now();
    probe.report(now - Duration::from_millis(300), now)
}

fn answerer(report: &Report) -> Option<String> {
    report.answerers.last().map(|one| one.mac.to_string())
}

/// The holder's link goes: another takes over. It comes back: the one that took over stays.
fn a_link_goes_and_comes(cable: Cable) {
    let Some((mut cluster, holder, probe, _scratch)) = settled(cable) else { return };
    let others = cluster.others(holder);
    let begin = probe::now();
    let host = cluster.nodes[holder].host.clone();
    cluster.segment.port_down(&host).expect("down");
    let next = cluster.wait_holder(&others, PATIENCE).expect("succeeded");
    cluster.wait_tenure(next, "confirmed", PATIENCE).expect("by a grant");
    cluster.segment.port_up(&host).expect("up");
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), next, "a superseded one takes nothing");
    let dark = probe.settled_report(begin, probe::now()).longest_dark;
    assert!(dark < Duration::from_millis(450) + MARGIN, "dark for {dark:?}");
    let mac = wait_for(PATIENCE, || Ok(answerer(&lately(&probe)))).expect("a report");
    assert_eq!(mac, Some(cluster.nodes[next].host.mac().to_string()), "the client's path is right");
    cluster.stop(next, PATIENCE).expect("handed over");
}

#[test]
fn on_a_bridge_the_vip_follows_the_link() {
    a_link_goes_and_comes(Cable::Bridge);
}

#[test]
fn on_a_vlan_the_vip_follows_the_link() {
    a_link_goes_and_comes(Cable::Vlan);
}

#[test]
fn on_a_bond_the_vip_follows_the_link() {
    a_link_goes_and_comes(Cable::Bond);
}

/// The VIP stays where it is, and clients are told of the bond's other hardware address.
#[test]
fn a_bond_that_changes_over_keeps_its_vip() {
    let Some((cluster, holder, probe, _scratch)) = settled(Cable::Bond) else { return };
    let host = cluster.nodes[holder].host.clone();
    let epoch = cluster.claim(holder)["epoch"].clone();
    let begin = probe::now();
    cluster.segment.cable_down(&host, 0).expect("down");
    let other = host.mac_of_cable(1).to_string();
    let told = || Ok((answerer(&lately(&probe)).as_ref() == Some(&other)).then_some(()));
    wait_for(PATIENCE, told).expect("a report").expect("it answers from the other cable");
    let dark = probe.settled_report(begin, probe::now()).longest_dark;
    assert!(dark < Duration::from_millis(300) + MARGIN, "dark for {dark:?}");
    let settled = cluster.wait_settled(PATIENCE).expect("settled");
    assert_eq!((settled, &cluster.claim(holder)["epoch"]), (holder, &epoch), "nothing moved");
}
