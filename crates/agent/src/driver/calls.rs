//! Lease requests on their way: passed on without waiting, and each answered exactly once.

use std::time::Duration;

use mainstay_core::input::{EffectId, Input, LeaseOutcome, LeaseReport, Outcome};
use mainstay_core::names::ClaimId;
use mainstay_core::time::Moment;
use mainstay_kube::{LeaseCall, SeatCall};
use tokio::sync::mpsc;

/// Requests that wait for the adapter. Policy when it is full, or nobody takes them: the request is answered at once
/// with `Unreachable`, because it never left and nothing was done; the core tries again with its own backoff.
pub(crate) const CALL_QUEUE: usize = 8;

/// The same for all seats together, which may all ask at one moment. A seat has one request under way, and a cluster has
/// 5,000 nodes at most: it is never full, and takes no memory for what is not in it.
pub(crate) const SEAT_CALL_QUEUE: usize = 8_192;

/// How much longer than its deadline a request may take before it is given up: the adapter answers at the deadline;
/// only one that died with the request in its hands does not.
const SLACK: Duration = Duration::from_secs(1);

/// The requests under way.
pub(crate) struct Calls {
    adapter: Option<mpsc::Sender<LeaseCall>>,
    /// Of the seats that Services are spread over, if they are.
    seats: Option<mpsc::Sender<SeatCall>>,
    under_way: Vec<(EffectId, Moment)>,
    /// Which core asks: an answer to one that broke off is nobody's.
    era: u64,
}

/// Ids of one core, as the adapter sees them.
const ERA: u64 = 1 << 56;
/// Cores that can be told apart. An answer is late by seconds, and a core does not break off so often in seconds.
const ERAS: u64 = 1 << 8;

impl Calls {
    /// To this adapter; to none where there is no authority.
    pub(crate) fn new(adapter: Option<mpsc::Sender<LeaseCall>>) -> Self {
        Self { adapter, seats: None, under_way: Vec::new(), era: 0 }
    }

    /// And what seats ask for to these.
    pub(crate) fn with_seats(self, seats: mpsc::Sender<SeatCall>) -> Self {
        Self { seats: Some(seats), ..self }
    }

    /// Another core asks from now on, which counts its requests from one as the one before did.
    pub(super) fn begin_anew(&mut self) {
        self.under_way.clear();
        self.era = (self.era + 1) % ERAS;
    }

    /// What the adapter says, with the request as the core named it; `None` if that core is gone.
    pub(super) fn read(&self, input: Input) -> Option<Input> {
        let named = |id: EffectId| (id.0 / ERA == self.era).then_some(EffectId(id.0 % ERA));
        Some(match input {
            Input::Outcome { id, outcome } => Input::Outcome { id: named(id)?, outcome },
            Input::Lease(LeaseReport::Unanswered { id }) => {
                Input::Lease(LeaseReport::Unanswered { id: named(id)? })
            }
            Input::SeatLease { seat, report: LeaseReport::Unanswered { id } } => {
                Input::SeatLease { seat, report: LeaseReport::Unanswered { id: named(id)? } }
            }
            other => other,
        })
    }

    /// Passes a request on. What it returns is the outcome of one that could not be passed on.
    pub(super) fn place(&mut self, now: Moment, claim: &ClaimId, order: LeaseCall) -> Option<Input> {
        let LeaseCall { id, request, deadline } = order;
        let call = LeaseCall { id: EffectId(self.era * ERA + id.0), request, deadline };
        self.under_way.push((id, now + deadline + SLACK));
        let passed_on = match claim.home() {
            Some(_) => self.seats.as_ref().is_some_and(|seats| seats.try_send((claim.clone(), call)).is_ok()),
            None => self.adapter.as_ref().is_some_and(|adapter| adapter.try_send(call).is_ok()),
        };
        (!passed_on).then(|| lease(id, LeaseOutcome::Unreachable))
    }

    /// Whether `id` was still to be answered; it is not any more.
    pub(super) fn settle(&mut self, id: EffectId) -> bool {
        let before = self.under_way.len();
        self.under_way.retain(|(one, _)| *one != id);
        self.under_way.len() < before
    }

    /// The outcomes of requests whose answer will not come: they may or may not have been carried out.
    pub(super) fn overdue(&self, now: Moment) -> Vec<Input> {
        let late = self.under_way.iter().filter(|(_, until)| *until <= now);
        late.map(|(id, _)| lease(*id, LeaseOutcome::Unknown)).collect()
    }

    /// When the first of them is overdue.
    pub(super) fn next_overdue(&self) -> Option<Moment> {
        self.under_way.iter().map(|(_, until)| *until).min()
    }
}

fn lease(id: EffectId, outcome: LeaseOutcome) -> Input {
    Input::Outcome { id, outcome: Outcome::Lease(outcome) }
}
