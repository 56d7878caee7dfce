//! Events that wait to be delivered. Pure.

use std::collections::VecDeque;

use mainstay_core::rng::Rng;
use tokio::time::Instant;

use super::ServiceEvent;
use super::limiter::{Limiter, Passes};

/// Events that wait: as many as a node that dies may have Services. Policy when they are that many: the newest is dropped,
/// and counted.
pub(super) const WAITING: usize = 1_024;

/// An Event that happened.
#[derive(Clone, Debug)]
pub(super) struct Happening {
    pub(super) event: ServiceEvent,
    /// When.
    pub(super) since: Instant,
    /// When, in the wall clock's time of then: RFC 3339.
    pub(super) wall: String,
    /// By which its object is told from others. It stays, so that one sent again is known to be the same.
    pub(super) tag: u64,
    /// How many of its kind it stands for.
    pub(super) count: u32,
    /// Attempts that failed.
    pub(super) attempts: u32,
}

/// What becomes of an Event that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Waits,
    CountedInTheNext,
    NoRoom,
}

/// Events that wait, the oldest first.
#[derive(Debug)]
pub(super) struct Queue {
    limiter: Limiter,
    waiting: VecDeque<Happening>,
    rng: Rng,
}

impl Queue {
    pub(super) fn new(rng: Rng) -> Self {
        Self { limiter: Limiter::default(), waiting: VecDeque::new(), rng }
    }

    /// Takes an Event that happened `now`, which is `wall` in the wall clock's time.
    pub(super) fn take(&mut self, now: Instant, wall: String, event: ServiceEvent) -> Taken {
        // Asked first: one that is dropped was not told, and the next like it is to pass.
        if self.waiting.len() >= WAITING {
            return Taken::NoRoom;
        }
        match self.limiter.passes(now, &event) {
            Passes::Now { count } => {
                let tag = self.rng.next_u64();
                self.waiting.push_back(Happening { event, since: now, wall, tag, count, attempts: 0 });
                Taken::Waits
            }
            Passes::CountedInTheNext => Taken::CountedInTheNext,
            Passes::NoRoom => Taken::NoRoom,
        }
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<Happening> {
        self.waiting.front().cloned()
    }

    /// An attempt at the oldest has failed.
    pub(super) fn attempted(&mut self) {
        if let Some(first) = self.waiting.front_mut() {
            first.attempts = first.attempts.saturating_add(1);
        }
    }

    /// The oldest has come to its end.
    pub(super) fn pop(&mut self) {
        self.waiting.pop_front();
    }
}
