//! kube-proxy beside Mainstay, in its IPVS mode: all addresses of Services are on `kube-ipvs0` of every node. For ARP a
//! bridge of that name is the same as kube-proxy's dummy, and is there in every kernel.

use std::time::Duration;

use mainstay_lab::probe::{self, Capture, Probe, Speech};

use crate::bed::{Bed, VIPS};

/// How long is listened.
const WINDOW: Duration = Duration::from_secs(8);

/// Both nodes' kernels have the Service's addresses on `kube-ipvs0` and answer ARP on `eth0` for whatever they have.
#[test]
fn without_strict_arp_there_is_no_storm_nobody_yields_and_the_remedy_is_told() {
    let Some(mut bed) = Bed::new("ipvs", &[]) else { return };
    bed.start();
    bed.serve(&[80]);
    let holder = bed.holder();
    for node in 0..2 {
        let host = bed.host(node);
        host.output("ip", &["link", "add", "kube-ipvs0", "type", "bridge"]).expect("a bridge");
        for (vip, prefix) in VIPS.iter().zip([32, 128]) {
            let address = format!("{vip}/{prefix}");
            host.output("ip", &["address", "add", &address, "dev", "kube-ipvs0"]).expect("an address");
        }
    }
    let began = probe::now();
    let capture = Capture::start(&bed.cluster.segment).expect("a capture");
    let probe = Probe::start(&bed.cluster.client, probe::Plan::new(VIPS[0])).expect("a probe");
    // A client that asks anew hears both.
    let asked = began + WINDOW;
    while probe::now() < asked {
        let _ = bed.cluster.client.output("ip", &["neigh", "flush", "dev", "eth0"]);
        std::thread::sleep(Duration::from_millis(500));
    }
    let ended = probe::now();
    let both = capture.claimants(VIPS[0], began, ended);
    let macs = [0, 1].map(|node| bed.host(node).mac());
    assert!(macs.iter().all(|mac| both.contains_key(mac)), "both kernels answer: {both:?}");
    assert_eq!(bed.holder(), holder, "nobody yields, nobody takes");
    // Steady announcements are a third of a burst's; defences one a second, two frames each.
    let announced = capture.announcements(VIPS[0], began, ended).len();
    let heard = capture.heard();
    let of_agents = heard
        .iter()
        .filter(|one| one.address == VIPS[0] && one.speech != Speech::Question && one.mark.is_some());
    let marked = of_agents.count();
    println!("{announced} announcements, {marked} marked frames in {WINDOW:?}; answers {both:?}");
    assert!(marked <= 60, "{marked} frames of agents in {WINDOW:?}");
    let report = probe.settled_report(began, ended);
    println!("{} of {} probes lost", report.lost, report.sent);

    for node in 0..2 {
        bed.wait("it is told", |bed| {
            let status = bed.cluster.nodes[node].agent.whole_status();
            let warnings = status["hostWarnings"].as_array().cloned().unwrap_or_default();
            warnings.iter().any(|one| one.as_str().is_some_and(|line| line.contains("ipvs.strictARP: true")))
        });
        let log = bed.cluster.nodes[node].agent.log();
        assert_eq!(log.matches("--ipvs-strict-arp").count(), 1, "once: {log}");
    }
    let misconfigured = bed.cluster.nodes[holder].agent.counter("mainstay_conflicts_total", "misconfigured");
    println!("conflicts told as misconfigured: {:?}", misconfigured.expect("metrics"));

    for node in 0..2 {
        let host = bed.host(node);
        for setting in ["net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"] {
            host.output("sysctl", &["-qw", setting]).expect("set");
        }
    }
    bed.wait("all is well", |bed| {
        (0..2)
            .all(|node| bed.cluster.nodes[node].agent.whole_status()["hostWarnings"] == serde_json::json!([]))
    });
    // From here on, the holder alone answers.
    let strict = probe::now();
    for _ in 0..6 {
        let _ = bed.cluster.client.output("ip", &["neigh", "flush", "dev", "eth0"]);
        std::thread::sleep(Duration::from_millis(300));
    }
    let one = capture.claimants(VIPS[0], strict, probe::now());
    assert_eq!(one.keys().collect::<Vec<_>>(), [&macs[holder]], "the holder alone");
}
