//! Keeps one label on this node's object, or off it: `enable_node_labeling`, as kube-vip does it.
//!
//! Nothing waits for it, and nothing depends on it. What is kept is a desired state: however often it changes, one
//! request at most is under way, and the next says what is wanted then. The requests have connections and a permit of
//! their own ([`Fleet::aside`]), a backoff of their own, and none is sent while no API server is known to answer.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use http::Method;
use mainstay_core::backoff::Backoff;
use mainstay_core::rng::Rng;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::access::Traffic;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::chance;
use crate::fleet::{Ask, Fleet};
use crate::race::Pace;

/// The label of the node that holds the control plane's VIP; kube-vip's name.
const HAS_IP: &str = "kube-vip.io/has-ip";
/// How long one server may take, by its own clock too.
const LIMIT: Duration = Duration::from_secs(10);
/// Between attempts, with full jitter: from this ...
const BACKOFF_BASE: Duration = Duration::from_secs(1);
/// ... to this.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// A request whose end is unknown may still be done for so long. The server gives up after [`LIMIT`]; the rest is for a
/// request that is late on its way to it.
const LOOSE_FOR: Duration = Duration::from_secs(60);
/// What [RFC 7386](https://www.rfc-editor.org/rfc/rfc7386) calls a merge patch: `null` removes, also what is not there.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// A label, and whose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLabel {
    node: String,
    value: String,
}

impl NodeLabel {
    /// `kube-vip.io/has-ip=ADDRESS` on `node`. A label's value has no colons: as in kube-vip, an IPv6 address is written
    /// as 32 hexadecimal digits.
    #[must_use]
    pub fn has_ip(node: &str, address: IpAddr) -> Self {
        let value = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("{:032x}", address.to_bits()),
        };
        Self { node: node.to_owned(), value }
    }

    fn ask(&self, present: bool) -> Ask {
        let value = present.then_some(&self.value);
        let body = json!({"metadata": {"labels": {HAS_IP: value}}}).to_string();
        Ask {
            method: Method::PATCH,
            path: format!("/api/v1/nodes/{}?fieldManager=mainstay&timeout={}s", self.node, LIMIT.as_secs()),
            body: Bytes::from(body),
            content: MERGE_PATCH,
            traffic: Traffic::Aside,
            pace: Pace { hedge_after: LIMIT, unanswered_after: LIMIT, deadline: LIMIT },
            last: None,
            refusal_is_fault: false,
        }
    }
}

/// `kube-vip.io/has-ip=ADDRESS`
impl fmt::Display for NodeLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HAS_IP}={}", self.value)
    }
}

/// How it stands with the label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelStatus {
    /// Whether the node shall have it; `None` as long as that is not known.
    pub wanted: Option<bool>,
    /// Whether it has it, by what was written last; `None` as long as that is not known.
    pub written: Option<bool>,
    /// How often it was written.
    pub writes: u64,
    /// Failures in a row.
    pub failures_in_a_row: u32,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<Trouble>,
}

/// Keeps a label by way of a lease adapter's API servers.
#[derive(Clone)]
pub struct Labeller(Arc<Fleet>);

impl fmt::Debug for Labeller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Labeller")
    }
}

impl Labeller {
    pub(crate) fn new(fleet: Arc<Fleet>) -> Self {
        Self(fleet)
    }

    /// Keeps `label` as `wanted` says, and tells in `seen` how it stands. Ends when nobody says any more what is wanted,
    /// after one last attempt if one is due and an API server is known to answer.
    pub async fn keep(
        &self,
        label: &NodeLabel,
        wanted: &mut watch::Receiver<Option<bool>>,
        seen: &watch::Sender<LabelStatus>,
    ) {
        keep(&Node { fleet: &self.0, label, avoid: Mutex::default() }, label, wanted, seen).await;
    }
}

/// What the keeper needs of an API.
trait Api {
    /// Waits until a server is known to answer.
    async fn answering(&self);
    /// Writes the label, or takes it off.
    async fn write(&self, present: bool) -> Answer<()>;
}

struct Node<'a> {
    fleet: &'a Fleet,
    label: &'a NodeLabel,
    /// The server that left the last request without a good end: asked after the others.
    avoid: Mutex<Option<String>>,
}

impl Api for Node<'_> {
    async fn answering(&self) {
        self.fleet.answering().await;
    }

    async fn write(&self, present: bool) -> Answer<()> {
        let mut ask = self.label.ask(present);
        ask.last = self.avoid.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (answer, by) = self.fleet.aside(&ask).await;
        let avoid = by.filter(|_| matches!(answer, Answer::Unknown(_)));
        *self.avoid.lock().unwrap_or_else(PoisonError::into_inner) = avoid;
        answer.without_payload().unwrap_or(Answer::Success(()))
    }
}

