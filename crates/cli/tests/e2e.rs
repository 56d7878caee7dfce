//! The main job, with real processes, real network stacks, real frames and a real HTTPS API.
//!
//! Each test runs on the embedded API server, and again on a real `kube-apiserver` where `KUBEBUILDER_ASSETS` names a
//! directory with its binaries; there, the agents have the permissions of `manifests/rbac.yaml` and no others.
//!
//! Bounds here are wide: they tell a mechanism that works from one that does not. How fast it works is the business of
//! the benchmarks.

mod common;

use std::net::IpAddr;
use std::time::Duration;

use common::Scratch;
use mainstay_lab::apiserver::real::assets;
use mainstay_lab::cluster::{Backend, Cluster, Outage, PORT, Plan, VIP, wait_for};
use mainstay_lab::netns;
use mainstay_lab::probe::{self, Capture, Probe};

/// A wide margin for anything that takes seconds at most.
const PATIENCE: Duration = Duration::from_secs(20);

fn plan(scratch: &Scratch) -> Plan {
    Plan::new(env!("CARGO_BIN_EXE_mainstay").as_ref(), &scratch.0).quick()
}

/// Each of these runs on the embedded API server, and on a real one where there is one.
macro_rules! on_both_api_servers {
    ($($name:literal: $test:ident),* $(,)?) => {
        mod on_the_embedded_api_server {
            $(#[test] fn $test() { super::on_the_embedded($name, super::$test); })*
        }
        mod on_a_real_api_server {
            $(#[test] fn $test() { super::on_a_real_one($name, super::$test); })*
        }
    };
}

on_both_api_servers![
    "outage": an_outage_a_restart_in_it_and_the_return_move_nothing_and_lose_nothing,
    "death": a_dead_holder_is_succeeded_with_and_without_the_api_and_its_return_settles,
    "black-hole": a_black_hole_moves_nothing_and_loses_nothing,
    "hand-over": a_stop_hands_over_and_loses_nothing,
    "deleted": an_address_deleted_by_hand_comes_back_by_itself,
];

fn on_the_embedded(name: &str, test: fn(Cluster)) {
    on(&format!("{name}-embedded"), Backend::Embedded, test);
}

fn on_a_real_one(name: &str, test: fn(Cluster)) {
    match assets() {
        Ok(assets) => on(&format!("{name}-real"), Backend::Real(assets), test),
        Err(reason) => eprintln!("skipped: {reason}"),
    }
}

/// Runs a test on a cluster, or says why that cannot be.
fn on(name: &str, backend: Backend, test: fn(Cluster)) {
    if let Err(reason) = netns::ensure_privilege() {
        return eprintln!("skipped: {reason}");
    }
    let scratch = Scratch::new(&format!("e2e-{name}"));
    test(Cluster::up(plan(&scratch).with_backend(backend)).expect("a cluster that settles"));
}

fn an_outage_a_restart_in_it_and_the_return_move_nothing_and_lose_nothing(mut cluster: Cluster) {
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let capture = Capture::start(&cluster.segment).expect("a capture");
    let probe =
        Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP)).with_tcp(PORT)).expect("a probe");
    let begin = probe::now();

    cluster.api.fail(Outage::Refused).expect("an outage");
    cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached");
    cluster.kill(holder).expect("killed");
    cluster.start(holder).expect("started");
    cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached again");
    assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
    cluster.api.heal().expect("the API is back");
    cluster.wait_tenure(holder, "confirmed", PATIENCE).expect("confirmed again");

    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");
    assert_eq!(report.answerers.len(), 1, "one holder answered all: {report:?}");
    assert!(capture.announcements(IpAddr::V4(VIP), begin, probe::now()).len() > 2);
    assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
}

