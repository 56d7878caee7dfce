//! Looking into a world whose Services are spread over nodes, and changing their record, for tests of single rules.

use mainstay_core::check::Entry;
use mainstay_core::names::ClaimId;
use mainstay_core::vip::Vip;

use super::{Record, World, name};
use crate::sim::machine::Machine;
use crate::sim::segment::CLIENTS_EACH;

impl<M: Machine> World<M> {
    /// The addresses of Services.
    #[must_use]
    pub fn addresses(&self) -> &[Vip] {
        &self.spread.addresses
    }

    /// The nodes whose kernels have an address.
    #[must_use]
    pub fn wearers(&self, vip: Vip) -> Vec<usize> {
        (0..self.hosts.len()).filter(|h| self.hosts[*h].addresses.contains_key(&vip)).collect()
    }

    /// The nodes that hold a node's seat, by their own word.
    #[must_use]
    pub fn seat_holders(&self, home: usize) -> Vec<usize> {
        let seat = ClaimId::seat(&name(home));
        let holds = |h: &usize| {
            let host = &self.hosts[*h];
            let Some(agent) = &host.agent else { return false };
            let seats = agent.machine.seats(host.clock.moment(self.now));
            seats.iter().any(|one| one.claim == seat && one.state == "holding")
        };
        (0..self.hosts.len()).filter(holds).collect()
    }

    /// The home of the seat that an address is recorded at.
    #[must_use]
    pub fn recorded_at(&self, vip: Vip) -> Option<usize> {
        let home = &self.spread.records.get(&vip)?.home;
        self.hosts.iter().position(|host| host.name == *home)
    }

    /// Somebody writes at which seat an address is.
    pub fn place_at(&mut self, vip: Vip, home: usize) {
        if let Some(before) = self.spread.records.get(&vip).cloned() {
            self.spread.meddled_at = Some(self.now);
            self.write_record(Record { home: name(home), ..before });
        }
    }

    /// Where the clients of an address send to.
    #[must_use]
    pub fn clients_of(&self, vip: Vip) -> Vec<Entry> {
        let index = self.spread.addresses.iter().position(|one| *one == vip).map_or(0, |index| index + 1);
        (0..CLIENTS_EACH).map(|client| self.segment.entry(index * CLIENTS_EACH + client)).collect()
    }

    /// The seat's ring: its home, and the nodes that follow it.
    #[must_use]
    pub fn ring(&self, home: usize) -> Vec<usize> {
        let seat = ClaimId::seat(&name(home));
        let mut ring: Vec<usize> = (0..self.hosts.len()).collect();
        ring.sort_by_key(|h| std::cmp::Reverse(mainstay_core::placement::score(&seat, name(*h).id())));
        ring
    }

    /// A client's entry, as it was shown last.
    pub(in crate::sim) fn shown(&self, client: usize) -> Entry {
        match (client / CLIENTS_EACH).checked_sub(1) {
            None => self.view.clients[client],
            Some(index) => self.spread.judged[index].view.clients[client % CLIENTS_EACH],
        }
    }
}
