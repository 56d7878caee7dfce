//! When each neighbour is asked: regularly, or in turns while the holder is silent.

use std::time::Duration;

use super::MEMBER_INTERVAL_IN_OUTAGE;
use crate::names::Mac;
use crate::time::Moment;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Neighbour {
    /// Since when it is listed.
    pub(super) since: Moment,
    pub(super) mac: Option<Mac>,
    pub(super) heard: Option<Moment>,
    pub(super) asked: Option<Moment>,
}

impl Neighbour {
    pub(super) fn new(since: Moment) -> Self {
        Self { since, mac: None, heard: None, asked: None }
    }

    /// Between questions to it. One that was never heard may have answered before we listened: it is asked again
    /// soon, or nobody could be handed over to for the first ten seconds.
    fn interval(&self, regular: Duration) -> Duration {
        if self.heard.is_none() { regular.min(MEMBER_INTERVAL_IN_OUTAGE) } else { regular }
    }
}

/// When each neighbour is asked again.
pub(super) struct Schedule {
    pub(super) interval: Duration,
    pub(super) turns: Option<Turns>,
}

/// The neighbours are asked in turns.
pub(super) struct Turns {
    pub(super) since: Moment,
    pub(super) turn: Duration,
    pub(super) at_once: usize,
}

impl Schedule {
    /// When the neighbour at `place` of the list is due; `None` is at once.
    pub(super) fn due(&self, place: usize, neighbour: &Neighbour) -> Option<Moment> {
        let asked = neighbour.asked?;
        match self.turns {
            Some(Turns { since, turn, at_once }) if asked < since => {
                let before = u32::try_from(place / at_once).unwrap_or(u32::MAX);
                Some(since + turn.saturating_mul(before))
            }
            Some(_) => Some(asked + neighbour.interval(self.interval)),
            // Whoever was heard without being asked, by another claim's question, needs no question of this one.
            None => Some(
                neighbour.heard.map_or(asked, |heard| heard.max(asked)) + neighbour.interval(self.interval),
            ),
        }
    }
}
