//! Numbers for Prometheus, and the one match that turns the core's events into log lines and numbers.
//!
//! What only counts is counted as it happens; what is a state is read from the loop when somebody asks (`scrape`), so
//! no series can keep saying what was true once.

mod balancer;
mod scrape;
#[cfg(test)]
mod tests;

use std::sync::atomic::AtomicU64;

use mainstay_core::event::{Event, Severity, TakeReason, Verdict, YieldReason};
use mainstay_core::input::LeaseOutcome;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::history::History;

pub(crate) use scrape::{Pulse, Scraped};

/// A gauge of a duration or another fraction.
type Fraction = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByClaim {
    claim: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTenure {
    claim: String,
    tenure: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTransition {
    claim: String,
    change: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVerdict {
    claim: String,
    verdict: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByTask {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVip {
    vip: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByName {
    name: String,
}

/// By backend of the load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByBackend {
    /// `IP:PORT`.
    backend: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByServer {
    server: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByError {
    server: String,
    kind: &'static str,
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByVersion {
    version: &'static str,
}

/// Turns what happens into log lines and numbers. Shared by value; there is no global registry.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    transitions: Family<ByTransition, Counter>,
    conflicts: Family<ByVerdict, Counter>,
    events: Family<ByKind, Counter>,
    requests: Family<ByOutcome, Counter>,
    node_reports: Family<ByOutcome, Counter>,
    history: History,
}

impl Observer {
    /// One event of the core: its log line and its numbers. The only place that looks into events.
    pub(crate) fn tell(&self, event: &Event) {
        match event.severity() {
            Severity::Info => tracing::info!(event = event.kind(), "{event}"),
            Severity::Warning => tracing::warn!(event = event.kind(), "{event}"),
        }
        self.events.get_or_create(&ByKind { kind: event.kind() }).inc();
        self.history.remember(event);
        match event {
            Event::Took { claim, reason, .. } => self.transition(claim.as_str(), "took", took(*reason)),
            Event::Yielded { claim, reason, .. } => {
                self.transition(claim.as_str(), "yielded", yielded(*reason))
            }
            Event::Conflict { claim, verdict, .. } => {
                let labels = ByVerdict { claim: claim.to_string(), verdict: judged(*verdict) };
                self.conflicts.get_or_create(&labels).inc();
            }
            _ => {}
        }
    }

    /// What happened lately.
    pub(crate) const fn history(&self) -> &History {
        &self.history
    }

    /// What became of a lease request.
    pub(crate) fn answered(&self, outcome: &LeaseOutcome) {
        let outcome = match outcome {
            LeaseOutcome::Record(_) => "record",
            LeaseOutcome::Absent => "absent",
            LeaseOutcome::Conflict => "conflict",
            LeaseOutcome::Forbidden => "forbidden",
            LeaseOutcome::Throttled { .. } => "throttled",
            LeaseOutcome::Unreachable => "unreachable",
            LeaseOutcome::Unknown => "unknown",
        };
        self.requests.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// What became of the report of a dead node.
    pub(crate) fn reported(&self, outcome: &'static str) {
        self.node_reports.get_or_create(&ByOutcome { outcome }).inc();
    }

    fn transition(&self, claim: &str, change: &'static str, reason: &'static str) {
        self.transitions.get_or_create(&ByTransition { claim: claim.to_owned(), change, reason }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register(
            "transitions",
            "Times this node took or yielded a claim, by reason. Not how long the VIP was dark meanwhile",
            self.transitions.clone(),
        );
        registry.register(
            "conflicts",
            "Frames of other hosts in a VIP's name, by verdict. Only those that reached this host",
            self.conflicts.clone(),
        );
        registry.register("events", "Events of the ownership machine, by kind", self.events.clone());
        registry.register(
            "api_requests",
            "Lease requests by outcome; unknown means that a write may or may not have been done",
            self.requests.clone(),
        );
        registry.register(
            "node_reports",
            "Dead nodes by what became of reporting them; done means that the Node is not ready by this node's word",
            self.node_reports.clone(),
        );
    }
}

fn took(reason: TakeReason) -> &'static str {
    match reason {
        TakeReason::Free => "free",
        TakeReason::Expired => "expired",
        TakeReason::Evidence => "evidence",
        TakeReason::Invitation => "invitation",
        TakeReason::Succession => "succession",
        TakeReason::Resumption => "resumption",
    }
}

fn yielded(reason: YieldReason) -> &'static str {
    match reason {
        YieldReason::Denied => "denied",
        YieldReason::Outranked => "outranked",
        YieldReason::HandOver => "hand-over",
        YieldReason::LinkDown => "link-down",
        YieldReason::AuthorityLoss => "authority-loss",
        YieldReason::Expired => "expired",
        YieldReason::Defended => "defended",
        YieldReason::Refused => "refused",
    }
}

fn judged(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Defend => "defend",
        Verdict::Yield => "yield",
        Verdict::Verify => "verify",
        Verdict::Misconfigured => "misconfigured",
        Verdict::Foreign => "foreign",
        Verdict::Rogue => "rogue",
    }
}
