//! The adapter: carries out lease requests, follows the Lease, learns API servers. Runs on the control plane's runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mainstay_core::backoff::Backoff;
use mainstay_core::effect::{LeaseDraft, LeaseRequest};
use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseReport, Outcome};
use mainstay_core::intent::Intent;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::access::Traffic;
use crate::answer::{Answer, ErrorClass, Trouble};
use crate::chance;
use crate::credentials::Source;
use crate::engine::{Engine, Observer, Plan};
use crate::fleet::{Ask, Ends, Fleet, JSON, whole_and_way};
use crate::follow::{self, LeaseObserver};
use crate::label::Labeller;
use crate::learn::{self, SliceObserver};
use crate::lease::{Seen, created, record};
use crate::microtime;
use crate::node_failure::NodeReporter;
use crate::publish::events::{EventSink, EventWriter};
use crate::publish::{PublishStatus, Publisher, Wanted};
use crate::race::Pace;
use crate::reflect::{Feed, Following, ObservedServices, Reflector};
use crate::servers::ServerStatus;

/// What the adapter is told before it starts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where address and credentials come from.
    pub source: Source,
    /// `kubernetes_addr`: the address to use instead of the source's.
    pub server: Option<String>,
    /// This host's own API server, if it is to have one: `https://127.0.0.1:6443`.
    pub local: Option<String>,
    /// Servers learned before (the snapshot's).
    pub learned: Vec<String>,
    /// Addresses never to depend on, as they are at present.
    pub vips: watch::Receiver<Vec<IpAddr>>,
    /// Names that these come from, in lower case.
    pub vip_names: Vec<String>,
    /// The Lease.
    pub lease: LeaseName,
    /// `vip_leaseannotations`: written with every write of the Lease, over what it carries.
    pub annotations: BTreeMap<String, String>,
    /// How patient to be.
    pub timing: Timing,
}

/// A Lease's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseName {
    /// `cp_namespace`.
    pub namespace: String,
    /// `vip_leasename`.
    pub name: String,
}

impl LeaseName {
    pub(crate) fn collection(&self) -> String {
        format!("/apis/coordination.k8s.io/v1/namespaces/{}/leases", self.namespace)
    }

    fn object(&self) -> String {
        format!("{}/{}", self.collection(), self.name)
    }
}

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// An unanswered request is sent to the next server as well after this.
    pub hedge_after: Duration,
    /// A server that leaves a request unanswered for this long counts as out of reach.
    pub unanswered_after: Duration,
    /// A watch of the Lease without an event for this long is checked by a list.
    pub watch_silence: Duration,
    /// The longest backoff between attempts to follow the Lease.
    pub backoff_cap: Duration,
    /// The deadline of a list, and of opening a watch.
    pub list_deadline: Duration,
}

impl Timing {
    /// For a Lease that its holder renews every `retry_period`.
    #[must_use]
    pub fn for_retry_period(retry_period: Duration) -> Self {
        Self {
            hedge_after: Duration::from_millis(150),
            unanswered_after: Duration::from_millis(500),
            watch_silence: (retry_period * 3).max(Duration::from_secs(5)),
            backoff_cap: Duration::from_secs(3),
            list_deadline: Duration::from_secs(3),
        }
    }

    pub(crate) fn pace(&self, deadline: Duration) -> Pace {
        Pace { hedge_after: self.hedge_after, unanswered_after: self.unanswered_after, deadline }
    }
}

/// One lease effect of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCall {
    /// For the outcome.
    pub id: EffectId,
    /// What.
    pub request: LeaseRequest,
    /// When to give up.
    pub deadline: Duration,
}

/// What the adapter lets others see.
#[derive(Clone, Debug)]
pub struct Handles {
    /// Every known API server and how it does.
    pub servers: watch::Receiver<Vec<ServerStatus>>,
    /// The learned ones as URLs, for the snapshot.
    pub learned: watch::Receiver<Vec<String>>,
    /// Why there are no credentials, while there are none, or the last load of them failed.
    pub trouble: watch::Receiver<Option<String>>,
    /// For a node's label. It shares what is known of the servers, and nothing that the Lease waits for.
    pub labeller: Labeller,
    /// For nodes that are dead. It shares as much.
    pub reporter: NodeReporter,
    /// For Services and what belongs to them. It shares as much.
    pub objects: Objects,
}

/// Makes what reads and writes other objects than the Lease, by way of the same API servers.
#[derive(Clone)]
pub struct Objects(Arc<Fleet>);

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    /// What follows Services, endpoints, Nodes and pools, and where it says what it found.
    #[must_use]
    pub fn reflector(&self, following: Following) -> (Reflector, Feed) {
        self.reflector_from(following, Arc::default())
    }

    /// The same, going on from what another has `known`: what cannot be read now stays as it was.
    #[must_use]
    pub fn reflector_from(&self, following: Following, known: Arc<Intent>) -> (Reflector, Feed) {
        Reflector::new(Arc::clone(&self.0), following, known)
    }

    /// Which cluster this is: a text that no other has.
    ///
    /// # Errors
    /// No API server said. Worth another attempt, later.
    pub async fn cluster(&self) -> Result<String, Trouble> {
        crate::cluster::uid(&self.0).await
    }

    /// What writes on Services, by what a reflector has seen on them, and how that goes.
    #[must_use]
    pub fn publisher(
        &self,
        observed: ObservedServices,
        wanted: watch::Receiver<Arc<Wanted>>,
    ) -> (Publisher, watch::Receiver<PublishStatus>) {
        Publisher::new(Arc::clone(&self.0), observed, wanted)
    }

    /// Where Events about Services are told, and what delivers them for the agent on `node`.
    #[must_use]
    pub fn events(&self, node: &str) -> (EventSink, EventWriter) {
        EventWriter::new(Arc::clone(&self.0), node)
    }
}

