//! The control plane's half: the lease adapter, the admin API and the metrics, each under supervision. Whatever happens
//! here, the loop goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::input::Input;
use mainstay_core::names::ClaimId;
use mainstay_core::settings::Authority;
use mainstay_core::vip::Vip;
use mainstay_kube::{Handles, LeaseAdapter, LeaseCall, LeaseName, SeatCall, ServerStatus, Source, Timing};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::api_log::{ApiLog, Loud};
use crate::balancer;
use crate::config::Config;
use crate::driver::CALL_QUEUE;
use crate::insight::{ApiView, Insight};
use crate::label;
use crate::names;
use crate::node_failure;
use crate::probes;
use crate::role::Role;
use crate::run::Ended;
use crate::seats;
use crate::service::{self, ServiceCheck, ServiceView};
use crate::services;
use crate::strict_arp::{self, ServiceAddresses, Watched};

/// The channels at one loop's edge.
pub(crate) struct Edges {
    /// What the loop is for.
    pub(crate) role: Role,
    /// What the loop asks of the API servers.
    pub(crate) calls: mpsc::Receiver<LeaseCall>,
    /// What its seats ask of them.
    pub(crate) seat_calls: mpsc::Receiver<SeatCall>,
    /// What they say.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// API servers learned.
    pub(crate) learned: watch::Sender<Vec<String>>,
    /// Whether this node holds the claim.
    pub(crate) held: watch::Receiver<Option<bool>>,
    /// Whom the authority names.
    pub(crate) holder: watch::Receiver<Option<String>>,
}

/// What is not of one loop alone.
pub(crate) struct Parts {
    /// Keeps the VIPs' names resolved, where there is a control plane's VIP.
    pub(crate) names: Option<Arc<names::Keeper>>,
    /// Keeps Services known, and what they are told, where they are held.
    pub(crate) services: Option<Arc<services::Keeper>>,
    /// The control plane's addresses; empty as long as they are unknown, and where there are none.
    pub(crate) vips: watch::Receiver<Vec<Vip>>,
}

/// How long the end of the agent may wait for the node's label.
const LAST_LABEL: Duration = Duration::from_secs(2);

/// Runs until all loops have ended, or one has that does not begin again.
pub(crate) async fn run(
    config: &Config,
    insight: &Arc<Insight>,
    (edges, parts): (Vec<Edges>, Parts),
    mut end: mpsc::Receiver<Ended>,
) -> Ended {
    let mut tasks = JoinSet::new();
    let loops = edges.len();
    let labelled = CancellationToken::new();
    let labels = spawn_for_control_plane(&mut tasks, (config, insight), (&edges, &parts), &labelled);
    spawn_servers(&mut tasks, config, insight);
    spawn_balancer(&mut tasks, (config, insight), (&edges, &parts));
    spawn_services(&mut tasks, insight, (&edges, &parts));
    spawn_reporter(&mut tasks, (config, insight), &parts);
    spawn_arp(&mut tasks, insight, (&edges, &parts));
    let mut view = Some(insight.api.clone());
    for one in edges.into_iter().filter(|one| one.role.authority == Authority::Lease) {
        let one = spawn_seats(&mut tasks, (config, insight), one, &parts);
        spawn_lease(&mut tasks, (config, insight), (one, parts.vips.clone()), view.take());
    }
    let ended = await_loops(&mut end, loops).await;
    if let (Ended::Well, Some(services)) = (ended, &parts.services) {
        services.leave_filter().await;
    }
    if labels {
        // Once too late, it stays as it is until the next start.
        drop(timeout(LAST_LABEL, labelled.cancelled()).await);
    }
    ended
}

async fn await_loops(end: &mut mpsc::Receiver<Ended>, loops: usize) -> Ended {
    for _ in 0..loops {
        // Without a word, a loop's thread is gone.
        if end.recv().await != Some(Ended::Well) {
            return Ended::Broken;
        }
    }
    Ended::Well
}

/// What is asked of the agent itself.
fn spawn_servers(tasks: &mut JoinSet<()>, config: &Config, insight: &Arc<Insight>) {
    let supervisor = &insight.supervisor;
    let (socket, seen) = (config.admin_socket.clone(), Arc::clone(insight));
    tasks.spawn(supervisor.clone().keep("admin", 1, move || {
        let (socket, seen) = (socket.clone(), Arc::clone(&seen));
        async move { admin::server::run(&socket, seen).await }
    }));
    if let Some(address) = config.metrics {
        let seen = Arc::clone(insight);
        tasks.spawn(supervisor.clone().keep("metrics", 2, move || probes::run(address, Arc::clone(&seen))));
    }
    if let Some(port) = config.health_port {
        let seen = Arc::clone(insight);
        tasks
            .spawn(supervisor.clone().keep("health", 4, move || probes::run_health(port, Arc::clone(&seen))));
    }
}

