//! Requests about one Lease, carried out: a task each, and an outcome each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mainstay_core::effect::{LeaseDraft, LeaseRequest};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseReport, Outcome};
use mainstay_core::names::ClaimId;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::access::Traffic;
use crate::adapter::{LeaseCall, LeaseName, Timing};
use crate::answer::{Answer, ErrorClass};
use crate::fleet::{Ask, Ends, Fleet, JSON, whole_and_way};
use crate::lease::{Seen, created, label, record};
use crate::microtime;

/// Tells the core of one Lease: that of its claim, or that of a seat.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    pub(crate) reports: mpsc::Sender<Input>,
    pub(crate) seat: Option<ClaimId>,
}

impl Voice {
    pub(crate) async fn say(&self, report: LeaseReport) {
        let input = match &self.seat {
            Some(seat) => Input::SeatLease { seat: seat.clone(), report },
            None => Input::Lease(report),
        };
        // When nobody listens any more the agent is ending.
        let _ = self.reports.send(input).await;
    }

    async fn conclude(&self, id: EffectId, outcome: LeaseOutcome) {
        let _ = self.reports.send(Input::Outcome { id, outcome: Outcome::Lease(outcome) }).await;
    }
}

/// What it takes to carry out requests about one Lease.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) lease: LeaseName,
    /// Written with every write, over what the Lease carries.
    pub(crate) labels: &'static [(&'static str, &'static str)],
    /// The same.
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) timing: Timing,
    pub(crate) seen: Arc<Mutex<Seen>>,
    pub(crate) voice: Voice,
}

impl Desk {
    /// Sends the request and tells its outcome, at its deadline at the latest.
    pub(crate) async fn carry_out(self, call: LeaseCall) {
        let (ask, id) = (self.ask(&call), call.id);
        let (fleet, voice) = (Arc::clone(&self.fleet), self.voice.clone());
        let answer = within(call.deadline, async move {
            let unanswered = async || voice.say(LeaseReport::Unanswered { id }).await;
            fleet.race(&ask, whole_and_way, unanswered).await.0.answer
        });
        self.conclude(id, &answer.await).await;
    }

    /// Says what a request came to.
    pub(crate) async fn conclude(&self, id: EffectId, answer: &Answer<(Value, Ends)>) {
        if let Answer::Success((_, Some((local, remote)))) = answer {
            self.voice.say(LeaseReport::Reached { local: *local, remote: *remote }).await;
        }
        self.voice.conclude(id, outcome(answer, &self.seen)).await;
    }

    /// The draft with the operator's annotations.
    fn annotated(&self, draft: &LeaseDraft) -> LeaseDraft {
        let mut draft = draft.clone();
        draft.annotations.extend(self.annotations.clone());
        draft
    }

    fn ask(&self, call: &LeaseCall) -> Ask {
        let (lease, now) = (&self.lease, microtime::now());
        let (method, path, body) = match &call.request {
            LeaseRequest::Read => (Method::GET, lease.object(), None),
            LeaseRequest::Create(draft) => {
                let object = created(&lease.namespace, &lease.name, &self.annotated(draft), &now);
                (Method::POST, lease.collection(), Some(object))
            }
            LeaseRequest::Update { resource_version, draft } => {
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let name = (lease.namespace.as_str(), lease.name.as_str());
                let object = seen.updated(name, resource_version, &self.annotated(draft), &now);
                (Method::PUT, lease.object(), Some(object))
            }
        };
        let body = body.map(|object| Bytes::from(label(object, self.labels).to_string()));
        asking((method, path), body.unwrap_or_default(), self.timing, call.deadline)
    }
}

/// A request of the Lease's kind. The server gives up when we do, so that a write does not come true long after.
pub(crate) fn asking(
    (method, path): (Method, String),
    body: Bytes,
    timing: Timing,
    deadline: Duration,
) -> Ask {
    let joint = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{joint}timeout={}s", deadline.as_secs().max(1));
    let (pace, traffic, last) = (timing.pace(deadline), Traffic::Lease, None);
    Ask { method, path, body, content: JSON, traffic, pace, last, refusal_is_fault: true }
}

/// What `asked` comes to, in a task of its own, so that even a panic has an answer. Loading credentials comes before the
/// race, and counts.
pub(crate) async fn within<T: Send + 'static>(
    deadline: Duration,
    asked: impl Future<Output = Answer<T>> + Send + 'static,
) -> Answer<T> {
    let task = AbortOnDropHandle::new(tokio::spawn(asked));
    match timeout(deadline, task).await {
        Ok(answer) => {
            let panicked = |error| format!("lease request: {error}");
            answer.unwrap_or_else(|error| Answer::unknown(ErrorClass::Broken, panicked(error)))
        }
        Err(_) => Answer::unknown(ErrorClass::Timeout, "no answer within the deadline"),
    }
}

/// The core's word for an answer.
fn outcome(answer: &Answer<(Value, Ends)>, seen: &Mutex<Seen>) -> LeaseOutcome {
    match answer {
        Answer::Success((object, _)) => {
            seen.lock().unwrap_or_else(PoisonError::into_inner).note(object);
            LeaseOutcome::Record(record(object))
        }
        Answer::Absent => LeaseOutcome::Absent,
        Answer::Conflict => LeaseOutcome::Conflict,
        Answer::Forbidden(_) => LeaseOutcome::Forbidden,
        Answer::Throttled(retry_after) => LeaseOutcome::Throttled { retry_after: *retry_after },
        Answer::Refused(_) => LeaseOutcome::Unreachable,
        Answer::Gone | Answer::Unknown(_) => LeaseOutcome::Unknown,
    }
}
