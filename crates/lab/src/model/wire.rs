//! The segment: who hears whom, the gateway, and a client that keeps its neighbour entry until somebody announces.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr};

use mainstay_core::input::{Frame, Input};
use mainstay_core::time::Moment;

use super::PROMPT;
use super::world::{Ev, NODES, World};
use crate::sim::segment::{Packet, To, endpoint_of, mac_of};
use crate::sim::{GATEWAY, Kind, Machine, VIP};

/// Endpoints are numbered as in the simulation: hosts first, then the gateway. The client has a number of its own.
const GATEWAY_END: usize = NODES;
const CLIENT_END: usize = NODES + 1;

impl<M: Machine + Clone + Hash> World<M> {
    /// Whether host `h`'s kernel takes part in the segment.
    pub(super) fn on_the_wire(&self, h: usize) -> bool {
        self.hosts[h].powered && !self.has(Kind::HostFrozen(h)) && !self.has(Kind::LinkDown(h))
    }

    /// Whether host `h` is cut off from everybody on the segment.
    pub(super) fn alone(&self, h: usize) -> bool {
        self.has(Kind::Isolated(h)) || self.has(Kind::Unplugged(h))
    }

    /// Whether frames pass from one endpoint to another.
    pub(super) fn open(&self, from: usize, to: usize) -> bool {
        let up = |end: usize| end >= NODES || (self.on_the_wire(end) && !self.alone(end));
        up(from) && up(to) && !self.has(Kind::OneWay(from, to))
    }

    /// Puts a frame on the wire.
    pub(super) fn send(&mut self, from: usize, packet: Packet) {
        match packet.to {
            To::One(mac) => self.deliver(from, endpoint_of(mac), packet),
            To::All => {
                for to in (0..=CLIENT_END).filter(|to| *to != from) {
                    if self.cares(to, &packet) {
                        self.deliver(from, to, packet);
                    }
                }
            }
        }
    }

    /// Whether the frame would change anything there: what nobody looks at needs no event.
    fn cares(&self, to: usize, packet: &Packet) -> bool {
        match to {
            GATEWAY_END => packet.asks && packet.target == GATEWAY,
            CLIENT_END => packet.sender == Some(VIP),
            host => self.hears(host, packet) || (packet.asks && self.answers_for(host, packet.target)),
        }
    }

    fn deliver(&mut self, from: usize, to: usize, packet: Packet) {
        if self.open(from, to) {
            self.later(PROMPT, Ev::Arrive { from, to, packet });
        }
    }

    fn answers_for(&self, h: usize, target: IpAddr) -> bool {
        target == self.hosts[h].own || (target == VIP && self.hosts[h].address.is_some())
    }

    fn hears(&self, h: usize, packet: &Packet) -> bool {
        let Some(agent) = &self.hosts[h].agent else { return false };
        let (vips, others) = &agent.listen;
        match packet.sender {
            Some(sender) => vips.contains(&sender) || others.contains(&sender),
            None => vips.contains(&packet.target),
        }
    }

    /// A frame has reached an endpoint.
    pub(super) fn arrive(&mut self, to: usize, packet: &Packet) {
        match to {
            GATEWAY_END => self.answer(to, packet),
            CLIENT_END => self.client = Some(endpoint_of(packet.mac)),
            host => self.arrive_at_host(host, packet),
        }
    }

    fn arrive_at_host(&mut self, h: usize, packet: &Packet) {
        if !self.on_the_wire(h) {
            return;
        }
        if packet.asks && self.answers_for(h, packet.target) {
            self.answer(h, packet);
        }
        if self.hears(h, packet) {
            let Packet { mac, sender, target, mark, .. } = *packet;
            let frame = Frame { heard_at: Moment::from_nanos(self.now), mac, sender, target, mark };
            self.input(h, Input::Frame(frame));
        }
    }

    /// A kernel answers for an address of its own.
    fn answer(&mut self, end: usize, question: &Packet) {
        let target = question.sender.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (to, sender) = (To::One(question.mac), Some(question.target));
        self.send(end, Packet { mac: mac_of(end), to, sender, target, mark: None, asks: false });
    }
}
