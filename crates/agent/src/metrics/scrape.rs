//! States, read when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::status::ClaimStatus;
use mainstay_core::vip::Tenure;
use mainstay_dataplane::counters::Counters;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use mainstay_kube::{ServerState, ServerStatus};

use super::{ByClaim, ByError, ByName, ByServer, ByTask, ByTenure, ByVersion, ByVip, Fraction, Observer};
use crate::admin::reply::{Balancer, Name, NodeLabel, ServiceFilter, Services};
use crate::api_log;
use crate::driver::Report;
use crate::store::Written;
use crate::supervise::TaskState;

/// All tenures, and `none`: one series each, so that a change of tenure leaves none behind.
const TENURES: [(Option<Tenure>, &str); 5] = [
    (None, "none"),
    (Some(Tenure::Candidate), "candidate"),
    (Some(Tenure::Provisional), "provisional"),
    (Some(Tenure::Detached), "detached"),
    (Some(Tenure::Confirmed), "confirmed"),
];

/// What is known of the agent at a scrape.
#[derive(Debug)]
pub(crate) struct Scraped<'a> {
    /// The loops' words; the series of one that did not answer are absent.
    pub(crate) reports: Vec<&'a Report>,
    /// The loops' pulses.
    pub(crate) loops: Vec<Pulse>,
    /// The snapshots' files.
    pub(crate) written: Written,
    /// The control plane's tasks.
    pub(crate) tasks: BTreeMap<&'static str, TaskState>,
    /// The API servers known.
    pub(crate) servers: Vec<ServerStatus>,
    /// The node's label, where it is to have one.
    pub(crate) label: Option<NodeLabel>,
    /// The names that VIPs come from.
    pub(crate) names: Vec<Name>,
    /// Services, where they are held.
    pub(crate) services: Option<Services>,
    /// The load balancer, where there is to be one.
    pub(crate) balancer: Option<Balancer>,
    /// Interfaces on which this host speaks for addresses of others of its interfaces.
    pub(crate) loose_arp: usize,
}

/// One loop's pulse.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    /// The claim that it is for.
    pub(crate) claim: String,
    /// How often it turned.
    pub(crate) turns: u64,
    /// Since it turned last; `None` before its first turn.
    pub(crate) idle: Option<Duration>,
    /// The latest that it ever was for a deadline.
    pub(crate) worst_lag: Duration,
}

impl Scraped<'_> {
    /// All metrics in Prometheus's text form.
    pub(crate) fn encode(&self, observer: &Observer) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("mainstay");
        observer.register(&mut registry);
        register_arp(self.loose_arp, &mut registry);
        self.register_process(&mut registry);
        register_servers(&self.servers, &mut registry);
        if let Some(label) = &self.label {
            register_label(label, &mut registry);
        }
        if !self.names.is_empty() {
            register_names(&self.names, &mut registry);
        }
        if let Some(services) = &self.services {
            register_services(services, &mut registry);
        }
        if let Some(balancer) = &self.balancer {
            super::balancer::register(balancer, &mut registry);
        }
        if !self.reports.is_empty() {
            register_claims(&self.reports, &mut registry);
            register_addresses(&self.reports, &mut registry);
            register_planes(&self.reports, &mut registry);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register_process(&self, registry: &mut Registry) {
        let info = Family::<ByVersion, Gauge>::default();
        info.get_or_create(&ByVersion { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Which version runs", info);
        self.register_loops(registry);
        registry.register("snapshot_writes", "Snapshots written", counted(self.written.writes));
        registry.register(
            "snapshot_write_errors",
            "Snapshots that could not be written: a restart would not remember",
            counted(self.written.errors),
        );
        let (restarts, panics) = (Family::<ByTask, Counter>::default(), Family::<ByTask, Counter>::default());
        for (task, state) in &self.tasks {
            restarts.get_or_create_owned(&ByTask { task }).inner().store(state.restarts, Ordering::Relaxed);
            panics.get_or_create_owned(&ByTask { task }).inner().store(state.panics, Ordering::Relaxed);
        }
        registry.register(
            "task_restarts",
            "Control-plane tasks started again. No VIP moves for it",
            restarts,
        );
        registry.register("task_panics", "Control-plane tasks that panicked", panics);
    }

    fn register_loops(&self, registry: &mut Registry) {
        let turns = Family::<ByClaim, Counter>::default();
        let (idle, lag) = (Family::<ByClaim, Fraction>::default(), Family::<ByClaim, Fraction>::default());
        for pulse in &self.loops {
            let claim = ByClaim { claim: pulse.claim.clone() };
            turns.get_or_create(&claim).inner().store(pulse.turns, Ordering::Relaxed);
            idle.get_or_create(&claim).set(seconds(pulse.idle));
            lag.get_or_create(&claim).set(pulse.worst_lag.as_secs_f64());
        }
        registry.register("loop_turns", "Turns of the loop", turns);
        registry.register(
            "loop_idle_seconds",
            "Since the loop turned last; it turns at least once a second",
            idle,
        );
        registry.register(
            "loop_lag_max_seconds",
            "The latest that the loop ever was for a deadline since the start. Not the lag of now",
            lag,
        );
    }
}

fn register_arp(loose: usize, registry: &mut Registry) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(loose).unwrap_or(i64::MAX));
    registry.register(
        "loose_arp_interfaces",
        "Interfaces on which this host answers ARP for a VIP that another of its interfaces has: kube-proxy without strict ARP",
        gauge,
    );
}

