//! The Leases of nodes' seats, all of them by one watch. What is asked about each is carried out as for any Lease: a write is
//! conditional on the version seen, and a read is a quorum's; reads that come together are answered by one list.
//!
//! ```text
//!   watch of what carries the label ──► each seat's Lease, by its name ──► Input::SeatLease
//!   a Lease that is not in the list, or is said to be deleted ──► read by its name, and only then absent
//! ```

mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::Method;
use mainstay_core::effect::LeaseRequest;
use mainstay_core::input::{Input, LeaseReport};
use mainstay_core::names::{ClaimId, NodeName};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::adapter::{LeaseCall, LeaseName, Settings, learning, supervise};
use crate::answer::Answer;
use crate::calls::{Desk, Voice, asking, within};
use crate::engine::{Observer, Plan};
use crate::fleet::{Fleet, whole};
use crate::follow::WATCH_FOR;
use crate::lease::{Seen, record};
use reader::Reader;

/// What every seat's Lease is labelled with: a watch cannot name what begins alike.
pub const SEAT_LABEL: (&str, &str) = ("mainstay.io/lease", "seat");

/// What a seat asks of its Lease.
pub type SeatCall = (ClaimId, LeaseCall);

/// Carries out what seats ask of their Leases, and follows all of these.
pub struct SeatAdapter {
    settings: Settings,
    prefix: String,
    fleet: Arc<Fleet>,
    learned: watch::Sender<Vec<String>>,
}

impl SeatAdapter {
    /// An adapter that has done nothing yet, for Leases that are called `prefix` and the node's name, in the namespace of
    /// the settings' Lease.
    #[must_use]
    pub fn new(settings: Settings, prefix: &str) -> Self {
        let fleet = Fleet::new(settings.clone(), watch::Sender::default(), watch::Sender::default());
        let learned = watch::Sender::new(settings.learned.clone());
        Self { settings, prefix: prefix.to_owned(), fleet: Arc::new(fleet), learned }
    }

    /// Serves until cancelled, or until nobody asks any more; tells of those `seats`, and of no other's Lease. Every call
    /// gets exactly one outcome, at its deadline at the latest.
    pub async fn run(
        self,
        mut calls: mpsc::Receiver<SeatCall>,
        seats: watch::Receiver<BTreeSet<ClaimId>>,
        reports: mpsc::Sender<Input>,
        cancel: CancellationToken,
    ) {
        let Self { settings, prefix, fleet, learned } = self;
        let mut tasks = JoinSet::new();
        tasks.spawn(learning(&fleet, &settings, &learned));
        let leases =
            Leases { settings: Arc::new(settings), prefix, fleet, seats, reports, seen: Arc::default() };
        tasks.spawn(leases.clone().follow());
        let reader = Reader::begin(&mut tasks, leases.clone());
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                call = calls.recv() => match call {
                    Some(call) => leases.start(&mut tasks, call, &reader),
                    None => break,
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        tasks.shutdown().await;
    }
}

/// What is known of each Lease, to write upon it.
type SeenByAll = Arc<Mutex<BTreeMap<ClaimId, Arc<Mutex<Seen>>>>>;

/// The Leases of seats.
#[derive(Clone)]
struct Leases {
    settings: Arc<Settings>,
    prefix: String,
    fleet: Arc<Fleet>,
    /// Which are followed.
    seats: watch::Receiver<BTreeSet<ClaimId>>,
    reports: mpsc::Sender<Input>,
    seen: SeenByAll,
}

impl Leases {
    fn start(&self, tasks: &mut JoinSet<()>, (seat, call): SeatCall, reader: &Reader) {
        let Some(desk) = self.desk(&seat) else { return };
        if call.request == LeaseRequest::Read {
            tasks.spawn(reader.clone().read(desk, seat, call));
        } else {
            tasks.spawn(desk.carry_out(call));
        }
    }

    fn desk(&self, seat: &ClaimId) -> Option<Desk> {
        let (home, namespace) = (seat.home()?, self.settings.lease.namespace.clone());
        let lease = LeaseName { namespace, name: format!("{}{home}", self.prefix) };
        let seen = Arc::clone(self.all_seen().entry(seat.clone()).or_default());
        Some(Desk {
            fleet: Arc::clone(&self.fleet),
            lease,
            labels: &[SEAT_LABEL],
            annotations: self.settings.annotations.clone(),
            timing: self.settings.timing,
            seen,
            voice: Voice { reports: self.reports.clone(), seat: Some(seat.clone()) },
        })
    }

    fn all_seen(&self) -> MutexGuard<'_, BTreeMap<ClaimId, Arc<Mutex<Seen>>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose Lease it is, by its name.
    fn seat(&self, object: &Value) -> Option<ClaimId> {
        let home = object["metadata"]["name"].as_str()?.strip_prefix(&self.prefix)?;
        Some(ClaimId::seat(&NodeName::new(home)))
    }

    fn followed(&self) -> BTreeSet<ClaimId> {
        self.seats.borrow().clone()
    }

    /// All objects with the label.
    fn collection(&self) -> (String, String) {
        let (key, value) = SEAT_LABEL;
        let selector = format!("labelSelector={}%3D{value}", key.replace('/', "%2F"));
        (self.settings.lease.collection(), selector)
    }