fn a_dead_holder_is_succeeded_with_and_without_the_api_and_its_return_settles(mut cluster: Cluster) {
    let first = cluster.wait_settled(PATIENCE).expect("settled");
    cluster.segment.partition(&cluster.nodes[first].host).expect("partitioned");
    let second = cluster.wait_holder(&cluster.others(first), PATIENCE).expect("succeeded on evidence");
    cluster.wait_tenure(second, "confirmed", PATIENCE).expect("by a grant");
    cluster.segment.heal(&cluster.nodes[first].host).expect("healed");
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), second, "the rightful one stays");

    cluster.api.fail(Outage::Hung).expect("an outage");
    cluster.wait_tenure(second, "detached", PATIENCE).expect("detached");
    cluster.segment.partition(&cluster.nodes[second].host).expect("partitioned");
    let third = cluster.wait_holder(&cluster.others(second), PATIENCE).expect("succeeded without the API");
    cluster.api.heal().expect("the API is back");
    cluster.wait_tenure(third, "confirmed", PATIENCE).expect("granted afterwards");
    cluster.segment.heal(&cluster.nodes[second].host).expect("healed");
    assert_eq!(cluster.wait_settled(PATIENCE).expect("settled"), third);
    let reached = || probe::ping(&cluster.client, IpAddr::V4(VIP), Duration::from_millis(100));
    let mac = wait_for(PATIENCE, reached).expect("pings").expect("the client reaches the VIP");
    assert_eq!(mac, cluster.nodes[third].host.mac());
}

fn a_black_hole_moves_nothing_and_loses_nothing(mut cluster: Cluster) {
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let probe =
        Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP)).with_tcp(PORT)).expect("a probe");
    let begin = probe::now();

    cluster.api.fail(Outage::BlackHoled).expect("an outage");
    cluster.wait_tenure(holder, "detached", PATIENCE).expect("detached");
    // Longer than the lease lasts: to every other node it has expired, and still nobody takes it.
    let expired = || Ok((probe::now().since(begin) > Duration::from_secs(8)).then_some(()));
    wait_for(PATIENCE, expired).expect("a clock").expect("time passes");
    cluster.api.heal().expect("the API is back");
    cluster.wait_tenure(holder, "confirmed", PATIENCE).expect("confirmed again");

    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");
    assert_eq!(cluster.holders().expect("kernels answer"), [holder]);
}

fn a_stop_hands_over_and_loses_nothing(mut cluster: Cluster) {
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let probe =
        Probe::start(&cluster.client, probe::Plan::new(IpAddr::V4(VIP)).with_tcp(PORT)).expect("a probe");
    // A holder that has heard no other member keeps the VIP for its own restart. It asks a member that it has just
    // learned of once a second: two seconds of the client's probes are answered first.
    let settled = probe::now();
    let in_company = || {
        let answered = probe.report(settled, probe::now()).answerers.first().map_or(0, |one| one.count);
        Ok((answered > 0 && probe::now().since(settled) > Duration::from_secs(2)).then_some(()))
    };
    wait_for(PATIENCE, in_company).expect("a report").expect("the VIP answers");
    let begin = probe::now();
    assert!(cluster.stop(holder, PATIENCE).expect("it ends").success());
    // Withdrawn before the process ends. One that is kept stays for minutes, or at the least its lifetime of 10 s.
    let let_go = || Ok((!cluster.holders()?.contains(&holder)).then_some(()));
    wait_for(Duration::from_secs(3), let_go)
        .expect("kernels answer")
        .expect("the stopped node lets the VIP go");
    let next = cluster.wait_holder(&cluster.others(holder), PATIENCE).expect("another holds");
    cluster.wait_tenure(next, "confirmed", PATIENCE).expect("by a grant");
    let report = probe.settled_report(begin, probe::now());
    assert_eq!((report.lost, report.tcp.lost), (0, 0), "{report:?}");
}

fn an_address_deleted_by_hand_comes_back_by_itself(cluster: Cluster) {
    let holder = cluster.wait_settled(PATIENCE).expect("settled");
    let host = &cluster.nodes[holder].host;
    let begin = probe::now();
    let watch = netns::HolderWatch::start(std::slice::from_ref(host)).expect("a watch");
    host.output("ip", &["address", "del", &format!("{VIP}/32"), "dev", host.device()]).expect("deleted");
    let away_and_back = || {
        let timeline = watch.timeline_of(IpAddr::V4(VIP));
        let changes: Vec<_> =
            timeline.iter().filter(|change| change.at > begin).map(|change| change.at).collect();
        Ok(if let [.., gone, back] = changes[..] { Some(back.since(gone)) } else { None })
    };
    let away = wait_for(PATIENCE, away_and_back).expect("a timeline").expect("it came back");
    // 100 ms are promised and a few are measured: a timer's second would be seen.
    assert!(away < Duration::from_millis(900), "away for {away:?}");
}
