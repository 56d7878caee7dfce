//! A host's kernel: addresses with lifetimes, answers to whoever asks for them, and frames out and in.

use std::net::{IpAddr, Ipv4Addr};

use mainstay_core::effect::ProbeTo;
use mainstay_core::input::{AddressChange, EffectId, Frame, Health, Input, Link, Outcome};
use mainstay_core::vip::{Mark, Vip};

use super::VIP;
use crate::sim::machine::Machine;
use crate::sim::queue::Ev;
use crate::sim::segment::{Packet, To};
use crate::sim::world::World;

impl<M: Machine> World<M> {
    pub(super) fn probe(
        &mut self,
        h: usize,
        id: EffectId,
        (target, to, mark): (IpAddr, ProbeTo, Option<Mark>),
    ) {
        let host = &self.hosts[h];
        if !host.on_the_wire() {
            self.feed(h, Input::Outcome { id, outcome: Outcome::Failed("network is down".to_owned()) });
            return;
        }
        let sent = host.clock.moment(self.now);
        let to = match to {
            ProbeTo::All => To::All,
            ProbeTo::One(mac) => To::One(mac),
        };
        let mac = host.mac;
        self.send(h, Packet { mac, to, sender: None, target, mark, asks: true });
        self.feed(h, Input::Outcome { id, outcome: Outcome::Sent(sent) });
    }

    pub(super) fn kernel_op(&mut self, h: usize, op: impl FnOnce(usize, u32) -> Ev) {
        let delay = self.random.range(30_000, 400_000);
        let host = &mut self.hosts[h];
        host.kernel_busy_until = host.kernel_busy_until.max(self.now + delay);
        let (at, run) = (host.kernel_busy_until, host.run);
        self.at(at, op(h, run));
    }

    pub(in crate::sim) fn assign(
        &mut self,
        (h, run): (usize, u32),
        id: EffectId,
        vips: &[Vip],
        lifetime: u64,
    ) {
        let host = &mut self.hosts[h];
        if host.run != run || host.power_off > 0 {
            return;
        }
        let until = self.now.saturating_add(lifetime);
        for vip in vips {
            host.addresses.insert(*vip, until);
        }
        host.had_address_at = self.now;
        self.at(until, Ev::Expire { host: h });
        self.feed(h, Input::Outcome { id, outcome: Outcome::Done });
    }

    pub(in crate::sim) fn withdraw(&mut self, (h, run): (usize, u32), id: EffectId, vips: &[Vip]) {
        let host = &mut self.hosts[h];
        if host.run != run {
            return;
        }
        for vip in vips {
            host.addresses.remove(vip);
        }
        self.feed(h, Input::Outcome { id, outcome: Outcome::Done });
    }

    /// The kernel removes what nobody refreshed.
    pub(in crate::sim) fn expire(&mut self, h: usize) {
        if self.hosts[h].host_frozen > 0 {
            return;
        }
        let now = self.now;
        let expired: Vec<Vip> =
            self.hosts[h].addresses.iter().filter(|(_, until)| **until <= now).map(|(vip, _)| *vip).collect();
        for vip in expired {
            self.hosts[h].addresses.remove(&vip);
            self.trace(|| format!("node {h}: the kernel removes {vip}"));
            self.feed(h, Input::Address(AddressChange::Removed { vip, expired: true }));
        }
    }

    /// Somebody deletes the address.
    pub(in crate::sim) fn delete_address(&mut self, h: usize) {
        let addresses = &mut self.hosts[h].addresses;
        let worn = self.spread.addresses.iter().copied().find(|vip| addresses.contains_key(vip));
        let vip = worn.unwrap_or(VIP);
        if addresses.remove(&vip).is_some() {
            self.feed(h, Input::Address(AddressChange::Removed { vip, expired: false }));
        }
    }

    pub(in crate::sim) fn link(&mut self, h: usize) {
        let link = if self.hosts[h].link_down > 0 { Link::Down } else { Link::Up };
        self.feed(h, Input::Link(link));
    }

    pub(in crate::sim) fn health(&mut self, h: usize) {
        let health = if self.hosts[h].unhealthy > 0 { Health::Unhealthy } else { Health::Healthy };
        self.feed(h, Input::Health(health));
    }

    /// A frame has reached the host's interface.
    pub(in crate::sim) fn arrive(&mut self, h: usize, packet: &Packet) {
        let (host, contested) = (&self.hosts[h], self.contested());
        if !host.on_the_wire() {
            return;
        }
        if packet.asks && host.answers_for(packet.target, contested) {
            let (mac, target) = (host.mac, packet.sender.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
            let answer = Packet {
                mac,
                to: To::One(packet.mac),
                sender: Some(packet.target),
                target,
                mark: None,
                asks: false,
            };
            self.send(h, answer);
        }
        let host = &self.hosts[h];
        if host.hears(packet) {
            let frame = Frame {
                heard_at: host.clock.moment(self.now),
                mac: packet.mac,
                sender: packet.sender,
                target: packet.target,
                mark: packet.mark,
            };
            self.feed(h, Input::Frame(frame));
        }
    }
}