/// The adapter.
pub struct LeaseAdapter {
    settings: Settings,
    fleet: Arc<Fleet>,
    seen: Arc<Mutex<Seen>>,
    learned: watch::Sender<Vec<String>>,
}

impl LeaseAdapter {
    /// An adapter that has done nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> (Self, Handles) {
        let (status_sender, servers) = watch::channel(Vec::new());
        let (learned_sender, learned) = watch::channel(settings.learned.clone());
        let (trouble_sender, trouble) = watch::channel(None);
        let fleet = Arc::new(Fleet::new(settings.clone(), status_sender, trouble_sender));
        let (labeller, objects) = (Labeller::new(Arc::clone(&fleet)), Objects(Arc::clone(&fleet)));
        let reporter = NodeReporter::new(Arc::clone(&fleet));
        let adapter = Self { settings, fleet, seen: Arc::default(), learned: learned_sender };
        (adapter, Handles { servers, learned, trouble, labeller, reporter, objects })
    }

    /// Serves until cancelled, or until nobody asks any more. Nothing else ends it: what it runs is restarted after a
    /// panic, and missing credentials are waited for.
    ///
    /// Every call gets exactly one outcome, at its deadline at the latest. Calls do not wait for each other.
    pub async fn run(
        self,
        mut requests: mpsc::Receiver<LeaseCall>,
        reports: mpsc::Sender<Input>,
        cancel: CancellationToken,
    ) {
        let mut tasks = JoinSet::new();
        self.start_following(&mut tasks, &reports);
        self.start_learning(&mut tasks);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                call = requests.recv() => match call {
                    Some(call) => self.start_call(&mut tasks, call, reports.clone()),
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        tasks.shutdown().await;
    }

    fn start_following(&self, tasks: &mut JoinSet<()>, reports: &mpsc::Sender<Input>) {
        let (seen, reports) = (Arc::clone(&self.seen), reports.clone());
        let name = self.settings.lease.name.clone();
        let observer =
            move || LeaseObserver { name: name.clone(), seen: Arc::clone(&seen), reports: reports.clone() };
        tasks.spawn(supervise(Arc::clone(&self.fleet), follow::plan(&self.settings), observer));
    }

    fn start_learning(&self, tasks: &mut JoinSet<()>) {
        let (fleet, learned) = (Arc::clone(&self.fleet), self.learned.clone());
        let observer = move || SliceObserver {
            fleet: Arc::clone(&fleet),
            learned: learned.clone(),
            slices: std::collections::BTreeMap::new(),
        };
        tasks.spawn(supervise(Arc::clone(&self.fleet), learn::plan(&self.settings), observer));
    }

    fn start_call(&self, tasks: &mut JoinSet<()>, call: LeaseCall, reports: mpsc::Sender<Input>) {
        let (fleet, seen) = (Arc::clone(&self.fleet), Arc::clone(&self.seen));
        let (ask, id) = (self.ask(&call), call.id);
        tasks.spawn(async move {
            let telling = reports.clone();
            // A task of its own, so that even a panic has an outcome.
            let task = tokio::spawn(async move {
                let unanswered = async || {
                    // When nobody listens any more the agent is ending.
                    let _ = telling.send(Input::Lease(LeaseReport::Unanswered { id })).await;
                };
                fleet.race(&ask, whole_and_way, unanswered).await.0.answer
            });
            // Loading credentials comes before the race, and counts.
            let answer = match timeout(call.deadline, AbortOnDropHandle::new(task)).await {
                Ok(answer) => {
                    let panicked = |error| format!("lease request: {error}");
                    answer.unwrap_or_else(|error| Answer::unknown(ErrorClass::Broken, panicked(error)))
                }
                Err(_) => Answer::unknown(ErrorClass::Timeout, "no answer within the deadline"),
            };
            if let Answer::Success((_, Some((local, remote)))) = answer {
                let _ = reports.send(Input::Lease(LeaseReport::Reached { local, remote })).await;
            }
            let outcome = Outcome::Lease(outcome(&answer, &seen));
            let _ = reports.send(Input::Outcome { id, outcome }).await;
        });
    }

    /// The draft with the operator's annotations.
    fn annotated(&self, draft: &LeaseDraft) -> LeaseDraft {
        let mut draft = draft.clone();
        draft.annotations.extend(self.settings.annotations.clone());
        draft
    }

    fn ask(&self, call: &LeaseCall) -> Ask {
        let (lease, now) = (&self.settings.lease, microtime::now());
        // The server gives up when we do, so that a write does not come true long after.
        let limit = format!("timeout={}s", call.deadline.as_secs().max(1));
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
        let body = body.map(|object| Bytes::from(object.to_string())).unwrap_or_default();
        let pace = self.settings.timing.pace(call.deadline);
        let (path, traffic, last) = (format!("{path}?{limit}"), Traffic::Lease, None);
        Ask { method, path, body, content: JSON, traffic, pace, last, refusal_is_fault: true }
    }
}

/// Keeps an engine running: a panic is logged, and it starts anew after a pause.
async fn supervise<O: Observer + 'static>(fleet: Arc<Fleet>, plan: Plan, observer: impl Fn() -> O) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut rng = chance::rng();
    loop {
        let mut task = JoinSet::new();
        task.spawn(Engine::new(Arc::clone(&fleet), plan.clone(), observer()).run());
        if let Some(Err(error)) = task.join_next().await {
            tracing::error!(path = plan.path, "following stopped, starting it again: {error}");
        }
        tokio::time::sleep(backoff.next(&mut rng)).await;
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
