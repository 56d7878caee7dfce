//! The adapter: carries out lease requests, follows the Lease, learns API servers. Runs on the control plane's runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay_core::backoff::Backoff;
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{EffectId, Input};
use mainstay_core::intent::Intent;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::answer::Trouble;
use crate::backends::{self, ControlPlaneNodes};
use crate::calls::{Desk, Voice};
use crate::chance;
use crate::credentials::Source;
use crate::engine::{Engine, Observer, Plan};
use crate::fleet::Fleet;
use crate::follow::{self, LeaseObserver};
use crate::label::Labeller;
use crate::learn::{self, SliceObserver};
use crate::lease::Seen;
use crate::lease_lists::LeaseLister;
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

    pub(crate) fn object(&self) -> String {
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

    /// What reads Leases by which others hold single Services.
    #[must_use]
    pub fn lease_lister(&self) -> LeaseLister {
        LeaseLister::new(Arc::clone(&self.0))
    }

    /// What follows the nodes of the control plane until it is dropped, and tells each change to `told`.
    pub fn control_plane_nodes(
        &self,
        told: watch::Sender<ControlPlaneNodes>,
    ) -> impl Future<Output = ()> + Send + use<> {
        backends::follow(&self.0, told)
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
        tasks.spawn(learning(&self.fleet, &self.settings, &self.learned));
        let desk = self.desk(reports);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                call = requests.recv() => match call {
                    Some(call) => drop(tasks.spawn(desk.clone().carry_out(call))),
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        tasks.shutdown().await;
    }

    fn start_following(&self, tasks: &mut JoinSet<()>, reports: &mpsc::Sender<Input>) {
        let (seen, voice) = (Arc::clone(&self.seen), Voice { reports: reports.clone(), seat: None });
        let name = self.settings.lease.name.clone();
        let observer =
            move || LeaseObserver { name: name.clone(), seen: Arc::clone(&seen), voice: voice.clone() };
        tasks.spawn(supervise(Arc::clone(&self.fleet), follow::plan(&self.settings), observer));
    }

    /// What carries out the requests about the one Lease.
    fn desk(&self, reports: mpsc::Sender<Input>) -> Desk {
        let lease = self.settings.lease.clone();
        let (timing, annotations) = (self.settings.timing, self.settings.annotations.clone());
        let voice = Voice { reports, seat: None };
        let (fleet, seen) = (Arc::clone(&self.fleet), Arc::clone(&self.seen));
        Desk { fleet, lease, labels: &[], annotations, timing, seen, voice }
    }
}

/// Learns where the API servers are, and says so to the fleet and to `learned`.
pub(crate) fn learning(
    fleet: &Arc<Fleet>,
    settings: &Settings,
    learned: &watch::Sender<Vec<String>>,
) -> impl Future<Output = ()> + Send + use<> {
    let (telling, learned) = (Arc::clone(fleet), learned.clone());
    let observer = move || SliceObserver {
        fleet: Arc::clone(&telling),
        learned: learned.clone(),
        slices: BTreeMap::new(),
    };
    supervise(Arc::clone(fleet), learn::plan(settings), observer)
}

/// Keeps an engine running: a panic is logged, and it starts anew after a pause.
pub(crate) async fn supervise<O: Observer + 'static>(
    fleet: Arc<Fleet>,
    plan: Plan,
    observer: impl Fn() -> O,
) {
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