async fn keep(
    api: &impl Api,
    label: &NodeLabel,
    wanted: &mut watch::Receiver<Option<bool>>,
    seen: &watch::Sender<LabelStatus>,
) {
    let mut desk = Desk::new(chance::rng());
    let mut open = true;
    loop {
        let want = *wanted.borrow_and_update();
        seen.send_replace(LabelStatus { wanted: want, ..desk.status.clone() });
        let due = desk.due(want);
        match (due.filter(|due| *due <= Instant::now()), want) {
            (Some(_), Some(present)) if open => {
                tokio::select! {
                    () = api.answering() => desk.note(label, present, api.write(present).await),
                    changed = wanted.changed() => open = changed.is_ok(),
                }
            }
            (Some(_), Some(present)) if api.answering().now_or_never().is_some() => {
                desk.note(label, present, api.write(present).await);
                seen.send_replace(LabelStatus { wanted: want, ..desk.status });
                return;
            }
            _ if !open => return,
            _ => {
                let pause = async {
                    match due {
                        Some(due) => sleep_until(due).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = pause => {}
                    changed = wanted.changed() => open = changed.is_ok(),
                }
            }
        }
        if !open {
            desk.hurry();
        }
    }
}

/// What was written, and when to write again. Makes no request itself.
struct Desk {
    status: LabelStatus,
    /// Requests whose end is unknown, by what they ask for: when the latest of them was given up.
    loose: BTreeMap<bool, Instant>,
    backoff: Backoff,
    rng: Rng,
    rest_until: Option<Instant>,
    /// The kind of trouble that the log has last been told.
    said: Option<ErrorClass>,
}

impl Desk {
    fn new(rng: Rng) -> Self {
        Self {
            status: LabelStatus::default(),
            loose: BTreeMap::new(),
            backoff: Backoff::new(BACKOFF_BASE, BACKOFF_CAP),
            rng,
            rest_until: None,
            said: None,
        }
    }

    /// When to write what is wanted: at once if it is not what was written, later if a request that asked for the
    /// opposite may still be done; not before the backoff has passed. `None` is never.
    fn due(&self, wanted: Option<bool>) -> Option<Instant> {
        let wanted = wanted?;
        let due = if self.status.written == Some(wanted) {
            *self.loose.get(&!wanted)? + LOOSE_FOR
        } else {
            Instant::now()
        };
        Some(self.rest_until.map_or(due, |rest| rest.max(due)))
    }

    /// There is not the time for a backoff any more.
    fn hurry(&mut self) {
        self.rest_until = None;
        self.loose.clear();
    }

    fn note(&mut self, label: &NodeLabel, present: bool, answer: Answer<()>) {
        match answer {
            Answer::Success(()) => self.done(label, present),
            Answer::Throttled(wait) => {
                self.backoff.retry_after(wait.unwrap_or_default());
                self.failed(label, Trouble::new(ErrorClass::Overloaded, "the API server is overloaded"));
            }
            Answer::Unknown(trouble) => {
                self.status.written = None;
                self.loose.insert(present, Instant::now());
                self.failed(label, trouble);
            }
            Answer::Forbidden(trouble) | Answer::Refused(trouble) => self.failed(label, trouble),
            Answer::Absent => {
                self.failed(label, Trouble::new(ErrorClass::Rejected, "HTTP 404: there is no such Node"))
            }
            Answer::Conflict | Answer::Gone => self.failed(
                label,
                Trouble::new(ErrorClass::Rejected, "HTTP 409: the Node has changed meanwhile"),
            ),
        }
    }

    fn done(&mut self, label: &NodeLabel, present: bool) {
        let now = Instant::now();
        let before = self.status.written.replace(present);
        self.loose.remove(&present);
        self.loose.retain(|_, given_up| now < *given_up + LOOSE_FOR);
        self.status.writes += 1;
        (self.status.failures_in_a_row, self.status.last_error) = (0, None);
        (self.rest_until, self.said) = (None, None);
        self.backoff.reset();
        match (before, present) {
            (Some(before), now) if before == now => {}
            (_, true) => tracing::info!(node = label.node, "the node is labelled {label}"),
            (Some(true), false) => tracing::info!(node = label.node, "the node is labelled {label} no more"),
            (_, false) => tracing::debug!(node = label.node, "the node is not labelled {label}"),
        }
    }

    /// One line for each kind of trouble, until it has gone well once.
    fn failed(&mut self, label: &NodeLabel, trouble: Trouble) {
        self.status.failures_in_a_row = self.status.failures_in_a_row.saturating_add(1);
        self.rest_until = Some(Instant::now() + self.backoff.next(&mut self.rng));
        if self.said.replace(trouble.class) != Some(trouble.class) {
            tracing::warn!(
                node = label.node,
                "{label} cannot be written to the node: {}{}; no VIP depends on it",
                trouble.text,
                remedy(trouble.class)
            );
        }
        self.status.last_error = Some(trouble);
    }
}

fn remedy(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Forbidden => {
            "; grant the verb patch on nodes (`mainstay manifest rbac --enableNodeLabeling` prints the rules), or set \
             enable_node_labeling=false"
        }
        ErrorClass::Rejected => "; vip_nodename has to be the Node's name",
        _ => "; trying on",
    }
}

#[cfg(test)]
mod tests;
