//! Puts the agent together and runs it to its end.
//!
//! ```text
//!   thread "loop"      current-thread runtime: data plane, core, signals        waits for nobody
//!   thread "control"   one worker: lease adapter, admin API, metrics            supervised
//!   thread "snapshot"  writes the last known state                              latest wins
//!   thread "log"       writes log lines                                         drops when nobody reads
//! ```

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mainstay_core::input::{Input, Link};
use mainstay_core::names::{ClaimId, InstanceId};
use mainstay_core::recording::Start;
use mainstay_core::settings::{Authority, Found, Settings};
use mainstay_core::snapshot::{Snapshot, SnapshotError};
use mainstay_core::vip::Vip;
use mainstay_dataplane::plane::{Dataplane, LinkSettings};
use mainstay_dataplane::{LinkDescription, clock};
use mainstay_kube::LeaseCall;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::admin::reply::Configuration;
use crate::config::{Config, Resolved, Warning};
use crate::control;
use crate::driver::{CALL_QUEUE, COMMAND_QUEUE, Calls, Command, Driver, Edges, Ending, INPUT_QUEUE, Named};
use crate::insight::{ApiView, Facts, Insight};
use crate::label::LabelView;
use crate::latest::Giver;
use crate::log;
use crate::metrics::Observer;
use crate::names::{Answers, Keeper, NamesView, Resolver, taken_by_members};
use crate::privileges;
use crate::record::Recorded;
use crate::service::ServiceView;
use crate::signals::Signals;
use crate::store::{LoadError, Store, Writer};
use crate::supervise::{Supervisor, words};
use crate::vitals::Vitals;

/// How much longer than a lease's duration a hand-over may take.
const HAND_OVER_SLACK: Duration = Duration::from_secs(5);

/// Threads of the control plane for what blocks: two look-ups of names and one load of credentials at most, and room.
const BLOCKING: usize = 8;

/// While the loop waits for the first addresses, it shows so often that it lives.
const WAITING_TURN: Duration = Duration::from_secs(1);

/// How long the control plane's tasks may take to end.
const CONTROL_STOP: Duration = Duration::from_secs(2);

/// Runs the agent until it is told to stop.
///
/// # Errors
/// When the interface cannot be used, a thread cannot be started, or the loop panicked. Nothing that the API servers
/// do, or fail to do, is an error here.
pub fn run(resolved: Resolved) -> anyhow::Result<Ending> {
    let Resolved { config, effective, warnings } = resolved;
    let lines = warnings.into_iter().map(|Warning(line)| line);
    // Threads started from here on have them.
    let warnings: Vec<_> = lines.chain(privileges::raise(config.realtime)).collect();
    let _log = log::start(config.log)?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    let configuration = Configuration { settings: effective, warnings };
    let stop = CancellationToken::new();
    let (parts, edges, control_edges, writer) = prepare(&config, configuration, &stop)?;
    let (ended, end) = oneshot::channel();
    let (opened, open) = std::sync::mpsc::sync_channel(1);
    let start = LoopStart { config: config.clone(), parts: parts.clone(), edges, opened };
    let thread = std::thread::Builder::new().name("loop".to_owned()).spawn(move || {
        let ending = run_loop(start);
        // Nobody listens any more when opening failed.
        let _ = ended.send(());
        ending
    })?;
    // The loop opens the interface first: there is nothing to control without it.
    if open.recv().is_ok() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING)
            .thread_name("control")
            .enable_all()
            .build()
            .context("the control plane's runtime cannot be made")?;
        runtime.block_on(control::run(&config, &parts.insight, control_edges, end));
        stop.cancel();
        runtime.shutdown_timeout(CONTROL_STOP);
    }
    let ending = thread.join();
    writer.join();
    match ending {
        Ok(ending) => ending.inspect(|ending| tracing::info!(?ending, "the agent ends")),
        Err(panic) => anyhow::bail!(
            "the loop panicked: {}; the VIP stays until its lifetime runs out, start the agent again",
            words(panic.as_ref())
        ),
    }
}

/// What the threads share, or need to begin.
#[derive(Clone)]
struct Parts {
    insight: Arc<Insight>,
    boot_id: String,
    instance: InstanceId,
    memory: Option<Snapshot>,
}

