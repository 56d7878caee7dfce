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

/// What was noticed of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Namesakes {
    /// Our entry as it was listed, while it is.
    ours: Option<Member>,
    displaced: u32,
    last: Option<(Moment, Member)>,
    told: bool,
}

/// While there is none, nothing depends on what is kept to notice one.
impl Hash for Namesakes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.displaced > 0 {
            (&self.ours, self.displaced, &self.last, self.told).hash(state);
        }
    }
}

impl Namesakes {
    /// Takes in what the Lease lists under our name, beside what we would have it list.
    pub(super) fn look(&mut self, now: Moment, listed: Option<&Member>, own: &Member) {
        let Some(listed) = listed else { return };
        if listed == own {
            if self.ours.as_ref() != Some(own) {
                self.ours = Some(own.clone());
            }
        } else if self.ours.as_ref().is_some_and(|ours| ours != listed) {
            self.displace(now, listed);
        }
    }

    fn displace(&mut self, now: Moment, by: &Member) {
        if !self.is_recent(now) {
            (self.displaced, self.told) = (0, false);
        }
        self.ours = None;
        self.displaced = self.displaced.saturating_add(1);
        self.last = Some((now, by.clone()));
    }

    /// Whether our entry was replaced of late: to put it back is in no hurry, then.
    pub(super) fn is_recent(&self, now: Moment) -> bool {
        self.last.as_ref().is_some_and(|(at, _)| now.since(*at) < MEMORY)
    }

    /// Another agent, to be told once: how it is listed.
    pub(super) fn take_found(&mut self) -> Option<Member> {
        if self.displaced < DISPLACEMENTS || std::mem::replace(&mut self.told, true) {
            return None;
        }
        self.last.as_ref().map(|(_, member)| member.clone())
    }
}
