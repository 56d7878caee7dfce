//! The control plane's half: the lease adapter, the admin API and the metrics, each under supervision. Whatever happens
//! here, the loop goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mainstay_core::input::Input;
use mainstay_core::settings::Authority;
use mainstay_core::vip::Vip;
use mainstay_kube::{Handles, LeaseAdapter, LeaseCall, LeaseName, ServerStatus, Source, Timing};
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::api_log::{ApiLog, Loud};
use crate::config::Config;
use crate::driver::CALL_QUEUE;
use crate::insight::Insight;
use crate::label;
use crate::names;
use crate::probes;
use crate::service::{self, ServiceCheck, ServiceView};

/// The channels at the control plane's edge.
pub(crate) struct Edges {
    /// What the loop asks of the API servers.
    pub(crate) calls: mpsc::Receiver<LeaseCall>,
    /// What they say.
    pub(crate) inputs: mpsc::Sender<Input>,
    /// API servers learned.
    pub(crate) learned: watch::Sender<Vec<String>>,
    /// Whether this node holds the VIP.
    pub(crate) held: watch::Receiver<Option<bool>>,
    /// Keeps the VIPs' names resolved.
    pub(crate) names: Arc<names::Keeper>,
    /// The claim's addresses; empty as long as they are unknown.
    pub(crate) vips: watch::Receiver<Vec<Vip>>,
}

/// How long the end of the agent may wait for the node's label.
const LAST_LABEL: Duration = Duration::from_secs(2);

/// Runs until the loop has ended.
pub(crate) async fn run(config: &Config, insight: &Arc<Insight>, edges: Edges, end: oneshot::Receiver<()>) {
    let mut tasks = JoinSet::new();
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
    if config.names().next().is_some() {
        let names = Arc::clone(&edges.names);
        tasks.spawn(supervisor.clone().keep("names", 6, move || {
            let names = Arc::clone(&names);
            async move { names.run(6).await }
        }));
    }
    if let Some(check) = check(config) {
        let (inputs, seen, vips) = (edges.inputs.clone(), Arc::clone(insight), edges.vips.clone());
        tasks.spawn(supervisor.clone().keep("service", 4, move || {
            let (check, inputs, seen) = (check.clone(), inputs.clone(), Arc::clone(&seen));
            let vips = vips.clone();
            async move { check_service(check, vips, &inputs, &seen.service).await }
        }));
    }
    let labelled = CancellationToken::new();
    let keeper = label::Keeper::new(
        (config, edges.vips.clone()),
        insight.api.clone(),
        edges.held.clone(),
        labelled.clone(),
    );
    let labels = keeper.is_some();
    if let Some(keeper) = keeper.map(Arc::new) {
        let seen = Arc::clone(insight);
        tasks.spawn(supervisor.clone().keep("label", 5, move || {
            let (keeper, seen) = (Arc::clone(&keeper), Arc::clone(&seen));
            async move { keeper.run(&seen.label).await }
        }));
    }
    if config.authority == Authority::Lease {
        let lease = Arc::new(Lease {
            settings: settings(config, edges.vips.clone()),
            edges: Mutex::new(edges),
            insight: Arc::clone(insight),
        });
        tasks.spawn(supervisor.clone().keep("lease", 3, move || {
            let lease = Arc::clone(&lease);
            async move { lease.serve().await }
        }));
    }
    // An error means that the loop's thread is gone, which is an end as well.
    let _ = end.await;
    if labels {
        // Once too late, it stays as it is until the next start.
        drop(timeout(LAST_LABEL, labelled.cancelled()).await);
    }
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
    insight: Arc<Insight>,
}

impl Lease {
    /// One run of the adapter. Requests that it takes down with it are answered by the loop itself (`Calls`).
    async fn serve(&self) -> anyhow::Result<()> {
        let mut edges = self.edges.lock().await;
        let Edges { calls, inputs, learned, .. } = &mut *edges;
        let known = learned.borrow().clone();
        let settings = mainstay_kube::Settings { learned: known, ..self.settings.clone() };
        let (adapter, handles) = LeaseAdapter::new(settings);
        self.insight.api.set(handles.clone());
        let (sender, receiver) = mpsc::channel(CALL_QUEUE);
        let cancel = CancellationToken::new();
        let forward = async {
            while let Some(call) = calls.recv().await {
                if sender.send(call).await.is_err() {
                    anyhow::bail!("the lease adapter takes no more");
                }
            }
            // The loop has ended, and with it, soon, all of this.
            std::future::pending().await
        };
        tokio::select! {
            () = adapter.run(receiver, inputs.clone(), cancel) => anyhow::bail!("the lease adapter ended early"),
            broken = forward => broken,
            () = follow(handles, learned) => anyhow::bail!("the lease adapter tells no more"),
        }
    }
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

fn settings(config: &Config, vips: watch::Receiver<Vec<Vip>>) -> mainstay_kube::Settings {
    let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    mainstay_kube::Settings {
        source: Source::FirstOf { kubeconfigs: config.kubernetes.kubeconfigs.clone(), in_cluster },
        server: config.kubernetes.server.clone(),
        local: Some(format!("https://127.0.0.1:{}", config.port)),
        learned: Vec::new(),
        vips,
        vip_names: config.names().map(ToString::to_string).collect(),
        lease: LeaseName { namespace: config.lease.namespace.clone(), name: config.lease.name.clone() },
        annotations: config.features.lease_annotations.clone(),
        timing: Timing::for_retry_period(config.timing.retry_period),
    }
}