fn prepare(
    config: &Config,
    configuration: Configuration,
    stop: &CancellationToken,
) -> anyhow::Result<(Parts, Edges, control::Edges, Writer)> {
    let boot_id = clock::boot_id().context("/proc/sys/kernel/random/boot_id cannot be read; mount /proc")?;
    let store = Store::new(&config.state_dir);
    let (memory, names) = remember(&store, &boot_id);
    let instance = memory.as_ref().map_or_else(|| InstanceId(random()), |snapshot| snapshot.instance);
    let snapshot = memory.clone().unwrap_or_else(|| Snapshot {
        boot_id: boot_id.clone(),
        instance,
        claims: BTreeMap::new(),
        api_servers: Vec::new(),
        names,
    });
    let (saves, writer) =
        Writer::start(store, memory.clone()).context("the snapshot's thread cannot be started")?;
    let names = NamesView::default();
    let kept = (&snapshot.names, taken_by_members(&snapshot));
    let keeper = Keeper::new(config, kept, Resolver::new(), names.clone());
    let (commands, edges, control_edges) = channels(config, saves, snapshot, keeper);
    let insight = Arc::new(Insight {
        facts: facts(config, instance),
        configuration,
        commands,
        clock: clock::now,
        vitals: Arc::new(Vitals::default()),
        observer: Arc::new(Observer::default()),
        tally: writer.tally.clone(),
        supervisor: Supervisor::new(stop.clone()),
        api: ApiView::default(),
        service: ServiceView::default(),
        label: LabelView::new(config, control_edges.vips.clone()),
        names,
    });
    Ok((Parts { insight, boot_id, instance, memory }, edges, control_edges, writer))
}

/// The last known state, if it is of this boot; and what DNS names meant in an earlier one.
fn remember(store: &Store, boot_id: &str) -> (Option<Snapshot>, Answers) {
    match store.load(boot_id) {
        Ok(snapshot) => {
            tracing::info!(claims = snapshot.claims.len(), "going on from the last known state");
            return (Some(snapshot), Answers::new());
        }
        Err(missing @ LoadError::Missing(_)) => tracing::info!("no last known state: {missing}"),
        Err(error) => {
            tracing::warn!("{error}");
            if let LoadError::Unusable { cause: SnapshotError::OtherBoot { names, .. }, .. } = error {
                return (None, names);
            }
        }
    }
    (None, Answers::new())
}

fn channels(
    config: &Config,
    saves: Giver<Snapshot>,
    snapshot: Snapshot,
    names: Keeper,
) -> (mpsc::Sender<Command>, Edges, control::Edges) {
    let (input_sender, inputs) = mpsc::channel::<Input>(INPUT_QUEUE);
    let (command_sender, commands) = mpsc::channel(COMMAND_QUEUE);
    let (learned_sender, learned) = watch::channel(snapshot.api_servers.clone());
    let (call_sender, calls) = mpsc::channel::<LeaseCall>(CALL_QUEUE);
    let adapter = (config.authority == Authority::Lease).then_some(call_sender);
    let (held_sender, held) = watch::channel(None);
    let calls_out = Calls::new(adapter);
    let known = names.known();
    let (vips, answers) = (known.vips.subscribe(), known.answers.subscribe());
    let named = Named { vips: vips.clone(), answers, members: known.members.clone() };
    let edges =
        Edges { inputs, commands, learned, snapshot, saves, calls: calls_out, held: held_sender, named };
    let names = Arc::new(names);
    let control = control::Edges { calls, inputs: input_sender, learned: learned_sender, held, names, vips };
    (command_sender, edges, control)
}

fn facts(config: &Config, instance: InstanceId) -> Facts {
    let lease = format!("{}/{}", config.lease.namespace, config.lease.name);
    Facts {
        node: config.node.to_string(),
        instance: instance.to_string(),
        interface: config.interface.clone(),
        authority: config.authority,
        lease: (config.authority == Authority::Lease).then_some(lease),
        state_dir: config.state_dir.clone(),
        started: Instant::now(),
    }
}

/// What the loop's thread begins with.
struct LoopStart {
    config: Config,
    parts: Parts,
    edges: Edges,
    opened: std::sync::mpsc::SyncSender<()>,
}

fn run_loop(start: LoopStart) -> anyhow::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the loop's runtime cannot be made")?;
    runtime.block_on(turn(start))
}

