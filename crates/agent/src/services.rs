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
mod decided;
mod deciding;
mod explain;
mod filter;
mod incumbents;
mod placing;
mod recollection;
mod rules;
mod seating;
mod tell;
#[cfg(test)]
mod tests;
mod view;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::backoff::Backoff;
use mainstay_core::beacon::beacon;
use mainstay_core::input::Health;
use mainstay_core::intent::{Intent, ObjectName};
use mainstay_core::names::{ClaimId, NodeName};
use mainstay_core::rng::Rng;
use mainstay_core::snapshot::Snapshot;
use mainstay_core::spread::Placer;
use mainstay_core::vip::Vip;
use mainstay_dataplane::memory;
use mainstay_kube::{EventSink, Feed, Following, Handles, Objects, PublishStatus, Wanted};
use tokio::sync::{Mutex, watch};
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::config::features::{Services, ServicesElection};
use crate::driver::{Deaths, Holders, Placed};
use crate::insight::ApiView;
use crate::names::{Members, members};
use damper::Damper;
use decided::Decided;
use explain::Questions;
use recollection::Recollection;
pub(crate) use seating::SEAT_PREFIX;
use seating::Seating;
use tell::Told;
use view::Cluster;
pub(crate) use view::View;

/// Between attempts to learn which cluster this is: from this, on average half, ...
const ASK_FIRST: Duration = Duration::from_millis(500);
/// ... to that.
const ASK_LAST: Duration = Duration::from_secs(10);
/// When nothing has changed for so long, memory is given back.
const QUIET: Duration = Duration::from_secs(10);

/// What is known, for the Services' loop. The newest counts.
#[derive(Debug)]
pub(crate) struct Known {
    /// The claim's own address; empty as long as nobody knows which cluster this is.
    pub(crate) beacon: watch::Sender<Vec<Vip>>,
    /// The addresses of Services; `None` as long as they were never all read.
    pub(crate) addresses: watch::Sender<Option<Vec<Vip>>>,
    /// Which cluster this is.
    pub(crate) cluster: watch::Sender<Option<String>>,
    /// Whether this node is fit to hold Services; `None` as long as not everything was read.
    pub(crate) fitness: watch::Sender<Option<Health>>,
    /// The nodes whose agents hold Services, whom the loop learns.
    pub(crate) members: watch::Sender<Members>,
    /// What is placed at which node's seat; `None` where Services are not spread.
    pub(crate) placed: watch::Sender<Option<BTreeMap<ClaimId, Placed>>>,
    /// Who holds which seat, which the loop learns.
    pub(crate) holders: watch::Sender<Holders>,
    /// Which nodes are dead, which the loop learns.
    pub(crate) deaths: watch::Sender<Deaths>,
}

/// Keeps it known.
pub(crate) struct Keeper {
    known: Known,
    node: NodeName,
    /// The Lease, as namespace and name: what the beacon is of.
    lease: String,
    settings: Services,
    interface: String,
    /// The control plane's addresses, which no Service gets.
    vips: watch::Receiver<Vec<Vip>>,
    /// Whether some of them come from names.
    names_vip: bool,
    /// What the settings say that the control plane's are, also where another agent holds them.
    addresses: Vec<Vip>,
    following: Following,
    /// Where Services are spread over the nodes: how.
    seats: Option<Seating>,
    /// Which of them kube-vip may still hold.
    incumbents: incumbents::Keeper,
    /// What Services shall say.
    wanted: watch::Sender<Arc<Wanted>>,
    /// What their addresses let in.
    filter: filter::Keeper,
    /// What a restart knows of Services.
    recollection: Recollection,
    /// Cancelled when the loop must not go on.
    stop: CancellationToken,
    view: View,
    /// What is kept from one run to the next.
    memory: Mutex<Memory>,
}

