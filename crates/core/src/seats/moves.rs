//! An address that is placed at another seat moves make before break: whoever has it goes on until its new wearer is
//! heard, for as long as that takes. Nodes see the record at different times, and one of them may be dead.
//!
//! Without the authority two nodes can know different records of one address, and both wear it. Then they hear each
//! other, for longer than a move takes, and the one that ranks lower leaves it to the other until the record can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::names::{ClaimId, NodeId, NodeName};
use crate::placement::score;
use crate::time::Moment;
use crate::vip::Vip;

/// How long an announcement proves that its sender wears the address: three steady ones.
const HEARD_FOR: Duration = Duration::from_secs(10);
/// How long two have to be heard on one address before it is no move: a move takes a watch's delay.
const RIVALRY: Duration = Duration::from_secs(5);

/// What is known of one seat.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    /// What the record places there.
    pub(super) placed: &'a BTreeSet<Vip>,
    /// What the seat has.
    pub(super) has: &'a BTreeSet<Vip>,
    /// This node holds it.
    pub(super) holds: bool,
    /// Its authority is out of reach.
    pub(super) cut_off: bool,
}

/// Another node that announced an address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Other {
    node: NodeId,
    since: Moment,
    last: Moment,
}

/// Who else was heard on which of our addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Moves {
    others: BTreeMap<Vip, Other>,
    /// When something that was decided by what was heard is to be looked at again.
    next: Option<Moment>,
    /// How the seats were when all was looked at last; none where something changed since.
    looked: Option<Vec<(bool, bool)>>,
}

impl Moves {
    /// Another node announces an address that this one has, or leaves to it.
    pub(super) fn heard(&mut self, now: Moment, vip: Vip, node: NodeId) {
        let heard = self.others.entry(vip).or_insert(Other { node, since: now, last: now });
        let since = if heard.node == node { heard.since } else { now };
        *heard = Other { node, since, last: now };
        self.changed();
    }

    /// What is placed, or what a seat has, is other than before.
    pub(super) fn changed(&mut self) {
        self.looked = None;
    }

    /// Whether there is anything to look at: addresses are many, and frames as well. `state` is whether each seat is held
    /// here, and whether its authority is out of reach.
    pub(super) fn is_due(&mut self, now: Moment, state: Vec<(bool, bool)>) -> bool {
        let due = self.looked.as_ref() != Some(&state) || self.next.is_some_and(|at| at <= now);
        self.looked = Some(state);
        due
    }

    /// Whether it was heard lately that another node has it.
    pub(super) fn knows(&self, vip: Vip) -> bool {
        self.others.contains_key(&vip)
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.next
    }

    /// What each seat has, on this node: what is placed there, and what has not yet arrived elsewhere; but for what is left
    /// to another.
    pub(super) fn look(
        &mut self,
        now: Moment,
        own: &NodeName,
        seats: &BTreeMap<&ClaimId, View<'_>>,
    ) -> BTreeMap<ClaimId, BTreeSet<Vip>> {
        self.others.retain(|_, other| now.since(other.last) < HEARD_FOR);
        let places = seats.iter().flat_map(|(claim, view)| view.placed.iter().map(move |vip| (*vip, *claim)));
        let places: BTreeMap<Vip, &ClaimId> = places.collect();
        let elsewhere = |vip: &Vip| places.get(vip).is_some_and(|claim| !seats[claim].holds);
        let has = |view: &View<'_>| {
            let stays = view.placed.iter().filter(|vip| !self.is_left(now, own, **vip, view));
            let waits = view.has.difference(view.placed);
            let waits = waits.filter(|vip| view.holds && elsewhere(vip) && !self.knows(**vip));
            stays.chain(waits).copied().collect()
        };
        let wanted = seats.iter().map(|(claim, view)| ((*claim).clone(), has(view))).collect();
        self.next = self
            .others
            .values()
            .flat_map(|other| [other.since + RIVALRY, other.last + HEARD_FOR])
            .filter(|at| *at > now)
            .min();
        wanted
    }

    /// Whether it is left to another node that has it by a record that cannot be read.
    fn is_left(&self, now: Moment, own: &NodeName, vip: Vip, view: &View<'_>) -> bool {
        let claim = ClaimId::service(vip);
        self.others.get(&vip).is_some_and(|other| {
            let lasts = now.since(other.since) >= RIVALRY;
            view.holds && view.cut_off && lasts && score(&claim, other.node) > score(&claim, own.id())
        })
    }
}
