//! One loop's thread, from its start to its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use anyhow::Context as _;
use mainstay_core::backoff::Backoff;
use mainstay_core::input::Link;
use mainstay_core::names::{ClaimId, InstanceId};
use mainstay_core::recording::Start;
use mainstay_core::rng::Rng;
use mainstay_core::settings::{Found, Settings};
use mainstay_core::vip::Vip;
use mainstay_dataplane::plane::{Dataplane, LinkSettings};
use mainstay_dataplane::{LinkDescription, clock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::random;
use crate::config::Config;
use crate::driver::{Command, Driver, Edges, Ending};
use crate::insight::{Insight, LoopView};
use crate::privileges;
use crate::record::Recorded;
use crate::role::Role;
use crate::signals::Signals;
use crate::supervise::words;

/// How much longer than a lease's duration a hand-over may take.
const HAND_OVER_SLACK: Duration = Duration::from_secs(5);

/// While the loop waits for the first addresses, it shows so often that it lives.
const WAITING_TURN: Duration = Duration::from_secs(1);

/// Before a loop that broke off begins again: from this ...
const AGAIN_FIRST: Duration = Duration::from_millis(200);
/// ... to this, with full jitter. Its addresses' lifetime is longer.
const AGAIN_LAST: Duration = Duration::from_secs(3);

/// What one loop's thread begins with.
pub(super) struct LoopStart {
    pub(super) config: Config,
    pub(super) role: Role,
    pub(super) boot_id: String,
    pub(super) instance: InstanceId,
    pub(super) edges: Edges,
    /// Told once the interface is open, or waits for nothing but addresses.
    pub(super) opened: SyncSender<()>,
    pub(super) view: LoopView,
    pub(super) insight: Arc<Insight>,
    /// One loop watches for signals.
    pub(super) watches_signals: Watch,
    /// The agent ends.
    pub(super) stop: CancellationToken,
    /// This loop ends, and the others go on.
    pub(super) halt: CancellationToken,
}

/// Whether a loop's thread watches for signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    Yes,
    No,
}

/// Runs the loop to its end; a panic is an error.
pub(super) fn run_loop(start: &mut LoopStart) -> anyhow::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("the loop's runtime cannot be made")?;
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(turn(start)))).unwrap_or_else(|panic| {
        anyhow::bail!(
            "the loop panicked: {}; what it held stays until its lifetime runs out, and the next run goes on with it",
            words(panic.as_ref())
        )
    })
}

/// Runs the loop again and again until it ends as it should: whatever happens here, the control plane's VIP has a loop
/// of its own that goes on.
pub(super) fn keep_looping(start: &mut LoopStart) -> anyhow::Result<Ending> {
    let (mut rng, mut backoff) = (Rng::new(random()), Backoff::new(AGAIN_FIRST, AGAIN_LAST));
    let mut told = String::new();
    loop {
        let error = match run_loop(start) {
            Ok(ending) => return Ok(ending),
            Err(error) => format!("{error:#}"),
        };
        if told != error {
            tracing::error!(claim = %start.role.claim, "the loop broke off, and begins again, over and over: {error}");
            told = error;
        }
        // Whoever waits for the interface is to begin all the same.
        let _ = start.opened.try_send(());
        if let Some(ending) = wait(start, backoff.next(&mut rng))? {
            return Ok(ending);
        }
        start.edges.begin_anew();
    }
}

/// Waits before the loop begins again, and goes on listening to those who may end it.
fn wait(start: &mut LoopStart, again: Duration) -> anyhow::Result<Option<Ending>> {
    start.view.vitals.turned(clock::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        watch_signals(start)?;
        let until = tokio::time::Instant::now() + again;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(None),
                () = start.stop.cancelled() => return Ok(Some(Ending::Stopped)),
                () = start.halt.cancelled() => return Ok(Some(Ending::Stopped)),
                command = start.edges.commands.recv() => match command {
                    // There is nothing to report on.
                    Some(Command::Report(_)) => {}
                    Some(Command::Shutdown(_)) | None => return Ok(Some(Ending::Stopped)),
                    Some(Command::Abort) => return Ok(Some(Ending::Aborted)),
                },
            }
        }
    })
}

/// One loop's thread hears signals, for all of them.
fn watch_signals(start: &LoopStart) -> anyhow::Result<()> {
    if start.watches_signals == Watch::Yes {
        let signals = Signals::catch().context("signals cannot be caught")?;
        let bound = start.config.timing.duration + HAND_OVER_SLACK;
        tokio::spawn(signals.watch(bound, Arc::clone(&start.insight)));
    }
    Ok(())
}