/// What the control plane's VIP needs beside its Lease. Whether a label is kept.
fn spawn_for_control_plane(
    tasks: &mut JoinSet<()>,
    (config, insight): (&Config, &Arc<Insight>),
    (edges, parts): (&[Edges], &Parts),
    labelled: &CancellationToken,
) -> bool {
    let supervisor = &insight.supervisor;
    let Some(edges) = edges.iter().find(|one| one.role.claim == ClaimId::control_plane()) else {
        return false;
    };
    if let Some(names) = parts.names.clone().filter(|_| config.names().next().is_some()) {
        tasks.spawn(supervisor.clone().keep("names", 6, move || {
            let names = Arc::clone(&names);
            async move { names.run(6).await }
        }));
    }
    if let Some(check) = check(config) {
        let (inputs, seen, vips) = (edges.inputs.clone(), Arc::clone(insight), parts.vips.clone());
        tasks.spawn(supervisor.clone().keep("service", 4, move || {
            let (check, inputs, seen) = (check.clone(), inputs.clone(), Arc::clone(&seen));
            let vips = vips.clone();
            async move { check_service(check, vips, &inputs, &seen.service).await }
        }));
    }
    let (api, held) = (insight.api.clone(), edges.held.clone());
    let keeper = label::Keeper::new((config, parts.vips.clone()), api, held, labelled.clone());
    let Some(keeper) = keeper.map(Arc::new) else { return false };
    let seen = Arc::clone(insight);
    tasks.spawn(supervisor.clone().keep("label", 5, move || {
        let (keeper, seen) = (Arc::clone(&keeper), Arc::clone(&seen));
        async move { keeper.run(&seen.label).await }
    }));
    true
}

/// The load balancer behind the control plane's VIP, if there is to be one. What an earlier run has left goes, if not.
fn spawn_balancer(
    tasks: &mut JoinSet<()>,
    (config, insight): (&Config, &Arc<Insight>),
    (edges, parts): (&[Edges], &Parts),
) {
    let edges = edges.iter().find(|one| one.role.claim == ClaimId::control_plane());
    let keeper = edges.zip(parts.names.as_ref()).and_then(|(edges, names)| {
        let claim = balancer::Claim {
            members: names.known().members.subscribe(),
            vips: parts.vips.clone(),
            held: edges.held.clone(),
            holder: edges.holder.clone(),
        };
        balancer::Keeper::new(config, claim, insight.api.clone())
    });
    let Some(keeper) = keeper.map(Arc::new) else {
        let vips = parts.vips.borrow().iter().copied().collect();
        tasks.spawn(balancer::clear(vips, config.features.balancer.port));
        return;
    };
    insight.balancer.begin();
    let view = insight.balancer.clone();
    tasks.spawn(insight.supervisor.clone().keep("balancer", 11, move || {
        let (keeper, view) = (Arc::clone(&keeper), view.clone());
        async move { keeper.run(&view).await }
    }));
}

/// What Services ask for, and what they are told.
fn spawn_services(tasks: &mut JoinSet<()>, insight: &Arc<Insight>, (edges, parts): (&[Edges], &Parts)) {
    let edges = edges.iter().find(|one| one.role.claim == ClaimId::services());
    let Some((edges, keeper)) = edges.zip(parts.services.clone()) else { return };
    let (api, held) = (insight.api.clone(), edges.held.clone());
    let filtering = Arc::clone(&keeper);
    tasks.spawn(insight.supervisor.clone().keep("filter", 9, move || {
        let keeper = Arc::clone(&filtering);
        async move { keeper.keep_filter().await }
    }));
    tasks.spawn(insight.supervisor.clone().keep("services", 7, move || {
        let (keeper, api) = (Arc::clone(&keeper), api.clone());
        let held = held.clone();
        async move { keeper.run(&api, &held).await }
    }));
}

