//! Why a Service has the addresses that it has, and by whom they may be held: `mainstay explain NAMESPACE/NAME`. Decided
//! anew for whoever asks, for what is decided is not kept.

use std::fmt::Display;

use mainstay_core::intent::{Basis, Claim, Decisions, Grant, ObjectName, Service, Survey};
use mainstay_core::placement::Fitness;
use tokio::sync::{mpsc, oneshot};

use super::decided::{Decided, Facts};
use crate::admin::reply::{Explanation, Reason};

/// Somebody asks.
#[derive(Debug)]
pub(crate) struct Question {
    pub(super) about: ObjectName,
    pub(super) answer: oneshot::Sender<Explanation>,
}

/// What people ask, one after another.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// `None` where nobody can ask.
    asked: Option<mpsc::Receiver<Question>>,
    /// What is to be answered by the next decision.
    open: Option<Question>,
}

impl Questions {
    /// Where they are asked, and where they come out.
    pub(super) fn channel() -> (mpsc::Sender<Question>, Self) {
        let (asks, asked) = mpsc::channel(1);
        (asks, Self { asked: Some(asked), open: None })
    }

    /// What the next decision is to say something of.
    pub(super) fn about(&self) -> Option<ObjectName> {
        self.open.as_ref().map(|question| question.about.clone())
    }

    /// Answers what is open, if the decision says something of it. Where not everything was read, whoever asks hears nothing.
    pub(super) fn answer(&mut self, decided: Option<&mut Decided>) {
        let explained = decided.and_then(|decided| decided.explained.take());
        if let Some((question, explained)) = self.open.take().zip(explained) {
            // Whoever asked may be gone.
            let _ = question.answer.send(explained);
        }
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        match &mut self.asked {
            Some(asked) => self.open = asked.recv().await,
            None => std::future::pending().await,
        }
        if self.open.is_none() {
            std::future::pending().await
        }
    }
}

/// Why it is as it is, of what was decided from these facts.
pub(super) fn explain(
    name: &ObjectName,
    facts: &Facts<'_>,
    (decisions, survey): (&Decisions, &Survey<'_>),
) -> Explanation {
    let about = format!("Service {name}");
    let Some(service) = facts.intent.services.get(name) else {
        let conclusion = "no such Service is known to this node".to_owned();
        return Explanation { about, conclusion, ..Explanation::default() };
    };
    if let Some(why) = decisions.not_ours.get(name) {
        let conclusion = format!("not held: {why}");
        return Explanation { about, conclusion, ..Explanation::default() };
    }
    let grants = decisions.grants.get(name).map(Vec::as_slice).unwrap_or_default();
    let mut because: Vec<Reason> = grants.iter().map(|grant| reason("its address", granted(grant))).collect();
    because.extend(all("refused", decisions.refused.get(name)));
    because.extend(all("note", decisions.notes.get(name)));
    if decisions.elsewhere.contains(name) {
        because.push(reason(
            "its status",
            "another load balancer serves it: what it says is left alone".to_owned(),
        ));
    }
    let claim = decisions.claims.values().find(|claim| claim.services().contains(name));
    because.extend(claim.iter().flat_map(|claim| neighbours(name, claim)));
    because.extend(on_record(service));
    because.extend(claim.iter().flat_map(|claim| nodes(claim, facts, survey)));
    Explanation {
        about,
        conclusion: conclusion(grants, claim),
        because,
        would_change: changes(grants, claim, facts, survey),
    }
}

fn reason(source: &str, says: String) -> Reason {
    Reason { source: source.to_owned(), says }
}

fn all<T: Display>(source: &str, lines: Option<&Vec<T>>) -> Vec<Reason> {
    lines.into_iter().flatten().map(|line| reason(source, line.to_string())).collect()
}

fn conclusion(grants: &[Grant], claim: Option<&Claim>) -> String {
    let addresses: Vec<String> = grants.iter().map(|grant| grant.address.to_string()).collect();
    match (addresses.is_empty(), claim) {
        (true, _) => "it gets no address".to_owned(),
        (false, Some(_)) => format!("it has {}, which is to be held", addresses.join(", ")),
        (false, None) => format!("it gets {}, which is held once its status says so", addresses.join(", ")),
    }
}

fn granted(grant: &Grant) -> String {
    let why = match grant.basis {
        Basis::Published => "its status says so already",
        Basis::Named => "a person names it",
        Basis::Pool => "new from a pool",
    };
    let ports: Vec<String> = grant.ports.iter().map(ToString::to_string).collect();
    format!("{}, on {}: {why}", grant.address, ports.join(", "))
}

/// Those that it shares an address with.
fn neighbours(name: &ObjectName, claim: &Claim) -> Option<Reason> {
    let others: Vec<String> =
        claim.services().into_iter().filter(|other| *other != name).map(ToString::to_string).collect();
    (!others.is_empty())
        .then(|| reason("it shares", format!("addresses with {}: they move together", others.join(", "))))
}

/// What the Service itself says of its place.
fn on_record(service: &Service) -> Vec<Reason> {
    let seat = service.seat.as_ref().map(|home| format!("mainstay.io/seat: placed at the seat of {home}"));
    let host = service.vip_host.as_ref().map(|host| format!("kube-vip.io/vipHost: {host} held it last"));
    [seat, host].into_iter().flatten().map(|says| reason("its annotations", says)).collect()
}

/// Which nodes with an agent could hold it, and why others could not.
fn nodes(claim: &Claim, facts: &Facts<'_>, survey: &Survey<'_>) -> Vec<Reason> {
    let eligibility = survey.eligibility(claim).nodes;
    let agents = facts.agents.keys().chain([facts.node]).collect::<std::collections::BTreeSet<_>>();
    let verdict = |node| match eligibility.get(node) {
        Some(Ok(Fitness::Fit)) => "could hold it".to_owned(),
        Some(Ok(Fitness::Reluctant(why))) => format!("gets nothing new: {why}"),
        Some(Err(why)) => format!("cannot hold it: {why}"),
        None => "is no node that the API server knows".to_owned(),
    };
    agents.into_iter().map(|node| reason(&format!("node {node}"), verdict(node))).collect()
}

fn changes(grants: &[Grant], claim: Option<&Claim>, facts: &Facts<'_>, survey: &Survey<'_>) -> Vec<String> {
    let Some(claim) = claim else {
        let refused = "what is refused above, with its remedy".to_owned();
        return if grants.is_empty() { vec![refused] } else { Vec::new() };
    };
    let eligibility = survey.eligibility(claim).nodes;
    if !facts.agents.keys().any(|node| eligibility.get(node).is_some_and(Result::is_ok)) {
        return vec!["a node with an agent that could hold it; why none can stands above".to_owned()];
    }
    let how = if facts.spread {
        "the death of its node, or of what serves it there"
    } else {
        "the death of the node that holds all Services"
    };
    vec![how.to_owned()]
}
