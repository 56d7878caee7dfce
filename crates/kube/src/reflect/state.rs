//! How each watch does, for people and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::plan::Watched;
use crate::answer::Trouble;

/// What a watch is about at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WatchPhase {
    /// It reads the whole.
    #[default]
    Listing,
    /// It is told of changes.
    Watching,
    /// No API server lets it; it waits before it asks again.
    Waiting,
}

impl WatchPhase {
    /// The word, as in metrics and in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Watching => "watching",
            Self::Waiting => "waiting",
        }
    }
}

/// How one watch does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchState {
    /// What it is about.
    pub phase: WatchPhase,
    /// The API server that it watches at.
    pub server: Option<String>,
    /// When the whole was last read to its end.
    pub listed_at: Option<Instant>,
    /// How many objects that list had.
    pub listed_objects: usize,
    /// How often the whole was read to its end.
    pub lists: u64,
    /// How often a watch was opened.
    pub opened: u64,
    /// Changes told by watches.
    pub events: u64,
    /// When the last of them came, or a word that there was none (a bookmark).
    pub last_event_at: Option<Instant>,
    /// Failures in a row, to read or to open a watch.
    pub failures_in_a_row: u32,
    /// What went wrong last, while it does.
    pub last_error: Option<Trouble>,
}

/// How all of them do.
pub type WatchStates = BTreeMap<Watched, WatchState>;

/// Where the watches say how they do.
#[derive(Clone, Debug)]
pub(super) struct Board(Arc<watch::Sender<WatchStates>>);

impl Board {
    pub(super) fn new() -> (Self, watch::Receiver<WatchStates>) {
        let states = Watched::ALL.into_iter().map(|watched| (watched, WatchState::default())).collect();
        let (sender, receiver) = watch::channel(states);
        (Self(Arc::new(sender)), receiver)
    }

    /// Says something that whoever waits for news is woken for.
    pub(super) fn tell(&self, watched: Watched, change: impl FnOnce(&mut WatchState)) {
        self.0.send_modify(|states| change(states.entry(watched).or_default()));
    }

    /// Says something that is there for whoever looks.
    pub(super) fn note(&self, watched: Watched, change: impl FnOnce(&mut WatchState)) {
        self.0.send_if_modified(|states| {
            change(states.entry(watched).or_default());
            false
        });
    }
}