fn register_services(services: &Services, registry: &mut Registry) {
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let gauges = [
        ("services", "Services of type LoadBalancer that are ours", number(services.ours)),
        (
            "services_refused",
            "Of these, those that do not get all they ask for",
            number(services.refused_count),
        ),
        (
            "service_write_failures_in_a_row",
            "Writes of Services' statuses failed in a row. No VIP depends on them",
            i64::from(services.write_failures_in_a_row),
        ),
    ];
    if let Some(filter) = &services.filter {
        register_filter(filter, registry);
    }
    registry.register("service_writes", "Writes on Services that this node did", counted(services.writes));
    for (name, help, value) in gauges {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
}

fn register_filter(filter: &ServiceFilter, registry: &mut Registry) {
    let gauges = [
        (
            "service_filter_in_force",
            "1 if the kernel filters Services' addresses as was decided last. No VIP depends on it",
            i64::from(filter.in_force),
        ),
        (
            "service_filter_addresses",
            "Addresses of Services that are filtered",
            i64::try_from(filter.addresses).unwrap_or(i64::MAX),
        ),
    ];
    for (name, help, value) in gauges {
        let gauge = Gauge::<i64>::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    }
    registry.register(
        "service_filter_dropped_packets",
        "Packets to Services' addresses that were dropped; from 0 again when the kernel's table is made anew",
        counted(filter.dropped),
    );
}

/// Of servers that were asked.
fn register_servers(servers: &[ServerStatus], registry: &mut Registry) {
    let (reachable, failures) = (Family::<ByServer, Gauge>::default(), Family::<ByServer, Gauge>::default());
    let (backoff, success) =
        (Family::<ByServer, Fraction>::default(), Family::<ByServer, Fraction>::default());
    let errors = Family::<ByError, Gauge>::default();
    for server in servers.iter().filter(|server| server.state != ServerState::Untried) {
        let labels = ByServer { server: server.url.clone(), kind: api_log::kind(server.kind) };
        reachable.get_or_create(&labels).set(i64::from(server.state == ServerState::Answering));
        failures.get_or_create(&labels).set(i64::from(server.failures_in_a_row));
        backoff.get_or_create(&labels).set(server.backoff.unwrap_or_default().as_secs_f64());
        if let Some(at) = server.last_success {
            success.get_or_create(&labels).set(at.elapsed().as_secs_f64());
        }
        if let Some(trouble) = &server.last_error {
            let ByServer { server, kind } = labels;
            errors.get_or_create(&ByError { server, kind, class: trouble.class.word() }).set(1);
        }
    }
    registry.register(
        "api_server_reachable",
        "1 if this API server answered when it was asked last. Not that the Lease can be written: see api_reachable",
        reachable,
    );
    registry.register(
        "api_server_failures_in_a_row",
        "Requests to this API server failed in a row",
        failures,
    );
    registry.register(
        "api_server_backoff_seconds",
        "How long this API server is left alone for, as long as others answer; 0 if it answers",
        backoff,
    );
    registry.register("api_server_last_success_seconds", "Since this API server's last answer", success);
    registry.register("api_server_error", "1 for the kind of what went wrong last, while it fails", errors);
}

fn register_label(label: &NodeLabel, registry: &mut Registry) {
    let pending = Gauge::<i64>::default();
    pending.set(i64::from(label.written != label.wanted));
    registry.register(
        "node_label_pending",
        "1 while the node's label is not known to be as it should be. No VIP depends on it",
        pending,
    );
    let failures = Gauge::<i64>::default();
    failures.set(i64::from(label.failures_in_a_row));
    registry.register("node_label_failures_in_a_row", "Writes of the node's label failed in a row", failures);
    registry.register("node_label_writes", "Writes of the node's label", counted(label.writes));
}

fn register_claims(reports: &[&Report], registry: &mut Registry) {
    let holder = Family::<ByClaim, Gauge>::default();
    let tenure = Family::<ByTenure, Gauge>::default();
    let families = CLAIM_GAUGES.map(|(name, help)| (name, help, Family::<ByClaim, Fraction>::default()));
    for status in reports.iter().map(|report| &report.status) {
        let claim = ByClaim { claim: status.claim.to_string() };
        holder.get_or_create(&claim).set(i64::from(status.tenure.is_some()));
        for (one, name) in TENURES {
            let labels = ByTenure { claim: status.claim.to_string(), tenure: name };
            tenure.get_or_create(&labels).set(i64::from(status.tenure == one));
        }
        for ((.., family), value) in families.iter().zip(claim_values(status)) {
            if !value.is_nan() {
                family.get_or_create(&claim).set(value);
            }
        }
    }
    registry.register(
        "holder",
        "1 if this node holds the claim. Not that clients reach it, nor that no other node does: sum over nodes",
        holder,
    );
    registry.register("tenure", "1 for how this node holds the claim; none if it does not", tenure);
    for (name, help, family) in families {
        registry.register(name, help, family);
    }
}

/// What there is of each claim.
const CLAIM_GAUGES: [(&str, &str); 5] = [
    ("epoch", "The epoch of this node's grant, or the highest seen"),
    (
        "api_reachable",
        "1 if the last contact with the API servers is fresh. Not that a write would succeed now",
    ),
    ("api_failures_in_a_row", "Lease requests failed in a row"),
    ("api_last_contact_seconds", "Since the last successful contact"),
    ("holder_last_answer_seconds", "Since the holder's last answer on the wire, where this node watches it"),
];

/// In the order of [`CLAIM_GAUGES`]; not a number where there is nothing to say.
fn claim_values(status: &ClaimStatus) -> [f64; 5] {
    [
        f64::from(status.epoch),
        f64::from(u8::from(status.authority_in_reach)),
        f64::from(status.failures_in_a_row),
        seconds(status.last_contact),
        seconds(status.holder_last_answer),
    ]
}

fn register_names(names: &[Name], registry: &mut Registry) {
    let failures = Family::<ByName, Gauge>::default();
    for name in names {
        let labels = ByName { name: name.name.clone() };
        failures.get_or_create(&labels).set(i64::from(name.failures_in_a_row));
    }
    registry.register(
        "name_failures_in_a_row",
        "Failed look-ups in a row of a DNS name that VIPs come from. Its last good answer stays in force",
        failures,
    );
}

fn register_addresses(reports: &[&Report], registry: &mut Registry) {
    let sent = Family::<ByVip, Counter>::default();
    let age = Family::<ByVip, Fraction>::default();
    let refused = Family::<ByVip, Gauge>::default();
    for report in reports {
        for (vip, announced) in &report.counters.announced {
            let labels = ByVip { vip: vip.to_string() };
            sent.get_or_create(&labels).inner().store(announced.sent, Ordering::Relaxed);
            // What the claim does not have any more grows old for ever.
            if let Some(last) = announced.last.filter(|_| report.status.vips.contains(vip)) {
                age.get_or_create(&labels).set(report.now.since(last).as_secs_f64());
            }
        }
        for vip in &report.status.vips {
            let labels = ByVip { vip: vip.to_string() };
            refused.get_or_create(&labels).set(i64::from(report.refused.contains_key(vip)));
        }
    }
    registry.register(
        "announcements_sent",
        "Announcements that the device took. Not that anybody heard them",
        sent,
    );
    registry.register(
        "address_refused",
        "1 while the kernel refuses this VIP and has others of its claim. All refused: kernel_errors, and not ready",
        refused,
    );
    registry.register("announcement_age_seconds", "Since the last announcement of a VIP by this node", age);
}

fn register_planes(reports: &[&Report], registry: &mut Registry) {
    let link = Family::<ByClaim, Gauge>::default();
    let families = PLANE_COUNTERS.map(|(name, help)| (name, help, Family::<ByClaim, Counter>::default()));
    for report in reports {
        let claim = ByClaim { claim: report.status.claim.to_string() };
        link.get_or_create(&claim).set(i64::from(report.link_up));
        for ((.., family), value) in families.iter().zip(plane_values(&report.counters)) {
            family.get_or_create(&claim).inner().store(value, Ordering::Relaxed);
        }
    }
    registry.register("link_up", "1 if the claim's interface is up. Not that anybody is on the link", link);
    for (name, help, family) in families {
        registry.register(name, help, family);
    }
}

/// What there is of each claim's data plane.
const PLANE_COUNTERS: [(&str, &str); 7] = [
    ("frames_received", "Frames that passed the kernel's filter"),
    ("frames_malformed", "Frames that were malformed, and ignored"),
    ("frames_missed", "Frames that found no room in the socket; what was asked before them is asked again"),
    ("probes_sent", "Probes that the device took"),
    ("send_errors", "Frames that the device did not take"),
    ("kernel_errors", "Orders that the kernel refused or left unanswered"),
    ("addresses_removed", "VIPs that left the interface without our order; they are put back"),
];

/// In the order of [`PLANE_COUNTERS`].
fn plane_values(counters: &Counters) -> [u64; 7] {
    [
        counters.frames_read,
        counters.frames_malformed,
        counters.frames_missed,
        counters.probes_sent,
        counters.send_errors,
        counters.kernel_errors,
        counters.removed,
    ]
}

pub(super) fn counted(value: u64) -> Counter {
    let counter: Counter = Counter::default();
    counter.inner().store(value, Ordering::Relaxed);
    counter
}

/// Not a number where there is nothing to say: such a series is left out.
fn seconds(duration: Option<Duration>) -> f64 {
    duration.map_or(f64::NAN, |duration| duration.as_secs_f64())
}
