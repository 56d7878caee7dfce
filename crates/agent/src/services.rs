//! Services of type LoadBalancer: what the API servers say of them becomes what the Services' loop holds.
//!
//! ```text
//!   watches ──► Intent ──► decide ──► addresses ──► the loop          latest wins, nobody waits
//!                                └──► what is refused ──► log, status
//! ```
//!
//! Nothing here can take an address away but a whole list that does not name it, or the API server's word that it is gone:
//! a watch that breaks, a list that is cut short and an API server that is away leave everything as it is. The loop
//! remembers the addresses across a restart by itself.

mod damper;
mod rules;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::backoff::Backoff;
use mainstay_core::beacon::beacon;
use mainstay_core::input::{Health, Input};
use mainstay_core::intent::{Decisions, Intent, ObjectName, Rules, Survey, decide};
use mainstay_core::names::NodeName;
use mainstay_core::rng::Rng;
use mainstay_core::snapshot::Snapshot;
use mainstay_core::vip::Vip;
use mainstay_kube::{Feed, Following, Handles, Objects};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::features::Services;
use crate::insight::ApiView;
use damper::Damper;
use view::Cluster;
pub(crate) use view::View;

/// Between attempts to learn which cluster this is: from this, on average half, ...
const ASK_FIRST: Duration = Duration::from_millis(500);
/// ... to that.
const ASK_LAST: Duration = Duration::from_secs(10);

/// What is known, for the Services' loop. The newest counts.
#[derive(Debug)]
pub(crate) struct Known {
    /// The claim's own address; empty as long as nobody knows which cluster this is.
    pub(crate) beacon: watch::Sender<Vec<Vip>>,
    /// The addresses of Services; `None` as long as they were never all read.
    pub(crate) addresses: watch::Sender<Option<Vec<Vip>>>,
    /// Which cluster this is.
    pub(crate) cluster: watch::Sender<Option<String>>,
}

/// Keeps it known.
pub(crate) struct Keeper {
    known: Known,
    node: NodeName,
    /// The Lease, as namespace and name: what the beacon is of.
    lease: String,
    settings: Services,
    /// The control plane's addresses, which no Service gets.
    vips: watch::Receiver<Vec<Vip>>,
    following: Following,
    view: View,
    /// What is kept from one run to the next.
    memory: Mutex<Memory>,
}

/// What one run of the task leaves for the next.
#[derive(Debug, Default)]
struct Memory {
    damper: Damper,
    health: Option<Health>,
    refused: BTreeMap<ObjectName, String>,
}

