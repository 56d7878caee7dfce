//! Seats, where Services are spread over nodes: what is placed at each for the core, and who holds each for whoever places.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::DerefMut;

use mainstay_core::input::{Input, Seat};
use mainstay_core::names::{ClaimId, NodeName};
use mainstay_core::snapshot::ClaimMemory;
use mainstay_core::status::ClaimStatus;
use mainstay_core::vip::Vip;

use super::{Core, Driver, Edges, Plane, replace_by};

/// What is placed at a seat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// The seat's own address.
    pub(crate) beacon: Vip,
    /// Addresses of Services; `None` as long as they are unknown.
    pub(crate) services: Option<BTreeSet<Vip>>,
}

/// Who holds which seat, as its Lease was read last; `None` for nobody.
pub(crate) type Holders = BTreeMap<ClaimId, Option<NodeName>>;

impl<C: Core, P: Plane, E: DerefMut<Target = Edges>> Driver<C, P, E> {
    /// What is placed at which seat; the first time that a seat is told, with what an earlier run knew of it.
    pub(super) fn seat(&mut self) {
        let placed = self.edges.placed.borrow_and_update().clone();
        let seat = |(claim, placed): (ClaimId, Placed)| {
            let first = self.told_seats.insert(claim.clone());
            let (memory, found) = if first { self.recall(&claim, placed.beacon) } else { Default::default() };
            (claim, Seat { beacon: placed.beacon, services: placed.services, memory, found })
        };
        if let Some(seats) = placed.map(|placed| placed.into_iter().map(seat).collect()) {
            self.handle(&Input::Seats(seats));
        }
    }

    /// What an earlier run remembered of a seat, and which of its addresses are on the interface.
    fn recall(&mut self, claim: &ClaimId, beacon: Vip) -> (Option<ClaimMemory>, BTreeSet<Vip>) {
        let Edges { snapshot, worn, .. } = &mut *self.edges;
        let memory = snapshot.claims.get(claim).cloned();
        let known = memory.iter().flat_map(|memory| &memory.services).chain([&beacon]);
        let found = known.filter(|vip| worn.remove(*vip)).copied().collect();
        (memory, found)
    }

    pub(super) fn tell_holders(&self) {
        let seats = self.core.seats((self.clock)());
        let holder = |seat: ClaimStatus| (seat.claim, seat.holder.as_deref().map(NodeName::new));
        let now: Holders = seats.into_iter().map(holder).collect();
        replace_by(&self.edges.holders, now);
    }
}
