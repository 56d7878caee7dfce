//! Follows Services, their endpoints, Nodes, and the ConfigMap of the address pools: one watch of each, for ever.
//!
//! ```text
//!  Services ──┐                    ┌─► Arc<Intent>   the whole, latest wins, at most one every 50 ms
//!  endpoints ─┤ engine: list in    ├─► Pools
//!             ├ pages, watch, ───► hub ► Problems    what is wrong with objects, bounded
//!  Nodes ─────┤ move on, heal      └─► ObservedServices   what is written on Services already
//!  ConfigMap ─┘        └─► WatchStates
//! ```
//!
//! It shares the API servers' addresses and credentials with the Lease's adapter, and nothing that the Lease waits for:
//! its connections are its own, what it finds out about servers it keeps to itself, and whole pages are read on another
//! thread. Whatever becomes of it, what was known stays in force: see [`mainstay_core::intent::Known`].

mod engine;
mod hub;
pub(crate) mod observed;
pub(crate) mod page;
mod plan;
mod problems;
mod state;
mod step;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mainstay_core::backoff::Backoff;
use mainstay_core::intent::{Intent, ObjectName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

pub use observed::ObservedServices;
pub use plan::Watched;
pub(crate) use plan::encoded;
pub use problems::Problems;
pub use state::{WatchPhase, WatchState, WatchStates};

use crate::chance;
use crate::fleet::Fleet;
use engine::Engine;
use hub::Hub;
use plan::Plan;
use state::Board;

/// Steps on their way from the watches to the hub. Policy when they are that many: the watches wait, and what they read
/// from waits in the connection.
const STEPS: usize = 64;
/// The annotation in which the holder of a Service's addresses says so; kube-vip's name.
pub const VIP_HOST: &str = "kube-vip.io/vipHost";

/// At which node's seat a Service is, where Services are spread over nodes.
pub const SEAT: &str = "mainstay.io/seat";

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Following {
    /// `svc_namespace`: Services and endpoints of this namespace alone.
    pub namespace: Option<String>,
    /// The ConfigMap of the pools.
    pub pools: ObjectName,
    /// The annotations of Services that a [`crate::Publisher`] is to write.
    pub annotations: BTreeSet<String>,
    /// How patient to be.
    pub timing: FollowingTiming,
}

impl Following {
    /// All namespaces, `pools`, [`VIP_HOST`] and [`SEAT`].
    #[must_use]
    pub fn all(pools: ObjectName) -> Self {
        let (annotations, timing) =
            ([VIP_HOST, SEAT].map(ToOwned::to_owned).into(), FollowingTiming::default());
        Self { namespace: None, pools, annotations, timing }
    }

    /// The part of a path that names the namespace.
    fn place(&self) -> String {
        self.namespace.as_ref().map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default()
    }
}

/// How patient to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowingTiming {
    /// An unanswered request is sent to the next server as well after this.
    pub hedge_after: Duration,
    /// How long a page may take, and the opening of a watch.
    pub deadline: Duration,
    /// A watch that says nothing for so long is opened anew, elsewhere if there is an elsewhere; one that then says
    /// nothing either is checked by a list. API servers say at least once a minute that nothing happened.
    pub silence: Duration,
    /// How long a watch is asked to live; a random part of as much is added, so that not all end together.
    pub watch_for: Duration,
    /// The longest wait after a failure, at random from nothing to it.
    pub backoff_cap: Duration,
    /// What is added after a refusal (401, 403): no use in hurry.
    pub refusal_pause: Duration,
    /// A list because a resource version was too old waits for a random part of this: many are told so at once.
    pub spread: Duration,
    /// Publications are this far apart, at least.
    pub publish_every: Duration,
}

impl Default for FollowingTiming {
    /// For a cluster.
    fn default() -> Self {
        Self {
            hedge_after: Duration::from_secs(2),
            deadline: Duration::from_secs(30),
            silence: Duration::from_secs(90),
            watch_for: Duration::from_secs(300),
            backoff_cap: Duration::from_secs(10),
            refusal_pause: Duration::from_secs(5),
            spread: Duration::from_secs(1),
            publish_every: Duration::from_millis(50),
        }
    }
}

/// The pools of addresses, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pools {
    /// Nobody has said yet.
    #[default]
    Unknown,
    /// There is no such ConfigMap.
    Absent,
    /// Its `data`.
    Present(Arc<BTreeMap<String, String>>),
}

/// What is known. Each is a whole value, and the latest replaces the one before.
#[derive(Clone, Debug)]
pub struct Feed {
    /// What the cluster wants of us. It changes in place while nobody holds it: whoever takes the [`Arc`] out gives it
    /// back soon, or has it copied at the next change.
    pub intent: watch::Receiver<Arc<Intent>>,
    /// The pools.
    pub pools: watch::Receiver<Pools>,
    /// What is wrong with objects.
    pub problems: watch::Receiver<Arc<Problems>>,
    /// How the watches do.
    pub watches: watch::Receiver<WatchStates>,
    /// What is written on Services already; for a [`crate::Publisher`].
    pub observed: ObservedServices,
}

/// Follows objects by way of a lease adapter's API servers.
pub struct Reflector {
    fleet: Arc<Fleet>,
    following: Following,
    board: Board,
    hub: Hub,
    steps: mpsc::Sender<step::Step>,
}

impl fmt::Debug for Reflector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reflector").field("following", &self.following).finish_non_exhaustive()
    }
}

impl Reflector {
    pub(crate) fn new(fleet: Arc<Fleet>, following: Following, known: Arc<Intent>) -> (Self, Feed) {
        let (steps, taken) = mpsc::channel(STEPS);
        let (board, watches) = Board::new();
        let (hub, published) = Hub::new(
            taken,
            following.timing.publish_every,
            ObservedServices::new(following.annotations.clone()),
            known,
        );
        let (intent, pools, problems, observed) = published;
        let feed = Feed { intent, pools, problems, watches, observed };
        (Self { fleet, following, board, hub, steps }, feed)
    }

    /// Follows until cancelled. Nothing else ends it: what it runs is started again after a panic.
    pub async fn run(self, cancel: CancellationToken) {
        let mut tasks = JoinSet::new();
        for watched in Watched::ALL {
            let plan = Plan::new(watched, &self.following);
            let (fleet, board, steps) = (Arc::clone(&self.fleet), self.board.clone(), self.steps.clone());
            let timing = self.following.timing;
            let engine =
                move || Engine::new(Arc::clone(&fleet), plan.clone(), timing, (board.clone(), steps.clone()));
            tasks.spawn(supervise(watched, engine));
        }
        drop(self.steps);
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.hub.run() => {}
        }
        tasks.shutdown().await;
    }
}

/// Keeps an engine running: a panic is logged, and it starts anew after a pause.
async fn supervise(watched: Watched, engine: impl Fn() -> Engine) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
    let mut rng = chance::rng();
    loop {
        let mut task = JoinSet::new();
        task.spawn(engine().run());
        if let Some(Err(error)) = task.join_next().await {
            tracing::error!(%watched, "following stopped, starting it again: {error}");
        }
        sleep(backoff.next(&mut rng)).await;
    }
}

#[cfg(test)]
mod tests;
