//! Puts the agent together and runs it to its end.
//!
//! ```text
//!   thread "loop"      current-thread runtime: data plane, core, signals        waits for nobody
//!   thread "services"  the same for Services, if they are held                  waits for nobody, begins again by itself
//!   thread "control"   one worker: lease adapters, admin API, metrics           supervised
//!   thread "snapshot"  writes the last known state, one for each loop           latest wins
//!   thread "log"       writes log lines                                         drops when nobody reads
//! ```

mod turn;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::mpsc::Receiver as SyncReceiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mainstay_core::input::{Health, Input};
use mainstay_core::names::{ClaimId, InstanceId};
use mainstay_core::settings::Authority;
use mainstay_core::snapshot::{Lasting, Snapshot, SnapshotError};
use mainstay_core::vip::Vip;
use mainstay_dataplane::{clock, memory};
use mainstay_kube::LeaseCall;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::reply::Configuration;
use crate::balancer::{self, BalancerView};
use crate::config::{Config, Resolved, Warning};
use crate::control;
use crate::driver::{
    CALL_QUEUE, COMMAND_QUEUE, Calls, Command, Deaths, Edges, Ending, Holders, INPUT_QUEUE, Named, Placed,
    SEAT_CALL_QUEUE,
};
use crate::insight::{ApiView, Facts, Insight, LoopView};
use crate::label::LabelView;
use crate::log;
use crate::metrics::Observer;
use crate::names::{Answers, Keeper, NamesView, Resolver};
use crate::privileges;
use crate::role::Role;
use crate::service::ServiceView;
use crate::services;
use crate::store::{LoadError, Store, Writer};
use crate::strict_arp::ArpView;
use crate::supervise::{Supervisor, words};
use crate::vitals::Vitals;
use turn::{LoopStart, Watch, keep_looping, run_loop};

/// Threads of the control plane for what blocks: two look-ups of names and one load of credentials at most, and room.
const BLOCKING: usize = 8;

/// How long the control plane's tasks may take to end.
const CONTROL_STOP: Duration = Duration::from_secs(2);

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When the interface cannot be used, a thread cannot be started, or the control plane's loop panicked. Nothing that the
/// API servers do, or fail to do, is an error here.
pub fn run(resolved: Resolved) -> anyhow::Result<Ending> {
    memory::be_frugal();
    let Resolved { config, effective, warnings } = resolved;
    let lines = warnings.into_iter().map(|Warning(line)| line);
    // Threads started from here on have them.
    let warnings: Vec<_> = lines.chain(privileges::raise(config.realtime)).collect();
    let _log = log::start(config.log)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    balancer::possible(&config)?;
    let configuration = Configuration { settings: effective, warnings };
    let stop = CancellationToken::new();
    let (insight, prepared, parts) = prepare(&config, configuration, &stop)?;
    let (ended, end) = mpsc::channel(prepared.len());
    let (mut loops, mut edges) = (Vec::new(), Vec::new());
    for (at, one) in prepared.into_iter().enumerate() {
        let watch = if at == 0 { Watch::Yes } else { Watch::No };
        edges.push(one.control);
        loops.push(begin((one.start, watch), (&config, &insight, &stop), one.writer, ended.clone())?);
    }
    drop(ended);
    // The loops open their interfaces first: there is nothing to control without them.
    let open = loops.iter().all(|one| one.open.recv().is_ok());
    let end = if open { control(&config, &insight, (edges, parts), end)? } else { Ended::Broken };
    stop.cancel();
    finish(loops, end).inspect(|ending| tracing::info!(?ending, "the agent ends"))
}

/// How a loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// As it was told to.
    Well,
    /// It broke off, and does not begin again by itself.
    Broken,
}

fn control(
    config: &Config,
    insight: &Arc<Insight>,
    edges: (Vec<control::Edges>, control::Parts),
    end: mpsc::Receiver<Ended>,
) -> anyhow::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(BLOCKING)
        .thread_name("control")
        .enable_all()
        .build()
        .context("the control plane's runtime cannot be made")?;
    let ended = runtime.block_on(control::run(config, insight, edges, end));
    insight.supervisor.stop();
    runtime.shutdown_timeout(CONTROL_STOP);
    Ok(ended)
}

/// One loop's thread.
struct Running {
    thread: JoinHandle<anyhow::Result<Ending>>,
    open: SyncReceiver<()>,
    writer: Writer,
}