impl Keeper {
    /// One for the Services that the settings ask for; `vips` are the control plane's. The cluster is that of the snapshot,
    /// until an API server says.
    pub(crate) fn new(
        config: &Config,
        snapshot: &Snapshot,
        vips: watch::Receiver<Vec<Vip>>,
        view: View,
    ) -> Self {
        let services = &config.features.services;
        let lease = format!("{}/{}", services.lease.namespace, services.lease.name);
        let known = Known {
            beacon: watch::Sender::new(snapshot.cluster.iter().map(|uid| beacon(uid, &lease)).collect()),
            addresses: watch::Sender::new(None),
            cluster: watch::Sender::new(snapshot.cluster.clone()),
        };
        view.begin(if snapshot.cluster.is_some() { Cluster::Known } else { Cluster::Unknown });
        Self {
            known,
            node: config.node.clone(),
            lease,
            settings: services.clone(),
            vips,
            following: rules::followed(services),
            view,
            memory: Mutex::default(),
        }
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Follows Services by way of whichever lease adapter runs, and tells the loop by `inputs` whether this node may hold
    /// any.
    ///
    /// # Errors
    /// When there will be no other adapter: the agent ends.
    pub(crate) async fn run(&self, api: &ApiView, inputs: &mpsc::Sender<Input>) -> anyhow::Result<()> {
        let mut memory = self.memory.lock().await;
        let mut handles = api.subscribe();
        loop {
            let current =
                handles.borrow_and_update().as_ref().map(|handles: &Handles| handles.objects.clone());
            let followed = async {
                match current {
                    Some(objects) => self.follow(&objects, inputs, &mut memory).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = handles.changed() => changed.context("there is no lease adapter any more")?,
                ended = followed => return ended,
            }
        }
    }

    async fn follow(
        &self,
        objects: &Objects,
        inputs: &mpsc::Sender<Input>,
        memory: &mut Memory,
    ) -> anyhow::Result<()> {
        let (reflector, feed) = objects.reflector(self.following.clone());
        let cancel = CancellationToken::new();
        // Dropped with this future, whatever ends it.
        let _ended = cancel.clone().drop_guard();
        tokio::select! {
            () = reflector.run(cancel) => anyhow::bail!("the watches ended early"),
            () = self.identify(objects) => anyhow::bail!("nobody asks any more which cluster this is"),
            ended = self.decide_all(feed, inputs, memory) => ended,
        }
    }

    /// Finds out which cluster this is, and never ends.
    async fn identify(&self, objects: &Objects) {
        let (mut rng, mut backoff) = (Rng::new(1), Backoff::new(ASK_FIRST, ASK_LAST));
        loop {
            match objects.cluster().await {
                Ok(uid) => break self.meet(uid),
                Err(trouble) => self.view.cluster_unknown(&trouble.text),
            }
            sleep(backoff.next(&mut rng)).await;
        }
        std::future::pending().await
    }

    /// The beacon follows from the cluster, and stays for as long as the loop runs.
    fn meet(&self, uid: String) {
        let known = self.known.cluster.borrow().clone();
        if let Some(known) = known.filter(|known| *known != uid) {
            tracing::error!(
                "the state directory is of another cluster (kube-system had the uid {known}, it has {uid}): \
                 remove services.json from MAINSTAY_STATE_DIR and start the agent again"
            );
            return;
        }
        self.view.begin(Cluster::Known);
        let vips = vec![beacon(&uid, &self.lease)];
        self.known.cluster.send_if_modified(|known| known.replace(uid).is_none());
        self.known.beacon.send_if_modified(|known| {
            let news = *known != vips;
            *known = vips;
            news
        });
    }

    /// Decides whenever something changed, and when an address has been without endpoints for long enough.
    async fn decide_all(
        &self,
        mut feed: Feed,
        inputs: &mpsc::Sender<Input>,
        memory: &mut Memory,
    ) -> anyhow::Result<()> {
        let mut vips = self.vips.clone();
        loop {
            let now = Instant::now();
            let decided = {
                let intent = feed.intent.borrow_and_update();
                let rules = rules::rules(&self.settings, &vips.borrow_and_update());
                Decided::of(&intent, &rules, &self.node)
            };
            let again = match decided {
                Some(decided) => self.take_in(decided, now, inputs, memory).await,
                None => None,
            };
            let later = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = feed.intent.changed() => changed.context("the watches tell no more")?,
                Ok(()) = vips.changed() => {}
                () = later => {}
            }
        }
    }

    /// Tells what was decided; when to look again, if that is known.
    async fn take_in(
        &self,
        decided: Decided,
        now: Instant,
        inputs: &mpsc::Sender<Input>,
        memory: &mut Memory,
    ) -> Option<Instant> {
        let addresses = memory.damper.take(now, &decided.wanted, &decided.served);
        self.known.addresses.send_if_modified(|known| {
            let news = known.as_ref() != Some(&addresses);
            if news {
                *known = Some(addresses.clone());
            }
            news
        });
        let refused = words(&decided.decisions);
        tell(&memory.refused, &refused);
        self.view.decided(decided.ours, addresses.len(), &refused);
        memory.refused = refused;
        let health = if decided.may_hold.is_ok() { Health::Healthy } else { Health::Unhealthy };
        if memory.health.replace(health) != Some(health) {
            if let Err(why) = &decided.may_hold {
                tracing::warn!("this node is to hold nothing for Services: {why}");
            }
            // The loop has ended if nobody takes it, and so, soon, does this.
            let _ = inputs.send(Input::Health(health)).await;
        }
        memory.damper.next()
    }
}

/// What follows from all that is known.
#[derive(Debug)]
struct Decided {
    decisions: Decisions,
    ours: usize,
    /// All addresses of Services.
    wanted: BTreeSet<Vip>,
    /// Those of them with something behind.
    served: BTreeSet<Vip>,
    /// Whether this node may hold them, or why not.
    may_hold: Result<(), String>,
}

impl Decided {
    /// `None` as long as not everything was read once.
    fn of(intent: &Intent, rules: &Rules, node: &NodeName) -> Option<Self> {
        let decisions = decide(intent, rules).ok()?;
        let survey = Survey::new(intent, rules);
        let uses = || decisions.claims.values().flat_map(|claim| &claim.addresses);
        let wanted = uses().map(|(vip, _)| *vip).collect();
        let served = uses().filter(|(vip, on)| survey.is_served(**vip, on)).map(|(vip, _)| *vip).collect();
        let may_hold = survey.may_serve(node).map_err(|why| why.to_string());
        let ours = intent.services.len() - decisions.not_ours.len();
        Some(Self { ours, wanted, served, may_hold, decisions })
    }
}

/// What is refused, in one line for each Service.
fn words(decisions: &Decisions) -> BTreeMap<ObjectName, String> {
    let refused = decisions.refused.iter().map(|(name, refused)| {
        let each = refused.iter().map(|one| format!("{}: {}", one.wish.wish, one.why));
        (name.clone(), each.collect::<Vec<_>>().join("; "))
    });
    refused.collect()
}

/// One line for each that is new, or other than before; none for what is refused as it was.
fn tell(before: &BTreeMap<ObjectName, String>, now: &BTreeMap<ObjectName, String>) {
    for (service, why) in now.iter().filter(|(service, why)| before.get(*service) != Some(*why)) {
        tracing::warn!(%service, "the Service does not get all it asks for: {why}");
    }
    for service in before.keys().filter(|service| !now.contains_key(*service)) {
        tracing::info!(%service, "the Service gets what it asks for");
    }
}
