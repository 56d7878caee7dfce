//! Another agent under this node's name: a copied manifest, a cloned machine. Each finds the other's entry in place of
//! its own among the Lease's members, again and again, and puts its own back. The VIP is safe from that, because a grant
//! names the run that has it; but the two write without end, and people have to know.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::snapshot::Member;
use crate::time::Moment;

/// So often our entry is replaced before another agent is held to be there. A Lease that is restored from a backup of
/// before our hardware address changed replaces it once.
const DISPLACEMENTS: u32 = 3;
/// So long without another displacement, and it counts as gone.
const MEMORY: Duration = Duration::from_secs(600);
/// One that stays is told of so often.
const TOLD_EVERY: Duration = Duration::from_secs(3_600);
/// So many of our own entries are remembered.
const OURSELVES_KEPT: usize = 8;

/// What was noticed of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Namesakes {
    /// Our entry is listed as we would have it.
    in_place: bool,
    /// How we were listed, or wrote ourselves down, of late. To find one of these is to see ourselves: addresses of ours
    /// that change while a write is under way come back as they were.
    ourselves: Vec<Member>,
    displaced: u32,
    last: Option<(Moment, Member)>,
    told: Option<Moment>,
}

/// What is kept to notice one is left out while there is none: it tells two states apart only if another agent of this
/// name, or another address of ours, is to come, and nobody searches for those.
impl Hash for Namesakes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.displaced > 0 {
            (self.in_place, &self.ourselves, self.displaced, &self.last, self.told).hash(state);
        }
    }
}

impl Namesakes {
    /// Takes in what the Lease lists under our name, beside what we would have it list.
    pub(super) fn look(&mut self, now: Moment, listed: Option<&Member>, own: &Member) {
        if self.last.is_some() && !self.is_recent(now) {
            (self.displaced, self.last, self.told) = (0, None, None);
        }
        let Some(listed) = listed else { return };
        if listed == own {
            self.in_place = true;
            self.remember(own);
        } else if let Some(place) = self.ourselves.iter().position(|known| known == listed) {
            // While writes fail, this stays listed: it is not to be forgotten for those that never were.
            self.ourselves[place..].rotate_left(1);
        } else if self.in_place {
            self.in_place = false;
            self.displaced = self.displaced.saturating_add(1);
            self.last = Some((now, listed.clone()));
        }
    }

    /// So we are listed, or write ourselves down.
    pub(super) fn remember(&mut self, own: &Member) {
        if self.ourselves.contains(own) {
            return;
        }
        if self.ourselves.len() == OURSELVES_KEPT {
            self.ourselves.remove(0);
        }
        self.ourselves.push(own.clone());
    }

    /// Whether our entry was replaced of late: to put it back is in no hurry, then.
    pub(super) fn is_recent(&self, now: Moment) -> bool {
        self.last.as_ref().is_some_and(|(at, _)| now.since(*at) < MEMORY)
    }

    /// Another agent, when it is time to tell of it: how it is listed.
    pub(super) fn take_found(&mut self, now: Moment) -> Option<Member> {
        let due = self.told.is_none_or(|at| now.since(at) >= TOLD_EVERY);
        if self.displaced < DISPLACEMENTS || !due {
            return None;
        }
        self.told = Some(now);
        self.last.as_ref().map(|(_, member)| member.clone())
    }
}