async fn turn(start: LoopStart) -> anyhow::Result<Ending> {
    let LoopStart { config, parts, mut edges, opened } = start;
    let signals = Signals::catch().context("signals cannot be caught")?;
    let insight = Arc::clone(&parts.insight);
    let bound = config.timing.duration + HAND_OVER_SLACK;
    tokio::spawn(signals.watch(insight.commands.clone(), bound, insight));
    let Some(vips) = first_addresses(&mut edges, &parts.insight.vitals, &opened).await? else {
        return Ok(Ending::Stopped);
    };
    let config = Config { vips, ..config };
    // The data plane's own thread, which it starts, is to have it, too.
    if config.realtime {
        privileges::run_in_real_time();
    }
    let link = LinkSettings {
        interface: config.interface.clone(),
        announce_every: config.announce_every,
        seed: random(),
    };
    let (plane, description) = Dataplane::open(link).await?;
    let found = found(&config, &parts, &description);
    let link_up = found.link_up;
    tracing::info!(
        interface = config.interface, vips = ?config.vips, node = %config.node, found = ?found.addresses, link_up,
        "the data plane is open"
    );
    let start =
        Start { settings: settings(&config, &parts, &description), found, now: clock::now(), seed: random() };
    let (core, recording) = Recorded::new(start, config.record.as_deref());
    let insight = parts.insight;
    let driver = Driver::new((core, plane), clock::now, edges, link_up)
        .watched_by(Arc::clone(&insight.observer), Arc::clone(&insight.vitals));
    // The receiver waits for exactly this, unless it was told already.
    let _ = opened.try_send(());
    let ending = driver.run().await;
    if let Some(recording) = recording {
        recording.wait();
    }
    Ok(ending)
}

/// The claim's addresses to start with; `None` when the agent is to end before they are known. What resolves names, and
/// says that nothing is ready, is the control plane's: it begins now. Should it end, nobody would ever know them.
async fn first_addresses(
    edges: &mut Edges,
    vitals: &Vitals,
    opened: &std::sync::mpsc::SyncSender<()>,
) -> anyhow::Result<Option<Vec<Vip>>> {
    loop {
        let vips = edges.named.vips.borrow_and_update().clone();
        if !vips.is_empty() {
            return Ok(Some(vips));
        }
        let _ = opened.try_send(());
        vitals.turned(clock::now());
        tokio::select! {
            changed = edges.named.vips.changed() => {
                changed.context("the control plane ended before an address was known; start the agent again")?;
            }
            command = edges.commands.recv() => match command {
                // There is nothing to report on: whoever asks is told by what there is not.
                Some(Command::Report(_)) => {}
                Some(Command::Shutdown(_) | Command::Abort) | None => return Ok(None),
            },
            () = tokio::time::sleep(WAITING_TURN) => {}
        }
    }
}

fn settings(config: &Config, parts: &Parts, description: &LinkDescription) -> Settings {
    Settings {
        node: config.node.clone(),
        instance: parts.instance,
        boot_id: parts.boot_id.clone(),
        claim: ClaimId::control_plane(),
        vips: config.vips.clone(),
        own: description.own.clone(),
        witnesses: config.witnesses.clone(),
        lease: config.timing,
        authority: config.authority,
        detection: config.detection,
        on_authority_loss: config.on_authority_loss,
        lifetime: config.lifetime(),
        restart_grace: config.restart_grace,
    }
}

fn found(config: &Config, parts: &Parts, description: &LinkDescription) -> Found {
    let memory =
        parts.memory.as_ref().and_then(|memory| memory.claims.get(&ClaimId::control_plane()).cloned());
    let leaving = memory.as_ref().map(|memory| memory.leaving.clone()).unwrap_or_default();
    let ours = |vip: &Vip| config.vips.contains(vip) || leaving.contains(vip);
    // What another agent left is worn as well: it is refreshed, and so made ours, before anything is decided.
    let worn = description.found.iter().map(|present| present.ip);
    Found {
        addresses: worn.chain(description.left_over.iter().copied()).filter(ours).collect(),
        memory,
        link_up: description.state == Link::Up,
    }
}

/// A number that another run will not draw: the standard library's hash keys come from the kernel.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests;
