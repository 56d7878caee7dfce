//! The loop's pulse: whether it turns, and how late it was at worst.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::time::Moment;

/// A loop that has not turned for this long is stalled. It turns at least once a second.
pub(crate) const STALLED_AFTER: Duration = Duration::from_secs(5);

/// Written by the loop, read by whoever is asked how it does. No locks: neither side waits for the other.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    last_turn: AtomicU64,
    turns: AtomicU64,
    worst_lag: AtomicU64,
}

impl Vitals {
    /// The loop turned.
    pub(crate) fn turned(&self, now: Moment) {
        self.last_turn.store(now.as_nanos(), Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// The core wanted to be called this long ago.
    pub(crate) fn late(&self, lag: Duration) {
        let nanos = u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX);
        self.worst_lag.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Since the loop turned last; `None` before its first turn.
    pub(crate) fn idle_for(&self, now: Moment) -> Option<Duration> {
        let last = self.last_turn.load(Ordering::Relaxed);
        (last != 0).then(|| now.since(Moment::from_nanos(last)))
    }

    /// How often it turned.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// The latest that it ever called the core after the deadline that the core had named.
    pub(crate) fn worst_lag(&self) -> Duration {
        Duration::from_nanos(self.worst_lag.load(Ordering::Relaxed))
    }
}