/// Starts a loop's thread. The control plane's ends with what breaks it, for a new process is the better start; that of
/// Services begins again by itself, for its end would be the control plane's as well.
fn begin(
    (start, watches_signals): (Beginning, Watch),
    (config, insight, stop): (&Config, &Arc<Insight>, &CancellationToken),
    writer: Writer,
    ended: mpsc::Sender<Ended>,
) -> anyhow::Result<Running> {
    let (opened, open) = std::sync::mpsc::sync_channel(1);
    let Beginning { role, boot_id, instance, edges, view, halt } = start;
    let (config, insight, stop) = (config.clone(), Arc::clone(insight), stop.clone());
    let thread = std::thread::Builder::new().name(role.thread.to_owned());
    let mut start = LoopStart {
        config,
        role,
        boot_id,
        instance,
        edges,
        opened,
        view,
        insight,
        watches_signals,
        stop,
        halt,
    };
    let thread = thread.spawn(move || {
        let alone = start.role.claim == ClaimId::control_plane();
        let ending = if alone { run_loop(&mut start) } else { keep_looping(&mut start) };
        let how = if ending.is_ok() { Ended::Well } else { Ended::Broken };
        // Nobody listens any more when opening failed.
        let _ = ended.blocking_send(how);
        ending
    })?;
    Ok(Running { thread, open, writer })
}

/// What the loops came to. When one broke off, that is the first, and what another holds stays until its lifetime runs out:
/// the next process goes on with it.
fn finish(loops: Vec<Running>, end: Ended) -> anyhow::Result<Ending> {
    let waited_for = if end == Ended::Broken { 1 } else { loops.len() };
    let mut endings = Vec::new();
    for one in loops.into_iter().take(waited_for) {
        let ending = one.thread.join();
        one.writer.join();
        endings.push(
            ending.unwrap_or_else(|panic| anyhow::bail!("the loop panicked: {}", words(panic.as_ref()))),
        );
    }
    endings.swap_remove(0)
}

/// What a loop's thread is to begin with.
struct Beginning {
    role: Role,
    boot_id: String,
    instance: InstanceId,
    edges: Edges,
    view: LoopView,
    halt: CancellationToken,
}

/// One loop, not yet running, and the control plane's ends of its channels.
struct Prepared {
    start: Beginning,
    control: control::Edges,
    writer: Writer,
}

/// Everything but the threads.
fn prepare(
    config: &Config,
    configuration: Configuration,
    stop: &CancellationToken,
) -> anyhow::Result<(Arc<Insight>, Vec<Prepared>, control::Parts)> {
    let boot_id = clock::boot_id().context("/proc/sys/kernel/random/boot_id cannot be read; mount /proc")?;
    let (names, services) = (NamesView::default(), services::View::default());
    let mut parts = control::Parts { names: None, services: None, vips: watch::channel(Vec::new()).1 };
    let mut prepared = Vec::new();
    for role in Role::all(config) {
        let memory = Memory::of(config, &role, &boot_id);
        let source = if role.claim == ClaimId::control_plane() {
            let keeper = Arc::new(Keeper::new(config, &memory.snapshot, Resolver::new(), names.clone()));
            parts.vips = keeper.known().vips.subscribe();
            let source = Source::of_names(&keeper);
            parts.names = Some(keeper);
            source
        } else {
            let vips = parts.vips.clone();
            let keeper = Arc::new(services::Keeper::new(config, &memory.snapshot, vips, services.clone()));
            let source = Source::of_services(&keeper);
            parts.services = Some(keeper);
            source
        };
        prepared.push(one_loop(role, memory, source)?);
    }
    let first = prepared.first().context("there is nothing to hold a VIP for")?;
    let insight = Insight {
        facts: facts(config, first.start.instance),
        configuration,
        loops: prepared.iter().map(|one| one.start.view.clone()).collect(),
        clock: clock::now,
        observer: Arc::new(Observer::default()),
        supervisor: Supervisor::new(stop.clone()),
        api: ApiView::default(),
        service: ServiceView::default(),
        label: LabelView::new(config, parts.vips.clone()),
        names,
        services,
        balancer: BalancerView::default(),
        arp: ArpView::default(),
    };
    Ok((Arc::new(insight), prepared, parts))
}

/// What an earlier run of this boot left, and what is to be written from now on.
struct Memory {
    store: Store,
    known: Option<Snapshot>,
    snapshot: Snapshot,
}

impl Memory {
    fn of(config: &Config, role: &Role, boot_id: &str) -> Self {
        let store = Store::new(&config.state_dir, role.snapshot);
        let (known, lasting) = remember(&store, boot_id);
        let snapshot = known.clone().unwrap_or_else(|| Snapshot {
            boot_id: boot_id.to_owned(),
            instance: InstanceId(random()),
            claims: BTreeMap::new(),
            api_servers: Vec::new(),
            names: lasting.names,
            cluster: lasting.cluster,
        });
        Self { store, known, snapshot }
    }
}