/// What reports dead nodes, where it is asked for.
fn spawn_reporter(tasks: &mut JoinSet<()>, (config, insight): (&Config, &Arc<Insight>), parts: &Parts) {
    let Some(known) = parts.services.as_ref().map(|keeper| keeper.known()) else { return };
    if !config.features.services.report_failures {
        return;
    }
    let (deaths, members) = (known.deaths.subscribe(), known.members.subscribe());
    let keeper = node_failure::Keeper::new(config.node.clone(), deaths, members, insight.api.clone());
    let (keeper, observer) = (Arc::new(keeper), Arc::clone(&insight.observer));
    tasks.spawn(insight.supervisor.clone().keep("node-failure", 9, move || {
        let (keeper, observer) = (Arc::clone(&keeper), Arc::clone(&observer));
        async move { keeper.run(&observer).await }
    }));
}

/// What on this host could speak for VIPs beside their interface.
fn spawn_arp(tasks: &mut JoinSet<()>, insight: &Arc<Insight>, (edges, parts): (&[Edges], &Parts)) {
    let of_services = |role: &Role| {
        let keeper = parts.services.as_ref().filter(|_| role.claim == ClaimId::services())?;
        let known = keeper.known();
        Some(ServiceAddresses { all: known.addresses.subscribe(), placed: known.placed.subscribe() })
    };
    let watched = edges.iter().map(|one| Watched {
        interface: one.role.interface.clone(),
        vips: parts.vips.clone(),
        services: of_services(&one.role),
    });
    let (watched, seen) = (watched.collect::<Arc<[_]>>(), Arc::clone(insight));
    tasks.spawn(insight.supervisor.clone().keep("arp", 10, move || {
        let (watched, seen) = (Arc::clone(&watched), Arc::clone(&seen));
        async move { strict_arp::run(&watched, &seen.arp).await }
    }));
}

/// The Leases of the seats that Services are spread over, if they are.
fn spawn_seats(
    tasks: &mut JoinSet<()>,
    (config, insight): (&Config, &Arc<Insight>),
    mut edges: Edges,
    parts: &Parts,
) -> Edges {
    let keeper = parts.services.as_ref().filter(|_| edges.role.claim == ClaimId::services());
    let spread = keeper.filter(|keeper| keeper.spreads()).map(|keeper| keeper.known().placed.subscribe());
    let Some(placed) = spread else { return edges };
    let calls = std::mem::replace(&mut edges.seat_calls, mpsc::channel(1).1);
    let leases = Arc::new(seats::Leases {
        settings: settings(config, &edges.role, parts.vips.clone()),
        timing: edges.role.timing,
        placed,
        learned: edges.learned.subscribe(),
        calls: Mutex::new(calls),
        inputs: edges.inputs.clone(),
    });
    tasks.spawn(insight.supervisor.clone().keep("seats", 8, move || {
        let leases = Arc::clone(&leases);
        async move { leases.serve().await }
    }));
    edges
}

/// One loop's Lease. The first one's adapter has the view: it is what people are told of, and what others ask by.
fn spawn_lease(
    tasks: &mut JoinSet<()>,
    (config, insight): (&Config, &Arc<Insight>),
    (edges, vips): (Edges, watch::Receiver<Vec<Vip>>),
    view: Option<ApiView>,
) {
    let task = edges.role.lease_task;
    let lease =
        Arc::new(Lease { settings: settings(config, &edges.role, vips), edges: Mutex::new(edges), view });
    tasks.spawn(insight.supervisor.clone().keep(task, 3, move || {
        let lease = Arc::clone(&lease);
        async move { lease.serve().await }
    }));
}

/// Checks what is behind the first VIP, whichever that is.
async fn check_service(
    check: impl Fn(Vip) -> ServiceCheck,
    mut vips: watch::Receiver<Vec<Vip>>,
    inputs: &mpsc::Sender<Input>,
    view: &ServiceView,
) -> anyhow::Result<()> {
    loop {
        // Nobody resolves names any more: there is nothing to follow.
        let first = vips.wait_for(|vips| !vips.is_empty()).await?.first().copied();
        let Some(vip) = first else { continue };
        let check = check(vip);
        let another = |vips: &Vec<Vip>| vips.first().is_some_and(|first| *first != vip);
        tokio::select! {
            ended = service::run(&check, inputs, view) => return ended,
            Ok(_) = vips.wait_for(another) => {}
        }
    }
}

/// How what is behind a VIP is checked, if it is to be.
fn check(config: &Config) -> Option<impl Fn(Vip) -> ServiceCheck + Clone + Send + Sync + use<>> {
    let (check, port) = (config.features.health_check.clone(), config.port);
    let local = check.url.clone()?;
    Some(move |vip| ServiceCheck {
        local: local.clone(),
        through_vip: format!("https://{}/livez", SocketAddr::new(vip, port)),
        period: check.period,
        longest: check.timeout,
        failure_threshold: check.failure_threshold,
        authority: check.ca.clone(),
    })
}

