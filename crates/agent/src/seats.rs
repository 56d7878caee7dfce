//! The Leases of the seats that Services are spread over: one adapter for all of them.

use std::collections::{BTreeMap, BTreeSet};

use mainstay_core::input::Input;
use mainstay_core::names::ClaimId;
use mainstay_core::settings::LeaseTiming;
use mainstay_kube::{SeatAdapter, SeatCall, Timing};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::control::forward;
use crate::driver::{CALL_QUEUE, Placed};
use crate::services::SEAT_PREFIX;

/// What every run begins with.
pub(crate) struct Leases {
    /// As of the Lease of all Services.
    pub(crate) settings: mainstay_kube::Settings,
    /// Of a seat's Lease.
    pub(crate) timing: LeaseTiming,
    /// Which seats there are.
    pub(crate) placed: watch::Receiver<Option<BTreeMap<ClaimId, Placed>>>,
    /// API servers that are known.
    pub(crate) learned: watch::Receiver<Vec<String>>,
    /// What they ask for. Locked by the one run there is.
    pub(crate) calls: Mutex<mpsc::Receiver<SeatCall>>,
    /// What they are told.
    pub(crate) inputs: mpsc::Sender<Input>,
}

impl Leases {
    /// One run of the adapter. Requests that it takes down with it are answered by the loop itself.
    pub(crate) async fn serve(&self) -> anyhow::Result<()> {
        let mut calls = self.calls.lock().await;
        let timing = Timing::for_retry_period(self.timing.retry_period);
        let learned = self.learned.borrow().clone();
        let settings = mainstay_kube::Settings { timing, learned, ..self.settings.clone() };
        let adapter = SeatAdapter::new(settings, SEAT_PREFIX);
        let (sender, receiver) = mpsc::channel(CALL_QUEUE);
        let (seats, followed) = watch::channel(BTreeSet::new());
        tokio::select! {
            () = adapter.run(receiver, followed, self.inputs.clone(), CancellationToken::new()) => {
                anyhow::bail!("the seats' lease adapter ended early")
            }
            () = forward(&mut calls, &sender) => anyhow::bail!("the seats' lease adapter takes no more"),
            () = self.name(&seats) => anyhow::bail!("nobody says any more which seats there are"),
        }
    }

    /// Says which seats there are; ends when nobody says so any more.
    async fn name(&self, seats: &watch::Sender<BTreeSet<ClaimId>>) {
        let mut placed = self.placed.clone();
        placed.mark_changed();
        while placed.changed().await.is_ok() {
            let now: BTreeSet<ClaimId> =
                placed.borrow_and_update().iter().flat_map(BTreeMap::keys).cloned().collect();
            seats.send_if_modified(|known| {
                let news = *known != now;
                *known = now;
                news
            });
        }
    }
}
