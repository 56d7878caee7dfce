//! What may go wrong in one search, how often, and when.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay_core::check::Bounds;

use super::CHOICE;
use crate::sim::{ApiForm, Kind, Schedule, Whom};

/// A fault that may begin, and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// How long, in milliseconds; `None` for ever.
    pub lasts: Option<u64>,
}

/// Faults of one group share a budget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// What may begin.
    pub faults: Vec<Fault>,
}

/// How many faults of each sort may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Frames lost.
    pub lost_frames: u8,
    /// Frames that are late, and so overtaken.
    pub late_frames: u8,
    /// Requests or replies lost.
    pub lost_requests: u8,
    /// Requests or replies that are late.
    pub late_requests: u8,
    /// Watch events that are late.
    pub late_watches: u8,
    /// Faults of each group of the plan.
    pub groups: [u8; 3],
}

impl Budget {
    /// Whether nothing more can happen.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Three agents start at once, and there is no Lease.
    Cold,
    /// One holds, confirmed, and all paths are known.
    Settled,
}

/// One search's scope.
#[derive(Debug)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// Where it begins.
    pub start: Start,
    /// What feeds the machines' jitter. It also says which node comes first where several are due, and so is the first
    /// to hold, and whether their timers keep step.
    pub seed: u64,
    /// What may go wrong in all.
    pub budget: Budget,
    /// The faults of each group.
    pub groups: [Group; 3],
    /// The first fault begins at most so long after the start.
    pub window: Duration,
    /// Another begins at most so long after the first.
    pub gap: Duration,
    /// Between two moments of choice at which nothing happens but probing; zero for all of them.
    pub every: Duration,
    /// All is well for so long, and the run is over.
    pub calm: Duration,
    /// The bounds of the promises.
    pub bounds: Bounds,
    /// What the search saw.
    pub tally: Tally,
}

impl Plan {
    /// A plan under which nothing goes wrong, with the promises' bounds at the usual timing of 5, 3 and 1 s.
    #[must_use]
    pub fn calm(name: &'static str) -> Self {
        Self {
            name,
            start: Start::Settled,
            seed: 1,
            budget: Budget::default(),
            groups: <[Group; 3]>::default(),
            window: Duration::from_millis(1_100),
            gap: Duration::from_secs(4),
            every: CHOICE,
            calm: Duration::from_secs(6),
            bounds: bounds(),
            tally: Tally::default(),
        }
    }

    /// Between the starts of two agents.
    pub(super) fn stagger(&self) -> Duration {
        if (self.seed / 3).is_multiple_of(2) { Duration::ZERO } else { Duration::from_millis(37) }
    }

    /// The plan with `count` faults of `faults` at most.
    #[must_use]
    pub fn with(mut self, count: u8, faults: Vec<Fault>) -> Self {
        let free = self.groups.iter().position(|group| group.faults.is_empty());
        if let Some(index) = free {
            self.groups[index] = Group { faults };
            self.budget.groups[index] = count;
        }
        self
    }
}

/// The simulation's bounds, but for what it excuses there: with single frames lost and the rest prompt, the promise of
/// one second stands from the last lost frame on, and dark is dark for no longer than in calm.
pub(super) fn bounds() -> Bounds {
    let usual = crate::sim::bounds(&Schedule { drift_ppm: 0, ..Schedule::calm(0, 3) });
    Bounds {
        two_holders_lossy: usual.two_holders,
        dark: usual.dark_calm,
        effects_per_second: u64::MAX,
        ..usual
    }
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Time goes on.
    Run,
    /// The n-th message under way is lost.
    Lose(usize),
    /// The n-th message under way becomes late.
    Late(usize),
    /// A fault of this group begins.
    Begin(usize, Fault),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lasts {
            Some(millis) => write!(f, "{:?} for {millis} ms", self.kind),
            None => write!(f, "{:?} for ever", self.kind),
        }
    }
}

impl Fault {
    /// `kinds`, each for each of these times.
    #[must_use]
    pub fn each(kinds: &[Kind], lasts: &[Option<u64>]) -> Vec<Self> {
        let pairs =
            kinds.iter().flat_map(|kind| lasts.iter().map(|lasts| Self { kind: *kind, lasts: *lasts }));
        pairs.collect()
    }

    /// The API is out for all nodes, in each form that has its own course of events.
    #[must_use]
    pub fn outages(lasts: &[u64]) -> Vec<Self> {
        let kinds = [ApiForm::Refused, ApiForm::Hung].map(|form| Kind::Api(Whom::All, form));
        Self::each(&kinds, &lasts.iter().copied().map(Some).collect::<Vec<_>>())
    }

    /// `kind` at each of the three nodes.
    #[must_use]
    pub fn anywhere(kind: impl Fn(usize) -> Kind, lasts: &[Option<u64>]) -> Vec<Self> {
        Self::each(&[kind(0), kind(1), kind(2)], lasts)
    }

    /// Frames pass one way only between two nodes, for each pair.
    #[must_use]
    pub fn one_way(lasts: &[u64]) -> Vec<Self> {
        let pairs = [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)];
        Self::each(
            &pairs.map(|(a, b)| Kind::OneWay(a, b)),
            &lasts.iter().copied().map(Some).collect::<Vec<_>>(),
        )
    }
}

/// What a search saw, summed over all states.
#[derive(Debug, Default)]
pub struct Tally {
    runs: AtomicU64,
    moments: AtomicU64,
    begun: AtomicU64,
    longest_pair: AtomicU64,
    longest_dark: AtomicU64,
    longest_unsettled: AtomicU64,
}

impl Tally {
    /// Runs that came to their end.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.runs.load(Ordering::Relaxed)
    }

    /// Moments at which something was due, in all runs.
    #[must_use]
    pub fn moments(&self) -> u64 {
        self.moments.load(Ordering::Relaxed)
    }

    /// Faults begun and messages hindered, counted once for each state that they were chosen in.
    #[must_use]
    pub fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// The longest time that two holders heard each other.
    #[must_use]
    pub fn longest_pair(&self) -> Duration {
        Duration::from_nanos(self.longest_pair.load(Ordering::Relaxed))
    }

    /// The longest time that the VIP was dark although a fit node was there.
    #[must_use]
    pub fn longest_dark(&self) -> Duration {
        Duration::from_nanos(self.longest_dark.load(Ordering::Relaxed))
    }

    /// The longest time from the end of the last fault until all was well for good.
    #[must_use]
    pub fn longest_unsettled(&self) -> Duration {
        Duration::from_nanos(self.longest_unsettled.load(Ordering::Relaxed))
    }

    pub(super) fn count(&self, moments: u64) {
        self.moments.fetch_add(moments, Ordering::Relaxed);
    }

    pub(super) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, pair: Duration, dark: Duration, unsettled: u64) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.longest_pair.fetch_max(nanos(pair), Ordering::Relaxed);
        self.longest_dark.fetch_max(nanos(dark), Ordering::Relaxed);
        self.longest_unsettled.fetch_max(unsettled, Ordering::Relaxed);
    }
}