    async fn follow(self) {
        let (path, selector) = self.collection();
        let timing = self.settings.timing;
        let plan = Plan {
            path,
            selector,
            silence: Some(timing.watch_silence),
            watch_for: WATCH_FOR,
            backoff_cap: timing.backoff_cap,
            refusal_pause: None,
            pace: timing.pace(timing.list_deadline),
        };
        let observer = || SeatObserver::new(self.clone());
        supervise(Arc::clone(&self.fleet), plan, observer).await;
    }

    /// Reads a Lease by its name, and says what it found; of what cannot be read it says nothing.
    async fn look(self, seat: ClaimId) {
        let Some(desk) = self.desk(&seat) else { return };
        let deadline = self.settings.timing.list_deadline;
        let ask = asking((Method::GET, desk.lease.object()), Bytes::new(), desk.timing, deadline);
        let fleet = Arc::clone(&self.fleet);
        let answer = within(deadline, async move { fleet.race(&ask, whole, async || {}).await.0.answer });
        match answer.await {
            Answer::Success(object) => desk.observe(&object).await,
            Answer::Absent => desk.voice.say(LeaseReport::Absent).await,
            _ => {}
        }
    }
}

impl Desk {
    async fn observe(&self, object: &Value) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).note(object);
        self.voice.say(LeaseReport::Observed(record(object))).await;
    }
}

/// Tells the core of all seats' Leases.
struct SeatObserver {
    leases: Leases,
    /// At what the watch does not show any more.
    looks: JoinSet<()>,
    /// The last look at each.
    doubted: BTreeMap<ClaimId, AbortHandle>,
}

impl SeatObserver {
    fn new(leases: Leases) -> Self {
        Self { leases, looks: JoinSet::new(), doubted: BTreeMap::new() }
    }

    /// Neither an empty list nor the end of a label says that there is no such Lease.
    fn doubt(&mut self, seat: ClaimId) {
        while self.looks.try_join_next().is_some() {}
        let look = self.looks.spawn(self.leases.clone().look(seat.clone()));
        self.shown(&seat);
        self.doubted.insert(seat, look);
    }

    /// The watch knows better than a look that began before: what that finds is older, and may say that there is none.
    fn shown(&mut self, seat: &ClaimId) {
        if let Some(look) = self.doubted.remove(seat) {
            look.abort();
        }
    }
}

impl Observer for SeatObserver {
    async fn listed(&mut self, items: Vec<Value>) {
        let mut missing = self.leases.followed();
        self.leases.all_seen().retain(|seat, _| missing.contains(seat));
        for object in items {
            if let Some(seat) = self.leases.seat(&object) {
                missing.remove(&seat);
            }
            self.present(object).await;
        }
        missing.into_iter().for_each(|seat| self.doubt(seat));
    }

    async fn present(&mut self, object: Value) {
        let seat = self.leases.seat(&object).filter(|seat| self.leases.seats.borrow().contains(seat));
        let Some(seat) = seat else { return };
        self.shown(&seat);
        if let Some(desk) = self.leases.desk(&seat) {
            desk.observe(&object).await;
        }
    }

    async fn deleted(&mut self, object: Value) {
        let seat = self.leases.seat(&object).filter(|seat| self.leases.seats.borrow().contains(seat));
        seat.into_iter().for_each(|seat| self.doubt(seat));
    }

    async fn lost(&mut self) {
        for seat in self.leases.followed() {
            let voice = Voice { reports: self.leases.reports.clone(), seat: Some(seat) };
            voice.say(LeaseReport::WatchLost).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::adapter::Timing;
    use crate::credentials::Source;

    fn leases(seat: &ClaimId) -> (Leases, mpsc::Receiver<Input>) {
        let (reports, told) = mpsc::channel(8);
        let settings = Settings {
            source: Source::InCluster,
            server: None,
            local: None,
            learned: Vec::new(),
            vips: watch::Sender::default().subscribe(),
            vip_names: Vec::new(),
            lease: LeaseName { namespace: "kube-system".to_owned(), name: "plndr-svcs-lock".to_owned() },
            annotations: BTreeMap::new(),
            timing: Timing::for_retry_period(Duration::from_secs(2)),
        };
        let fleet = Fleet::new(settings.clone(), watch::Sender::default(), watch::Sender::default());
        let leases = Leases {
            settings: Arc::new(settings),
            prefix: "seat-".to_owned(),
            fleet: Arc::new(fleet),
            seats: watch::Sender::new([seat.clone()].into()).subscribe(),
            reports,
            seen: Arc::default(),
        };
        (leases, told)
    }

    /// A look that found nothing, and is slow to say so, does not undo what the watch has shown since.
    #[tokio::test(start_paused = true)]
    async fn a_look_ends_when_the_watch_shows_what_it_looks_for() {
        let seat = ClaimId::seat(&NodeName::new("n1"));
        let (leases, mut told) = leases(&seat);
        let mut observer = SeatObserver::new(leases);
        observer.doubt(seat.clone());
        observer
            .present(json!({"metadata": {"name": "seat-n1", "uid": "u", "resourceVersion": "7"}, "spec": {}}))
            .await;
        let ended = observer.looks.join_next().await.expect("one look");
        assert!(ended.is_err_and(|error| error.is_cancelled()));
        let heard = told.recv().await;
        assert!(
            matches!(heard, Some(Input::SeatLease { report: LeaseReport::Observed(_), .. })),
            "{heard:?}"
        );
        // One that was looked for twice is looked at once.
        observer.doubt(seat.clone());
        observer.doubt(seat);
        assert!(observer.looks.join_next().await.expect("a look").is_err());
        assert_eq!(observer.looks.len(), 1);
    }
}
