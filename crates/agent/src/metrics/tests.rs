//! Names and meanings of the series.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mainstay_core::event::{Event, TakeReason, Verdict, YieldReason};
use mainstay_core::input::LeaseOutcome;
use mainstay_core::names::{ClaimId, Mac};
use mainstay_core::time::Moment;
use mainstay_core::vip::Tenure;
use mainstay_dataplane::counters::{Announced, Counters};
use mainstay_kube::ErrorClass;

use super::{Observer, Pulse, Scraped};
use crate::admin::reply::{Backend, Balancer, NodeLabel, ServiceFilter, Services};
use crate::driver::Report;
use crate::store::Written;
use crate::supervise::TaskState;
use crate::testing::{api_server, claim_status};

fn report() -> Report {
    let vip = "10.0.0.100".parse().unwrap();
    let announced = Announced { sent: 5, last: Some(Moment::from_millis(8_500)) };
    let counters = Counters { announced: BTreeMap::from([(vip, announced)]), ..Counters::default() };
    let now = Moment::from_millis(10_000);
    Report {
        seats: Vec::new(),
        now,
        status: claim_status(),
        counters,
        link_up: true,
        address_failure: None,
        refused: BTreeMap::new(),
    }
}

fn text(observer: &Observer, report: Option<&Report>) -> String {
    let task = TaskState { restarts: 3, panics: 1, ..TaskState::default() };
    let written = Written { writes: 4, errors: 2, failing: None };
    let tasks = BTreeMap::from([("lease", task)]);
    let pulse = |claim: &str, idle| Pulse {
        claim: claim.to_owned(),
        turns: 8,
        idle: Some(Duration::from_millis(idle)),
        worst_lag: Duration::ZERO,
    };
    let loops = vec![pulse("control-plane", 250), pulse("services", 500)];
    let servers = vec![api_server(Some((ErrorClass::Overloaded, 7)))];
    let label = Some(NodeLabel {
        label: "kube-vip.io/has-ip=10.0.0.100".to_owned(),
        wanted: Some(true),
        written: Some(false),
        writes: 3,
        failures_in_a_row: 2,
        last_error: None,
    });
    let names = vec![crate::admin::reply::Name {
        name: "api.example.com".to_owned(),
        addresses: vec!["10.0.0.100".to_owned()],
        failures_in_a_row: 4,
        last_error: None,
    }];
    let filter = ServiceFilter { in_force: true, addresses: 11, dropped: 42, ..ServiceFilter::default() };
    let services = Some(Services {
        ours: 12,
        refused_count: 3,
        write_failures_in_a_row: 1,
        filter: Some(filter),
        ..Services::default()
    });
    let backends = ["10.0.0.1:6443", "10.0.0.2:6443"].map(|address| Backend {
        address: address.to_owned(),
        state: if address.starts_with("10.0.0.1") { "up" } else { "down" }.to_owned(),
        takes_connections: address.starts_with("10.0.0.1"),
        connections: 9,
        ..Backend::default()
    });
    let balancer = Some(Balancer { connections_ended: 5, backends: backends.into(), ..Balancer::default() });
    let reports = report.into_iter().collect();
    Scraped { reports, loops, written, tasks, servers, label, names, services, balancer, loose_arp: 1 }
        .encode(observer)
        .expect("a text")
}

/// One that has seen everything.
fn busy() -> Observer {
    let observer = Observer::default();
    let claim = ClaimId::control_plane();
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let vip = "10.0.0.100".parse().unwrap();
    for _ in 0..2 {
        let (claim, tenure, reason) = (claim.clone(), Tenure::Confirmed, TakeReason::Evidence);
        observer.tell(&Event::Took { claim, tenure, epoch: 7, reason });
    }
    observer.tell(&Event::Yielded { claim: claim.clone(), epoch: 7, reason: YieldReason::HandOver });
    observer.tell(&Event::Conflict { claim, vip, mac, mark: None, verdict: Verdict::Rogue });
    observer.answered(&LeaseOutcome::Unreachable);
    observer
}

