//! An address that is placed at another seat moves make before break: whoever has it goes on until its new wearer is
//! heard, for as long as that takes. Nodes see the record at different times, and one of them may be dead.
//!
//! Without the authority two nodes can know different records of one address, and both wear it. Then they hear each
//! other, for longer than a move takes. One that is cut off leaves it to one that is not, whose record is the newer; of two
//! that are, the one that ranks lower leaves it, until the record can be read. They are cut off at different moments, and
//! either knows only by its last announcement how the other holds: who leaves has just heard the other go on so, and neither
//! has changed for as long as two have to be heard. Else each would leave it to the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::names::{ClaimId, NodeId, NodeName};
use crate::placement::score;
use crate::time::Moment;
use crate::vip::{Mark, Tenure, Vip};

/// How long an announcement proves that its sender wears the address: three steady ones.
const HEARD_FOR: Duration = Duration::from_secs(10);
/// How long another has to be heard on one address, with nothing changed, before it is no move: a move takes a watch's delay.
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
    /// How this node held then.
    against: Option<bool>,
    /// Since when it was heard, with nothing changed here or there.
    since: Moment,
    last: Moment,
    /// The address is left to it, for as long as it is heard.
    has_it: bool,
}

impl Other {
    /// What follows from how this node holds the seat that the address is at; `is_first` says whether the other ranks before
    /// it.
    fn meet(&mut self, now: Moment, view: &View<'_>, is_first: bool) {
        if self.against.replace(view.confirmed).is_some_and(|before| before != view.confirmed) {
            self.since = now;
        }
        let lasts = self.last.since(self.since) >= RIVALRY;
        let is_newer = self.confirmed && !view.confirmed;
        let is_older = view.confirmed && !self.confirmed;
        self.has_it |= lasts && (is_newer || (!is_older && is_first));
        self.has_it &= view.holds && view.cut_off;
    }

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
        let new = Other { place: None, confirmed, against: None, since: now, last: now, has_it: false };
        let other = self.others.entry((vip, mark.node)).or_insert(new);
        if other.confirmed != confirmed {
            other.since = now;
        }
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
        for ((vip, node), other) in &mut self.others {
            let claim = ClaimId::service(*vip);
            let is_first = score(&claim, *node) > score(&claim, own.id());
            if let Some(view) = places.get(vip).and_then(|place| seats.get(*place)) {
                other.meet(now, view, is_first);
            }
        }
        let elsewhere = |vip: &Vip| places.get(vip).is_some_and(|claim| !seats[claim].holds);
        let has = |view: &View<'_>| {
            let stays = view.placed.iter().filter(|vip| !self.who(**vip).any(|(_, other)| other.has_it));
            let waits = view.has.difference(view.placed);
            let waits = waits.filter(|vip| view.holds && elsewhere(vip) && !self.knows(**vip));
            stays.chain(waits).copied().collect()
        };
        let wanted = seats.iter().map(|(claim, view)| ((*claim).clone(), has(view))).collect();
        self.next = self.others.values().map(|other| other.last + HEARD_FOR).min();
        wanted
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

    /// Two that were cut off in one moment and notice it at different ones, and announce every three seconds.
    #[test]
    fn two_that_are_cut_off_at_different_moments_do_not_both_leave() {
        const STEP: Duration = Duration::from_millis(100);
        let (vip, names) = (Vip::from([10, 0, 0, 9]), ["n1", "n2"].map(NodeName::new));
        let placed = BTreeSet::from([vip]);
        for (first, second, phase) in (0..=80).flat_map(|at| [(at, 40, 7), (40, at, 22), (at, 100, 15)]) {
            let mut both: [(Moves, bool); 2] = Default::default();
            let mut left = 0;
            for step in 0..400_u32 {
                let now = Moment::ZERO + STEP * (step + 10);
                let confirmed = [step < first, step < second];
                for (me, other, turn) in [(0, 1, 0), (1, 0, phase)] {
                    if step % 33 == turn && !both[me].1 {
                        let tenure = if confirmed[me] { Tenure::Confirmed } else { Tenure::Detached };
                        both[other].0.heard(now, vip, Mark { tenure, epoch: 1, node: names[me].id() });
                    }
                }
                for (me, (moves, has_left)) in both.iter_mut().enumerate() {
                    let seat = ClaimId::seat(&names[me]);
                    let confirmed = confirmed[me];
                    let view = View { placed: &placed, has: &placed, holds: true, cut_off: true, confirmed };
                    let wanted = moves.look(now, &names[me], &BTreeMap::from([(&seat, view)]));
                    *has_left = wanted[&seat].is_empty();
                }
                assert!(!(both[0].1 && both[1].1), "{first} {second} {phase}: both leave at {step}");
                left += u32::from(both[0].1 || both[1].1);
            }
            assert!(left > 200, "{first} {second} {phase}: one leaves, and stays away");
        }
    }
}
