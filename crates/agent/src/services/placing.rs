//! Where Services are spread: what the placer says of each, and what is to be worn at each seat by what is on record.

use std::collections::BTreeMap;

use mainstay_core::intent::ObjectName;
use mainstay_core::spread::Placer;
use mainstay_core::vip::Vip;
use mainstay_dataplane::clock;
use tokio::time::Instant;

use super::decided::Decided;
use super::incumbents::Left;
use super::seating::{Place, places, shared_beacons};
use super::{Keeper, replace};

/// What is decided of places.
#[derive(Debug, Default)]
pub(super) struct Placing {
    /// Where each Service is to be, as far as this node says it; `None` where they are not spread.
    pub(super) places: Option<BTreeMap<ObjectName, Place>>,
    /// Services that kube-vip may still hold: they are placed nowhere, and what they say is left to it.
    pub(super) left: Left,
    /// When to place again though nothing was learned.
    pub(super) again: Option<Instant>,
}

impl Keeper {
    /// Where each Service is to be, as far as this node says it.
    pub(super) fn place(&self, decided: &Decided, holds: bool, placer: &mut Placer) -> Placing {
        let Some(seating) = &self.seats else { return Placing::default() };
        if !holds {
            *placer = Placer::default();
            self.incumbents.ask(std::iter::empty());
            return Placing { places: Some(BTreeMap::new()), ..Placing::default() };
        }
        let (holders, now) = (self.known.holders.borrow().clone(), clock::now());
        let seats = seating.seats(&self.known.members.borrow(), &holders);
        let (ours, left) = self.incumbents.part(&decided.claims);
        let decision = placer.decide(now, ours.into_iter().map(|claim| &claim.demand), &seats);
        let again = decision.look_again.map(|at| Instant::now() + at.since(now));
        Placing { places: Some(places(&decided.claims, &decision, &holders)), left, again }
    }

    /// What is to be worn: by whoever holds all Services, or by the seats that they are placed at.
    pub(super) fn tell_addresses(&self, decided: &Decided, addresses: Vec<Vip>) {
        let (Some(seating), Some(cluster)) = (&self.seats, self.known.cluster.borrow().clone()) else {
            self.known.addresses.send_if_modified(|known| replace(known, Some(addresses)));
            return;
        };
        let agents = self.known.members.borrow().clone();
        let placed = seating.on_record(&cluster, &agents, (&decided.claims, &addresses));
        self.view.share_beacons(shared_beacons(&placed));
        self.known.placed.send_if_modified(|known| replace(known, Some(placed)));
        self.known.addresses.send_if_modified(|known| replace(known, Some(Vec::new())));
    }
}