/// What one run of the task leaves for the next.
#[derive(Debug, Default)]
struct Memory {
    damper: Damper,
    /// Where the last watches told what they know.
    last: Option<watch::Receiver<Arc<Intent>>>,
    told: Told,
    placer: Placer,
    /// What people ask of Services.
    questions: Questions,
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
            fitness: watch::Sender::default(),
            members: watch::Sender::new(members(snapshot)),
            placed: watch::Sender::default(),
            holders: watch::Sender::default(),
            deaths: watch::Sender::default(),
        };
        let seats = (services.election == ServicesElection::PerService)
            .then(|| Seating::new(&services.lease, &config.node));
        if let (Some(seating), Some(cluster)) = (&seats, &snapshot.cluster) {
            // Without an authority, nobody would say again which seats there are.
            let remembered = seating.remembered(cluster, snapshot.claims.keys());
            known.placed.send_replace(Some(remembered));
        }
        let recollection = Recollection::new(&config.state_dir);
        let (asks, questions) = Questions::channel();
        view.answered_by(asks);
        view.begin(if snapshot.cluster.is_some() { Cluster::Known } else { Cluster::Unknown });
        Self {
            known,
            node: config.node.clone(),
            lease,
            settings: services.clone(),
            interface: services.interface.name(&config.interface).to_owned(),
            vips,
            names_vip: config.names().next().is_some(),
            addresses: config.reserved.clone(),
            following: rules::followed(services),
            seats,
            incumbents: incumbents::Keeper::default(),
            wanted: watch::Sender::default(),
            filter: filter::Keeper::new(rules::filter_switch(services)),
            memory: Mutex::new(Memory {
                last: Some(known_before(&recollection)),
                questions,
                ..Memory::default()
            }),
            recollection,
            stop: CancellationToken::new(),
            view,
        }
    }

    /// Cancelled when the loop must not go on.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Whether Services are spread over nodes.
    pub(crate) fn spreads(&self) -> bool {
        self.seats.is_some()
    }

    /// Keeps the filter before their addresses, whatever the API servers do.
    pub(crate) async fn keep_filter(&self) -> anyhow::Result<()> {
        self.filter.run(&self.view).await
    }

    /// Leaves no filter but of what stays on the interface: the agent ends.
    pub(crate) async fn leave_filter(&self) {
        self.filter.leave().await;
    }

    pub(crate) fn known(&self) -> &Known {
        &self.known
    }

    /// Follows Services by way of whichever lease adapter runs, and tells the loop.
    ///
    /// # Errors
    /// When there will be no other adapter: the agent ends.
    pub(crate) async fn run(
        &self,
        api: &ApiView,
        held: &watch::Receiver<Option<bool>>,
    ) -> anyhow::Result<()> {
        let mut memory = self.memory.lock().await;
        let mut handles = api.subscribe();
        loop {
            let current =
                handles.borrow_and_update().as_ref().map(|handles: &Handles| handles.objects.clone());
            let followed = async {
                match current {
                    Some(objects) => self.follow((&objects, api), held, &mut memory).await,
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
        (objects, api): (&Objects, &ApiView),
        held: &watch::Receiver<Option<bool>>,
        memory: &mut Memory,
    ) -> anyhow::Result<()> {
        // What the watches knew that an adapter took down with it.
        let known = memory.last.take().map(|last| Arc::clone(&last.borrow())).unwrap_or_default();
        let (reflector, feed) = objects.reflector_from(self.following.clone(), known);
        memory.last = Some(feed.intent.clone());
        let (publisher, writes) = objects.publisher(feed.observed.clone(), self.wanted.subscribe());
        let (events, event_writer) = objects.events(self.node.as_str());
        let cancel = CancellationToken::new();
        // Dropped with this future, whatever ends it.
        let _ended = cancel.clone().drop_guard();
        tokio::select! {
            () = reflector.run(cancel.clone()) => anyhow::bail!("the watches ended early"),
            () = publisher.run(cancel.clone()) => anyhow::bail!("the writer of statuses ended early"),
            () = event_writer.run(cancel) => anyhow::bail!("the writer of Events ended early"),
            () = self.identify(objects) => anyhow::bail!("nobody asks any more which cluster this is"),
            () = tell::watch_problems(feed.problems.clone(), feed.pools.clone()) => {
                anyhow::bail!("the watches tell no more of problems")
            }
            () = self.recollection.keep(feed.intent.clone()) => anyhow::bail!("nobody keeps what is known"),
            () = self.watch_writes(writes) => anyhow::bail!("the writer of statuses tells no more"),
            () = self.incumbents.run(objects.lease_lister()) => {
                anyhow::bail!("nobody looks any more what kube-vip holds")
            }
            ended = self.decide_all(feed, (&events, api), held.clone(), memory) => ended,
        }
    }

    async fn watch_writes(&self, mut writes: watch::Receiver<PublishStatus>) {
        while writes.changed().await.is_ok() {
            self.view.writes(&writes.borrow_and_update());
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
            let why = format!(
                "the state directory is of another cluster (kube-system had the uid {known}, it has {uid}): remove \
                 services.json from MAINSTAY_STATE_DIR and start the agent again; until then this node holds no Services"
            );
            tracing::error!("{why}");
            self.view.other_cluster(why);
            // With its beacon, this node and the others would take each other for dead.
            self.stop.cancel();
            return;
        }
        self.view.begin(Cluster::Known);
        let vips = vec![beacon(&uid, &self.lease)];
        self.known.cluster.send_if_modified(|known| known.replace(uid).is_none());
        self.known.beacon.send_if_modified(|known| replace(known, vips));
    }

    /// Decides whenever something changed, and when an address has been without endpoints for long enough.
    async fn decide_all(
        &self,
        mut feed: Feed,
        (events, api): (&EventSink, &ApiView),
        mut held: watch::Receiver<Option<bool>>,
        memory: &mut Memory,
    ) -> anyhow::Result<()> {
        let mut vips = self.vips.clone();
        let mut members = self.known.members.subscribe();
        let mut holders = self.known.holders.subscribe();
        let mut incumbents = self.incumbents.subscribe();
        loop {
            let holds = *held.borrow_and_update() == Some(true);
            let agents = members.borrow_and_update().clone();
            if !holds {
                self.stop_writing();
            }
            holders.mark_unchanged();
            incumbents.mark_unchanged();
            let reserved = self.reserved(&vips.borrow_and_update(), api);
            let mut decided = match reserved {
                Some(reserved) => {
                    let about = memory.questions.about();
                    self.heeding(&mut held, self.decide_and_filter(&mut feed, &reserved, (agents, about)))
                        .await
                }
                None => None,
            };
            let holds = *held.borrow_and_update() == Some(true);
            memory.questions.answer(decided.as_mut());
            let again = decided.and_then(|decided| self.take_in(decided, holds, events, memory));
            let quiet = Instant::now() + QUIET;
            let later = async {
                match again {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = feed.intent.changed() => changed.context("the watches tell no more")?,
                Ok(()) = feed.pools.changed() => {}
                Ok(()) = feed.watches.changed() => {}
                Ok(()) = vips.changed() => {}
                Ok(()) = members.changed() => {}
                Ok(()) = holders.changed() => {}
                Ok(()) = incumbents.changed() => {}
                Ok(()) = held.changed() => {}
                () = memory.questions.next() => {}
                () = later => {}
                () = async { sleep_until(quiet).await; give_back().await } => {}
            }
        }
    }

    /// Whatever is known at present: another writes from now on.
    fn stop_writing(&self) {
        self.wanted.send_if_modified(|wanted| {
            let wrote = !wanted.services.is_empty();
            if wrote {
                *wanted = Arc::new(leave(wanted));
            }
            wrote
        });
    }

    /// Addresses that no Service gets: the control plane's, and those that API servers are reached at. `None` as long as a
    /// name of the control plane's has never been resolved.
    fn reserved(&self, vips: &[Vip], api: &ApiView) -> Option<Vec<Vip>> {
        if self.names_vip && vips.is_empty() {
            return None;
        }
        let servers = api.servers();
        let servers = servers.iter().filter_map(|server| rules::host(&server.url));
        Some(vips.iter().chain(&self.addresses).copied().chain(servers).collect())
    }

    /// Tells what was decided; when to look again, if that is known.
    fn take_in(
        &self,
        decided: Decided,
        holds: bool,
        events: &EventSink,
        memory: &mut Memory,
    ) -> Option<Instant> {
        let addresses = memory.damper.take(Instant::now(), &decided.wanted, &decided.served);
        let refused = decided.refused(&self.interface);
        self.view.decided(decided.ours, addresses.len(), &refused);
        let placing = self.place(&decided, holds, &mut memory.placer);
        self.view.leave(placing.left.len());
        let holder = |service: &ObjectName| match &placing.places {
            Some(places) => places.get(service).map(|place| place.holder.clone()),
            None => Some(self.node.clone()),
        };
        let held = decided.held(&addresses, holder);
        let told = Told { holds, refused, left: placing.left.clone(), held };
        memory.told.change_to(told, |event| {
            // Of one that is gone, nobody reads.
            if let Some(uid) = decided.uids.get(&event.service) {
                events.tell(event.about(uid.clone()));
            }
        });
        let wanted = decided.wanted(self.who(holds), &placing);
        self.wanted.send_if_modified(|known| replace(known, Arc::new(wanted)));
        self.tell_addresses(&decided, addresses);
        self.tell_fitness(decided.may_hold);
        [memory.damper.next(), placing.again].into_iter().flatten().min()
    }

    /// In whose name statuses are written, if in anybody's.
    fn who(&self, holds: bool) -> Option<&NodeName> {
        Some(&self.node).filter(|_| holds && self.settings.write_status)
    }

    fn tell_fitness(&self, may_hold: Result<(), String>) {
        let fitness = if may_hold.is_ok() { Health::Healthy } else { Health::Unhealthy };
        let news = self.known.fitness.send_if_modified(|known| replace(known, Some(fitness)));
        if let Some(why) = may_hold.err().filter(|_| news) {
            tracing::warn!("this node leaves Services to another where one could hold them: {why}");
        }
    }
}

/// What was read and decided is let go of: nothing changes any more, for a while.
async fn give_back() {
    if let Err(error) = spawn_blocking(memory::give_back).await {
        tracing::debug!(%error, "memory is not given back");
    }
    std::future::pending::<()>().await;
}

/// What is written on Services is left to another agent.
fn leave(wanted: &Wanted) -> Wanted {
    let elsewhere = wanted.elsewhere.iter().chain(wanted.services.keys()).cloned().collect();
    Wanted { services: BTreeMap::new(), elsewhere }
}

/// What an earlier run knew, as if watches that ended had told it.
fn known_before(recollection: &Recollection) -> watch::Receiver<Arc<Intent>> {
    watch::channel(Arc::new(recollection.load())).1
}

/// Puts `now` there; whether that is news.
fn replace<T: PartialEq>(known: &mut T, now: T) -> bool {
    let news = *known != now;
    *known = now;
    news
}
