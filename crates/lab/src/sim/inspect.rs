//! Looking into a world, and putting things into it, for tests of single rules.

use std::time::Duration;

use mainstay_core::effect::Effect;
use mainstay_core::input::{Health, Input, LeaseRecord};
use mainstay_core::vip::{Mark, Vip};

use super::host::VIP;
use super::machine::Machine;
use super::segment::{Packet, To, mac_of};
use super::world::World;

/// What the tests of single rules look back at.
#[derive(Debug, Default)]
pub struct Log {
    /// Announcements that left: when, from whom, with what mark. Each frame is one.
    pub announcements: Vec<(Duration, usize, Mark)>,
    /// Orders of the machines: when, whose, what.
    pub effects: Vec<(Duration, usize, Effect)>,
}

impl<M: Machine> World<M> {
    /// The only holder; `None` if there is none or more than one.
    #[must_use]
    pub fn holder(&self) -> Option<usize> {
        let mut holders = self.view().holders();
        holders.next().filter(|_| holders.next().is_none())
    }

    /// What node `h` announces with at present.
    #[must_use]
    pub fn mark(&self, h: usize) -> Option<Mark> {
        self.view().nodes[h].announces
    }

    /// Whether the kernel of node `h` has the VIP.
    #[must_use]
    pub fn wears(&self, h: usize) -> bool {
        self.hosts[h].addresses.contains_key(&VIP)
    }

    /// The valid lifetime that is left to the VIP in the kernel of node `h`.
    #[must_use]
    pub fn lifetime_left(&self, h: usize) -> Option<Duration> {
        let until = self.hosts[h].addresses.get(&VIP)?;
        Some(Duration::from_nanos(until.saturating_sub(self.now)))
    }

    /// The Lease as it is in the store.
    #[must_use]
    pub fn lease(&self) -> Option<&LeaseRecord> {
        self.store.record().map(std::sync::Arc::as_ref)
    }

    /// The node that the Lease names.
    #[must_use]
    pub fn lease_holder(&self) -> Option<usize> {
        let holder = self.lease()?.holder.as_deref()?;
        self.hosts.iter().position(|host| host.name.as_str() == holder)
    }

    /// Writes the Lease as another elector would.
    pub fn put_lease(&mut self, record: LeaseRecord) {
        self.store.put(record);
        self.store_changed(None);
    }

    /// Lets node `h`'s wire carry an announcement that its agent did not send.
    pub fn forge(&mut self, h: usize, mark: Option<Mark>) {
        let packet =
            Packet { mac: mac_of(h), to: To::All, sender: Some(VIP), target: VIP, mark, asks: false };
        self.send(h, packet);
    }

    /// Lets node `h`'s wire carry a holder's question for a rival that its agent did not send.
    pub fn forge_question(&mut self, h: usize, mark: Mark) {
        let packet =
            Packet { mac: mac_of(h), to: To::All, sender: None, target: VIP, mark: Some(mark), asks: true };
        self.send(h, packet);
    }

    /// Tells node `h`'s agent how what the VIP serves does, as seen from there.
    pub fn tell_service(&mut self, h: usize, health: Health) {
        self.feed(h, Input::Service(health));
    }

    /// Tells node `h`'s agent which addresses the claim's names mean.
    pub fn tell_vips(&mut self, h: usize, vips: &[Vip]) {
        self.feed(h, Input::Vips(vips.to_vec()));
    }

    /// The name's id of node `h`, as marks carry it.
    #[must_use]
    pub fn node_id(&self, h: usize) -> mainstay_core::names::NodeId {
        self.hosts[h].name.id()
    }
}