#[test]
fn the_names_are_a_promise_and_each_has_a_help() {
    let text = text(&busy(), Some(&report()));
    let names = |kind: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let expected = [
        "address_refused",
        "addresses_removed",
        "announcement_age_seconds",
        "announcements_sent",
        "api_failures_in_a_row",
        "api_last_contact_seconds",
        "api_reachable",
        "api_requests",
        "api_server_backoff_seconds",
        "api_server_error",
        "api_server_failures_in_a_row",
        "api_server_last_success_seconds",
        "api_server_reachable",
        "build_info",
        "conflicts",
        "epoch",
        "events",
        "frames_malformed",
        "frames_missed",
        "frames_received",
        "holder",
        "kernel_errors",
        "link_up",
        "name_failures_in_a_row",
        "loop_idle_seconds",
        "loose_arp_interfaces",
        "lb_backend_connections",
        "lb_backend_takes",
        "lb_backend_up",
        "lb_connections_ended",
        "lb_in_doubt",
        "lb_in_force",
        "loop_lag_max_seconds",
        "loop_turns",
        "node_label_failures_in_a_row",
        "node_label_pending",
        "node_label_writes",
        "probes_sent",
        "send_errors",
        "service_filter_addresses",
        "service_filter_dropped_packets",
        "service_filter_in_force",
        "service_write_failures_in_a_row",
        "service_writes",
        "services",
        "services_refused",
        "snapshot_write_errors",
        "snapshot_writes",
        "task_panics",
        "task_restarts",
        "tenure",
        "transitions",
    ];
    let expected: BTreeSet<_> = expected.map(|name| format!("mainstay_{name}")).into();
    assert_eq!(names("# TYPE "), expected);
    assert_eq!(names("# HELP "), expected);
}

#[test]
fn states_are_read_and_events_are_counted() {
    let text = text(&busy(), Some(&report()));
    for line in [
        r#"mainstay_holder{claim="control-plane"} 1"#,
        r#"mainstay_tenure{claim="control-plane",tenure="detached"} 1"#,
        r#"mainstay_tenure{claim="control-plane",tenure="confirmed"} 0"#,
        r#"mainstay_epoch{claim="control-plane"} 7.0"#,
        r#"mainstay_api_reachable{claim="control-plane"} 0.0"#,
        r#"mainstay_api_failures_in_a_row{claim="control-plane"} 9.0"#,
        r#"mainstay_api_requests_total{outcome="unreachable"} 1"#,
        r#"mainstay_transitions_total{claim="control-plane",change="took",reason="evidence"} 2"#,
        r#"mainstay_transitions_total{claim="control-plane",change="yielded",reason="hand-over"} 1"#,
        r#"mainstay_conflicts_total{claim="control-plane",verdict="rogue"} 1"#,
        r#"mainstay_events_total{kind="Took"} 2"#,
        r#"mainstay_announcements_sent_total{vip="10.0.0.100"} 5"#,
        r#"mainstay_announcement_age_seconds{vip="10.0.0.100"} 1.5"#,
        r#"mainstay_task_restarts_total{task="lease"} 3"#,
        r#"mainstay_task_panics_total{task="lease"} 1"#,
        r#"mainstay_api_server_reachable{server="https://10.0.0.1:6443",kind="configured"} 0"#,
        r#"mainstay_api_server_failures_in_a_row{server="https://10.0.0.1:6443",kind="configured"} 7"#,
        r#"mainstay_api_server_backoff_seconds{server="https://10.0.0.1:6443",kind="configured"} 2.5"#,
        r#"mainstay_api_server_error{server="https://10.0.0.1:6443",kind="configured",class="overloaded"} 1"#,
        "mainstay_node_label_pending 1",
        "mainstay_node_label_failures_in_a_row 2",
        "mainstay_node_label_writes_total 3",
        "mainstay_snapshot_writes_total 4",
        "mainstay_snapshot_write_errors_total 2",
        r#"mainstay_loop_idle_seconds{claim="control-plane"} 0.25"#,
        r#"mainstay_loop_idle_seconds{claim="services"} 0.5"#,
        r#"mainstay_link_up{claim="control-plane"} 1"#,
        r#"mainstay_kernel_errors_total{claim="control-plane"} 0"#,
        "mainstay_services 12",
        "mainstay_service_filter_in_force 1",
        "mainstay_service_filter_addresses 11",
        "mainstay_service_filter_dropped_packets_total 42",
        "mainstay_loose_arp_interfaces 1",
        "mainstay_lb_connections_ended_total 5",
        "mainstay_lb_backend_up{backend=\"10.0.0.1:6443\"} 1",
        "mainstay_lb_backend_up{backend=\"10.0.0.2:6443\"} 0",
        "mainstay_lb_backend_connections{backend=\"10.0.0.1:6443\"} 9",
        "mainstay_lb_in_force 0",
        "mainstay_services_refused 3",
        "mainstay_service_write_failures_in_a_row 1",
    ] {
        assert!(text.lines().any(|one| one == line), "{line} is missing in:\n{text}");
    }
}

#[test]
fn a_loop_that_does_not_answer_leaves_no_stale_series() {
    let text = text(&Observer::default(), None);
    assert!(!text.contains("mainstay_holder") && text.contains("mainstay_loop_idle_seconds"));
}
