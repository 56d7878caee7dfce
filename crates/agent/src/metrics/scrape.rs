//! States, read when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mainstay_core::vip::Tenure;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use mainstay_kube::{ServerState, ServerStatus};

use super::{ByClaim, ByError, ByName, ByServer, ByTask, ByTenure, ByVersion, ByVip, Fraction, Observer};
use crate::admin::reply::{Name, NodeLabel};
use crate::api_log;
use crate::driver::Report;
use crate::store::Written;
use crate::supervise::TaskState;
use crate::vitals::Vitals;

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
    /// The loop's word; `None` when it did not answer, and then its series are absent.
    pub(crate) report: Option<&'a Report>,
    /// The loop's pulse, and how long ago it was.
    pub(crate) vitals: (&'a Vitals, Option<Duration>),
    /// The snapshot's file.
    pub(crate) written: Written,
    /// The control plane's tasks.
    pub(crate) tasks: BTreeMap<&'static str, TaskState>,
    /// The API servers known.
    pub(crate) servers: Vec<ServerStatus>,
    /// The node's label, where it is to have one.
    pub(crate) label: Option<NodeLabel>,
    /// The names that VIPs come from.
    pub(crate) names: Vec<Name>,
}

impl Scraped<'_> {
    /// All metrics in Prometheus's text form.
    pub(crate) fn encode(&self, observer: &Observer) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("mainstay");
        observer.register(&mut registry);
        self.register_process(&mut registry);
        register_servers(&self.servers, &mut registry);
        if let Some(label) = &self.label {
            register_label(label, &mut registry);
        }
        if !self.names.is_empty() {
            register_names(&self.names, &mut registry);
        }
        if let Some(report) = self.report {
            register_claim(report, &mut registry);
            register_plane(report, &mut registry);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }

    fn register_process(&self, registry: &mut Registry) {
        let info = Family::<ByVersion, Gauge>::default();
        info.get_or_create(&ByVersion { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "Which version runs", info);
        let (vitals, idle) = self.vitals;
        registry.register("loop_turns", "Turns of the loop", counted(vitals.turns()));
        registry.register(
            "loop_idle_seconds",
            "Since the loop turned last; it turns at least once a second",
            fraction(idle.map(|idle| idle.as_secs_f64()).unwrap_or(f64::NAN)),
        );
        registry.register(
            "loop_lag_max_seconds",
            "The latest that the loop ever was for a deadline since the start. Not the lag of now",
            fraction(vitals.worst_lag().as_secs_f64()),
        );
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

fn register_claim(report: &Report, registry: &mut Registry) {
    let status = &report.status;
    let claim = || ByClaim { claim: status.claim.to_string() };
    let holder = Family::<ByClaim, Gauge>::default();
    holder.get_or_create(&claim()).set(i64::from(status.tenure.is_some()));
    registry.register(
        "holder",
        "1 if this node holds the claim. Not that clients reach it, nor that no other node does: sum over nodes",
        holder,
    );
    let tenure = Family::<ByTenure, Gauge>::default();
    for (one, name) in TENURES {
        let labels = ByTenure { claim: status.claim.to_string(), tenure: name };
        tenure.get_or_create(&labels).set(i64::from(status.tenure == one));
    }
    registry.register("tenure", "1 for how this node holds the claim; none if it does not", tenure);
    let gauges: [(&str, &str, f64); 5] = [
        ("epoch", "The epoch of this node's grant, or the highest seen", f64::from(status.epoch)),
        (
            "api_reachable",
            "1 if the last contact with the API servers is fresh. Not that a write would succeed now",
            f64::from(u8::from(status.authority_in_reach)),
        ),
        ("api_failures_in_a_row", "Lease requests failed in a row", f64::from(status.failures_in_a_row)),
        ("api_last_contact_seconds", "Since the last successful contact", seconds(status.last_contact)),
        (
            "holder_last_answer_seconds",
            "Since the holder's last answer on the wire, where this node watches it",
            seconds(status.holder_last_answer),
        ),
    ];
    for (name, help, value) in gauges.into_iter().filter(|(.., value)| !value.is_nan()) {
        let family = Family::<ByClaim, Fraction>::default();
        family.get_or_create(&claim()).set(value);
        registry.register(name, help, family);
    }
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

fn register_plane(report: &Report, registry: &mut Registry) {
    let counters = &report.counters;
    let link = Gauge::<i64>::default();
    link.set(i64::from(report.link_up));
    registry.register("link_up", "1 if the VIP's interface is up. Not that anybody is on the link", link);
    let sent = Family::<ByVip, Counter>::default();
    let age = Family::<ByVip, Fraction>::default();
    for (vip, announced) in &counters.announced {
        let labels = ByVip { vip: vip.to_string() };
        sent.get_or_create(&labels).inner().store(announced.sent, Ordering::Relaxed);
        // What the claim's names mean no more grows old for ever.
        if let Some(last) = announced.last.filter(|_| report.status.vips.contains(vip)) {
            age.get_or_create(&labels).set(report.now.since(last).as_secs_f64());
        }
    }
    registry.register(
        "announcements_sent",
        "Announcements that the device took. Not that anybody heard them",
        sent,
    );
    let refused = Family::<ByVip, Gauge>::default();
    for vip in &report.status.vips {
        let labels = ByVip { vip: vip.to_string() };
        refused.get_or_create(&labels).set(i64::from(report.refused.contains_key(vip)));
    }
    registry.register(
        "address_refused",
        "1 while the kernel refuses this VIP and has others of its claim. All refused: kernel_errors, and not ready",
        refused,
    );
    registry.register("announcement_age_seconds", "Since the last announcement of a VIP by this node", age);
    let counts: [(&str, &str, u64); 6] = [
        ("frames_received", "Frames that passed the kernel's filter", counters.frames_read),
        ("frames_malformed", "Frames that were malformed, and ignored", counters.frames_malformed),
        ("probes_sent", "Probes that the device took", counters.probes_sent),
        ("send_errors", "Frames that the device did not take", counters.send_errors),
        ("kernel_errors", "Orders that the kernel refused or left unanswered", counters.kernel_errors),
        (
            "addresses_removed",
            "VIPs that left the interface without our order; they are put back",
            counters.removed,
        ),
    ];
    for (name, help, value) in counts {
        registry.register(name, help, counted(value));
    }
}

fn counted(value: u64) -> Counter {
    let counter: Counter = Counter::default();
    counter.inner().store(value, Ordering::Relaxed);
    counter
}

fn fraction(value: f64) -> Fraction {
    let gauge = Fraction::default();
    gauge.set(value);
    gauge
}

/// Not a number where there is nothing to say: such a series is left out.
fn seconds(duration: Option<Duration>) -> f64 {
    duration.map_or(f64::NAN, |duration| duration.as_secs_f64())
}