/// Hands over when the loop must not go on.
async fn obey(halt: CancellationToken, commands: mpsc::Sender<Command>, bound: Duration) {
    halt.cancelled().await;
    // A loop that is not there any more has obeyed.
    let _ = commands.send(Command::Shutdown(bound)).await;
}

async fn turn(start: &mut LoopStart) -> anyhow::Result<Ending> {
    watch_signals(start)?;
    let LoopStart { config, role, edges, opened, view, insight, .. } = start;
    let bound = config.timing.duration + HAND_OVER_SLACK;
    tokio::spawn(obey(start.halt.clone(), view.commands.clone(), bound));
    let Some(vips) = first_addresses(edges, view, opened).await? else { return Ok(Ending::Stopped) };
    // The data plane's own thread, which it starts, is to have it, too.
    if config.realtime {
        privileges::run_in_real_time();
    }
    let link = LinkSettings {
        interface: role.interface.clone(),
        announce_every: config.announce_every,
        seed: random(),
    };
    let (plane, description) = Dataplane::open(link).await?;
    edges.worn = worn(&description).collect();
    let found = found(edges, role, &vips, &description);
    let link_up = found.link_up;
    tracing::info!(
        claim = %role.claim, interface = role.interface, ?vips, node = %config.node, found = ?found.addresses, link_up,
        "the data plane is open"
    );
    let identity = (start.boot_id.clone(), start.instance);
    let settings = settings(config, role, identity, (vips, &description));
    let start = Start { settings, found, now: clock::now(), seed: random() };
    let (core, recording) = Recorded::new(start, role.record.as_deref());
    let driver = Driver::new((core, plane), clock::now, edges, link_up)
        .watched_by(Arc::clone(&insight.observer), Arc::clone(&view.vitals));
    // The receiver waits for exactly this, unless it was told already.
    let _ = opened.try_send(());
    let ending = driver.run().await;
    if let Some(recording) = recording {
        recording.wait();
    }
    Ok(ending)
}

/// The claim's addresses to start with; `None` when the agent is to end before they are known. What finds them out, and
/// says that nothing is ready, is the control plane's: it begins now. Should it end, nobody would ever know them.
pub(super) async fn first_addresses(
    edges: &mut Edges,
    view: &LoopView,
    opened: &SyncSender<()>,
) -> anyhow::Result<Option<Vec<Vip>>> {
    loop {
        let vips = edges.named.vips.borrow_and_update().clone();
        if !vips.is_empty() {
            return Ok(Some(vips));
        }
        let _ = opened.try_send(());
        view.vitals.turned(clock::now());
        tokio::select! {
            changed = edges.named.vips.changed() => {
                changed.context("the control plane ended before an address was known; start the agent again")?;
            }
            command = edges.commands.recv() => match command {
                // There is nothing to report on: whoever asks is told by what there is not.
                Some(Command::Report(_)) => {}
                Some(Command::Shutdown(_) | Command::Abort) | None => return Ok(None),
            },
            // What was learned meanwhile is found by the loop itself.
            () = tokio::time::sleep(WAITING_TURN) => {}
        }
    }
}

fn settings(
    config: &Config,
    role: &Role,
    (boot_id, instance): (String, InstanceId),
    (vips, description): (Vec<Vip>, &LinkDescription),
) -> Settings {
    Settings {
        node: config.node.clone(),
        instance,
        boot_id,
        claim: role.claim.clone(),
        vips,
        own: description.own.clone(),
        witnesses: role.witnesses.clone(),
        lease: role.timing,
        authority: role.authority,
        detection: config.detection,
        on_authority_loss: config.on_authority_loss,
        lifetime: config.lifetime(),
        restart_grace: config.restart_grace,
        report_failures: config.features.services.report_failures && role.claim == ClaimId::services(),
    }
}

/// Virtual addresses on the interface. What another agent left is worn as well: it is refreshed, and so made ours, before
/// anything is decided.
fn worn(description: &LinkDescription) -> impl Iterator<Item = Vip> + '_ {
    let ours = description.found.iter().map(|present| present.ip);
    ours.chain(description.left_over.iter().copied())
}

/// What is remembered, and what of it is on the interface.
fn found(edges: &Edges, role: &Role, vips: &[Vip], description: &LinkDescription) -> Found {
    let memory = edges.snapshot.claims.get(&role.claim).cloned();
    let known = memory.iter().flat_map(|memory| memory.leaving.iter().chain(&memory.services));
    let ours: Vec<Vip> = vips.iter().chain(known).copied().collect();
    Found {
        addresses: worn(description).filter(|vip| ours.contains(vip)).collect(),
        memory,
        link_up: description.state == Link::Up,
    }
}