/// The last known state, if it is of this boot; and what is as good as before of an earlier one's.
fn remember(store: &Store, boot_id: &str) -> (Option<Snapshot>, Lasting) {
    match store.load(boot_id) {
        Ok(snapshot) => {
            tracing::info!(claims = snapshot.claims.len(), "going on from the last known state");
            return (Some(snapshot), Lasting::default());
        }
        Err(missing @ LoadError::Missing(_)) => tracing::info!("no last known state: {missing}"),
        Err(error) => {
            tracing::warn!("{error}");
            if let LoadError::Unusable { cause: SnapshotError::OtherBoot { lasting, .. }, .. } = error {
                return (None, *lasting);
            }
        }
    }
    (None, Lasting::default())
}

/// Where a claim's addresses come from.
struct Source {
    named: Named,
    services: watch::Receiver<Option<Vec<Vip>>>,
    cluster: watch::Receiver<Option<String>>,
    fitness: watch::Receiver<Option<Health>>,
    placed: watch::Receiver<Option<BTreeMap<ClaimId, Placed>>>,
    holders: watch::Sender<Holders>,
    deaths: watch::Sender<Deaths>,
    /// Cancelled when the loop must not go on.
    halt: CancellationToken,
}

impl Source {
    fn of_names(keeper: &Keeper) -> Self {
        let known = keeper.known();
        Self {
            named: Named {
                vips: known.vips.subscribe(),
                answers: known.answers.subscribe(),
                members: known.members.clone(),
                told: known.told.clone(),
            },
            services: watch::channel(None).1,
            cluster: watch::channel(None).1,
            fitness: watch::channel(None).1,
            placed: watch::channel(None).1,
            holders: watch::Sender::default(),
            deaths: watch::Sender::default(),
            halt: CancellationToken::new(),
        }
    }

    fn of_services(keeper: &services::Keeper) -> Self {
        let known = keeper.known();
        Self {
            named: Named {
                vips: known.beacon.subscribe(),
                answers: watch::channel(Answers::new()).1,
                members: known.members.clone(),
                told: watch::Sender::default(),
            },
            services: known.addresses.subscribe(),
            cluster: known.cluster.subscribe(),
            fitness: known.fitness.subscribe(),
            placed: known.placed.subscribe(),
            holders: known.holders.clone(),
            deaths: known.deaths.clone(),
            halt: keeper.stop(),
        }
    }
}

fn one_loop(role: Role, memory: Memory, source: Source) -> anyhow::Result<Prepared> {
    let Memory { store, known, snapshot } = memory;
    let instance = snapshot.instance;
    let (boot_id, api_servers) = (snapshot.boot_id.clone(), snapshot.api_servers.clone());
    let (saves, writer) = Writer::start(store, known).context("the snapshot's thread cannot be started")?;
    let (input_sender, inputs) = mpsc::channel::<Input>(INPUT_QUEUE);
    let (command_sender, commands) = mpsc::channel::<Command>(COMMAND_QUEUE);
    let (learned_sender, learned) = watch::channel(api_servers);
    let (call_sender, calls) = mpsc::channel::<LeaseCall>(CALL_QUEUE);
    let adapter = (role.authority == Authority::Lease).then_some(call_sender);
    let (held_sender, held) = watch::channel(None);
    let (named_holder, holder) = watch::channel(None);
    let (seat_sender, seat_calls) = mpsc::channel(SEAT_CALL_QUEUE);
    let Source { named, services, cluster, fitness, placed, holders, deaths, halt } = source;
    let edges = Edges {
        inputs,
        commands,
        learned,
        snapshot,
        saves,
        calls: Calls::new(adapter).with_seats(seat_sender),
        held: held_sender,
        named_holder,
        named,
        services,
        cluster,
        fitness,
        placed,
        holders,
        deaths,
        worn: BTreeSet::new(),
    };
    let control = control::Edges {
        role: role.clone(),
        calls,
        seat_calls,
        inputs: input_sender,
        learned: learned_sender,
        held,
        holder,
    };
    let view = LoopView {
        role: role.clone(),
        commands: command_sender,
        vitals: Arc::new(Vitals::default()),
        tally: writer.tally.clone(),
    };
    Ok(Prepared { start: Beginning { role, boot_id, instance, edges, view, halt }, control, writer })
}

fn facts(config: &Config, instance: InstanceId) -> Facts {
    Facts {
        node: config.node.to_string(),
        instance: instance.to_string(),
        state_dir: config.state_dir.clone(),
        started: Instant::now(),
    }
}

/// A number that another run will not draw: the standard library's hash keys come from the kernel.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
