//! The Leases of the seats that Services are spread over: an adapter for each, begun when the seat is named.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use mainstay_core::backoff::Backoff;
use mainstay_core::input::Input;
use mainstay_core::names::ClaimId;
use mainstay_core::rng::Rng;
use mainstay_core::settings::LeaseTiming;
use mainstay_kube::{LeaseAdapter, LeaseCall, LeaseName, Timing};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::control::forward;
use crate::driver::{CALL_QUEUE, INPUT_QUEUE, Placed, SeatCall};
use crate::run::random;
use crate::services::SeatNames;

/// Before an adapter that broke off begins again: from this ...
const AGAIN_FIRST: Duration = Duration::from_millis(200);
/// ... to this, with full jitter.
const AGAIN_LAST: Duration = Duration::from_secs(10);

/// What every run begins with.
pub(crate) struct Leases {
    /// As of the Lease of all Services.
    pub(crate) settings: mainstay_kube::Settings,
    /// Of a seat's Lease.
    pub(crate) timing: LeaseTiming,
    pub(crate) names: SeatNames,
    /// Which seats there are.
    pub(crate) placed: watch::Receiver<Option<BTreeMap<ClaimId, Placed>>>,
    /// What they ask for. Locked by the one run there is.
    pub(crate) calls: Mutex<mpsc::Receiver<SeatCall>>,
    /// What they are told.
    pub(crate) inputs: mpsc::Sender<Input>,
}

/// The adapters that run: where their requests go, and how they are ended.
type Running = BTreeMap<ClaimId, (mpsc::Sender<LeaseCall>, CancellationToken)>;

impl Leases {
    /// Runs an adapter for each seat; ends only with the loop that it is for.
    pub(crate) async fn serve(&self) -> anyhow::Result<()> {
        let mut calls = self.calls.lock().await;
        let mut placed = self.placed.clone();
        let (mut tasks, mut running) = (JoinSet::new(), Running::new());
        self.follow(&placed.borrow_and_update().clone(), &mut tasks, &mut running);
        loop {
            tokio::select! {
                call = calls.recv() => match call {
                    Some((seat, call)) => pass(&running, &seat, call),
                    // The loop has ended, and with it, soon, all of this.
                    None => pending().await,
                },
                Ok(()) = placed.changed() => {
                    let placed = placed.borrow_and_update().clone();
                    self.follow(&placed, &mut tasks, &mut running);
                }
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => ended?,
            }
        }
    }

    fn follow(
        &self,
        placed: &Option<BTreeMap<ClaimId, Placed>>,
        tasks: &mut JoinSet<()>,
        running: &mut Running,
    ) {
        let seats = || placed.iter().flatten().map(|(seat, _)| seat);
        for seat in seats().filter(|seat| !running.contains_key(*seat)).cloned().collect::<Vec<_>>() {
            let (Some(home), (sender, receiver)) = (seat.home(), mpsc::channel(CALL_QUEUE)) else { continue };
            let named = self.names.lease(&home);
            let lease = LeaseName { namespace: named.namespace, name: named.name };
            let timing = Timing::for_retry_period(self.timing.retry_period);
            let settings = mainstay_kube::Settings { lease, timing, ..self.settings.clone() };
            let cancel = CancellationToken::new();
            let inputs = self.inputs.clone();
            tasks.spawn(keep((settings, seat.clone()), (receiver, inputs), cancel.clone()));
            running.insert(seat, (sender, cancel));
        }
        running.retain(|seat, (_, cancel)| {
            let stays = placed.as_ref().is_some_and(|placed| placed.contains_key(seat));
            if !stays {
                cancel.cancel();
            }
            stays
        });
    }
}

/// Never waits. A call that nobody takes is answered by the loop itself, as overdue.
fn pass(running: &Running, seat: &ClaimId, call: LeaseCall) {
    if let Some((sender, _)) = running.get(seat)
        && sender.try_send(call).is_err()
    {
        tracing::debug!(claim = %seat, "the seat's lease adapter takes no more at present");
    }
}

/// Keeps one seat's adapter running until it is cancelled.
async fn keep(
    (settings, seat): (mainstay_kube::Settings, ClaimId),
    (mut calls, inputs): (mpsc::Receiver<LeaseCall>, mpsc::Sender<Input>),
    cancel: CancellationToken,
) {
    let (mut rng, mut backoff) = (Rng::new(random()), Backoff::new(AGAIN_FIRST, AGAIN_LAST));
    let run = async {
        loop {
            once(settings.clone(), &seat, (&mut calls, &inputs)).await;
            tracing::error!(claim = %seat, "the seat's lease adapter ended early, and begins again");
            sleep(backoff.next(&mut rng)).await;
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = run => {}
    }
}

/// One run of the adapter: what it says is said of this seat.
async fn once(
    settings: mainstay_kube::Settings,
    seat: &ClaimId,
    (calls, inputs): (&mut mpsc::Receiver<LeaseCall>, &mpsc::Sender<Input>),
) {
    // Kept: an adapter ends when nobody can be told of the API servers any more.
    let (adapter, _handles) = LeaseAdapter::new(settings);
    let (sender, receiver) = mpsc::channel(CALL_QUEUE);
    let (told, mut tell) = mpsc::channel::<Input>(INPUT_QUEUE);
    let pass_on = async {
        while let Some(input) = tell.recv().await {
            let input = match input {
                Input::Lease(report) => Input::SeatLease { seat: seat.clone(), report },
                other => other,
            };
            if inputs.send(input).await.is_err() {
                pending().await
            }
        }
    };
    tokio::select! {
        () = adapter.run(receiver, told, CancellationToken::new()) => {}
        () = pass_on => {}
        () = forward(calls, &sender) => {}
    }
}
