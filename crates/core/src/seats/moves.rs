//! An address that is placed at another seat moves make before break: whoever has it goes on until its new wearer is
//! heard, for as long as that takes. Nodes see the record at different times, and one of them may be dead.
//!
//! Without the authority two nodes can know different records of one address, and both wear it. Then they hear each
//! other, for longer than a move takes. One that is cut off leaves it to one that is not, whose record is the newer; of two
//! that are, the one that ranks lower leaves it, until the record can be read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::names::{ClaimId, NodeId, NodeName};
use crate::placement::score;
use crate::time::Moment;
use crate::vip::{Mark, Tenure, Vip};

/// How long an announcement proves that its sender wears the address: three steady ones.
const HEARD_FOR: Duration = Duration::from_secs(10);
/// How long two have to be heard on one address before it is no move: a move takes a watch's delay.
const RIVALRY: Duration = Duration::from_secs(5);

/// Whether a seat is held here, is cut off from its authority, and is confirmed.
pub(super) type State = (bool, bool, bool);

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
    /// It is held by a fresh grant, as its announcements say.
    pub(super) confirmed: bool,
}

/// How another node announced an address of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Other {
    /// Where the address was placed then: who was heard before it moved says nothing after it.
    place: Option<ClaimId>,
    confirmed: bool,
    since: Moment,
    last: Moment,
}

impl Other {
    /// Whether the address is where it was when it was first looked at.
    fn is_heard_at(&mut self, place: Option<&ClaimId>) -> bool {
        self.place = self.place.take().or_else(|| place.cloned());
        self.place.as_ref() == place
    }
}

/// Who else was heard on which of our addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Moves {
    others: BTreeMap<(Vip, NodeId), Other>,
    /// When something that was decided by what was heard is to be looked at again.
    next: Option<Moment>,
    /// How the seats were when all was looked at last; none where something changed since.
    looked: Option<Vec<State>>,
}

impl Moves {
    /// Another node announces an address that this one has, or leaves to it.
    pub(super) fn heard(&mut self, now: Moment, vip: Vip, mark: Mark) {
        let confirmed = mark.tenure == Tenure::Confirmed;
        let new = Other { place: None, confirmed, since: now, last: now };
        let other = self.others.entry((vip, mark.node)).or_insert(new);
        (other.confirmed, other.last) = (confirmed, now);
        self.changed();
    }

    /// What is placed, or what a seat has, is other than before.
    pub(super) fn changed(&mut self) {
        self.looked = None;
    }

    /// Whether there is anything to look at: addresses are many, and frames as well. `state` is that of
    /// each seat.
    pub(super) fn is_due(&mut self, now: Moment, state: Vec<State>) -> bool {
        let due = self.looked.as_ref() != Some(&state) || self.next.is_some_and(|at| at <= now);
        self.looked = Some(state);
        due
    }

    /// Whether it was heard lately that another node has it.
    fn knows(&self, vip: Vip) -> bool {
        self.who(vip).next().is_some()
    }

    fn who(&self, vip: Vip) -> impl Iterator<Item = (NodeId, &Other)> {
        let (first, last) = ((vip, NodeId(0)), (vip, NodeId(u64::MAX)));
        self.others.range(first..=last).map(|((_, node), other)| (*node, other))
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
        self.others.retain(|(vip, _), other| other.is_heard_at(places.get(vip).copied()));
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
        let is_first = |node: NodeId| score(&claim, node) > score(&claim, own.id());
        let leaves = |(node, other): (NodeId, &Other)| {
            let lasts = now.since(other.since) >= RIVALRY;
            let is_newer = other.confirmed && !view.confirmed;
            let is_older = view.confirmed && !other.confirmed;
            lasts && (is_newer || (!is_older && is_first(node)))
        };
        view.holds && view.cut_off && self.who(vip).any(leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a node holds while it cannot ask, or whether it can.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Holds {
        InReach,
        Confirmed,
        Detached,
    }

    /// Whether `me` ever leaves an address to these others, who go on announcing it.
    fn leaves(me: (&str, Holds), others: &[(&str, Holds)]) -> bool {
        let (own, vip) = (NodeName::new(me.0), Vip::from([10, 0, 0, 9]));
        let (seat, placed) = (ClaimId::seat(&own), BTreeSet::from([vip]));
        let (mut moves, mut now) = (Moves::default(), Moment::ZERO + Duration::from_secs(1));
        (0..20).any(|_| {
            for (other, holds) in others {
                let tenure = if *holds == Holds::Detached { Tenure::Detached } else { Tenure::Confirmed };
                moves.heard(now, vip, Mark { tenure, epoch: 1, node: NodeName::new(other).id() });
                now = now + Duration::from_millis(300);
            }
            now = now + Duration::from_secs(2);
            let (cut_off, confirmed) = (me.1 != Holds::InReach, me.1 != Holds::Detached);
            let view = View { placed: &placed, has: &placed, holds: true, cut_off, confirmed };
            moves.look(now, &own, &BTreeMap::from([(&seat, view)]))[&seat].is_empty()
        })
    }

    /// However they hold, and whichever ranks first: of those that hear each other for long, one goes on.
    #[test]
    fn of_all_that_wear_an_address_one_goes_on() {
        use Holds::{Confirmed, Detached, InReach};
        for holds in [
            [Detached, Detached, Detached],
            [Confirmed, Confirmed, Confirmed],
            [InReach, Detached, Detached],
            [Detached, InReach, Detached],
            [Detached, Confirmed, Detached],
            [Detached, Detached, InReach],
        ] {
            let all: Vec<_> = ["n1", "n2", "n3"].into_iter().zip(holds).collect();
            let others = |me: &str| all.iter().copied().filter(|one| one.0 != me).collect::<Vec<_>>();
            let stay: Vec<_> = all.iter().filter(|me| !leaves(**me, &others(me.0))).collect();
            assert_eq!(stay.len(), 1, "{stay:?}");
            let best = [InReach, Confirmed, Detached].into_iter().find(|one| holds.contains(one));
            assert_eq!(Some(stay[0].1), best);
        }
    }
}