/// What every run of the adapter begins with.
struct Lease {
    settings: mainstay_kube::Settings,
    /// Locked by the one run there is; released when it ends, also by a panic.
    edges: Mutex<Edges>,
    /// Where it is told which API servers there are, and how they do.
    view: Option<ApiView>,
}

impl Lease {
    /// One run of the adapter. Requests that it takes down with it are answered by the loop itself (`Calls`).
    async fn serve(&self) -> anyhow::Result<()> {
        let mut edges = self.edges.lock().await;
        let Edges { calls, inputs, learned, .. } = &mut *edges;
        let known = learned.borrow().clone();
        let settings = mainstay_kube::Settings { learned: known, ..self.settings.clone() };
        let (adapter, handles) = LeaseAdapter::new(settings);
        if let Some(view) = &self.view {
            view.set(handles.clone());
        }
        let (sender, receiver) = mpsc::channel(CALL_QUEUE);
        let cancel = CancellationToken::new();
        tokio::select! {
            () = adapter.run(receiver, inputs.clone(), cancel) => anyhow::bail!("the lease adapter ended early"),
            () = forward(calls, &sender) => anyhow::bail!("the lease adapter takes no more"),
            () = self.follow(handles, learned) => anyhow::bail!("the lease adapter tells no more"),
        }
    }
}

impl Lease {
    /// What one adapter knows of the API servers is said for all of them.
    async fn follow(&self, mut handles: Handles, learned: &watch::Sender<Vec<String>>) {
        if self.view.is_some() {
            return follow(handles, learned).await;
        }
        while handles.learned.changed().await.is_ok() {
            pass_on(&handles.learned.borrow_and_update(), learned);
        }
    }
}

/// Passes a loop's requests on to an adapter; ends when that takes no more.
pub(crate) async fn forward<T>(calls: &mut mpsc::Receiver<T>, adapter: &mpsc::Sender<T>) {
    while let Some(call) = calls.recv().await {
        if adapter.send(call).await.is_err() {
            return;
        }
    }
    // The loop has ended, and with it, soon, all of this.
    std::future::pending().await
}

/// Passes on what the adapter learns, and says in the log when access to the API servers is lost and found, and when one
/// of them begins or ceases to answer.
async fn follow(mut handles: Handles, learned: &watch::Sender<Vec<String>>) {
    let mut log = ApiLog::default();
    loop {
        tell_changes(&mut log, &handles.servers.borrow_and_update());
        let held_back = log.next();
        let later = async {
            match held_back {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let changed = tokio::select! {
            changed = handles.servers.changed() => changed,
            () = later => Ok(()),
            changed = handles.learned.changed() => changed.map(|()| pass_on(&handles.learned.borrow_and_update(), learned)),
            changed = handles.trouble.changed() => changed.map(|()| tell(handles.trouble.borrow_and_update().as_deref())),
        };
        if changed.is_err() {
            return;
        }
    }
}

fn pass_on(now: &[String], learned: &watch::Sender<Vec<String>>) {
    learned.send_if_modified(|known| {
        let news = known != now;
        now.clone_into(known);
        news
    });
}

fn tell_changes(log: &mut ApiLog, servers: &[ServerStatus]) {
    for line in log.take(Instant::now(), servers) {
        match line.loud {
            Loud::Info => tracing::info!("{}", line.text),
            Loud::Warning => tracing::warn!("{}", line.text),
        }
    }
}

fn tell(trouble: Option<&str>) {
    match trouble {
        Some(trouble) => tracing::error!("no access to the API servers, trying on: {trouble}"),
        None => tracing::info!("the credentials for the API servers are good"),
    }
}

fn settings(config: &Config, role: &Role, vips: watch::Receiver<Vec<Vip>>) -> mainstay_kube::Settings {
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    mainstay_kube::Settings {
        source: Source::FirstOf { kubeconfigs: config.kubernetes.kubeconfigs.clone(), in_cluster },
        server: config.kubernetes.server.clone(),
        local: Some(format!("https://127.0.0.1:{}", config.port)),
        learned: Vec::new(),
        vips,
        vip_names: config.names().map(ToString::to_string).collect(),
        lease: LeaseName { namespace: role.lease.namespace.clone(), name: role.lease.name.clone() },
        annotations: config.features.lease_annotations.clone(),
        timing: Timing::for_retry_period(role.timing.retry_period),
    }
}
