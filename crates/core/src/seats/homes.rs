//! Where each seat's home is found on the wire: learned from the seat's own Lease, and known to all seats. Whoever holds any
//! of them is the home of one.

use std::collections::BTreeMap;

use crate::names::{ClaimId, NodeName};
use crate::snapshot::Member;

/// The homes of all seats, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Homes {
    known: BTreeMap<NodeName, Member>,
    news: bool,
}

impl Homes {
    pub(super) fn known(&self) -> &BTreeMap<NodeName, Member> {
        &self.known
    }

    /// What an earlier run knew, where nothing newer is known.
    pub(super) fn remember<'a>(&mut self, members: impl Iterator<Item = (&'a NodeName, &'a Member)>) {
        for (home, member) in members {
            if !self.known.contains_key(home) {
                self.known.insert(home.clone(), member.clone());
                self.news = true;
            }
        }
    }

    /// The home of this seat is found so.
    pub(super) fn learn(&mut self, seat: &ClaimId, member: &Member) {
        let Some(home) = seat.home() else { return };
        if self.known.get(&home) != Some(member) {
            self.known.insert(home, member.clone());
            self.news = true;
        }
    }

    /// There is no such seat any more.
    pub(super) fn forget(&mut self, seat: &ClaimId) {
        self.news |= seat.home().is_some_and(|home| self.known.remove(&home).is_some());
    }

    /// Whether anything changed since this was asked last.
    pub(super) fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }
}
